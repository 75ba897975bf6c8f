/*
 * build.c: sx_make: shape rules and the structural rewrites. Every rule looks at ops and axes only, never at numbers
 * that a user may sweep (the 1 of "1 - p_t" is part of the form, decisions 10), so that a constant, a swept parameter and
 * any combination of wanted columns take the same path and give the same bits.
 */
#include <string.h>

#include "graph/graph_impl.h"

static const sx_node *get(const sx_graph *g, sx_id id) { return g->node[id]; }
static bool is(const sx_graph *g, sx_id id, sx_op op) { return id && get(g, id)->op == op; }
static bool has(const sx_graph *g, sx_id id, sx_axes ax) { return id && (get(g, id)->axes & ax) != 0; }
static bool is_one(const sx_graph *g, sx_id id)
{
    double v;
    return sx_is_const(g, id, &v) && v == 1.0;
}

/* Product, sum where 0 stands for "nothing there". */
static sx_id times(sx_graph *g, sx_id a, sx_id b, sx_error *er)
{
    if (!a || !b) return a ? a : b;
    return sx_make2(g, SX_OP_mul, a, b, er);
}

/* -- Shapes -------------------------------------------------------------------------------------- */

static sx_err need(const sx_graph *g, sx_op op, sx_id a, sx_axes ax, const char *what, sx_error *er)
{
    if (has(g, a, ax)) return SX_EOK;
    return sx_fail(er, SX_EARG, "%s: the value has no %s axis", sx_op_name(op), what);
}

static sx_err shape(const sx_graph *g, sx_op op, const sx_id *arg, sx_node *n, sx_error *er)
{
    sx_axes ax = 0, first = arg[0] ? get(g, arg[0])->axes : 0, second = arg[1] ? get(g, arg[1])->axes : 0;
    sx_err e = SX_EOK;
    switch (sx_op_class(op)) {
    case SX_CL_EW:
        for (int i = 0; i < n->n_arg; i++) ax |= get(g, arg[i])->axes;
        break;
    case SX_CL_CRED:
        e = need(g, op, arg[0], SX_AX_C, "class", er);
        ax = first & ~SX_AX_C;
        break;
    case SX_CL_CMAP:
        e = need(g, op, arg[0], SX_AX_C, "class", er);
        ax = first;
        break;
    case SX_CL_PICK:
        if (!(first & SX_AX_L)) e = need(g, op, arg[0], SX_AX_C, "class", er);
        if (!e && !(second & SX_AX_P))
            e = sx_fail(er, SX_EARG, "pick: the second argument must be labels (one class index per pixel)");
        ax = (first & ~(first & SX_AX_L ? SX_AX_L : SX_AX_C)) | second;
        break;
    case SX_CL_ONEHOT:
        e = need(g, op, arg[0], SX_AX_P, "pixel", er);
        ax = first | SX_AX_C;
        break;
    case SX_CL_LRED:
        e = need(g, op, arg[0], SX_AX_L, "label", er);
        ax = first & ~SX_AX_L;
        break;
    case SX_CL_TRANS:
        ax = first & ~(SX_AX_C | SX_AX_L);
        if (first & SX_AX_C) ax |= SX_AX_L;
        if (first & SX_AX_L) ax |= SX_AX_C;
        break;
    case SX_CL_TGT: ax = (first | second) & ~SX_AX_C; break;
    case SX_CL_TROW: ax = first; break;
    case SX_CL_TSOFT: ax = first | SX_AX_C; break;
    case SX_CL_BASIS: ax = first; break;
    case SX_CL_POWB: ax = first | second; break;
    case SX_CL_FIELD:
        for (int i = 0; !e && i < n->n_arg; i++) {
            e = need(g, op, arg[i], SX_AX_P, "pixel", er);
            ax |= get(g, arg[i])->axes;
        }
        break;
    case SX_CL_PSUM: ax = first & ~SX_AX_P; break;
    case SX_CL_BYSUM: ax = (first & ~SX_AX_P) | (first & SX_AX_C ? SX_AX_L : SX_AX_C); break;
    case SX_CL_NSUM: ax = first & ~SX_AX_N; break;
    case SX_CL_BSUM: ax = first; break;
    case SX_CL_LEAF: return sx_fail(er, SX_EBUG, "%s is a leaf", sx_op_name(op));
    }
    n->axes = ax;
    return e;
}

/* Dump and class count come from the arguments and must agree. */
static sx_err inherit(const sx_graph *g, sx_op op, const sx_id *arg, sx_node *n, sx_error *er)
{
    for (int i = 0; i < n->n_arg; i++) {
        const sx_node *a = get(g, arg[i]);
        if (a->dump && n->dump && a->dump != n->dump)
            return sx_fail(er, SX_EARG, "%s: the operands come from different dumps", sx_op_name(op));
        if (a->dump) n->dump = a->dump;
        if (a->classes && n->classes && a->classes != n->classes) {
            sx_fail(er, SX_EARG, "%s: %u classes against %u", sx_op_name(op), (unsigned)n->classes,
                    (unsigned)a->classes);
            sx_hint(er, "a vector by class needs one value for every class of the dump, background included");
            return SX_EARG;
        }
        if (a->classes) n->classes = a->classes;
    }
    return SX_EOK;
}

