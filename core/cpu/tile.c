/* tile.c: compiles the pixel part of a pass into instructions and places its values in scratch memory. */
#include "cpu/tile.h"

#include <string.h>

#include "cpu/tile_impl.h"

static const sx_node *node(const sx_prog *p, sx_id id) { return sx_node_get(p->g, id); }
static bool pixel(const sx_prog *p, sx_id id) { return id && (node(p, id)->axes & SX_AX_P); }
static sx_axes sweeps(const sx_prog *p, sx_id id) { return node(p, id)->axes & SX_SWEEP_MASK; }

size_t sx_prog_combos(const sx_prog *p, sx_axes a)
{
    size_t k = 1;
    for (int i = 0; i < sx_graph_axes(p->g); i++)
        if (a & SX_AX_SWEEP(i)) k *= p->axis_count[i];
    return k;
}

bool sx_tgt_direct(const sx_prog *p, const sx_node *tgt)
{
    return node(p, tgt->arg[0])->op == SX_OP_logits && p->info->activation == SX_LOGITS;
}

/* -- Which nodes ------------------------------------------------------------------------------------ */

static void mark(sx_prog *p, sx_id id, uint8_t *need);

static void mark_form(sx_prog *p, const soft_form *f, uint8_t *need)
{
    const sx_id list[INS_ARGS] = {f->tgt, f->row, f->vec, f->sub, f->logits};
    for (int i = 0; i < INS_ARGS; i++)
        if (list[i]) mark(p, list[i], need);
}

static void mark(sx_prog *p, sx_id id, uint8_t *need)
{
    if (need[id]) return;
    need[id] = 1;
    const sx_node *n = node(p, id);
    if (!pixel(p, id) || sx_op_class((sx_op)n->op) == SX_CL_FIELD) return;
    soft_form f;
    if (sx_fuse_dot(p, id, &f)) {
        mark_form(p, &f, need);
        return;
    }
    int args = n->n_arg;
    sx_id affine[3];
    if (n->op == SX_OP_tgt && sx_fuse_affine(p, id, &affine[0], &affine[1], &affine[2])) {
        for (int i = 0; i < 3; i++) mark(p, affine[i], need);
        return;
    }
    if (n->op == SX_OP_tgt) args = sx_tgt_direct(p, n) ? 0 : 1;   /* reads labels, and mostly logits, by itself */
    for (int i = 0; i < args; i++) mark(p, n->arg[i], need);
}

static void mark_sum(sx_prog *p, const sx_id *sum, size_t n, size_t i, uint8_t *need)
{
    pow_form f;
    soft_form s;
    if (sx_fuse_sum(p, sum, n, i, &s)) {
        mark_form(p, &s, need);
        return;
    }
    if (!sx_fuse_pow(p, sum, n, i, &f)) {
        mark(p, node(p, sum[i])->arg[0], need);
        return;
    }
    mark(p, f.basis, need);
    mark(p, f.exponent, need);
    mark(p, f.row[0], need);
}

static int bits(sx_axes a) { return __builtin_popcountll(a); }

/* Smaller sets of sweep axes first: a node only depends on nodes with subsets of its axes. */
static int group_before(sx_axes a, sx_axes b)
{
    if (a == b) return 0;
    if (bits(a) != bits(b)) return bits(a) < bits(b) ? -1 : 1;
    return a < b ? -1 : 1;
}

static sx_err add_group(sx_prog *p, sx_axes m, sx_error *er)
{
    size_t i = 0;
    while (i < p->n_group && group_before(p->group[i].axes, m) < 0) i++;
    if (i < p->n_group && p->group[i].axes == m) return SX_EOK;
    if (p->n_group == SX_MAX_GROUPS) return sx_fail(er, SX_EARG, "too many different sets of sweep axes");
    memmove(&p->group[i + 1], &p->group[i], (p->n_group - i) * sizeof *p->group);
    memset(&p->group[i], 0, sizeof *p->group);
    p->group[i].axes = m;
    p->group[i].count = sx_prog_combos(p, m);
    p->n_group++;
    return SX_EOK;
}

static sx_err find_groups(sx_prog *p, const uint8_t *need, const sx_id *sum, size_t n_sum, const sx_id *map, size_t n_map, sx_error *er)
{
    sx_err e = SX_EOK;
    for (sx_id id = 1; !e && id <= sx_graph_size(p->g); id++)
        if (need[id] && pixel(p, id)) e = add_group(p, sweeps(p, id), er);
    for (size_t i = 0; !e && i < n_sum; i++) e = add_group(p, sweeps(p, sum[i]), er);
    for (size_t i = 0; !e && i < n_map; i++) e = add_group(p, sweeps(p, map[i]), er);
    return e;
}

