/*
 * grad.c: reverse mode. Ids are in topological order, so one walk from y downwards meets every node after all that use it.
 *
 * The target-out family is differentiated as a whole, straight to the logits, in forms without cancellation or 0/0. With D = 1
 * at the label, -q elsewhere, q the softmax over the other classes:
 *   d ce / dx = -u D,  d log u / dx = -p_t D,
 *   d u^g / dx = g u^g d log u / dx: no u^(g-1), so it is finite for every g >= 0 (Lin et al. 2017 in the form of the
 *   catalogue, L04).
 * Gradient norms of any loss per pixel are then |number| * norm of D.
 */
#include "graph/grad.h"

#include <string.h>

typedef struct tape {
    sx_graph *g;
    sx_error *er;
    const sx_graph *part;      /* what y and wrt are made of, before anything is built */
    sx_id wrt, *adj;           /* by number there: the gradient of y w.r.t. the node so far, or 0 */
    sx_id free_p;              /* wrt when that is a softmax p: its tgt; p_t, u ... count as functions of p then */
    uint8_t *dep;              /* by number there: does the node depend on wrt? */
    bool failed;
} tape;

static const sx_node *node(const tape *t, sx_id id) { return sx_node_get(t->g, id); }

static sx_id number(const tape *t, sx_id id) { return sx_graph_number(t->part, id); }
static bool depends(const tape *t, sx_id id) { return t->dep[number(t, id)]; }

/* Building: a failure anywhere gives 0, which every later call passes on. */
static sx_id mk(tape *t, sx_op op, sx_id a, sx_id b, sx_id c)
{
    if (t->failed) return 0;
    sx_id id = sx_make(t->g, op, a, b, c, 0, t->er);
    if (!id) t->failed = true;
    return id;
}
static sx_id num(tape *t, double v)
{
    sx_id id = t->failed ? 0 : sx_const(t->g, v, t->er);
    if (!id) t->failed = true;
    return id;
}

#define NIL 0
#define K(v) num(t, v)
#define ADD(a, b) mk(t, SX_OP_add, a, b, 0)
#define SUB(a, b) mk(t, SX_OP_sub, a, b, 0)
#define MUL(a, b) mk(t, SX_OP_mul, a, b, 0)
#define DIV(a, b) mk(t, SX_OP_div, a, b, 0)
#define POW(a, b) mk(t, SX_OP_pow, a, b, 0)
#define LT(a, b) mk(t, SX_OP_lt, a, b, 0)
#define LE(a, b) mk(t, SX_OP_le, a, b, 0)
#define GT(a, b) mk(t, SX_OP_gt, a, b, 0)
#define GE(a, b) mk(t, SX_OP_ge, a, b, 0)
#define NEG(a) mk(t, SX_OP_neg, a, 0, 0)
#define SQUARE(a) mk(t, SX_OP_square, a, 0, 0)
#define SIGN(a) mk(t, SX_OP_sign, a, 0, 0)
#define LOG(a) mk(t, SX_OP_log, a, 0, 0)
#define SIGMOID(a) mk(t, SX_OP_sigmoid, a, 0, 0)
#define WHERE(a, b, c) mk(t, SX_OP_where, a, b, c)

static sx_id elementwise(tape *t, sx_id id, int which, sx_id G)
{
    const sx_node *n = node(t, id);
    const sx_id Y = id, A = n->arg[0], B = n->arg[1], D = n->arg[2];
    (void)Y, (void)A, (void)B, (void)D, (void)G;
    switch (n->op) {
#define SX_EW(name, args, value, da, db, dc, probes, doc) \
    case SX_OP_##name: return which == 0 ? (da) : which == 1 ? (db) : (dc);
#include "graph/ops.def"
    default: return 0;
    }
}

/* -- Axes ------------------------------------------------------------------------------------------ */

static sx_id labels_of(tape *t, const sx_node *n)
{
    sx_id id = t->failed ? 0 : sx_leaf(t->g, SX_OP_labels, n->dump, n->classes, 0, NULL, t->er);
    if (!id) t->failed = true;
    return id;
}

/* A value of 1 along one axis. */
static sx_id ones(tape *t, const sx_node *like, sx_axes axis)
{
    sx_id id;
    if (axis == SX_AX_P || axis == SX_AX_N) {
        id = sx_leaf(t->g, axis == SX_AX_P ? SX_OP_valid : SX_OP_first, like->dump, 0, axis == SX_AX_P ? 0 : 1, NULL, t->er);
    } else {
        id = sx_leaf(t->g, SX_OP_classes, 0, like->classes, 0, NULL, t->er);
        id = mk(t, SX_OP_eq, id, id, 0);
        if (axis == SX_AX_L) id = mk(t, SX_OP_transpose, id, 0, 0);
    }
    if (!id) t->failed = true;
    return id;
}