static bool commutes(sx_op op)
{
    return op == SX_OP_add || op == SX_OP_mul || op == SX_OP_eq || op == SX_OP_ne || op == SX_OP_band ||
           op == SX_OP_bor;
}

/* The node as written: no rewriting. */
static sx_id raw(sx_graph *g, sx_op op, sx_id a, sx_id b, sx_id c, int64_t attr, sx_error *er)
{
    if (commutes(op) && get(g, a)->form > get(g, b)->form) {
        sx_id t = a;
        a = b;
        b = t;
    }
    sx_node n = {.op = (uint16_t)op, .n_arg = (uint8_t)sx_op_args(op), .arg = {a, b, c}, .attr = attr};
    if (shape(g, op, n.arg, &n, er) || inherit(g, op, n.arg, &n, er)) return 0;
    return sx_graph_intern(g, &n, er);
}

/* -- Linear forms ----------------------------------------------------------------------------------
 * A value under a pixel sum is a sum of terms coef * v[label] * onehot * core: coef and v know no pixel,
 * core holds what does. */
typedef struct term {
    sx_id coef, by, onehot, core;
} term;

#define MAX_TERMS 32
typedef struct form {
    int n;
    term t[MAX_TERMS];
} form;

static void atom(form *f, sx_id e)
{
    f->n = 1;
    f->t[0] = (term){.core = e};
}

static bool is_labels(const sx_graph *g, sx_id id) { return is(g, id, SX_OP_labels); }

/* pick(v, labels) with v not knowing pixels: v leaves the sum. */
static bool by_label(const sx_graph *g, sx_id id)
{
    return is(g, id, SX_OP_pick) && is_labels(g, get(g, id)->arg[1]) && !has(g, get(g, id)->arg[0], SX_AX_P) &&
           !has(g, get(g, id)->arg[0], SX_AX_L);
}

static bool join(sx_graph *g, term *x, const term *y, sx_error *er)
{
    if (y->coef && !(x->coef = times(g, x->coef, y->coef, er))) return false;
    if (y->by && !(x->by = times(g, x->by, y->by, er))) return false;
    if (y->core && !(x->core = times(g, x->core, y->core, er))) return false;
    if (y->onehot) x->onehot = y->onehot;      /* 0/1: idempotent */
    return true;
}

static bool linear(sx_graph *g, sx_id e, form *f, sx_error *er);

static bool linear_sum(sx_graph *g, sx_id e, form *f, sx_error *er)
{
    const sx_node *n = get(g, e);
    form *b = sx_malloc(sizeof *b);
    if (!b) return sx_nomem(er), false;
    bool ok = linear(g, n->arg[0], f, er) && linear(g, n->arg[1], b, er);
    if (ok && f->n + b->n > MAX_TERMS) {
        atom(f, e);
    } else if (ok) {
        for (int i = 0; ok && i < b->n; i++) {
            term *t = &f->t[f->n++];
            *t = b->t[i];
            if (n->op != SX_OP_sub) continue;
            sx_id m = sx_const(g, -1, er);
            ok = m && (t->coef = times(g, m, t->coef, er));
        }
    }
    sx_free(b);
    return ok;
}

static bool linear_product(sx_graph *g, sx_id e, form *f, sx_error *er)
{
    const sx_node *n = get(g, e);
    form *b = sx_malloc(sizeof *b);
    if (!b) return sx_nomem(er), false;
    bool ok = linear(g, n->arg[0], f, er) && linear(g, n->arg[1], b, er);
    if (ok && f->n > 1 && b->n > 1) {
        atom(f, e);                             /* a product of sums stays one value */
    } else if (ok) {
        sx_id other = f->n > 1 ? n->arg[0] : n->arg[1];
        form *sum = f->n > 1 ? f : b, *one = f->n > 1 ? b : f;
        if (sum->n > 1 && (one->t[0].core || one->t[0].onehot)) {   /* factors of the term leave, the sum stays inside */
            term t = one->t[0];
            ok = (t.core = times(g, t.core, other, er)) != 0;
            f->n = 1;
            f->t[0] = t;
        } else {
            for (int i = 0; ok && i < sum->n; i++) ok = join(g, &sum->t[i], &one->t[0], er);
            if (sum != f) memcpy(f, sum, sizeof *f);
        }
    }
    sx_free(b);
    return ok;
}