/* -- Imports ---------------------------------------------------------------------------------------- */

static size_t import_size(const sx_prog *p, sx_id id)
{
    const sx_node *n = node(p, id);
    size_t k = 1;
    if (n->axes & SX_AX_C) k *= p->classes;
    if (n->axes & SX_AX_L) k *= p->classes;
    return k;
}

static sx_err add_imports(sx_prog *p, const uint8_t *need, sx_error *er)
{
    size_t n = sx_graph_size(p->g);
    p->import = sx_calloc(n + 1, sizeof *p->import);
    if (!p->import) return sx_nomem(er);
    for (sx_id id = 1; id <= n; id++) {
        if (!need[id] || pixel(p, id)) continue;
        sx_import *im = &p->import[p->n_import++];
        im->id = id;
        im->off = p->import_len;
        im->n = import_size(p, id) * sx_prog_combos(p, sweeps(p, id));
        p->import_len += im->n;
        sx_axes ax = node(p, id)->axes & (SX_AX_C | SX_AX_L);
        val *v = &p->val[id];
        v->kind = ax == 0 ? V_SCALAR : ax == (SX_AX_C | SX_AX_L) ? V_MAT : V_VEC;
        v->off = im->off;
        v->step = import_size(p, id);
        v->axes = sweeps(p, id);
        v->outside = true;
    }
    return SX_EOK;
}

/* -- Instructions: groups in order, ids (topological) inside a group --------------------------------- */

/* exp(x - m') goes to its one user, else to the state itself. */
static void want_plane(sx_prog *p, sx_id tgt, sx_id user)
{
    val *state = &p->val[tgt];
    state->plane = state->plane || !user ? tgt : user;
    if (state->plane == tgt) state->rows = SX_TGT_ROWS + p->classes;
}

static ins soft_ins(sx_prog *p, ins_kind kind, sx_id id, const soft_form *f)
{
    want_plane(p, f->tgt, 0);
    return (ins){.kind = kind, .id = id, .arg = {f->tgt, f->row, f->vec, f->sub, f->logits}, .masked = f->masked};
}

static sx_err add_ins(sx_prog *p, group *gr, const ins *in, sx_error *er)
{
    if (p->n_ins == p->cap_ins) {
        size_t cap = p->cap_ins ? 2 * p->cap_ins : 64;
        ins *t = sx_realloc(p->ins, cap * sizeof *t);
        if (!t) return sx_nomem(er);
        p->ins = t;
        p->cap_ins = cap;
    }
    p->ins[p->n_ins++] = *in;
    gr->n++;
    return SX_EOK;
}

static size_t rows_of(const sx_prog *p, sx_id id)
{
    switch (node(p, id)->op) {
    case SX_OP_tgt: return SX_TGT_ROWS;
    case SX_OP_basis: return SX_BASIS_ROWS * (node(p, id)->axes & SX_AX_C ? p->classes : 1);
    default: return node(p, id)->axes & SX_AX_C ? p->classes : 1;
    }
}

static sx_err emit_sums(sx_prog *p, group *gr, const sx_id *sum, size_t n_sum, sx_error *er)
{
    for (size_t i = 0; i < n_sum; i++) {
        const sx_id a = node(p, sum[i])->arg[0];
        pow_form f;
        soft_form s;
        if (sweeps(p, a) != gr->axes || p->with[i]) continue;
        ins in = {.op = (sx_op)node(p, sum[i])->op, .id = sum[i], .arg = {a}, .stat = p->stat_off[i]};
        if (sx_fuse_sum(p, sum, n_sum, i, &s)) {
            in = soft_ins(p, INS_SOFT_SUM, sum[i], &s);
            in.stat = s.plain == SIZE_MAX ? SIZE_MAX : p->stat_off[s.plain];
            in.stat2 = s.times == SIZE_MAX ? SIZE_MAX : p->stat_off[s.times];
            if (s.plain != SIZE_MAX) p->with[s.plain] = true;
            if (s.times != SIZE_MAX) p->with[s.times] = true;
        } else if (sx_fuse_pow(p, sum, n_sum, i, &f)) {
            in = (ins){.kind = INS_POW_SUMS, .op = SX_OP_powb, .id = sum[i], .arg = {f.basis, f.exponent, f.row[0], f.row[1]},
                       .stat = p->stat_off[i]};
            if (f.n == 2) {
                in.stat2 = p->stat_off[f.sum[1]];
                p->with[f.sum[1]] = true;
            }
        }
        if (add_ins(p, gr, &in, er)) return SX_EMEMORY;
    }
    return SX_EOK;
}