static sx_id with_axis(tape *t, sx_id G, const sx_node *like, sx_axes axis)
{
    return t->failed || node(t, G)->axes & axis ? G : MUL(G, ones(t, like, axis));
}

/* A contribution to an argument: axes that it has and the argument has not are summed away. For elementwise nodes, which
 * spread their arguments over their own axes, spread says so: these axes count even where c is constant along them. */
static sx_id sum_to(tape *t, sx_id c, const sx_node *n, sx_axes spread, sx_axes to)
{
    static const struct {
        sx_axes axis;
        sx_op sum;
    } by[] = {{SX_AX_P, SX_OP_psum}, {SX_AX_L, SX_OP_lsum}, {SX_AX_C, SX_OP_csum}, {SX_AX_N, SX_OP_nsum}};
    for (size_t i = 0; i < sizeof by / sizeof *by && !t->failed; i++) {
        if (to & by[i].axis || !((spread | node(t, c)->axes) & by[i].axis)) continue;
        c = mk(t, by[i].sum, with_axis(t, c, n, by[i].axis), 0, 0);
    }
    return t->failed ? 0 : c;
}

static void add_to(tape *t, sx_id to, sx_id c)
{
    if (t->failed || !c) return;
    const sx_id at = number(t, to);
    if (t->adj[at] && node(t, to)->axes & SX_AX_P) {
        t->adj[at] = sx_add_factored(t->g, t->adj[at], c, t->er);
        if (!t->adj[at]) t->failed = true;
    } else {
        t->adj[at] = t->adj[at] ? ADD(t->adj[at], c) : c;
    }
}

/* -- The target-out family ---------------------------------------------------------------------------- */

static sx_id of_tgt(tape *t, sx_op op, sx_id tgt) { return mk(t, op, tgt, 0, 0); }

/* D: 1 at the label, -q elsewhere. Every value of the family that has no class axis has the derivative (a number per pixel) * D,
 * so tgt collects that number and D is computed once, whatever the loss and however many configurations share it. */
static sx_id direction(tape *t, sx_id tgt) { return of_tgt(t, SX_OP_dir, tgt); }

static sx_id softmax_back(tape *t, sx_id s, sx_id G, const sx_node *n)
{
    G = with_axis(t, G, n, SX_AX_C);
    return MUL(s, SUB(G, mk(t, SX_OP_csum, MUL(G, s), 0, 0)));
}

/* p is a softmax; D is minus one, q, over the other classes (and a constant at the label). */
static sx_id soft(tape *t, sx_id id, sx_id G, const sx_node *n)
{
    if (n->op == SX_OP_p) return softmax_back(t, id, G, n);
    sx_id hot = mk(t, SX_OP_onehot, node(t, n->arg[0])->arg[1], 0, 0);
    return NEG(softmax_back(t, WHERE(hot, K(0), NEG(id)), G, n));
}

/* The factor of D that a value of the family gets from its gradient G: d ce = -u D, d p_t = p_t u D, d u = -p_t u D, d log u =
 * -p_t D. */
static sx_id family(tape *t, sx_id id, sx_id G)
{
    const sx_id tgt = node(t, id)->arg[0];
    switch (node(t, id)->op) {
    case SX_OP_ce: return NEG(MUL(G, of_tgt(t, SX_OP_u, tgt)));
    case SX_OP_pt: return MUL(G, MUL(id, of_tgt(t, SX_OP_u, tgt)));
    case SX_OP_u: return NEG(MUL(G, MUL(of_tgt(t, SX_OP_pt, tgt), id)));
    default: return NEG(MUL(G, of_tgt(t, SX_OP_pt, tgt)));
    }
}