static bool linear(sx_graph *g, sx_id e, form *f, sx_error *er)
{
    const sx_node *n = get(g, e);
    if (!(n->axes & SX_AX_P)) {
        f->n = 1;
        f->t[0] = (term){.coef = e};
        return true;
    }
    if (by_label(g, e)) {
        f->n = 1;
        f->t[0] = (term){.by = n->arg[0]};
        return true;
    }
    switch (n->op) {
    case SX_OP_add:
    case SX_OP_sub: return linear_sum(g, e, f, er);
    case SX_OP_mul: return linear_product(g, e, f, er);
    case SX_OP_neg: {
        if (!linear(g, n->arg[0], f, er)) return false;
        sx_id m = sx_const(g, -1, er);
        for (int i = 0; m && i < f->n; i++)
            if (!(f->t[i].coef = times(g, m, f->t[i].coef, er))) return false;
        return m != 0;
    }
    case SX_OP_div: {
        if (has(g, n->arg[1], SX_AX_P)) break;
        if (!linear(g, n->arg[0], f, er)) return false;
        sx_id r = sx_make1(g, SX_OP_recip, n->arg[1], er);
        for (int i = 0; r && i < f->n; i++)
            if (!(f->t[i].coef = times(g, f->t[i].coef, r, er))) return false;
        return r != 0;
    }
    case SX_OP_where: {                            /* sums leave out what is not valid anyway */
        double v;
        if (!is(g, n->arg[0], SX_OP_valid) || !sx_is_const(g, n->arg[2], &v) || v != 0.0) break;
        return linear(g, n->arg[1], f, er);
    }
    case SX_OP_onehot:
        if (!is_labels(g, n->arg[0])) break;
        f->n = 1;
        f->t[0] = (term){.onehot = n->arg[0]};
        return true;
    default: break;
    }
    atom(f, e);
    return true;
}

/* -- Products: which factor knows what ------------------------------------------------------------------ */

typedef enum kind { NO_PIXEL, BY_LABEL, ROW, PLANE, KINDS } kind;

#define MAX_FACTORS 48
typedef struct product {
    int n;
    bool negative;
    sx_id f[MAX_FACTORS];
} product;

static kind kind_of(const sx_graph *g, sx_id id)
{
    if (!has(g, id, SX_AX_P)) return NO_PIXEL;
    if (by_label(g, id)) return BY_LABEL;
    return has(g, id, SX_AX_C) ? PLANE : ROW;
}

/* Appends the factors of e. */
static bool factors(sx_graph *g, sx_id e, product *p, sx_error *er)
{
    const sx_node *n = get(g, e);
    const int room = MAX_FACTORS - p->n;
    if (n->op == SX_OP_neg) {
        p->negative = !p->negative;
        return factors(g, n->arg[0], p, er);
    }
    if (n->op == SX_OP_mul && room > 2) {
        if (!factors(g, n->arg[0], p, er)) return false;
        if (p->n < MAX_FACTORS) return factors(g, n->arg[1], p, er);
        p->n = MAX_FACTORS - room;             /* too long: one factor */
    } else if (n->op == SX_OP_div && !has(g, n->arg[1], SX_AX_P) && room > 2) {
        sx_id r = sx_make1(g, SX_OP_recip, n->arg[1], er);
        if (!r) return false;
        p->f[p->n++] = r;
        return factors(g, n->arg[0], p, er);
    }
    p->f[p->n++] = e;
    return true;
}

static bool masked(const sx_graph *g, sx_id id)
{
    double v;
    return is(g, id, SX_OP_where) && sx_is_const(g, get(g, id)->arg[2], &v) && v == 0.0;
}

/* f(x y) = f(x) f(y) for abs and square: a product falls apart into what no pixel knows, what only its label knows, what no
 * class knows, and the rest; of what is never below 0 there is no abs. */
static sx_id multiplicative(sx_graph *g, sx_op op, sx_id e, sx_error *er)
{
    const sx_node *n = get(g, e);
    if (op == SX_OP_abs && n->nonneg) return e;
    if (n->op == SX_OP_neg) return multiplicative(g, op, n->arg[0], er);
    if (masked(g, e)) {
        sx_id f = multiplicative(g, op, n->arg[1], er);
        return f ? sx_make(g, SX_OP_where, n->arg[0], f, n->arg[2], 0, er) : 0;
    }
    if (n->op == SX_OP_mul || n->op == SX_OP_div) {
        product p = {.n = 0};
        sx_id part[2 * KINDS] = {0}, all = 0;      /* from KINDS on: never below 0 */
        if (!factors(g, e, &p, er)) return 0;
        int kinds = 0;
        for (int i = 0; i < p.n; i++) {
            kind k = kind_of(g, p.f[i]);
            sx_id f = k == BY_LABEL ? get(g, p.f[i])->arg[0] : p.f[i];
            sx_id *to = &part[op == SX_OP_abs && get(g, f)->nonneg ? KINDS + k : k];
            kinds += !*to;
            if (!(*to = times(g, *to, f, er))) return 0;
        }
        for (int i = 0; i < 2 * KINDS && kinds > 1; i++) {
            const int k = i % KINDS;
            if (!part[i]) continue;
            sx_id f = i < KINDS ? raw(g, op, part[i], 0, 0, 0, er) : part[i];
            if (f && k == BY_LABEL) {
                sx_id y = sx_leaf(g, SX_OP_labels, n->dump, n->classes, 0, NULL, er);
                f = y ? raw(g, SX_OP_pick, f, y, 0, 0, er) : 0;
            }
            if (!f || !(all = times(g, all, f, er))) return 0;
        }
        if (all) return all;
    }
    return raw(g, op, e, 0, 0, 0, er);
}

