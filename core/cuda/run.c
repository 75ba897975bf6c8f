/*
 * run.c: a program on a GPU: tasks of a wave in batches, each with all values of the sweep or, where their records do not fit, a
 * part of them at a time; results go to the cells and maps that the CPU would have filled.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cuda/device.h"

enum { BUDGET = 1 << 30 };       /* bytes of records and maps of a batch: at most that, and an eighth of what there is */

typedef struct buf {
    sx_dptr p;
    size_t n;
} buf;

typedef struct host_buf {
    char *p;
    size_t n;
} host_buf;

struct sx_cuda_work {
    sx_cuda *d;
    const sx_prog *prog;
    sx_emit_spec spec;
    sx_id *list;                 /* the sums, then the maps */
    sx_emitted *e;
    const sx_module *module;
    sx_wants wants;
    size_t es, classes, count[SX_MAX_SWEEP];
    size_t set_len, power_len;   /* numbers of a set of imports (the program's, then constants), powers of a set */
    size_t *import_at, *power_at;   /* where they lie in a set */
    double *constant;            /* of the imports that the program lacks; set_len - sx_prog_import_len of them */
    size_t most_parts;           /* values of the longest first axis */
    size_t budget;
    buf table, sets, part, cell, map;
    host_buf host, cells;
    sx_gpu_args args;
};

/* -- Memory --------------------------------------------------------------------------------------------- */

static sx_err room(sx_cuda *d, buf *b, size_t n, sx_error *er)
{
    if (b->n >= n) return SX_EOK;
    sx_cu_free(d, &b->p);
    b->n = 0;
    sx_err e = sx_cu_alloc(d, &b->p, n, er);
    if (!e) b->n = n;
    return e;
}

static sx_err host_room(host_buf *b, size_t n, sx_error *er)
{
    if (b->n >= n) return SX_EOK;
    sx_free(b->p);
    b->n = 0;
    if (!(b->p = sx_malloc_aligned(n))) return sx_nomem(er);
    b->n = n;
    return SX_EOK;
}

static void drop(sx_cuda *d, buf *b)
{
    sx_cu_free(d, &b->p);
    b->n = 0;
}

/* -- A program ------------------------------------------------------------------------------------------ */

static const sx_node *node(const sx_cuda_work *w, sx_id id) { return sx_node_get(w->spec.g, id); }

/* Numbers of a node per combination of its sweep axes, without pixels. */
static size_t len_of(const sx_cuda_work *w, sx_id id)
{
    const sx_axes a = node(w, id)->axes;
    return (a & SX_AX_C ? w->classes : 1) * (a & SX_AX_L ? w->classes : 1);
}

static size_t combos(const sx_cuda_work *w, sx_axes axes)
{
    size_t k = 1;
    for (int a = 0; a < sx_graph_axes(w->spec.g); a++)
        if (axes & SX_AX_SWEEP(a)) k *= w->count[a];
    return k;
}

static size_t first_count(const sx_cuda_work *w, const sx_emit_sink *s) { return s->first < 0 ? 1 : w->count[s->first]; }

/* Where an import of the kernel lies in a set; a constant that the program has folded away is appended. */
static sx_err place_import(sx_cuda_work *w, sx_id id, size_t *at, sx_error *er)
{
    const sx_import *im;
    const size_t n = sx_prog_imports(w->prog, &im);
    double v;
    for (size_t i = 0; i < n; i++)
        if (im[i].id == id) {
            *at = im[i].off;
            return SX_EOK;
        }
    if (!sx_is_const(w->spec.g, id, &v))
        return sx_fail(er, SX_EARG, "%s: a value that the CPU's program does not ask for", sx_op_name((sx_op)node(w, id)->op));
    w->constant[w->set_len - sx_prog_import_len(w->prog)] = v;
    *at = w->set_len++;
    return SX_EOK;
}

static sx_err place_imports(sx_cuda_work *w, sx_error *er)
{
    const sx_emitted *e = w->e;
    w->import_at = sx_calloc(e->n_import + 1, sizeof *w->import_at);
    w->power_at = sx_calloc(e->n_power + 1, sizeof *w->power_at);
    w->constant = sx_calloc(e->n_import + e->n_power + 1, sizeof *w->constant);
    if (!w->import_at || !w->power_at || !w->constant) return sx_nomem(er);
    w->set_len = sx_prog_import_len(w->prog);
    sx_err err = SX_EOK;
    for (size_t i = 0; !err && i < e->n_import; i++) err = place_import(w, e->import[i], &w->import_at[i], er);
    for (size_t i = 0; !err && i < e->n_power; i++) err = place_import(w, e->power[i], &w->power_at[i], er);
    return err;
}

