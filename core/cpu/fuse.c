/*
 * fuse.c: forms that the tile machine computes at once, without the planes and rows in between; bits are those of the single
 * operations. What something else reads too is made all the same.
 *
 * Gradients: with D = dir(tgt) and p = p(tgt) of one softmax state, v a class vector, r and s without class axis,
 *   a mapped value   [where(valid, .., 0) of]  r D   or   p (v - s)   or the sum of both
 *   csum(v p)
 *   sums over pixels of such a value, and of it times the logits (how a bias and a temperature change a loss)
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

/* A sum over pixels of such a value, or of it times the logits. */
static bool soft_sum(const sx_prog *p, sx_id sum, soft_form *f, bool *by_logits)
{
    const sx_node *n = node(p, sum);
    sx_id e = n->arg[0];
    *f = (soft_form){0};
    *by_logits = false;
    if (n->op != SX_OP_psum || !(node(p, e)->axes & SX_AX_C)) return false;
    if (is(p, e, SX_OP_mul))
        for (int i = 0; i < 2; i++)
            if (is(p, node(p, e)->arg[i], SX_OP_logits)) {
                *by_logits = true;
                f->logits = node(p, e)->arg[i];
                e = node(p, e)->arg[1 - i];
                break;
            }
    n = node(p, e);
    if (n->op == SX_OP_add) return term(p, n->arg[0], f) && term(p, n->arg[1], f);
    return term(p, e, f);
}

static bool same_form(const soft_form *a, const soft_form *b)
{
    return a->tgt == b->tgt && a->row == b->row && a->vec == b->vec && a->sub == b->sub;
}

bool sx_fuse_sum(const sx_prog *p, const sx_id *sum, size_t n, size_t first, soft_form *f)
{
    bool by_logits;
    if (!soft_sum(p, sum[first], f, &by_logits)) return false;
    f->plain = by_logits ? SIZE_MAX : first;
    f->times = by_logits ? first : SIZE_MAX;
    for (size_t i = first + 1; i < n; i++) {
        soft_form other;
        bool other_logits;
        if (!soft_sum(p, sum[i], &other, &other_logits) || other_logits == by_logits || !same_form(f, &other) ||
            ((node(p, sum[i])->axes ^ node(p, sum[first])->axes) & SX_SWEEP_MASK))
            continue;
        if (other_logits) f->logits = other.logits;
        *(other_logits ? &f->times : &f->plain) = i;
        break;
    }
    return true;
}

bool sx_fuse_affine(const sx_prog *p, sx_id tgt, sx_id *logits, sx_id *scale, sx_id *shift)
{
    const sx_node *n = node(p, node(p, tgt)->arg[0]);
    if (n->op != SX_OP_add) return false;
    for (int i = 0; i < 2; i++) {
        const sx_node *m = node(p, n->arg[i]);
        if (m->op != SX_OP_mul) continue;
        *shift = n->arg[1 - i];
        for (int j = 0; j < 2; j++) {
            *logits = m->arg[j];
            *scale = m->arg[1 - j];
            if (is(p, *logits, SX_OP_logits) && pixel_or_class(p, *scale) == 0 && pixel_or_class(p, *shift) == SX_AX_C) return true;
        }
    }
    return false;
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
