/* exec.c: runs a compiled program over one block: labels of a stage, then every instruction, then the next stage. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/pool.h"
#include "cpu/tile_impl.h"

typedef struct run {
    const sx_prog *p;
    const sx_kernels *k;
    sx_block *b;
    char *base[2];             /* scratch memory; imports in the arithmetic's type */
    sx_lab lab;
    sx_tgt_work tgt;
    size_t at, count, n;       /* stage: first pixel, pixels, pixels rounded up to 16 */
} run;

/* -- Labels of a stage ------------------------------------------------------------------------------ */

#define COPY_LABELS(type, wide)                                              \
    do {                                                                     \
        const type *s = (const type *)im->labels + first;                    \
        for (size_t i = 0; i < count; i++)                                   \
            lab[i] = (wide)s[i] < (wide)C ? (int32_t)s[i] : -1;              \
    } while (0)

sx_err sx_read_labels(const sx_dump *d, const sx_image *im, size_t index, size_t first, size_t count, int32_t *lab, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(d);
    const uint32_t C = (uint32_t)info->classes;
    int32_t any = 0;
    switch (info->labels_type) {              /* a class goes straight; all else is looked up below */
    case SX_U8: COPY_LABELS(uint8_t, uint32_t); break;
    case SX_I8: COPY_LABELS(int8_t, uint32_t); break;
    case SX_U16: COPY_LABELS(uint16_t, uint32_t); break;
    case SX_I16: COPY_LABELS(int16_t, uint32_t); break;
    case SX_U32: COPY_LABELS(uint32_t, uint32_t); break;
    case SX_I32: COPY_LABELS(int32_t, uint32_t); break;
    case SX_U64: COPY_LABELS(uint64_t, uint64_t); break;
    default: COPY_LABELS(int64_t, uint64_t); break;
    }
    for (size_t i = 0; i < count; i++) any |= lab[i];
    bool class_ignored = false;               /* an ignored value may also be a class */
    for (size_t j = 0; j < info->n_ignore; j++)
        class_ignored |= info->ignore[j] >= 0 && (uint64_t)info->ignore[j] < C;
    for (size_t i = 0; (any < 0 || class_ignored) && i < count; i++) {
        if (lab[i] >= 0 && !class_ignored) continue;
        int64_t v = sx_label_value(im->labels, info->labels_type, first + i);
        size_t c = sx_dump_label_class(d, v);
        if (c == SIZE_MAX) return sx_dump_bad_label(d, v, index, first + i, 0, 0, er);
        lab[i] = (int32_t)c;
    }
    return SX_EOK;
}

static sx_err read_labels(run *r, sx_error *er)
{
    sx_err e = sx_read_labels(r->b->dump, r->b->image, r->b->index, r->at, r->count, r->lab.lab, er);
    for (size_t i = r->count; i < r->p->P; i++) r->lab.lab[i] = (int32_t)r->p->classes;
    return e;
}

/* Value of one logit as a double, for checks. */
static double logit_at(const sx_dump_info *info, const sx_image *im, size_t c, size_t px)
{
    sx_src one = {.type = info->logits_type, .p_stride = 1, .n_px = 1};
    size_t i = c * im->c_stride + px * im->p_stride;
    double d[SX_LANES];
    const sx_kernels *k = sx_kernels_get(SX_ISA_BASE, true);
    one.x = (const char *)im->logits + i * sx_dtype_size(one.type);
    k->load(d, &one, 0, SX_LANES);
    return d[0];
}

/* NaN and +inf are no logits; -inf is fine (a class that cannot be). */
bool sx_pixel_finite(const sx_dump_info *info, const sx_image *im, size_t px)
{
    size_t channels = info->activation == SX_SIGMOID1 ? 1 : info->classes;
    for (size_t c = 0; c < channels; c++) {
        double v = logit_at(info, im, c, px);
        if (isnan(v) || v == (double)INFINITY) return false;
    }
    return true;
}

