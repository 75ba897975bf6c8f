/* graph_impl.h: inside of a graph, for core/graph only. */
#ifndef SX_GRAPH_IMPL_H
#define SX_GRAPH_IMPL_H

#include "graph/graph.h"

struct sx_graph {
    sx_arena *arena;        /* nodes, their data, names */
    sx_node **node;         /* by id; node[0] is NULL */
    size_t n, cap;
    sx_id *table;           /* open addressing by what a node is made of; a power of two */
    size_t table_size;
    sx_sweep_axis axis[SX_MAX_SWEEP];
    int n_axes;
    sx_node *copy;          /* of a part (part.c): its nodes, */
    sx_id *origin;          /*   and (of node 1, 2 ...) their ids in the graph that it was cut out of, ascending */
};

/* The one node equal to *n, made if it is not there. Copies data and name. No rewriting. 0 on failure. */
sx_id sx_graph_intern(sx_graph *g, sx_node *n, sx_error *er);

#endif
