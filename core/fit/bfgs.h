/*
 * bfgs.h: one minimisation by BFGS (Nocedal & Wright, ch. 6) that asks for values instead of calling for them: the caller evaluates
 * many minimisations at their points together. With some ten or hundred variables the whole inverse Hessian is kept: on a valley of
 * condition 1e6 in 12 variables 30 evaluations where a limited memory (L-BFGS, 12 pairs) takes 676. Line search: strong Wolfe conditions by bracketing and cubic interpolation (ch. 3),
 * with the approximate form (Hager & Zhang 2005) where the value has come to its rounding noise.
 *
 *   sx_bfgs_start(m, x);
 *   while (m->state == SX_BFGS_ASKS) sx_bfgs_tell(m, f, g) for the f and g at m->at;
 *
 * One thread at a time; what it does depends on what it is told alone.
 */
#ifndef SX_BFGS_H
#define SX_BFGS_H

#include "base/base.h"

typedef enum sx_bfgs_state {
    SX_BFGS_ASKS,          /* wants f and g at `at` */
    SX_BFGS_CONVERGED,     /* largest |g| is at most the tolerance */
    SX_BFGS_FLAT,          /* no step brings the value down any more, and |g| is small */
    SX_BFGS_STUCK,         /* no step brings it down, but |g| is not small */
    SX_BFGS_TIRED,         /* too many iterations */
    SX_BFGS_LOST           /* the value at the start is not finite */
} sx_bfgs_state;

typedef struct sx_bfgs sx_bfgs;
struct sx_bfgs {
    size_t n;               /* variables */
    sx_bfgs_state state;
    double *at;             /* n: where a value is wanted */
    double *x, *g, f;       /* the best point so far, its gradient and value */
    double tolerance;       /* on the largest |g| */
    double noise;           /* relative rounding noise of f, e.g. 1e-8 */
    size_t iterations, most, evaluations;
    struct sx_bfgs_inside *in;
};

/* Memory: n * n numbers and some. */
sx_err sx_bfgs_new(size_t n, sx_bfgs **out, sx_error *er);
void sx_bfgs_free(sx_bfgs *m);
/* From x on, with what earlier steps have told about the curvature (after a change to similar data): tolerance, noise and most are set
 * before. */
void sx_bfgs_start(sx_bfgs *m, const double *x);
void sx_bfgs_tell(sx_bfgs *m, double f, const double *g);

#endif