static sx_err emit(sx_prog *p, const uint8_t *need, const sx_id *sum, size_t n_sum, const sx_id *map, size_t n_map,
                   sx_error *er)
{
    size_t n = sx_graph_size(p->g);
    for (size_t gi = 0; gi < p->n_group; gi++) {
        group *gr = &p->group[gi];
        gr->first = p->n_ins;
        for (sx_id id = 1; id <= n; id++) {
            if (!need[id] || !pixel(p, id) || sweeps(p, id) != gr->axes) continue;
            const sx_node *nd = node(p, id);
            if (nd->axes & SX_AX_L)
                return sx_fail(er, SX_EARG, "%s: a class-by-class matrix at every pixel is not supported",
                               sx_op_name((sx_op)nd->op));
            ins in = {.op = (sx_op)nd->op, .id = id, .arg = {nd->arg[0], nd->arg[1], nd->arg[2]}};
            val *v = &p->val[id];
            v->kind = nd->op == SX_OP_tgt || nd->op == SX_OP_basis ? V_ROWS : nd->axes & SX_AX_C ? V_PLANE : V_ROW;
            v->axes = gr->axes;
            v->rows = rows_of(p, id);
            if (nd->op == SX_OP_field) p->fields |= 1u << (nd->attr & 31);
            if (sx_op_class((sx_op)nd->op) == SX_CL_FIELD) {
                in = (ins){.op = (sx_op)nd->op, .id = id, .stat = p->n_made};
                p->made[p->n_made++] = id;
            }
            if (nd->op == SX_OP_p || nd->op == SX_OP_dir) want_plane(p, nd->arg[0], id);
            soft_form f;
            if (sx_fuse_dot(p, id, &f)) in = soft_ins(p, INS_SOFT_DOT, id, &f);
            if (nd->op == SX_OP_tgt && sx_fuse_affine(p, id, &in.arg[0], &in.arg[1], &in.arg[2])) in.kind = INS_AFFINE_TGT;
            if (add_ins(p, gr, &in, er)) return SX_EMEMORY;
        }
        if (emit_sums(p, gr, sum, n_sum, er)) return SX_EMEMORY;
        for (size_t i = 0; i < n_map; i++) {
            if (sweeps(p, map[i]) != gr->axes) continue;
            ins in = {.kind = INS_MAP, .id = map[i], .arg = {map[i]}};
            soft_form f;
            if (sx_fuse_map(p, map[i], &f)) in = soft_ins(p, INS_SOFT_MAP, map[i], &f);
            in.stat = i;
            if (add_ins(p, gr, &in, er)) return SX_EMEMORY;
        }
    }
    return SX_EOK;
}

/* -- Places in scratch: a value lives from its instruction to its last use; one that a larger group reads is kept for all
 * combinations until that group has ended. Freed places are used again, by size. ------------------------------------- */

typedef struct hole {
    size_t off, size;
} hole;

typedef struct placer {
    hole *hole;
    size_t n_hole, end;
    sx_id *live;                 /* values that have a place and are still to be read */
    size_t n_live;
} placer;

static size_t place(placer *pl, size_t size)
{
    for (size_t i = 0; i < pl->n_hole; i++)
        if (pl->hole[i].size == size) {
            size_t off = pl->hole[i].off;
            pl->hole[i] = pl->hole[--pl->n_hole];
            return off;
        }
    size_t off = pl->end;
    pl->end += size;
    return off;
}

static void give_back(placer *pl, const val *v) { pl->hole[pl->n_hole++] = (hole){v->off, v->size}; }

/* last[id]: index of the last instruction that reads id, pushed to the end of a later group's loop. */
static void find_last(sx_prog *p, size_t *last)
{
    for (size_t gi = 0; gi < p->n_group; gi++) {
        const group *gr = &p->group[gi];
        for (size_t i = gr->first; i < gr->first + gr->n; i++)
            for (int a = 0; a < INS_ARGS; a++) {
                sx_id id = p->ins[i].arg[a];
                if (!id || !pixel(p, id)) continue;
                val *v = &p->val[id];
                bool later = v->axes != gr->axes;
                if (later) v->kept = true;
                size_t at = later ? gr->first + gr->n - 1 : i;
                if (at > last[id]) last[id] = at;
            }
    }
}