/* Product of the factors that are left, 1 if there are none. Pixels' values first, then powers and what no pixel knows: these
 * are what sweeps change, so that the former are multiplied once. (A look at op and axes, not at who is swept: bits.) */
static sx_id rest(sx_graph *g, const product *p, sx_error *er)
{
    sx_id all = 0;
    for (int late = 0; late < 2; late++)
        for (int i = 0; i < p->n; i++) {
            if (!p->f[i] || (is(g, p->f[i], SX_OP_powb) || !has(g, p->f[i], SX_AX_P)) != (late == 1)) continue;
            if (!(all = times(g, all, p->f[i], er))) return 0;
        }
    return all ? all : sx_const(g, 1, er);
}

sx_id sx_add_factored(sx_graph *g, sx_id a, sx_id b, sx_error *er)
{
    product p = {.n = 0}, q = {.n = 0}, c = {.n = 0};
    if (!a || !b || !factors(g, a, &p, er) || !factors(g, b, &q, er)) return 0;
    for (int i = 0; i < p.n; i++)
        for (int j = 0; j < q.n; j++)
            if (p.f[i] && q.f[j] == p.f[i] && kind_of(g, p.f[i]) != PLANE) {
                c.f[c.n++] = p.f[i];
                p.f[i] = q.f[j] = 0;
            }
    if (!c.n) return sx_make2(g, SX_OP_add, a, b, er);
    sx_id x = rest(g, &p, er), y = rest(g, &q, er), common = rest(g, &c, er);
    if (!x || !y || !common) return 0;
    sx_id s = sx_make2(g, p.negative == q.negative ? SX_OP_add : SX_OP_sub, x, y, er);
    s = s ? times(g, common, s, er) : 0;
    return s && p.negative ? sx_make1(g, SX_OP_neg, s, er) : s;
}

/* -- Pixel sums ------------------------------------------------------------------------------------ */

static sx_id valid_of(sx_graph *g, sx_id e, sx_error *er)
{
    const sx_node *n = get(g, e);
    if (!n->dump) return sx_fail(er, SX_EARG, "sum over pixels: the value belongs to no dump"), 0;
    return sx_leaf(g, SX_OP_valid, n->dump, 0, 0, NULL, er);
}

static sx_id counts(sx_graph *g, sx_id like, sx_error *er)
{
    sx_id v = valid_of(g, like, er);
    return v ? raw(g, SX_OP_bysum, v, 0, 0, 0, er) : 0;
}

/* One term of a sum by true class of a value without class axis: {n, c}. */
static sx_id by_class(sx_graph *g, const term *t, sx_id like, sx_error *er)
{
    sx_id s = t->core ? raw(g, SX_OP_bysum, t->core, 0, 0, 0, er) : counts(g, like, er);
    return s ? times(g, t->by, s, er) : 0;
}

/* A product with a class axis in one shape: what no class knows, times planes, times the logits themselves; so that sums of g and
 * of g x share g (gradients by a bias and by a temperature). */
static sx_id plane_product(sx_graph *g, sx_id e, sx_error *er)
{
    product p = {.n = 0}, rows = {.n = 0};
    if (!factors(g, e, &p, er)) return 0;
    sx_id all = 0, planes = 0, last = 0;
    for (int i = 0; i < p.n; i++) {
        sx_id *to = is(g, p.f[i], SX_OP_logits) ? &last : &planes;
        if (!has(g, p.f[i], SX_AX_C)) rows.f[rows.n++] = p.f[i];
        else if (!(*to = times(g, *to, p.f[i], er))) return 0;
    }
    if (rows.n && !(all = rest(g, &rows, er))) return 0;
    all = times(g, times(g, all, planes, er), last, er);
    return all && p.negative ? sx_make1(g, SX_OP_neg, all, er) : all;
}

