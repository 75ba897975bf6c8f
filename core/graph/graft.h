/*
 * graft.h: an expression copied into another graph, with other leaves: its sweep axes become one axis of chosen configurations,
 * the logits something that is made of them. That is how a fit looks at many configurations of a loss, each with its own
 * parameters.
 */
#ifndef SX_GRAFT_H
#define SX_GRAFT_H

#include "graph/graph.h"

typedef struct sx_graft {
    const sx_graph *from;
    sx_graph *to;
    int axis;                /* of `to`, of count configurations */
    size_t count;
    const size_t *place;     /* [count][axes of from]: the value of each axis that a configuration has */
    sx_id logits;            /* of `to`: takes the place of the logits; 0: the logits themselves */
    uint32_t dump;           /* slot that leaves of the dump get in `to` */
} sx_graft;

/* out[i]: id[i] in `to`. Nothing is remembered between calls: give what shares nodes at once. */
sx_err sx_graft_nodes(const sx_graft *g, const sx_id *id, size_t n, sx_id *out, sx_error *er);

#endif