static sx_err bad_logits(const sx_dump *d, size_t image, size_t px, uint64_t pixels, size_t images, sx_error *er)
{
    char at[256], many[64] = "";
    sx_dump_where(d, image, px, at, sizeof at);
    if (pixels) snprintf(many, sizeof many, "; %" PRIu64 " pixel%s in %zu image%s", pixels, pixels == 1 ? "" : "s", images,
                         images == 1 ? "" : "s");
    sx_fail(er, SX_EDATA, "%s: logits are not finite (NaN or +inf)\n  first at %s%s", sx_dump_get_info(d)->path, at, many);
    sx_hint(er, "open with nonfinite = \"skip\" to leave such pixels out (they are counted), or mend the network's output");
    return SX_EDATA;
}

static sx_err check_finite(const run *r, sx_error *er)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->lab.lab[i] < (int32_t)r->p->classes && !sx_pixel_finite(r->p->info, r->b->image, r->at + i))
            return bad_logits(r->b->dump, r->b->index, r->at + i, 0, 0, er);
    return SX_EOK;
}

static void mask_nonfinite(run *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->lab.lab[i] < (int32_t)r->p->classes && !sx_pixel_finite(r->p->info, r->b->image, r->at + i)) {
            r->lab.lab[i] = (int32_t)r->p->classes;
            r->b->masked++;
        }
}

/* -- Instructions -------------------------------------------------------------------------------------- */

static inline char *place_of(const run *r, const ins *in, int a, size_t k)
{
    return r->base[in->outside[a]] + in->off[a] + (in->proj[a] ? in->proj[a][k] : 0);
}

static const double *import_of(const run *r, const ins *in, int a, size_t k)
{
    return r->b->imports + (in->off[a] + (in->proj[a] ? in->proj[a][k] : 0)) / r->k->size;
}

/* Elementwise over rows: an argument moves by P per class when it is a plane, by one number when it is a class vector. */
static void run_ew(const run *r, const ins *in, size_t k)
{
    char *d = place_of(r, in, OWN, k), *x = place_of(r, in, 0, k);
    char *y = in->arg[1] ? place_of(r, in, 1, k) : NULL, *z = in->arg[2] ? place_of(r, in, 2, k) : NULL;
    if (in->rows == 1 || (in->flat && r->n == r->p->P)) {
        r->k->ew[in->op](d, x, y, z, in->rows == 1 ? r->n : in->rows * r->n, in->scalars);
        return;
    }
    for (size_t c = 0; c < in->rows; c++, d += r->p->P * r->k->size) {
        r->k->ew[in->op](d, x, y, z, r->n, in->scalars);
        x += in->step[0];
        if (y) y += in->step[1];
        if (z) z += in->step[2];
    }
}

static sx_err stage_logits(const run *r, const ins *in, size_t k, sx_error *er)
{
    const sx_image *im = r->b->image;
    const sx_dump_info *info = r->p->info;
    const size_t es = r->k->size, skip = info->activation == SX_SIGMOID1;
    char *d = place_of(r, in, OWN, k);
    sx_src s = {.x = (const char *)im->logits + r->at * im->p_stride * sx_dtype_size(info->logits_type),
                .type = info->logits_type, .c_stride = im->c_stride, .p_stride = im->p_stride, .n_px = r->count,
                .channels = r->p->classes - skip};
    bool odd = false;
    if (skip) r->k->fill(d, 0, r->n);
    for (size_t c = skip; c < r->p->classes; c++) {
        odd |= r->k->load(d + c * r->p->P * es, &s, c - skip, r->n);
        if (info->activation == SX_PROBS) r->k->log_prob(d + c * r->p->P * es, r->n);
    }
    return odd ? check_finite(r, er) : SX_EOK;
}

/* Where tgt leaves exp(x - m'): in the plane of its one user p or dir, or, for both, in one of its own behind the rows. */
static void *plane_of(const run *r, sx_id tgt, size_t k)
{
    const val *v = &r->p->val[tgt], *pl = v->plane == tgt ? v : &r->p->val[v->plane];
    size_t off = pl->off + (pl->kept ? k * pl->step : 0) + (pl == v ? SX_TGT_ROWS * r->p->P : 0);
    return r->base[0] + off * r->k->size;
}