/* What does not change from launch to launch. */
static sx_err fill_par(sx_cuda_work *w, sx_error *er)
{
    const sx_emitted *e = w->e;
    for (size_t i = 0; i < e->n_axis; i++) w->args.par[i] = (unsigned)w->count[e->axis[i]];
    for (size_t i = 0; i < e->n_import; i++) w->args.par[e->par_import + i] = (unsigned)w->import_at[i];
    for (size_t i = 0; i < e->n_power; i++) {
        w->args.par[e->par_power + i] = (unsigned)w->power_len;
        w->power_len += len_of(w, e->power[i]) * combos(w, node(w, e->power[i])->axes);
    }
    if (w->set_len > UINT32_MAX || w->power_len > UINT32_MAX || sx_prog_stat_len(w->prog) > UINT32_MAX)
        return sx_fail(er, SX_EARG, "too many numbers for one kernel");
    w->args.import_len = w->set_len;
    w->args.power_len = w->power_len;
    w->most_parts = 1;
    for (size_t i = 0; i < e->n_sink; i++)
        if (first_count(w, &e->sink[i]) > w->most_parts) w->most_parts = first_count(w, &e->sink[i]);
    return SX_EOK;
}

sx_err sx_cuda_work_new(sx_cuda *d, const sx_emit_spec *spec, const sx_prog *prog, sx_cuda_work **out, sx_error *er)
{
    sx_cuda_work *w = sx_calloc(1, sizeof *w);
    sx_err e = SX_EOK;
    *out = NULL;
    d->oom = false;
    if (!w) return sx_nomem(er);
    w->d = d;
    w->prog = prog;
    w->spec = *spec;
    w->es = spec->use_double ? 8 : 4;
    w->classes = spec->info->classes;
    w->budget = BUDGET;
    for (int a = 0; a < sx_graph_axes(spec->g); a++) w->count[a] = sx_prog_axis(prog, a);
    w->list = sx_calloc(spec->n_sum + spec->n_map + 1, sizeof *w->list);
    if (!w->list) e = sx_nomem(er);
    if (!e) {
        if (spec->n_sum) memcpy(w->list, spec->sum, spec->n_sum * sizeof *w->list);
        if (spec->n_map) memcpy(w->list + spec->n_sum, spec->map, spec->n_map * sizeof *w->list);
        w->spec.sum = w->list;
        w->spec.map = w->list + spec->n_sum;
    }
    if (!e) e = sx_emit(&w->spec, &w->e, er);
    if (!e) e = place_imports(w, er);
    if (!e) e = fill_par(w, er);
    if (!e) e = SX_CU(d, er, set_current, d->ctx);
    if (!e) e = sx_cu_module(d, w->e->text, spec->fast, &w->module, er);
    if (e) {
        sx_cuda_work_free(w);
        return e;
    }
    w->wants = (sx_wants){.logits = w->e->logits, .use_double = spec->use_double, .field = w->e->field, .n_field = w->e->n_field};
    *out = w;
    return SX_EOK;
}

void sx_cuda_work_free(sx_cuda_work *w)
{
    if (!w) return;
    w->d->cu.set_current(w->d->ctx);
    w->d->cu.stream_sync(w->d->stream);
    drop(w->d, &w->table);
    drop(w->d, &w->sets);
    drop(w->d, &w->part);
    drop(w->d, &w->cell);
    drop(w->d, &w->map);
    sx_free(w->host.p);
    sx_free(w->cells.p);
    sx_free(w->import_at);
    sx_free(w->power_at);
    sx_free(w->constant);
    sx_free(w->list);
    sx_emitted_free(w->e);
    sx_free(w);
}

bool sx_cuda_resident(const sx_cuda_work *w, const sx_dump *dump, size_t image)
{
    const sx_resident *r = w->d->residents;
    while (r && r->dump != sx_dump_id(dump)) r = r->next;
    if (!r || image >= r->images) return false;
    for (size_t k = r->start[image]; k < r->start[image + 1]; k++)
        if (!sx_resident_has(r, &r->piece[k], &w->wants)) return false;
    return true;
}

/* -- Imports --------------------------------------------------------------------------------------------- */