static sx_id psum_term(sx_graph *g, const term *t, sx_id like, sx_error *er)
{
    if (t->onehot) {                              /* sum over pixels of onehot * f = sum of f at the label, by class */
        sx_id f = t->core;
        if (f && has(g, f, SX_AX_C)) f = sx_make2(g, SX_OP_pick, f, t->onehot, er);
        if (t->core && !f) return 0;
        sx_id s = f ? sx_make1(g, SX_OP_bysum, f, er) : counts(g, like, er);
        return s ? times(g, t->coef, times(g, t->by, s, er), er) : 0;
    }
    sx_id s = 0;
    if (t->core && has(g, t->core, SX_AX_C)) {
        sx_id f = t->core;
        if (t->by) {                              /* a weight by label does not leave a sum by channel */
            sx_id w = sx_make2(g, SX_OP_pick, t->by, sx_leaf(g, SX_OP_labels, get(g, like)->dump,
                               get(g, like)->classes, 0, NULL, er), er);
            f = w ? times(g, f, w, er) : 0;
        }
        f = f ? plane_product(g, f, er) : 0;
        s = f ? raw(g, SX_OP_psum, f, 0, 0, 0, er) : 0;
    } else if (is(g, t->core, SX_OP_csum) && !t->by && has(g, t->core, SX_AX_P)) {
        s = sx_make1(g, SX_OP_psum, get(g, t->core)->arg[0], er);
        if (s) s = sx_make1(g, SX_OP_csum, s, er);
    } else {
        s = by_class(g, t, like, er);
        if (s) s = sx_make1(g, SX_OP_csum, s, er);
    }
    return s ? times(g, t->coef, s, er) : 0;
}

static sx_id bysum_term(sx_graph *g, const term *t, sx_id like, bool plane, sx_error *er)
{
    sx_id s;
    if (!plane) {
        s = by_class(g, t, like, er);
    } else {
        sx_id f = t->core, by = t->by;
        if (t->onehot) {
            sx_id h = sx_make1(g, SX_OP_onehot, t->onehot, er);
            f = h ? times(g, f, h, er) : 0;
            if (!f) return 0;
        }
        if (f && has(g, f, SX_AX_C)) {
            s = raw(g, SX_OP_bysum, f, 0, 0, 0, er);
        } else {
            s = f ? raw(g, SX_OP_bysum, f, 0, 0, 0, er) : counts(g, like, er);
            if (s) s = sx_make1(g, SX_OP_transpose, s, er);
        }
        if (s && by) {
            by = sx_make1(g, SX_OP_transpose, by, er);
            s = by ? times(g, by, s, er) : 0;
        }
    }
    return s ? times(g, t->coef, s, er) : 0;
}

static sx_id plain_sum(sx_graph *g, sx_op op, sx_id e, sx_error *er)
{
    form *f = sx_malloc(sizeof *f);
    if (!f) return sx_nomem(er), 0;
    sx_id total = 0;
    bool plane = has(g, e, SX_AX_C);
    if (linear(g, e, f, er))
        for (int i = 0; i < f->n; i++) {
            sx_id s = op == SX_OP_psum ? psum_term(g, &f->t[i], e, er) : bysum_term(g, &f->t[i], e, plane, er);
            total = s && total ? sx_make2(g, SX_OP_add, total, s, er) : s;
            if (!total) break;
        }
    sx_free(f);
    return total;
}

/* |k1 X1 + k2 X2 + ...| with Xi never below 0 and numbers ki that no pixel and no class knows: is it such, and the parts. */
static bool parts_of_abs(sx_graph *g, sx_id id, form *f, sx_error *er)
{
    if (!is(g, id, SX_OP_abs) || has(g, id, SX_AX_C) || !has(g, id, SX_AX_P)) return false;
    if (!linear(g, get(g, id)->arg[0], f, er) || f->n < 2) return false;
    for (int i = 0; i < f->n; i++) {
        const term *t = &f->t[i];
        if (t->by || t->onehot || (t->core && !get(g, t->core)->nonneg) || has(g, t->coef, SX_AX_C | SX_AX_L)) return false;
    }
    return true;
}

/* 1 where all ki are on one side of 0. */
static sx_id one_side(sx_graph *g, const form *f, sx_op side, sx_error *er)
{
    sx_id all = 0, zero = sx_const(g, 0, er), one = sx_const(g, 1, er);
    for (int i = 0; i < f->n && zero && one; i++) {
        sx_id c = sx_make2(g, side, f->t[i].coef ? f->t[i].coef : one, zero, er);
        if (!c || !(all = all ? sx_make2(g, SX_OP_band, all, c, er) : c)) return 0;
    }
    return zero && one ? all : 0;
}

/* Sum of R |k1 X1 + k2 X2 + ...|: where all ki are on one side of 0 it is |k1| sum of R X1 + ...: the ki leave. The planner
 * leaves out what is chosen nowhere. *out = 0: no such factor. */