static const void *exp_plane(const run *r, const ins *in, size_t k) { return plane_of(r, in->arg[0], k); }

static sx_err run_tgt(run *r, const ins *in, size_t k, sx_error *er)
{
    const sx_prog *p = r->p;
    const sx_node *n = sx_node_get(p->g, in->id);
    const val *v = &p->val[in->id];
    void *rows = place_of(r, in, OWN, k);
    void *e = v->plane ? plane_of(r, in->id, k) : NULL;
    if (sx_tgt_direct(p, n)) {
        const sx_image *im = r->b->image;
        sx_src s = {.x = (const char *)im->logits + r->at * im->p_stride * sx_dtype_size(p->info->logits_type),
                    .type = p->info->logits_type, .c_stride = im->c_stride, .p_stride = im->p_stride,
                    .n_px = r->b->first + r->b->count - r->at, .channels = p->classes};
        return r->k->tgt(&s, &r->lab, r->n, p->P, rows, e, &r->tgt) ? check_finite(r, er) : SX_EOK;
    }
    sx_src s = {.x = place_of(r, in, 0, k), .type = r->k->size == 4 ? SX_F32 : SX_F64, .c_stride = p->P,
                .p_stride = 1, .n_px = r->n};
    r->tgt.ahead = NULL;
    r->k->tgt(&s, &r->lab, r->n, p->P, rows, e, &r->tgt);
    return SX_EOK;
}

static void run_pick(const run *r, const ins *in, size_t k)
{
    const val *v = &r->p->val[in->arg[0]];
    void *d = place_of(r, in, OWN, k), *x = place_of(r, in, 0, k);
    void *y = place_of(r, in, 1, k);
    if (v->kind == V_PLANE) r->k->pick(d, x, y, r->p->classes, r->p->P, r->n);
    else if (v->kind == V_MAT) r->k->pick_mat(d, x, y, r->p->classes, r->p->P, r->n);
    else r->k->pick_vec(d, x, y, r->p->classes, r->n);
}

/* Rows that the powers of a basis will read: the exponents' values decide what is computed, never what comes out. */
static unsigned basis_need(const run *r, sx_id basis)
{
    const unsigned log_rows = 1u << SX_BASIS_HI;
    const sx_prog *p = r->p;
    unsigned need = 0;
    for (size_t i = 0; i < p->n_ins; i++) {
        const ins *in = &p->ins[i];
        if (in->op != SX_OP_powb || in->arg[0] != basis) continue;   /* INS_POW_SUMS too */
        const val *g = &p->val[in->arg[1]];
        size_t n = sx_prog_combos(p, g->axes) * g->step;
        for (size_t j = 0; j < n; j++) {
            double gamma = r->b->imports[g->off + j];
            need |= sx_on_lattice(gamma) ? (unsigned)(gamma * 4) : log_rows;
        }
    }
    return need;
}

static void run_basis(const run *r, const ins *in, size_t k)
{
    const val *x = &r->p->val[in->arg[0]];
    const size_t es = r->k->size, rows = x->kind == V_PLANE ? r->p->classes : 1;
    char *d = place_of(r, in, OWN, k), *s = place_of(r, in, 0, k);
    unsigned need = basis_need(r, in->id);
    for (size_t c = 0; c < rows; c++)
        r->k->basis(d + c * SX_BASIS_ROWS * r->p->P * es, s + c * r->p->P * es, need, r->p->P, r->n);
}

static void run_powb(const run *r, const ins *in, size_t k)
{
    const val *dst = &r->p->val[in->id], *base = &r->p->val[in->arg[0]], *g = &r->p->val[in->arg[1]];
    const size_t es = r->k->size, rows = dst->kind == V_PLANE ? r->p->classes : 1;
    const bool plane = base->rows > SX_BASIS_ROWS;
    char *d = place_of(r, in, OWN, k), *b = place_of(r, in, 0, k);
    const double *gamma = import_of(r, in, 1, k);
    for (size_t c = 0; c < rows; c++)
        r->k->powb(d + c * r->p->P * es, b + (plane ? c * SX_BASIS_ROWS * r->p->P * es : 0),
                   gamma[g->kind == V_VEC ? c : 0], r->p->P, r->n);
}