/* An exponent as kernel.h wants it; the same cases as the CPU's powers. */
static sx_pw power_of(double g, bool use_double, unsigned *need)
{
    sx_pw p = {.g = g, .hi = (float)g, .quarters = -1};
    p.lo = (float)(g - (double)p.hi);
    p.parity = g == floor(g) ? fmod(g, 2) != 0 : 2;
    if (sx_on_lattice(g)) {
        p.quarters = (int)(g * 4);
        *need |= (unsigned)p.quarters;
    } else if (!use_double && g == (double)(int)g) {
        p.quarters = -2;
    } else if (!use_double) {
        *need |= 1u << SX_BASIS_HI;
    }
    return p;
}

/* Is this exponent used with that basis? */
static bool raises(const sx_cuda_work *w, sx_id exponent, sx_id basis)
{
    for (sx_id id = 1; id <= sx_graph_size(w->spec.g); id++)
        if (node(w, id)->op == SX_OP_powb && node(w, id)->arg[0] == basis && node(w, id)->arg[1] == exponent) return true;
    return false;
}

static sx_err upload_sets(sx_cuda_work *w, const sx_cuda_wave *v, sx_error *er)
{
    const sx_emitted *e = w->e;
    const size_t own = sx_prog_import_len(w->prog), powers = (w->set_len * v->sets * w->es + 63) / 64 * 64,
                 n = powers + w->power_len * v->sets * sizeof(sx_pw);
    sx_err err = host_room(&w->host, n + 1, er);
    if (err || (err = room(w->d, &w->sets, n + 1, er))) return err;
    unsigned *need = sx_calloc(e->n_power + 1, sizeof *need);
    if (!need) return sx_nomem(er);
    for (size_t s = 0; s < v->sets; s++) {
        char *to = w->host.p + s * w->set_len * w->es;
        if (own) memcpy(to, (const char *)v->imports_t + s * own * w->es, own * w->es);
        for (size_t i = own; i < w->set_len; i++) {
            const double x = w->constant[i - own];
            if (w->es == 8) ((double *)(void *)to)[i] = x;
            else ((float *)(void *)to)[i] = (float)x;
        }
        sx_pw *p = (sx_pw *)(void *)(w->host.p + powers) + s * w->power_len;
        for (size_t i = 0; i < e->n_power; i++) {
            const size_t k = len_of(w, e->power[i]) * combos(w, node(w, e->power[i])->axes), at = w->power_at[i];
            for (size_t j = 0; j < k; j++)
                *p++ = power_of(at + j < own ? v->imports[s * own + at + j] : w->constant[at + j - own], w->es == 8, &need[i]);
        }
    }
    for (size_t b = 0; b < e->n_basis; b++) {
        unsigned bits = 0;
        for (size_t i = 0; i < e->n_power; i++)
            if (raises(w, e->power[i], e->basis[b])) bits |= need[i];
        w->args.par[e->par_basis + b] = bits;
    }
    sx_free(need);
    w->args.imports = w->sets.p;
    w->args.powers = w->sets.p + powers;
    return n ? SX_CU(w->d, er, to_device, w->sets.p, w->host.p, n, w->d->stream) : SX_EOK;
}

/* -- A part of the sweep ----------------------------------------------------------------------------------- */

typedef struct part {
    size_t number, of;           /* which of how many */
    size_t rec, map_rec;         /* numbers of a record, rows of maps */
} part;

static void range(const sx_cuda_work *w, const part *p, size_t sink, size_t *lo, size_t *hi)
{
    const size_t n = first_count(w, &w->e->sink[sink]);
    *lo = n * p->number / p->of;
    *hi = n * (p->number + 1) / p->of;
}

/* Combinations of a sink in the part. */
static size_t combos_in(const sx_cuda_work *w, const part *p, size_t sink)
{
    size_t lo, hi;
    range(w, p, sink, &lo, &hi);
    return combos(w, w->e->sink[sink].axes) / first_count(w, &w->e->sink[sink]) * (hi - lo);
}

/* Number in the whole sweep of combination k of the sink's in the part. */
static size_t whole(const sx_cuda_work *w, const part *p, size_t sink, size_t k)
{
    const sx_emit_sink *s = &w->e->sink[sink];
    size_t lo, hi, out = 0, mul = 1;
    range(w, p, sink, &lo, &hi);
    for (int a = sx_graph_axes(w->spec.g) - 1; a >= 0; a--) {
        if (!(s->axes & SX_AX_SWEEP(a))) continue;
        const bool first = a == s->first;
        const size_t n = first ? hi - lo : w->count[a];
        out += (k % n + (first ? lo : 0)) * mul;
        mul *= w->count[a];
        k /= n;
    }
    return out;
}

