/*
 * fuse.c: forms that the tile machine computes at once, without the planes and rows in between; bits are those of the single
 * operations. What something else reads too is made all the same.
 *
 * Gradients: with D = dir(tgt) and p = p(tgt) of one softmax state, v a class vector, r and s without class axis,
 *   a mapped value   [where(valid, .., 0) of]  r D   or   p (v - s)   or the sum of both
 *   csum(v p)
 * Sweeps of exponents: sums by label of  r1 b^e, r2 b^e  with one power.
 */
#include "cpu/tile_impl.h"

static const sx_node *node(const sx_prog *p, sx_id id) { return sx_node_get(p->g, id); }
static bool is(const sx_prog *p, sx_id id, sx_op op) { return node(p, id)->op == op; }
static sx_axes pixel_or_class(const sx_prog *p, sx_id id) { return node(p, id)->axes & (SX_AX_P | SX_AX_C | SX_AX_L); }

/* One factor is `op` of a state: *tgt, and the other factor. */
static bool factor(const sx_prog *p, sx_id product, sx_op op, sx_id *tgt, sx_id *other)
{
    const sx_node *n = node(p, product);
    if (n->op != SX_OP_mul) return false;
    const int i = is(p, n->arg[0], op) ? 0 : 1;
    if (!is(p, n->arg[i], op)) return false;
    *tgt = node(p, n->arg[i])->arg[0];
    *other = n->arg[1 - i];
    return true;
}

static bool term(const sx_prog *p, sx_id id, soft_form *f)
{
    sx_id tgt, other;
    if (!f->row && factor(p, id, SX_OP_dir, &tgt, &other) && !(node(p, other)->axes & SX_AX_C)) {
        f->row = other;
    } else if (!f->vec && factor(p, id, SX_OP_p, &tgt, &other) && is(p, other, SX_OP_sub)) {
        const sx_id v = node(p, other)->arg[0], s = node(p, other)->arg[1];
        if (pixel_or_class(p, v) != SX_AX_C || node(p, s)->axes & SX_AX_C) return false;
        f->vec = v;
        f->sub = s;
    } else {
        return false;
    }
    if (f->tgt && f->tgt != tgt) return false;
    f->tgt = tgt;
    return true;
}

bool sx_fuse_map(const sx_prog *p, sx_id id, soft_form *f)
{
    const sx_node *n = node(p, id);
    double zero;
    *f = (soft_form){0};
    if (n->op == SX_OP_where && is(p, n->arg[0], SX_OP_valid) && sx_is_const(p->g, n->arg[2], &zero) && zero == 0) {
        f->masked = true;
        n = node(p, id = n->arg[1]);
    }
    if (n->op == SX_OP_add) return term(p, n->arg[0], f) && term(p, n->arg[1], f);
    return term(p, id, f);
}

/* A sum by label of r b^e: fills what it finds. */
static bool pow_sum(const sx_prog *p, sx_id sum, sx_id *power, sx_id *row)
{
    const sx_node *n = node(p, sum), *m = node(p, n->arg[0]);
    if (n->op != SX_OP_bysum || m->op != SX_OP_mul) return false;
    const int i = is(p, m->arg[0], SX_OP_powb) ? 0 : 1;
    *power = m->arg[i];
    *row = m->arg[1 - i];
    return is(p, *power, SX_OP_powb) && pixel_or_class(p, *power) == SX_AX_P && pixel_or_class(p, *row) == SX_AX_P &&
           !(node(p, node(p, *power)->arg[1])->axes & SX_AX_P);
}

size_t sx_fuse_pow(const sx_prog *p, const sx_id *sum, size_t n, size_t first, pow_form *f)
{
    sx_id power, row;
    *f = (pow_form){0};
    if (!pow_sum(p, sum[first], &power, &row)) return 0;
    f->basis = node(p, power)->arg[0];
    f->exponent = node(p, power)->arg[1];
    for (size_t i = first; i < n && f->n < 2; i++) {
        sx_id other;
        if (!pow_sum(p, sum[i], &other, &row) || other != power ||
            ((node(p, sum[i])->axes ^ node(p, sum[first])->axes) & SX_SWEEP_MASK))
            continue;
        f->sum[f->n] = i;
        f->row[f->n++] = row;
    }
    return f->n;
}

bool sx_fuse_dot(const sx_prog *p, sx_id id, soft_form *f)
{
    *f = (soft_form){0};
    return is(p, id, SX_OP_csum) && factor(p, node(p, id)->arg[0], SX_OP_p, &f->tgt, &f->vec) &&
           pixel_or_class(p, f->vec) == SX_AX_C;
}
