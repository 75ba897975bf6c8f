/* graft.c: ids are in topological order, so one walk upwards copies everything that is needed after its arguments. */
#include "graph/graft.h"

#include <string.h>

/* Numbers along sweep axes: those of each configuration. */
static sx_id numbers(const sx_graft *g, const sx_node *n, sx_error *er)
{
    const int axes = sx_graph_axes(g->from);
    const sx_axes sweeps = n->axes & SX_SWEEP_MASK;
    if (!sweeps) return sx_data(g->to, n->axes, n->classes, n->data, n->n_data, n->name, er);
    const size_t len = n->n_data / sx_axes_count(g->from, sweeps);
    double *v = sx_malloc((g->count * len + 1) * sizeof *v);
    if (!v) return sx_nomem(er), 0;
    for (size_t k = 0; k < g->count; k++) {
        size_t at = 0;
        for (int a = 0; a < axes; a++)
            if (sweeps & SX_AX_SWEEP(a)) at = at * sx_graph_axis_get(g->from, a)->count + g->place[k * (size_t)axes + (size_t)a];
        memcpy(v + k * len, n->data + at * len, len * sizeof *v);
    }
    sx_id id = sx_data(g->to, (n->axes & ~SX_SWEEP_MASK) | SX_AX_SWEEP(g->axis), n->classes, v, g->count * len, n->name, er);
    sx_free(v);
    return id;
}

static sx_id copy(const sx_graft *g, const sx_node *n, const sx_id *there, sx_error *er)
{
    if (n->op == SX_OP_data) return numbers(g, n, er);
    if (n->op == SX_OP_logits && g->logits) return g->logits;
    if (n->op == SX_OP_edt && g->logits) {
        sx_fail(er, SX_EARG, "fit: the loss measures distances between pixels, which a sample of pixels does not have");
        sx_hint(er, "fit the other part of it alone; its values, gradients and tau need no fit");
        return 0;
    }
    if (sx_op_class((sx_op)n->op) == SX_CL_LEAF)
        return sx_leaf(g->to, (sx_op)n->op, n->dump ? g->dump : 0, n->classes, n->attr, n->name, er);
    sx_id arg[3] = {0, 0, 0};
    for (int i = 0; i < n->n_arg; i++) arg[i] = there[n->arg[i]];
    return sx_make(g->to, (sx_op)n->op, arg[0], arg[1], arg[2], n->attr, er);
}

sx_err sx_graft_nodes(const sx_graft *g, const sx_id *id, size_t n, sx_id *out, sx_error *er)
{
    sx_graph *part;
    sx_error own = {0};
    sx_err e = sx_graph_part(g->from, id, n, &part, out, er);
    if (e) return e;
    sx_id *there = sx_calloc(sx_graph_size(part) + 1, sizeof *there);
    if (!there) e = sx_nomem(er);
    for (sx_id i = 1; !e && i <= sx_graph_size(part); i++)
        if (!(there[i] = copy(g, sx_node_get(part, i), there, &own))) {
            e = own.code ? own.code : SX_EBUG;
            if (er) *er = own;
        }
    for (size_t i = 0; !e && i < n; i++) out[i] = there[out[i]];
    sx_free(there);
    sx_graph_free(part);
    return e;
}