/* Lengths of a record and of the maps; with args: also what the kernel needs to know of the part. */
static part make_part(const sx_cuda_work *w, size_t number, size_t of, sx_gpu_args *args)
{
    const sx_emitted *e = w->e;
    part p = {.number = number, .of = of};
    for (size_t i = 0; args && i < e->n_sink; i++) {
        size_t lo, hi;
        range(w, &p, i, &lo, &hi);
        args->par[e->par_sink + 2 * i] = (unsigned)lo;
        args->par[e->par_sink + 2 * i + 1] = (unsigned)hi;
    }
    for (size_t i = 0; i < w->spec.n_sum; i++) {
        if (args) args->par[e->par_sum + i] = (unsigned)p.rec;
        p.rec += combos_in(w, &p, e->sum_sink[i]) * len_of(w, w->spec.sum[i]);
    }
    for (size_t i = 0; i < w->spec.n_map; i++) {
        if (args) args->par[e->par_map + i] = (unsigned)p.map_rec;
        p.map_rec += combos_in(w, &p, e->map_sink[i]) * len_of(w, w->spec.map[i]);
    }
    return p;
}

static size_t task_bytes(const sx_cuda_work *w, const part *p)
{
    return p->rec * (SX_BLOCK / SX_TILE * w->es + sizeof(double)) + p->map_rec * SX_BLOCK * w->es;
}

/* How many tasks a batch has and in how many parts the sweep goes: few parts first, since each reads the logits again. */
static void choose(const sx_cuda_work *w, size_t left, size_t *tasks, size_t *parts)
{
    const size_t want = left < 16 ? left : 16;
    size_t budget = w->budget;
    if (w->d->limit && budget > w->d->limit / 8) budget = w->d->limit / 8;
    for (*parts = 1;; *parts = *parts * 2 < w->most_parts ? *parts * 2 : w->most_parts) {
        size_t bytes = 1;
        for (size_t i = 0; i < *parts; i++) {
            const part p = make_part(w, i, *parts, NULL);
            if (task_bytes(w, &p) > bytes) bytes = task_bytes(w, &p);
            if (*parts > 64) i += *parts / 64;       /* they hardly differ */
        }
        *tasks = budget / bytes;
        if (*tasks >= want || *parts >= w->most_parts) break;
    }
    if (*tasks > left) *tasks = left;
    if (*tasks == 0) *tasks = 1;
}

/* -- A batch -------------------------------------------------------------------------------------------------- */

typedef struct batch {
    const sx_cuda_wave *v;
    sx_resident *r;
    size_t first, n;             /* tasks of the wave */
} batch;

static sx_gpu_piece *piece_of(const batch *b, size_t task, size_t *at)
{
    const sx_cuda_task *t = &b->v->task[task];
    const size_t image = b->v->first + t->image;
    size_t k = b->r->start[image];
    while (k + 1 < b->r->start[image + 1] && b->r->piece[k + 1].first <= t->first) k++;
    *at = t->first - b->r->piece[k].first;
    return &b->r->piece[k];
}

/* Brings what the tasks read; as many of them as fit, at least one. */
static sx_err bring(sx_cuda_work *w, batch *b, size_t most, sx_error *er)
{
    sx_cuda *d = w->d;
    sx_err e = SX_EOK;
    d->batch++;
    for (b->n = 0; !e && b->n < most; b->n++) {
        const size_t task = b->first + b->n, image = b->v->first + b->v->task[task].image;
        size_t at;
        sx_gpu_piece *p = piece_of(b, task, &at);
        if (sx_resident_has(b->r, p, &w->wants)) {
            sx_resident_use(d, b->r, p, &w->wants);
        } else {
            const sx_image *im;
            d->oom = false;
            e = b->v->fetch(b->v->fetch_arg, image, &im, er);
            if (!e) e = sx_resident_load(d, b->r, p, &w->wants, b->v->dump, im, b->v->pool, er);
            if (e == SX_EDEVICE && d->oom && b->n > 0) {      /* the rest comes in another batch */
                d->oom = false;
                e = SX_EOK;
                break;
            }
            if (e) break;
        }
        b->v->valid[task] = p->valid[at / SX_BLOCK];
        b->v->masked[task] = p->masked[at / SX_BLOCK];
    }
    return e ? e : sx_cu_uploaded(d, er);
}