/* The same where p is what is derived by: p_t, u and their logarithms look at the label's entry of p. */
static sx_id family_by_p(tape *t, sx_id id, sx_id G)
{
    const sx_node *n = node(t, id);
    const sx_id tgt = n->arg[0];
    if (n->op == SX_OP_log_softmax) return DIV(with_axis(t, G, n, SX_AX_C), t->wrt);
    G = MUL(G, mk(t, SX_OP_onehot, node(t, tgt)->arg[1], 0, 0));
    switch (n->op) {
    case SX_OP_ce: return NEG(DIV(G, of_tgt(t, SX_OP_pt, tgt)));
    case SX_OP_pt: return G;
    case SX_OP_u: return NEG(G);
    case SX_OP_logu: return NEG(DIV(G, of_tgt(t, SX_OP_u, tgt)));
    default:
        if (!t->failed) sx_fail(t->er, SX_EARG, "grad: %s by the probabilities is not supported", sx_op_name((sx_op)n->op));
        t->failed = true;
        return 0;
    }
}

/* Does the node look at the probabilities that are derived by without using their node? */
static bool reads_p(const tape *t, sx_id id)
{
    const sx_node *n = node(t, id), *tgt = t->free_p ? node(t, t->free_p) : NULL;
    if (!tgt || id == t->wrt) return false;
    const sx_class cl = sx_op_class((sx_op)n->op);
    return ((cl == SX_CL_TROW || cl == SX_CL_TSOFT) && n->arg[0] == t->free_p) ||
           (n->op == SX_OP_log_softmax && n->arg[0] == tgt->arg[0]);
}

/* -- One node ------------------------------------------------------------------------------------------ */

static void power(tape *t, sx_id id, sx_id G)
{
    const sx_node *n = node(t, id);
    const sx_id base = node(t, n->arg[0])->arg[0], e = n->arg[1];
    if (depends(t, base)) {
        const sx_node *b = node(t, base);
        if (b->op == SX_OP_u && !t->free_p) {
            sx_id tgt = b->arg[0], d = NEG(MUL(G, MUL(MUL(e, id), of_tgt(t, SX_OP_pt, tgt))));
            add_to(t, tgt, sum_to(t, d, n, n->axes, node(t, tgt)->axes));
        } else {
            sx_id d = MUL(G, MUL(e, POW(base, SUB(e, K(1)))));
            add_to(t, base, sum_to(t, d, n, n->axes, b->axes));
        }
    }
    if (depends(t, e)) {
        sx_id d = MUL(G, WHERE(GT(base, K(0)), MUL(id, LOG(base)), K(0)));
        add_to(t, e, sum_to(t, d, n, n->axes, node(t, e)->axes));
    }
}

/* To what is summed, the transposed sum; the order itself, like a distance, is a step function. */
static void ordered(tape *t, sx_id id, sx_id G)
{
    const sx_node *n = node(t, id);
    const sx_id b = n->arg[1];
    if (n->op == SX_OP_edt || !depends(t, b) || t->failed) return;
    const bool above = n->op == SX_OP_sum_above;
    sx_id s = sx_make(t->g, above ? SX_OP_sum_below : SX_OP_sum_above, n->arg[0], G, n->arg[2], n->attr, t->er);
    if (!s) t->failed = true;
    s = above ? ADD(s, G) : SUB(s, G);
    add_to(t, b, sum_to(t, s, n, n->axes, node(t, b)->axes));
}

/* Gradient to argument 0 of everything that is not elementwise. */
static sx_id other(tape *t, sx_id id, sx_id G)
{
    const sx_node *n = node(t, id);
    const sx_id a = n->arg[0];
    const sx_axes from = node(t, a)->axes;
    switch (n->op) {
    case SX_OP_csum:
    case SX_OP_lsum:
    case SX_OP_psum:
    case SX_OP_nsum: return G;
    case SX_OP_cmax: return MUL(G, mk(t, SX_OP_eq, a, id, 0));
    case SX_OP_logsumexp: return MUL(G, mk(t, SX_OP_softmax, a, 0, 0));
    case SX_OP_softmax: return softmax_back(t, id, G, n);
    case SX_OP_log_softmax:
        G = with_axis(t, G, n, SX_AX_C);
        return SUB(G, MUL(mk(t, SX_OP_softmax, a, 0, 0), mk(t, SX_OP_csum, G, 0, 0)));
    case SX_OP_pick:
        if (from & SX_AX_L) return mk(t, SX_OP_bysum, with_axis(t, G, n, SX_AX_C), 0, 0);
        return MUL(G, mk(t, SX_OP_onehot, n->arg[1], 0, 0));
    case SX_OP_transpose: return mk(t, SX_OP_transpose, G, 0, 0);
    case SX_OP_bysum:
        if (!t->failed && node(t, G)->axes & (from & SX_AX_C ? SX_AX_L : SX_AX_C))
            return mk(t, SX_OP_pick, G, labels_of(t, n), 0);
        return G;
    case SX_OP_bsum:
        if (t->failed) return 0;
        return sx_make(t->g, SX_OP_bsum, with_axis(t, G, n, SX_AX_N), 0, 0, n->attr, t->er);
    default: return 0;                             /* argmax, onehot: no gradient */
    }
}

