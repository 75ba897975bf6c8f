/*
 * fit.h: what a loss would do with a temperature and one bias per class: logits' = t * logits + b. For every configuration of a loss
 * the t > 0 and b that minimise
 *
 *     value(t * logits + b)  +  l2 / 2 * |value(logits)| * ((log t)^2 + sum of b^2)
 *
 * (the penalty follows the loss' own scale, so that k * loss is fitted as loss is). All configurations are evaluated together, one
 * plan run per round; each has its own minimiser (bfgs.h) and drops out when it has ended. What a configuration gets does not depend
 * on the others, nor on threads.
 */
#ifndef SX_FIT_H
#define SX_FIT_H

#include "fit/bfgs.h"
#include "pass/pass.h"

/* The same loss on a dump (a sample of pixels, in memory). Several stages, coarse ones first: each goes on where the one before it
 * ended, with what it learnt. */
typedef struct sx_fit_stage {
    sx_id value;             /* in the graph of the options: one number per configuration */
    sx_dump *dump;
    double tolerance;        /* largest |derivative by log t or b|, relative to |value(logits)| */
} sx_fit_stage;

typedef struct sx_fit_opts {
    const sx_graph *graph;
    const size_t *place;     /* [count][axes of the graph]: where each configuration is on each axis */
    size_t count;
    double l2;
    size_t most;             /* iterations per stage */
    sx_run_opts run;         /* pool, isa, use_double, mem */
    /* Between rounds; false interrupts. running: configurations that have not ended. */
    bool (*progress)(void *arg, size_t stage, size_t round, size_t running);
    void *progress_arg;
} sx_fit_opts;

typedef struct sx_fitted {
    double log_t, *b;        /* b: one per class, inside the block that sx_fit gives */
    double value, start;     /* of the loss alone, fitted and as it was */
    double slope;            /* largest derivative where it ended, relative to |start| */
    size_t iterations, evaluations;
    sx_bfgs_state state;     /* of the last stage */
} sx_fitted;

/* *out: count of them, one block for sx_free. */
sx_err sx_fit(const sx_fit_opts *o, const sx_fit_stage *stage, size_t n_stages, sx_fitted **out, sx_error *er);

#endif