/* Tables of pieces and tasks. */
static sx_err upload_tables(sx_cuda_work *w, const batch *b, sx_error *er)
{
    const size_t row = SX_PIECE_FIELDS + w->wants.n_field, pieces = b->n * row * sizeof(uint64_t),
                 n = pieces + b->n * sizeof(sx_gpu_task);
    sx_err e = host_room(&w->host, n, er);
    if (e || (e = room(w->d, &w->table, n, er))) return e;
    uint64_t *to = (uint64_t *)(void *)w->host.p;
    sx_gpu_task *task = (sx_gpu_task *)(void *)(w->host.p + pieces);
    const sx_gpu_piece *last = NULL;
    size_t n_piece = 0;
    for (size_t i = 0; i < b->n; i++) {
        const sx_cuda_task *t = &b->v->task[b->first + i];
        size_t at;
        const sx_gpu_piece *p = piece_of(b, b->first + i, &at);
        if (p != last) {
            uint64_t *r = to + row * n_piece++;
            r[SX_PIECE_LOGITS] = p->logits.p;
            r[SX_PIECE_STRIDE] = p->stride;
            r[SX_PIECE_LOC] = p->labels.p;
            r[SX_PIECE_HEAD] = p->labels.p + p->head;
            r[SX_PIECE_TABLE] = p->labels.p + p->table;
            for (size_t f = 0; f < w->wants.n_field; f++)
                r[SX_PIECE_FIELDS + f] = p->field[2 * (size_t)w->wants.field[f] + w->wants.use_double].p;
        }
        last = p;
        task[i] = (sx_gpu_task){.piece = (unsigned)n_piece - 1, .first = (unsigned)at, .count = (unsigned)t->count,
                                .set = b->v->sets > 1 ? (unsigned)t->image : 0};
    }
    w->args.piece = w->table.p;
    w->args.task = w->table.p + pieces;
    w->args.n_task = b->n;
    return SX_CU(w->d, er, to_device, w->table.p, w->host.p, n, w->d->stream);
}

static unsigned grid_of(const sx_cuda *d, size_t blocks, int resident)
{
    const size_t most = (size_t)d->info.sms * (size_t)(resident > 0 ? resident : 1);
    return (unsigned)(blocks < most ? blocks ? blocks : 1 : most);
}

static sx_err launch(sx_cuda_work *w, void *f, unsigned blocks, sx_error *er)
{
    void *arguments[] = {&w->args};
    w->d->counts.launches++;
    return SX_CU(w->d, er, launch, f, blocks, 1, 1, SX_CUDA_THREADS, 1, 1, 0, w->d->stream, arguments, NULL);
}

static bool by_label(const sx_cuda_work *w)
{
    for (size_t i = 0; i < w->spec.n_sum; i++)
        if (node(w, w->spec.sum[i])->op == SX_OP_bysum) return true;
    return false;
}

static sx_err fetch_cells(sx_cuda_work *w, const batch *b, const part *p, sx_error *er)
{
    sx_cuda *d = w->d;
    const size_t len = sx_prog_stat_len(w->prog), n = b->n * p->rec * sizeof(double);
    double *to = b->v->cells + b->first * len;
    if (p->of == 1) return SX_CU(d, er, to_host, to, w->cell.p, n, d->stream);   /* a record is a cell */
    sx_err e = host_room(&w->cells, n, er);
    if (e || (e = SX_CU(d, er, to_host, w->cells.p, w->cell.p, n, d->stream)) || (e = SX_CU(d, er, stream_sync, d->stream))) return e;
    const double *from = (const double *)(const void *)w->cells.p;
    for (size_t s = 0; s < w->spec.n_sum; s++) {
        const size_t own = len_of(w, w->spec.sum[s]), k = combos_in(w, p, w->e->sum_sink[s]), off = w->args.par[w->e->par_sum + s];
        for (size_t i = 0; i < k; i++) {
            const size_t at = sx_prog_stat_off(w->prog, s) + whole(w, p, w->e->sum_sink[s], i) * own;
            for (size_t t = 0; t < b->n; t++) memcpy(to + t * len + at, from + t * p->rec + off + i * own, own * sizeof *to);
        }
    }
    return SX_EOK;
}