/* The row that a sum reads: an import under a sum is spread first. */
static void run_sum(const run *r, const ins *in, size_t k)
{
    const sx_prog *p = r->p;
    const val *v = &p->val[in->arg[0]];
    const size_t C = p->classes, es = r->k->size;
    const char *x = place_of(r, in, 0, k);
    if (in->op == SX_OP_psum) {
        size_t rows = v->kind == V_PLANE ? C : 1;
        double *acc = r->b->cell + in->stat + k * rows;
        for (size_t c = 0; c < rows; c++) r->k->sum(x + c * p->P * es, &r->lab, acc + c);
    } else if (v->kind == V_PLANE) {                /* [label][class] */
        double *acc = r->b->cell + in->stat + k * C * C;
        for (size_t c = 0; c < C; c++) r->k->sum_by(x + c * p->P * es, &r->lab, acc + c, C);
    } else {
        r->k->sum_by(x, &r->lab, r->b->cell + in->stat + k * C, 1);
    }
}

static void run_pow_sums(const run *r, const ins *in, size_t k)
{
    const void *row[2] = {place_of(r, in, 2, k), place_of(r, in, 3, k)};
    double *acc[2] = {r->b->cell + in->stat + k * r->p->classes, r->b->cell + in->stat2 + k * r->p->classes};
    r->k->pow_sums(place_of(r, in, 0, k), *import_of(r, in, 1, k), r->p->P, row, in->arg[3] ? 2 : 1, &r->lab,
                   acc);
}

static sx_soft soft_of(const run *r, const ins *in, size_t k)
{
    const char *state = place_of(r, in, 0, k);
    sx_soft f = {.e = state + SX_TGT_ROWS * r->p->P * r->k->size, .rows = state, .lab = &r->lab, .masked = in->masked, .P = r->p->P,
                 .n = r->n, .vec = in->arg[2] ? place_of(r, in, 2, k) : NULL};
    const void **x[2] = {&f.row, &f.sub};
    for (int i = 0; i < 2; i++) {
        const int a = i ? 3 : 1;
        if (!in->arg[a]) continue;
        *x[i] = place_of(r, in, a, k);
        if (r->p->val[in->arg[a]].kind == V_SCALAR) f.scalars |= 1u << i;
    }
    return f;
}

/* Where a map's combination k has the first pixel of the stage. */
static char *map_at(const run *r, const ins *in, size_t k, size_t rows)
{
    return (char *)r->b->map[in->stat] + (k * rows * r->b->image->n_px + r->at) * r->k->size;
}

static void run_soft_sum(const run *r, const ins *in, size_t k)
{
    const sx_soft f = soft_of(r, in, k);
    const size_t C = r->p->classes;
    r->k->soft_sum(&f, in->arg[4] ? place_of(r, in, 4, k) : NULL, in->stat == SIZE_MAX ? NULL : r->b->cell + in->stat + k * C,
                   in->stat2 == SIZE_MAX ? NULL : r->b->cell + in->stat2 + k * C);
}

static void run_affine(run *r, const ins *in, size_t k)
{
    const sx_prog *p = r->p;
    const sx_src s = {.x = place_of(r, in, 0, k), .type = r->k->size == 4 ? SX_F32 : SX_F64, .c_stride = p->P, .p_stride = 1,
                      .n_px = r->n, .scale = place_of(r, in, 1, k), .shift = place_of(r, in, 2, k)};
    r->tgt.ahead = NULL;
    r->k->tgt(&s, &r->lab, r->n, p->P, place_of(r, in, OWN, k), p->val[in->id].plane ? plane_of(r, in->id, k) : NULL, &r->tgt);
}

static void run_soft_map(const run *r, const ins *in, size_t k)
{
    sx_soft f = soft_of(r, in, k);
    f.n = r->count;
    r->k->soft_map(&f, map_at(r, in, k, r->p->classes), r->b->image->n_px);
}