static void back(tape *t, sx_id id)
{
    const sx_node *n = node(t, id);
    const sx_id G = t->adj[number(t, id)];
    if (reads_p(t, id)) {
        sx_id c = family_by_p(t, id, G);
        if (c) add_to(t, t->wrt, sum_to(t, c, n, 0, node(t, t->wrt)->axes));
        return;
    }
    switch (sx_op_class((sx_op)n->op)) {
    case SX_CL_LEAF: return;
    case SX_CL_EW:
        for (int i = 0; i < n->n_arg && !t->failed; i++)
            if (depends(t, n->arg[i])) {
                sx_id c = elementwise(t, id, i, G);
                if (c) add_to(t, n->arg[i], sum_to(t, c, n, n->axes, node(t, n->arg[i])->axes));
            }
        return;
    case SX_CL_TROW:
        if (depends(t, n->arg[0])) add_to(t, n->arg[0], sum_to(t, family(t, id, G), n, 0, node(t, n->arg[0])->axes));
        return;
    case SX_CL_TSOFT: {
        sx_id x = node(t, n->arg[0])->arg[0];
        if (depends(t, x)) add_to(t, x, sum_to(t, soft(t, id, G, n), n, 0, node(t, x)->axes));
        return;
    }
    case SX_CL_TGT:
        if (depends(t, n->arg[0])) add_to(t, n->arg[0], sum_to(t, MUL(G, direction(t, id)), n, 0, node(t, n->arg[0])->axes));
        return;
    case SX_CL_POWB: power(t, id, G); return;
    case SX_CL_FIELD: ordered(t, id, G); return;
    default:
        if (depends(t, n->arg[0])) {
            sx_id c = other(t, id, G);
            if (c) add_to(t, n->arg[0], sum_to(t, c, n, 0, node(t, n->arg[0])->axes));
        }
    }
}

sx_err sx_grad(sx_graph *g, sx_id y, sx_id wrt, sx_id *out, sx_error *er)
{
    tape t = {.g = g, .er = er, .wrt = wrt};
    const sx_id ends[2] = {y, wrt};
    sx_id end[2];
    sx_graph *part;
    sx_err e = sx_graph_part(g, ends, 2, &part, end, er);
    if (e) return e;
    t.part = part;
    t.adj = sx_calloc(sx_graph_size(part) + 1, sizeof *t.adj);
    t.dep = sx_calloc(sx_graph_size(part) + 1, 1);
    if (!t.adj || !t.dep) {
        e = sx_nomem(er);
        goto done;
    }
    t.dep[end[1]] = 1;
    if (node(&t, wrt)->op == SX_OP_p) t.free_p = node(&t, wrt)->arg[0];
    /* what reads p may be older than p */
    const sx_id first = t.free_p ? number(&t, node(&t, t.free_p)->arg[0]) : end[1];
    for (sx_id k = first + 1; k <= end[0]; k++) {
        const sx_node *n = sx_node_get(part, k);
        for (int i = 0; i < n->n_arg; i++) t.dep[k] |= t.dep[n->arg[i]];
        t.dep[k] |= reads_p(&t, sx_graph_origin(part, k));
    }
    sx_error local = {0};
    t.er = &local;
    if (t.dep[end[0]]) t.adj[end[0]] = num(&t, 1);
    for (sx_id k = end[0]; k > first && !t.failed; k--)
        if (t.dep[k] && t.adj[k] && k != end[1]) back(&t, sx_graph_origin(part, k));
    sx_id r = t.adj[end[1]] ? t.adj[end[1]] : num(&t, 0);
    const sx_node *w = node(&t, wrt);
    if (!t.failed && w->axes & SX_AX_P)
        r = mk(&t, SX_OP_where, sx_leaf(g, SX_OP_valid, w->dump, 0, 0, NULL, t.er), r, num(&t, 0));
    if (t.failed) {
        e = local.code ? local.code : SX_EBUG;
        if (er) *er = local;
    } else {
        *out = r;
    }
done:
    sx_free(t.adj);
    sx_free(t.dep);
    sx_graph_free(part);
    return e;
}
