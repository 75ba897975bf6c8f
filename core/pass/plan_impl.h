/* plan_impl.h: a plan's inside, for core/pass. */
#ifndef SX_PLAN_IMPL_H
#define SX_PLAN_IMPL_H

#include "pass/keep.h"
#include "pass/pass.h"

/* A step of a plan. Steps run in order; each makes its nodes ready. */
typedef enum step_kind {
    STEP_VALUES,     /* nodes without pixel and image axis, in id order */
    STEP_PASS,       /* pixel sums: one walk over the dump */
    STEP_IMAGES,     /* nsum and bsum nodes: one walk over the kept statistics */
    STEP_MAP         /* pixel sums and the mapped pixel outputs of each image: one walk over the dump; or of one image, then no sums */
} step_kind;

typedef struct plan_step {
    step_kind kind;
    sx_id *id;               /* n of them, then, for a map, n_map outputs */
    size_t n, n_map;
} plan_step;

struct sx_plan {
    sx_graph *g;            /* the outputs alone: a part of the caller's graph */
    sx_dump *d;
    size_t classes, images;
    sx_id *out;
    size_t n_out, map_image;
    uint8_t *need;          /* by id: reachable from an output */
    uint8_t *dead;          /* by id: bit i: argument i, a branch of where, is chosen nowhere and not computed */
    size_t n_ids;
    double **known;         /* by id: values that depend on no dump, where they were asked for */
    sx_id *list;            /* the needed ones, in order of their ids */
    size_t n_list;
    plan_step *step;        /* up to the last pass: what passes and maps need, for all values of the sweep at once */
    size_t n_step;
    plan_step *tail;        /* what comes after: arithmetic on kept sums, for a part of the sweep at a time (grid.c) */
    size_t n_tail;
    sx_plan_info info;
    sx_id *sum, *origin;    /* pixel sums, and their ids in the caller's graph, as info has them */
    size_t *sum_pass;
    bool *sum_fields;
    bool *fields;           /* by id: is it a field operator, or made of the pixels of one? */
    sx_axes *pass_axes;
};

static inline bool sx_plan_alive(const sx_plan *p, sx_id id, int arg) { return !(p->dead[id] >> arg & 1); }

/* Numbers of a node's value, without its image and pixel axes; inside a box of the sweep, or (NULL) all of it. */
static inline size_t sx_value_len(const sx_graph *g, size_t classes, const sx_box *box, sx_id id)
{
    const sx_node *n = sx_node_get(g, id);
    size_t k = sx_box_count(g, box, n->axes);
    if (n->axes & SX_AX_C) k *= classes;
    if (n->axes & SX_AX_L) k *= classes;
    return k;
}

/* -- Epilogue: nodes without pixel axis, in double --------------------------------------------------
 * value[id] points at [sweep][L][C] doubles, inside the box. Evaluates one node from its arguments' values; a branch of where that
 * is chosen nowhere may have none. */
sx_err sx_epilogue_node(const sx_graph *g, size_t classes, const sx_box *box, sx_id id, double *const *value, double *dst,
                        sx_error *er);

#endif