static sx_err one_sided_sum(sx_graph *g, sx_op op, sx_id e, sx_id *out, sx_error *er)
{
    form *f = sx_malloc(sizeof *f);
    product p = {.n = 0};
    sx_err err = SX_EMEMORY;
    sx_id total = 0, same;
    int at = 0;
    *out = 0;
    if (!f) return sx_nomem(er);
    if (masked(g, e) && is(g, get(g, e)->arg[0], SX_OP_valid)) e = get(g, e)->arg[1];   /* sums leave out the rest anyway */
    sx_error local = {0};
    if (!factors(g, e, &p, er)) goto done;
    while (at < p.n && !parts_of_abs(g, p.f[at], f, &local)) at++;
    if (local.code) {
        if (er) *er = local;
        goto done;
    }
    if (at == p.n || p.negative) {
        err = SX_EOK;
        goto done;
    }
    p.f[at] = 0;
    for (int i = 0; i < f->n; i++) {
        product q = p;
        if (f->t[i].core && q.n < MAX_FACTORS - 2 && !factors(g, f->t[i].core, &q, er)) goto done;
        sx_id s = rest(g, &q, er), k = f->t[i].coef;
        if (s) s = plain_sum(g, op, s, er);
        if (s && k) s = times(g, sx_make1(g, SX_OP_abs, k, er), s, er);
        if (!s || (k && !s)) goto done;
        if (!(total = total ? sx_make2(g, SX_OP_add, total, s, er) : s)) goto done;
    }
    same = sx_make2(g, SX_OP_bor, one_side(g, f, SX_OP_ge, er), one_side(g, f, SX_OP_le, er), er);
    *out = same ? sx_make(g, SX_OP_where, same, total, plain_sum(g, op, e, er), 0, er) : 0;
    err = *out ? SX_EOK : SX_EMEMORY;
done:
    sx_free(f);
    return err;
}

static sx_id pixel_sum(sx_graph *g, sx_op op, sx_id e, sx_error *er)
{
    sx_id s;
    if (one_sided_sum(g, op, e, &s, er)) return 0;
    return s ? s : plain_sum(g, op, e, er);
}

/* -- Sums over images: linear factors without an image axis leave ------------------------------------- */

static sx_id image_sum(sx_graph *g, sx_op op, sx_id e, int64_t attr, sx_error *er)
{
    const sx_node *n = get(g, e);
    if (!(n->axes & SX_AX_N)) {
        if (!n->dump) return sx_fail(er, SX_EARG, "sum over images: the value belongs to no dump"), 0;
        sx_id one = sx_leaf(g, SX_OP_first, n->dump, 0, 1, NULL, er);
        one = one ? raw(g, op, one, 0, 0, attr, er) : 0;
        return one ? sx_make2(g, SX_OP_mul, e, one, er) : 0;
    }
    sx_id a = n->arg[0], b = n->arg[1], x, y;
    switch (n->op) {
    case SX_OP_add:
    case SX_OP_sub:
        x = image_sum(g, op, a, attr, er);
        y = x ? image_sum(g, op, b, attr, er) : 0;
        return y ? sx_make2(g, (sx_op)n->op, x, y, er) : 0;
    case SX_OP_mul:
        if (has(g, a, SX_AX_N) && has(g, b, SX_AX_N)) break;
        if (has(g, a, SX_AX_N)) x = b, y = a;
        else x = a, y = b;
        y = image_sum(g, op, y, attr, er);
        return y ? sx_make2(g, SX_OP_mul, x, y, er) : 0;
    case SX_OP_div:
        if (has(g, b, SX_AX_N)) break;
        x = image_sum(g, op, a, attr, er);
        return x ? sx_make2(g, SX_OP_div, x, b, er) : 0;
    case SX_OP_where:
        if (has(g, a, SX_AX_N) || !has(g, b, SX_AX_N) || !has(g, n->arg[2], SX_AX_N)) break;
        x = image_sum(g, op, b, attr, er);
        y = x ? image_sum(g, op, n->arg[2], attr, er) : 0;
        return y ? sx_make(g, SX_OP_where, a, x, y, 0, er) : 0;
    case SX_OP_neg:
    case SX_OP_csum:
    case SX_OP_lsum:
    case SX_OP_transpose:
        x = image_sum(g, op, a, attr, er);
        return x ? sx_make1(g, (sx_op)n->op, x, er) : 0;
    default: break;
    }
    return raw(g, op, e, 0, 0, attr, er);
}

/* -- Class sums ------------------------------------------------------------------------------------ */

static sx_id class_sum(sx_graph *g, sx_op op, sx_id e, sx_error *er);