static void place_value(sx_prog *p, placer *pl, sx_id id)
{
    val *v = &p->val[id];
    v->step = v->rows * p->P;
    v->size = v->step * (v->kept ? sx_prog_combos(p, v->axes) : 1);
    v->off = place(pl, v->size);
    v->placed = true;
    pl->live[pl->n_live++] = id;
}

static bool is_map(const ins *in) { return in->kind == INS_MAP || in->kind == INS_SOFT_MAP; }

static sx_err place_all(sx_prog *p, sx_error *er)
{
    size_t n = sx_graph_size(p->g) + 1;
    size_t *last = sx_calloc(n, sizeof *last);
    placer pl = {.hole = sx_calloc(n, sizeof *pl.hole), .live = sx_calloc(n, sizeof *pl.live)};
    sx_err e = SX_EOK;
    if (!last || !pl.hole || !pl.live) {
        e = sx_nomem(er);
        goto done;
    }
    find_last(p, last);
    for (size_t i = 0; i < p->n_ins; i++) {
        const ins *in = &p->ins[i];
        if (p->val[in->id].kind != V_NONE && !p->val[in->id].outside && !p->val[in->id].placed && !is_map(in)) {
            place_value(p, &pl, in->id);
            sx_id plane = p->val[in->id].plane;       /* tgt writes the plane that p or dir finishes */
            if (plane && plane != in->id) place_value(p, &pl, plane);
        }
        for (size_t j = 0; j < pl.n_live; j++) {
            sx_id id = pl.live[j];
            if (last[id] != i) continue;
            p->val[id].freed = true;
            give_back(&pl, &p->val[id]);
            pl.live[j--] = pl.live[--pl.n_live];
        }
    }
    p->value_len = pl.end;
done:
    sx_free(last);
    sx_free(pl.hole);
    sx_free(pl.live);
    return e;
}

/* -- Which combination of a smaller set of axes belongs to combination k of a group --------------------- */

static sx_err projections(sx_prog *p, sx_error *er)
{
    int axes = sx_graph_axes(p->g);
    for (size_t gi = 0; gi < p->n_group; gi++) {
        group *gr = &p->group[gi];
        for (size_t i = gr->first; i < gr->first + gr->n; i++)
            for (int a = 0; a <= OWN; a++) {
                sx_id id = a < OWN ? p->ins[i].arg[a] : is_map(&p->ins[i]) ? 0 : p->ins[i].id;
                if (!id) continue;
                const val *v = &p->val[id];
                if (v->kind == V_NONE || !v->axes || (!v->outside && !v->kept)) continue;
                size_t *t = sx_arena_alloc(p->arena, gr->count * sizeof *t);
                if (!t) return sx_nomem(er);
                for (size_t k = 0; k < gr->count; k++) {
                    size_t rest = k, idx = 0, mul = 1;
                    for (int x = axes - 1; x >= 0; x--) {
                        if (!(gr->axes & SX_AX_SWEEP(x))) continue;
                        size_t c = p->axis_count[x];
                        if (v->axes & SX_AX_SWEEP(x)) {
                            idx += rest % c * mul;
                            mul *= c;
                        }
                        rest /= c;
                    }
                    t[k] = idx * v->step * p->k->size;
                }
                p->ins[i].proj[a] = t;
            }
    }
    return SX_EOK;
}

/* What running an instruction needs of its values, laid out for that. */
static void resolve(sx_prog *p)
{
    const size_t es = p->k->size;
    for (size_t i = 0; i < p->n_ins; i++) {
        ins *in = &p->ins[i];
        const bool maps = is_map(in);
        in->rows = p->val[in->id].kind == V_PLANE ? p->classes : 1;
        in->flat = !maps && p->val[in->id].kind == V_PLANE;
        for (int a = 0; a <= OWN; a++) {
            const sx_id id = a < OWN ? in->arg[a] : in->id;
            const val *v = &p->val[id];
            if (!id) continue;
            in->off[a] = v->off * es;
            in->outside[a] = v->outside;
            if (a >= 3) continue;
            in->step[a] = v->kind == V_PLANE ? p->P * es : v->kind == V_VEC ? es : 0;
            if (v->kind == V_SCALAR || v->kind == V_VEC) in->scalars |= 1u << a;
            if (v->kind == V_ROW || v->kind == V_VEC) in->flat = false;
        }
    }
}

/* -- The door ------------------------------------------------------------------------------------------- */