static void run_map(const run *r, const ins *in, size_t k)
{
    const sx_prog *p = r->p;
    const val *v = &p->val[in->arg[0]];
    size_t rows = v->kind == V_PLANE ? p->classes : 1, px = r->b->image->n_px;
    const char *x = place_of(r, in, 0, k);
    const size_t es = r->k->size;
    char *d = map_at(r, in, k, rows);
    for (size_t c = 0; c < rows; c++) memcpy(d + c * px * es, x + c * p->P * es, r->count * es);
}

static sx_err run_field(const run *r, const ins *in, size_t k, sx_error *er)
{
    int64_t f = sx_node_get(r->p->g, in->id)->attr;
    const sx_image *im = r->b->image;
    if (!im->field || !im->field[f]) return sx_fail(er, SX_EBUG, "field %d was not read", (int)f);
    sx_src s = {.x = (const char *)im->field[f] + r->at * sx_dtype_size(im->field_type[f]), .type = im->field_type[f],
                .p_stride = 1, .n_px = r->count};
    r->k->load(place_of(r, in, OWN, k), &s, 0, r->n);
    return SX_EOK;
}

/* What a field operator has at the pixels of the stage. */
static void run_made(const run *r, const ins *in, size_t k)
{
    const size_t px = r->b->image->n_px, es = r->k->size;
    const char *s = (const char *)r->b->made[in->stat] + (k * in->rows * px + r->at) * es;
    char *d = place_of(r, in, OWN, k);
    for (size_t c = 0; c < in->rows; c++, d += r->p->P * es, s += px * es) {
        memcpy(d, s, r->count * es);
        memset(d + r->count * es, 0, (r->n - r->count) * es);
    }
}

static sx_err step(run *r, const ins *in, size_t k, sx_error *er)
{
    const sx_prog *p = r->p;
    const size_t C = p->classes, P = p->P, n = r->n;
    if (in->kind == INS_MAP || in->kind == INS_SOFT_MAP) {
        if (in->kind == INS_MAP) run_map(r, in, k);
        else run_soft_map(r, in, k);
        return SX_EOK;
    }
    if (in->kind == INS_OP && r->k->ew[in->op]) {
        run_ew(r, in, k);
        return SX_EOK;
    }
    if (in->kind == INS_POW_SUMS || in->kind == INS_SOFT_SUM || in->kind == INS_AFFINE_TGT) {
        if (in->kind == INS_POW_SUMS) run_pow_sums(r, in, k);
        else if (in->kind == INS_SOFT_SUM) run_soft_sum(r, in, k);
        else run_affine(r, in, k);
        return SX_EOK;
    }
    void *d = place_of(r, in, OWN, k), *x = place_of(r, in, 0, k);
    if (in->kind == INS_SOFT_DOT) {
        sx_soft f = soft_of(r, in, k);
        r->k->soft_dot(&f, d);
        return SX_EOK;
    }
    switch (in->op) {
    case SX_OP_logits: return stage_logits(r, in, k, er);
    case SX_OP_labels: r->k->from_lab(d, NULL, &r->lab, n); break;
    case SX_OP_valid: r->k->from_lab(NULL, d, &r->lab, n); break;
    case SX_OP_field: return run_field(r, in, k, er);
    case SX_OP_sum_above:
    case SX_OP_sum_below:
    case SX_OP_edt: run_made(r, in, k); break;
    case SX_OP_csum:
    case SX_OP_cmax:
    case SX_OP_logsumexp:
    case SX_OP_argmax: r->k->cred(in->op, d, x, C, P, n); break;
    case SX_OP_softmax:
    case SX_OP_log_softmax: r->k->cmap(in->op, d, x, C, P, n); break;
    case SX_OP_pick: run_pick(r, in, k); break;
    case SX_OP_onehot: r->k->onehot(d, x, C, P, n); break;
    case SX_OP_tgt: return run_tgt(r, in, k, er);
    case SX_OP_ce:
    case SX_OP_u:
    case SX_OP_pt:
    case SX_OP_logu: r->k->tgt_row(in->op, d, x, P, n); break;
    case SX_OP_p:
    case SX_OP_dir: r->k->tgt_soft(in->op, d, exp_plane(r, in, k), x, &r->lab, P, n); break;
    case SX_OP_basis: run_basis(r, in, k); break;
    case SX_OP_powb: run_powb(r, in, k); break;
    case SX_OP_psum:
    case SX_OP_bysum: run_sum(r, in, k); break;
    default: return sx_fail(er, SX_EBUG, "no kernel for %s", sx_op_name(in->op));
    }
    return SX_EOK;
}

