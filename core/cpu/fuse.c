/*
 * fuse.c: forms that the tile machine computes from a softmax state at once, without the planes in between. Gradients are made of
 * them: with D = dir(tgt) and p = p(tgt) of one state, v a class vector, r and s without class axis,
 *
 *   a mapped value   [where(valid, .., 0) of]  r D   or   p (v - s)   or the sum of both
 *   csum(v p)
 *
 * Bits are those of the single operations. A plane that something else reads too is made all the same.
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

bool sx_fuse_dot(const sx_prog *p, sx_id id, soft_form *f)
{
    *f = (soft_form){0};
    return is(p, id, SX_OP_csum) && factor(p, node(p, id)->arg[0], SX_OP_p, &f->tgt, &f->vec) &&
           pixel_or_class(p, f->vec) == SX_AX_C;
}