static void stat_layout(sx_prog *p, const sx_id *sum, size_t n_sum)
{
    for (size_t i = 0; i < n_sum; i++) {
        p->stat_off[i] = p->stat_len;
        p->stat_len += import_size(p, sum[i]) * sx_prog_combos(p, sweeps(p, sum[i]));
    }
}

static void scratch_layout(sx_prog *p)
{
    size_t tiles = p->P / SX_TILE, at = p->value_len * p->k->size;
#define PART(field, bytes)                    \
    p->field = at = (at + 63) & ~(size_t)63;  \
    at += (bytes)
    PART(at_tmp, sx_tgt_tmp(p->classes, p->k->size));
    PART(at_lab, p->P * sizeof(int32_t));
    PART(at_group, p->P / SX_LANES * sizeof(int32_t));
    p->max_present = p->classes < SX_TILE ? p->classes : SX_TILE;
    PART(at_present, tiles * p->max_present * sizeof(int32_t));
    PART(at_head, tiles * p->max_present * sizeof(int16_t));
    PART(at_piece, tiles * SX_TILE * sizeof(sx_piece));
    PART(at_n_present, tiles * sizeof(int32_t));
    PART(at_all_valid, tiles * sizeof(bool));
    PART(at_seen, p->classes * sizeof(sx_seen));
#undef PART
    p->scratch = (at + 63) & ~(size_t)63;
}

sx_err sx_prog_new(const sx_graph *g, const sx_dump_info *info, const sx_kernels *k, const sx_id *sum, size_t n_sum,
                   const sx_id *map, size_t n_map, const size_t *counts, sx_prog **out, sx_error *er)
{
    sx_prog *p = sx_calloc(1, sizeof *p);
    uint8_t *need = sx_calloc(sx_graph_size(g) + 1, 1);
    sx_err e = SX_EOK;
    if (!p || !need) {
        e = sx_nomem(er);
        goto done;
    }
    p->g = g;
    p->k = k;
    p->info = info;
    p->classes = info->classes;
    for (int a = 0; a < sx_graph_axes(g); a++) p->axis_count[a] = counts ? counts[a] : sx_graph_axis_get(g, a)->count;
    p->P = p->classes <= 8 ? SX_STAGE : SX_TILE;
    p->arena = sx_arena_new();
    p->val = sx_calloc(sx_graph_size(g) + 1, sizeof *p->val);
    p->stat_off = sx_calloc(n_sum + 1, sizeof *p->stat_off);
    p->with = sx_calloc(n_sum + 1, sizeof *p->with);
    p->made = sx_calloc(sx_graph_size(g) + 1, sizeof *p->made);
    if (!p->arena || !p->val || !p->stat_off || !p->with || !p->made) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < n_sum; i++) mark_sum(p, sum, n_sum, i, need);
    for (size_t i = 0; i < n_map; i++) {
        soft_form f;
        if (sx_fuse_map(p, map[i], &f)) mark_form(p, &f, need);
        else mark(p, map[i], need);
    }
    stat_layout(p, sum, n_sum);
    if ((e = find_groups(p, need, sum, n_sum, map, n_map, er)) || (e = add_imports(p, need, er)) ||
        (e = emit(p, need, sum, n_sum, map, n_map, er)) || (e = place_all(p, er)) || (e = projections(p, er)))
        goto done;
    resolve(p);
    scratch_layout(p);
done:
    sx_free(need);
    if (e) {
        sx_prog_free(p);
        p = NULL;
    }
    *out = p;
    return e;
}

void sx_prog_free(sx_prog *p)
{
    if (!p) return;
    sx_arena_free(p->arena);
    sx_free(p->val);
    sx_free(p->stat_off);
    sx_free(p->with);
    sx_free(p->made);
    sx_free(p->import);
    sx_free(p->ins);
    sx_free(p);
}

size_t sx_prog_imports(const sx_prog *p, const sx_import **list)
{
    *list = p->import;
    return p->n_import;
}
size_t sx_prog_import_len(const sx_prog *p) { return p->import_len; }
size_t sx_prog_stat_len(const sx_prog *p) { return p->stat_len; }
size_t sx_prog_stat_off(const sx_prog *p, size_t sum) { return p->stat_off[sum]; }
size_t sx_prog_scratch(const sx_prog *p) { return p->scratch; }
uint32_t sx_prog_fields(const sx_prog *p) { return p->fields; }
size_t sx_prog_axis(const sx_prog *p, int axis) { return p->axis_count[axis]; }
size_t sx_prog_made(const sx_prog *p, const sx_id **list)
{
    *list = p->made;
    return p->n_made;
}