/* -- The door ---------------------------------------------------------------------------------------- */

sx_err sx_prog_run(const sx_prog *p, void *scratch, sx_block *b, sx_error *er)
{
    char *s = scratch;
    run r = {.p = p, .k = p->k, .b = b, .base = {s, (char *)(uintptr_t)b->imports_t}};
    r.lab = (sx_lab){.lab = (int32_t *)(void *)(s + p->at_lab), .group = (int32_t *)(void *)(s + p->at_group),
                     .present = (int32_t *)(void *)(s + p->at_present),
                     .n_present = (int32_t *)(void *)(s + p->at_n_present), .all_valid = (bool *)(s + p->at_all_valid),
                     .head = (int16_t *)(void *)(s + p->at_head), .piece = (sx_piece *)(void *)(s + p->at_piece),
                     .seen = (sx_seen *)(void *)(s + p->at_seen), .tiles = p->P / SX_TILE, .max_present = p->max_present,
                     .classes = p->classes};
    memset(r.lab.seen, 0, p->classes * sizeof *r.lab.seen);
    r.tgt.buf = s + p->at_tmp;
    b->valid = b->masked = 0;
    for (r.at = b->first; r.at < b->first + b->count; r.at += p->P) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");   /* thousands of settings make long blocks */
        size_t left = b->first + b->count - r.at;
        r.count = left < p->P ? left : p->P;
        r.n = (r.count + SX_LANES - 1) / SX_LANES * SX_LANES;
        sx_err e = read_labels(&r, er);
        if (e) return e;
        if (p->info->skip_nonfinite) mask_nonfinite(&r);
        b->valid += sx_survey(&r.lab, p->P);
        for (size_t g = 0; g < p->n_group; g++) {
            const group *gr = &p->group[g];
            for (size_t k = 0; k < gr->count; k++)
                for (size_t i = gr->first; i < gr->first + gr->n; i++)
                    if ((e = step(&r, &p->ins[i], k, er))) return e;
        }
    }
    r.k->settle();
    return SX_EOK;
}

/* -- After a refusal ------------------------------------------------------------------------------------ */

static void note(sx_fault *f, size_t image, size_t px, int64_t v)
{
    if (!f->pixels++) f->image = image, f->px = px, f->value = v;
    if (f->images == 0 || f->last != image) f->images++;
    f->last = image;
}

void sx_census_image(sx_census *c, const sx_dump *d, const sx_image *im, size_t index)
{
    const sx_dump_info *info = sx_dump_get_info(d);
    for (size_t i = 0; i < im->n_px; i++) {
        int64_t v = sx_label_value(im->labels, info->labels_type, i);
        size_t k = sx_dump_label_class(d, v);
        if (k == info->classes) continue;            /* ignored */
        if (k == SIZE_MAX) note(&c->labels, index, i, v);
        else if (!info->skip_nonfinite && !sx_pixel_finite(info, im, i)) note(&c->logits, index, i, 0);
    }
}

sx_err sx_census_error(const sx_census *c, const sx_dump *d, sx_error *er)
{
    const sx_fault *f = &c->labels;
    if (f->pixels) return sx_dump_bad_label(d, f->value, f->image, f->px, f->pixels, f->images, er);
    f = &c->logits;
    return f->pixels ? bad_logits(d, f->image, f->px, f->pixels, f->images, er) : SX_EOK;
}