/* Sum of a product whose factors lie deeper: those without the axis leave. *out = 0: nothing to take out. */
static sx_err product_sum(sx_graph *g, sx_op op, sx_id e, sx_axes ax, sx_id *out, sx_error *er)
{
    product p = {.n = 0};
    sx_id in = 0, outside = 0;
    *out = 0;
    if (!factors(g, e, &p, er)) return SX_EMEMORY;
    for (int i = 0; i < p.n; i++) {
        sx_id *to = has(g, p.f[i], ax) ? &in : &outside;
        if (!(*to = times(g, *to, p.f[i], er))) return SX_EMEMORY;
    }
    if (!in || !outside) return SX_EOK;
    if (!(in = class_sum(g, op, in, er)) || !(*out = times(g, outside, in, er))) return SX_EMEMORY;
    if (p.negative && !(*out = sx_make1(g, SX_OP_neg, *out, er))) return SX_EMEMORY;
    return SX_EOK;
}

static sx_id class_sum(sx_graph *g, sx_op op, sx_id e, sx_error *er)
{
    const sx_node *n = get(g, e);
    sx_axes ax = op == SX_OP_csum ? SX_AX_C : SX_AX_L;
    sx_id a = n->arg[0], b = n->arg[1];
    if (n->op == SX_OP_neg) {
        sx_id s = class_sum(g, op, a, er);
        return s ? sx_make1(g, SX_OP_neg, s, er) : 0;
    }
    if (n->op == SX_OP_mul && (n->axes & ax)) {
        if (op == SX_OP_csum) {                   /* sum over c of onehot * f = f at the label */
            sx_id h = is(g, a, SX_OP_onehot) ? a : is(g, b, SX_OP_onehot) ? b : 0;
            sx_id f = h == a ? b : a;
            if (h && is_labels(g, get(g, h)->arg[0]))
                return has(g, f, SX_AX_C) ? sx_make2(g, SX_OP_pick, f, get(g, h)->arg[0], er) : f;
        }
        if (!has(g, a, ax) || !has(g, b, ax)) {
            sx_id in = has(g, a, ax) ? a : b, out = in == a ? b : a;
            sx_id s = class_sum(g, op, in, er);
            return s ? sx_make2(g, SX_OP_mul, out, s, er) : 0;
        }
        sx_id s;
        if (product_sum(g, op, e, ax, &s, er)) return 0;
        if (s) return s;
    }
    if (masked(g, e) && !has(g, a, ax) && has(g, b, ax)) {
        sx_id s = class_sum(g, op, b, er);
        return s ? sx_make(g, SX_OP_where, a, s, n->arg[2], 0, er) : 0;
    }
    if (n->op == SX_OP_where && !has(g, a, ax) && has(g, b, ax) && has(g, n->arg[2], ax)) {
        sx_id s = class_sum(g, op, b, er), t = s ? class_sum(g, op, n->arg[2], er) : 0;
        return t ? sx_make(g, SX_OP_where, a, s, t, 0, er) : 0;
    }
    if (n->op == SX_OP_div && (n->axes & ax) && !has(g, b, ax)) {
        sx_id s = class_sum(g, op, a, er);
        return s ? sx_make2(g, SX_OP_div, s, b, er) : 0;
    }
    return raw(g, op, e, 0, 0, 0, er);
}

/* -- Picking: values at the label ----------------------------------------------------------------- */

static sx_id row_of(sx_graph *g, sx_op op, sx_id x, sx_id labels, sx_error *er)
{
    sx_id t = raw(g, SX_OP_tgt, x, labels, 0, 0, er);
    return t ? raw(g, op, t, 0, 0, 0, er) : 0;
}

static sx_id pick(sx_graph *g, sx_id x, sx_id y, sx_error *er)
{
    const sx_node *n = get(g, x);
    if (is_labels(g, y) && (n->axes & SX_AX_P) && (n->axes & SX_AX_C)) {
        if (n->op == SX_OP_p && get(g, n->arg[0])->arg[1] == y) return raw(g, SX_OP_pt, n->arg[0], 0, 0, 0, er);
        if (n->op == SX_OP_softmax) return row_of(g, SX_OP_pt, n->arg[0], y, er);
        if (n->op == SX_OP_log_softmax) {
            sx_id ce = row_of(g, SX_OP_ce, n->arg[0], y, er);
            return ce ? sx_make1(g, SX_OP_neg, ce, er) : 0;
        }
        if (n->op == SX_OP_onehot && n->arg[0] == y) return sx_const(g, 1, er);
        if (sx_op_class((sx_op)n->op) == SX_CL_EW) {   /* f(a, b) at the label = f of a, b at the label */
            sx_id arg[3] = {0, 0, 0};
            for (int i = 0; i < n->n_arg; i++) {
                arg[i] = n->arg[i];
                if (has(g, arg[i], SX_AX_C) && !(arg[i] = sx_make2(g, SX_OP_pick, arg[i], y, er))) return 0;
            }
            return sx_make(g, (sx_op)n->op, arg[0], arg[1], arg[2], n->attr, er);
        }
        if (n->op == SX_OP_powb && !has(g, n->arg[1], SX_AX_C)) {
            sx_id a = sx_make2(g, SX_OP_pick, get(g, n->arg[0])->arg[0], y, er);
            return a ? sx_make2(g, SX_OP_pow, a, n->arg[1], er) : 0;
        }
    }
    return raw(g, SX_OP_pick, x, y, 0, 0, er);
}