static sx_err fetch_maps(sx_cuda_work *w, const batch *b, const part *p, sx_error *er)
{
    sx_cuda *d = w->d;
    sx_err e = SX_EOK;
    for (size_t t = 0; t < b->n; t++) {
        const sx_cuda_task *task = &b->v->task[b->first + t];
        const size_t px = sx_dump_n_px(b->v->dump, b->v->first + task->image);
        for (size_t m = 0; m < w->spec.n_map; m++) {
            const size_t own = len_of(w, w->spec.map[m]), k = combos_in(w, p, w->e->map_sink[m]);
            char *to = b->v->map[task->image * b->v->map_step + m];
            for (size_t i = 0; !e && i < k * own; i++) {
                const size_t row = whole(w, p, w->e->map_sink[m], i / own) * own + i % own;
                const size_t from = t * p->map_rec + w->args.par[w->e->par_map + m] + i;
                e = SX_CU(d, er, to_host, to + (row * px + task->first) * w->es, w->map.p + from * SX_BLOCK * w->es,
                          task->count * w->es, d->stream);
            }
        }
    }
    return e;
}

static sx_err run_part(sx_cuda_work *w, const batch *b, size_t number, size_t of, sx_error *er)
{
    sx_cuda *d = w->d;
    const part p = make_part(w, number, of, &w->args);
    const size_t records = b->n * (SX_BLOCK / SX_TILE) * p.rec * w->es;
    const size_t chunks = b->n * (SX_BLOCK / ((size_t)SX_CUDA_THREADS * (w->es == 8 ? 2 : 4)));
    sx_err e;
    if ((e = room(d, &w->part, records + 1, er)) || (e = room(d, &w->cell, b->n * p.rec * sizeof(double) + 1, er)) ||
        (e = room(d, &w->map, b->n * p.map_rec * SX_BLOCK * w->es + 1, er)))
        return e;
    w->args.part = w->part.p;
    w->args.cell = w->cell.p;
    w->args.map = w->map.p;
    w->args.rec = p.rec;
    w->args.map_rec = p.map_rec;
    if (p.rec && by_label(w) && (e = SX_CU(d, er, set_words, w->part.p, 0, records / 4, d->stream))) return e;
    if ((e = launch(w, w->module->pass, grid_of(d, chunks, w->module->resident[0]), er))) return e;
    if (p.rec) {
        const size_t blocks = (b->n * p.rec + SX_CUDA_THREADS - 1) / SX_CUDA_THREADS;
        if ((e = launch(w, w->module->fold, grid_of(d, blocks, w->module->resident[1]), er)) || (e = fetch_cells(w, b, &p, er)))
            return e;
    }
    if (p.map_rec && (e = fetch_maps(w, b, &p, er))) return e;
    return SX_CU(d, er, stream_sync, d->stream);
}

static sx_err run_batch(sx_cuda_work *w, batch *b, size_t most, size_t parts, sx_error *er)
{
    sx_err e = bring(w, b, most, er);
    if (!e) e = upload_tables(w, b, er);
    for (size_t i = 0; !e && i < parts; i++) {
        if (sx_interrupted()) e = sx_fail(er, SX_EINTR, "interrupted");
        else e = run_part(w, b, i, parts, er);
    }
    w->d->done = w->d->batch;    /* nothing is under way: either waited for or failed */
    if (e) w->d->cu.stream_sync(w->d->stream);
    return e;
}

sx_err sx_cuda_run(sx_cuda_work *w, const sx_cuda_wave *v, sx_error *er)
{
    sx_cuda *d = w->d;
    batch b = {.v = v};
    d->oom = false;
    sx_err e = SX_CU(d, er, set_current, d->ctx);
    if (!e) e = sx_resident_of(d, v->dump, &b.r, er);
    if (!e) e = upload_sets(w, v, er);
    while (!e && b.first < v->n_task) {
        size_t tasks, parts;
        choose(w, v->n_task - b.first, &tasks, &parts);
        e = run_batch(w, &b, tasks, parts, er);
        if (e == SX_EDEVICE && d->oom && (tasks > 1 || parts < w->most_parts)) {   /* again, with less at a time */
            drop(d, &w->part);
            drop(d, &w->cell);
            drop(d, &w->map);
            w->budget /= 2;
            d->counts.split++;
            e = SX_EOK;
            continue;
        }
        if (!e) b.first += b.n;
    }
    return e;
}