/* -- Field operators ------------------------------------------------------------------------------- */

static sx_id field_op(sx_graph *g, sx_op op, sx_id a, sx_id b, sx_id c, int64_t attr, sx_error *er)
{
    sx_id arg[3] = {a, b, c}, *part = &arg[sx_op_args(op) - 1];
    if (!*part && !(*part = sx_leaf(g, SX_OP_valid, get(g, a)->dump, 0, 0, NULL, er))) return 0;
    if (op == SX_OP_edt || has(g, b, SX_AX_P)) return raw(g, op, arg[0], arg[1], arg[2], attr, er);
    sx_id s = raw(g, op, a, *part, *part, attr, er);       /* what knows no pixel leaves, as from other sums */
    return s && !is_one(g, b) ? times(g, b, s, er) : s;
}

/* -- The door --------------------------------------------------------------------------------------- */

static sx_id log_of(sx_graph *g, sx_id a, sx_error *er)
{
    const sx_node *n = get(g, a);
    sx_id x;
    switch (n->op) {
    case SX_OP_pt:
        x = raw(g, SX_OP_ce, n->arg[0], 0, 0, 0, er);
        return x ? sx_make1(g, SX_OP_neg, x, er) : 0;
    case SX_OP_u: return raw(g, SX_OP_logu, n->arg[0], 0, 0, 0, er);
    case SX_OP_softmax: return raw(g, SX_OP_log_softmax, n->arg[0], 0, 0, 0, er);
    case SX_OP_p: return raw(g, SX_OP_log_softmax, get(g, n->arg[0])->arg[0], 0, 0, 0, er);
    default: return raw(g, SX_OP_log, a, 0, 0, 0, er);
    }
}

sx_id sx_make(sx_graph *g, sx_op op, sx_id a, sx_id b, sx_id c, int64_t attr, sx_error *er)
{
    sx_id arg[3] = {a, b, c};
    const int optional = sx_op_class(op) == SX_CL_FIELD;   /* which pixels take part */
    for (int i = 0; i < sx_op_args(op) - optional; i++)
        if (!arg[i]) return 0;                   /* an earlier failure has filled er */
    const sx_node *n = get(g, a);
    switch (op) {
    case SX_OP_sub:
        if (is_one(g, a) && is(g, b, SX_OP_pt)) return raw(g, SX_OP_u, get(g, b)->arg[0], 0, 0, 0, er);
        if (is_one(g, a) && is(g, b, SX_OP_u)) return raw(g, SX_OP_pt, get(g, b)->arg[0], 0, 0, 0, er);
        break;
    case SX_OP_neg:
        if (n->op == SX_OP_neg) return n->arg[0];
        break;
    case SX_OP_log: return log_of(g, a, er);
    case SX_OP_pow:
        if ((n->axes & SX_AX_P) && !has(g, b, SX_AX_P)) {
            sx_id base = raw(g, SX_OP_basis, a, 0, 0, 0, er);
            return base ? raw(g, SX_OP_powb, base, b, 0, 0, er) : 0;
        }
        break;
    case SX_OP_softmax:
        if (n->op == SX_OP_logits) {             /* shares its exponentials with everything that looks at labels */
            sx_id y = sx_leaf(g, SX_OP_labels, n->dump, n->classes, 0, NULL, er);
            return y ? row_of(g, SX_OP_p, a, y, er) : 0;
        }
        break;
    case SX_OP_abs:
    case SX_OP_square: return multiplicative(g, op, a, er);
    case SX_OP_mul:
        if (masked(g, a) && masked(g, b) && n->arg[0] == get(g, b)->arg[0]) {   /* 0 where the mask is, in both */
            sx_id x = sx_make2(g, SX_OP_mul, n->arg[1], get(g, b)->arg[1], er);
            return x ? sx_make(g, SX_OP_where, n->arg[0], x, n->arg[2], 0, er) : 0;
        }
        break;
    case SX_OP_pick: return pick(g, a, b, er);
    case SX_OP_csum:
    case SX_OP_lsum: return class_sum(g, op, a, er);
    case SX_OP_transpose:
        if (n->op == SX_OP_transpose) return n->arg[0];
        break;
    case SX_OP_psum:
    case SX_OP_bysum: return pixel_sum(g, op, a, er);
    case SX_OP_sum_above:
    case SX_OP_sum_below:
    case SX_OP_edt: return field_op(g, op, a, b, c, attr, er);
    case SX_OP_nsum:
    case SX_OP_bsum: return image_sum(g, op, a, attr, er);
    default: break;
    }
    return raw(g, op, a, b, c, attr, er);
}
