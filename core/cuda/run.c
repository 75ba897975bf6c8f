/*
 * run.c: a program on a GPU: tasks of a wave in batches, each with all values of the sweep or, where their records do not fit, a
 * part of them at a time; results go to the cells and maps that the CPU would have filled. While the kernels of a batch run, the
 * images of the next one are decoded and uploaded.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cuda/device.h"

/* Bytes of a batch, and at most an eighth of what images may take: records and maps; maps alone, which wait for their way back in
 * pinned memory; images that must be uploaded for it. */
enum { BUDGET = 1 << 30, MAPS = 32 << 20, UPLOADS = 128 << 20 };
enum { EDGE = 32 };              /* tasks that a GPU is about busy with: no batch is made smaller than that only to begin or end soon */

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
    bool sparse;                 /* records must be 0 before: kernels add to them, or leave some out (labels that a tile lacks, counts) */
    sx_gpu_args args;
};

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
    for (size_t i = 0; i < spec->n_sum; i++) w->sparse |= node(w, spec->sum[i])->op == SX_OP_bysum || sx_emit_counts(spec->g, spec->sum[i]);
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
    if (!e && spec->fast) w->sparse = !w->e->own;
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

/* The sets of imports and their powers as the kernels read them, into `to`. */
static sx_err write_sets(sx_cuda_work *w, const sx_cuda_wave *v, char *to, size_t powers, sx_error *er)
{
    const sx_emitted *e = w->e;
    const size_t own = sx_prog_import_len(w->prog);
    unsigned *need = sx_calloc(e->n_power + 1, sizeof *need);
    if (!need) return sx_nomem(er);
    sx_pw *p = (sx_pw *)(void *)(to + powers);
    for (size_t s = 0; s < v->sets; s++, to += w->set_len * w->es) {
        if (own) memcpy(to, (const char *)v->imports_t + s * own * w->es, own * w->es);
        for (size_t i = own; i < w->set_len; i++) {
            const double x = w->constant[i - own];
            if (w->es == 8) ((double *)(void *)to)[i] = x;
            else ((float *)(void *)to)[i] = (float)x;
        }
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
    return SX_EOK;
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

/* Records of a task. */
static size_t records(const sx_cuda_work *w)
{
    return SX_BLOCK / SX_CUDA_UNIT(w->spec.fast) * SX_CUDA_RECORDS(w->spec.fast);
}

static size_t map_bytes(const sx_cuda_work *w, const part *p) { return p->map_rec * SX_BLOCK * w->es; }

static size_t task_bytes(const sx_cuda_work *w, const part *p)
{
    return p->rec * (records(w) * w->es + sizeof(double)) + map_bytes(w, p);
}

/* How many tasks a batch has and in how many parts the sweep goes: few parts first, since each reads the logits again. */
static void choose(const sx_cuda_work *w, size_t left, size_t *tasks, size_t *parts)
{
    const size_t want = left < 16 ? left : 16, budget = sx_cu_share(w->d, w->budget);
    size_t maps;
    for (*parts = 1;; *parts = *parts * 2 < w->most_parts ? *parts * 2 : w->most_parts) {
        size_t bytes = 1;
        maps = 1;
        for (size_t i = 0; i < *parts; i++) {
            const part p = make_part(w, i, *parts, NULL);
            if (task_bytes(w, &p) > bytes) bytes = task_bytes(w, &p);
            if (map_bytes(w, &p) > maps) maps = map_bytes(w, &p);
            if (*parts > 64) i += *parts / 64;       /* they hardly differ */
        }
        *tasks = budget / bytes;
        if (*tasks >= want || *parts >= w->most_parts) break;
    }
    if (*tasks > MAPS / maps) *tasks = MAPS / maps;
    if (*tasks > left) *tasks = left;
    if (*tasks == 0) *tasks = 1;
}

/* -- A wave -------------------------------------------------------------------------------------------------- */

/* Tasks of the wave, for a part of the sweep. */
typedef struct batch {
    size_t first, n;
    part part;
    uint64_t number;
    bool busy;                   /* under way */
} batch;

/* What the GPU is sent lies in one buffer: imports, powers, then for each task room for its piece's row and itself. Each batch has its
 * own part of it, so nothing is overwritten before the wave has ended. */
typedef struct wave {
    sx_cuda_work *w;
    const sx_cuda_wave *v;
    sx_resident *r;
    size_t powers, tables, row;  /* where they begin; numbers of a piece's row */
    size_t first, n;             /* tasks of the batch in the making */
    bool sent;                   /* imports and powers are */
    bool lessened;
    batch batch[2];
    int turn;
    double *cells;               /* of a batch whose sweep goes in parts */
} wave;

static size_t to_256(size_t n) { return (n + 255) / 256 * 256; }

static sx_err begin(wave *q, sx_error *er)
{
    sx_cuda_work *w = q->w;
    sx_cuda *d = w->d;
    sx_err e = SX_CU(d, er, set_current, d->ctx);
    if (!e) e = sx_resident_of(d, q->v->dump, &q->r, er);
    q->row = SX_PIECE_FIELDS + w->wants.n_field;
    q->powers = to_256(w->set_len * q->v->sets * w->es);
    q->tables = q->powers + to_256(w->power_len * q->v->sets * sizeof(sx_pw));
    const size_t n = q->tables + q->v->n_task * (q->row * sizeof(uint64_t) + sizeof(sx_gpu_task));
    if (!e) e = sx_cu_pin(d, &d->sent, n + 1, er);
    if (!e) e = sx_cu_room(d, &d->tables, n + 1, er);
    if (!e) e = write_sets(w, q->v, d->sent.p, q->powers, er);
    w->args.imports = d->tables.p;
    w->args.powers = d->tables.p + q->powers;
    return e;
}

/* last: of the task before, or NULL. */
static sx_gpu_piece *piece_of(const wave *q, const sx_cuda_task *t, sx_gpu_piece *last)
{
    if (last && last->image == q->v->first + t->image && t->first - last->first < last->count) return last;
    return &q->r->piece[q->r->start[q->v->first + t->image] + t->first / q->r->most];
}

/* Brings what the next tasks read: at most that many, and no more than fit or are worth waiting for, but at least one. */
static sx_err bring(wave *q, size_t most, sx_error *er)
{
    sx_cuda_work *w = q->w;
    sx_cuda *d = w->d;
    const uint64_t enough = d->counts.uploaded + sx_cu_share(d, UPLOADS);
    sx_gpu_piece *last = NULL;
    sx_err e = SX_EOK;
    d->batch++;
    for (q->n = 0; q->n < most; q->n++) {
        const sx_cuda_task *t = &q->v->task[q->first + q->n];
        sx_gpu_piece *p = piece_of(q, t, last);
        const size_t block = (t->first - p->first) / SX_BLOCK;
        if (p != last && sx_resident_has(q->r, p, &w->wants)) {
            sx_resident_use(d, q->r, p, &w->wants);
        } else if (p != last) {
            const sx_image *im;
            if (q->n > 0 && d->counts.uploaded >= enough) break;
            d->oom = false;
            e = q->v->fetch(q->v->arg, p->image, &im, er);
            if (!e) e = sx_resident_load(d, q->r, p, &w->wants, q->v->dump, im, q->v->pool, er);
            if (e == SX_EDEVICE && d->oom && q->n > 0) break;             /* the rest comes in another batch */
            if (e) return e;
        }
        last = p;
        q->v->valid[q->first + q->n] = p->valid[block];
        q->v->masked[q->first + q->n] = p->masked[block];
    }
    d->oom = false;
    return sx_cu_uploaded(d, er);
}

/* Sends the tables of pieces and tasks, and with the first of them what lies before. */
static sx_err send_tables(wave *q, sx_error *er)
{
    sx_cuda_work *w = q->w;
    sx_cuda *d = w->d;
    const size_t row = q->row * sizeof(uint64_t), at = q->tables + q->first * (row + sizeof(sx_gpu_task)), tasks = at + q->n * row,
                 end = tasks + q->n * sizeof(sx_gpu_task), from = q->sent ? at : 0;
    uint64_t *to = (uint64_t *)(void *)(d->sent.p + at);
    sx_gpu_task *task = (sx_gpu_task *)(void *)(d->sent.p + tasks);
    sx_gpu_piece *last = NULL;
    unsigned n_piece = 0;
    for (size_t i = 0; i < q->n; i++) {
        const sx_cuda_task *t = &q->v->task[q->first + i];
        sx_gpu_piece *p = piece_of(q, t, last);
        if (p != last) {
            to[SX_PIECE_LOGITS] = p->logits.p;
            to[SX_PIECE_STRIDE] = p->stride;
            to[SX_PIECE_LOC] = p->labels.p;
            to[SX_PIECE_HEAD] = p->labels.p + p->head;
            to[SX_PIECE_TABLE] = p->labels.p + p->table;
            for (size_t f = 0; f < w->wants.n_field; f++)
                to[SX_PIECE_FIELDS + f] = p->field[2 * (size_t)w->wants.field[f] + w->wants.use_double].p;
            to += q->row;
            n_piece++;
        }
        last = p;
        task[i] = (sx_gpu_task){.piece = n_piece - 1, .first = (unsigned)(t->first - p->first), .count = (unsigned)t->count,
                                .set = q->v->sets > 1 ? (unsigned)t->image : 0};
    }
    w->args.piece = d->tables.p + at;
    w->args.task = d->tables.p + tasks;
    w->args.n_task = q->n;
    q->sent = true;
    return SX_CU(d, er, to_device, d->tables.p + from, d->sent.p + from, end - from, d->stream);
}

static unsigned grid_of(const sx_cuda *d, size_t blocks, int resident)
{
    const size_t most = (size_t)d->info.sms * (size_t)(resident > 0 ? resident : 1);
    return (unsigned)(blocks < most ? blocks ? blocks : 1 : most);
}

/* Blocks of the kernel at a time on a multiprocessor. Where logits are read again, fewer of them, if then what all have under way is
 * still in the cache when it is; but two, or nothing hides how far memory is. (Mode exact has more to compute than to wait for.) */
static int at_a_time(const sx_cuda_work *w)
{
    const sx_dump_info *info = w->spec.info;
    const size_t chunk = SX_CUDA_THREADS * 4 * info->classes * sx_dtype_size(info->logits_type);
    const size_t fit = (size_t)w->d->info.l2 / 2 / ((size_t)w->d->info.sms * chunk);
    const int most = w->module->resident[0];
    return w->spec.fast && w->e->sweeps > 1 && fit >= 2 && (int)fit < most ? (int)fit : most;
}

static sx_err launch(sx_cuda_work *w, void *f, unsigned blocks, sx_error *er)
{
    void *arguments[] = {&w->args};
    w->d->counts.launches++;
    return SX_CU(w->d, er, launch, f, blocks, 1, 1, SX_CUDA_THREADS, 1, 1, 0, w->d->stream, arguments, NULL);
}

static size_t cell_bytes(const batch *b) { return to_256(b->n * b->part.rec * sizeof(double)); }

/* Queues the kernels of a batch, and their results' way back. */
static sx_err compute(wave *q, batch *b, const sx_slot *s, sx_error *er)
{
    sx_cuda_work *w = q->w;
    sx_cuda *d = w->d;
    const size_t rec = b->part.rec, units = b->n * (SX_BLOCK / SX_CUDA_UNIT(w->spec.fast));
    const size_t folds = (b->n * rec + SX_CUDA_THREADS - 1) / SX_CUDA_THREADS;
    const sx_module *m = w->module;
    w->args.part = d->records.p;
    w->args.cell = s->found.p;
    w->args.map = s->found.p + cell_bytes(b);
    w->args.rec = rec;
    w->args.map_rec = b->part.map_rec;
    sx_err e = SX_CU(d, er, event_record, s->begun, d->stream);
    if (!e && rec && w->sparse) e = SX_CU(d, er, set_words, d->records.p, 0, b->n * records(w) * rec * w->es / 4, d->stream);
    if (!e) e = launch(w, m->pass, grid_of(d, units, at_a_time(w)), er);
    if (!e && rec) e = launch(w, m->fold, grid_of(d, folds, m->resident[1]), er);
    if (!e) e = SX_CU(d, er, event_record, s->computed, d->stream);
    if (!e) e = SX_CU(d, er, stream_wait, d->back, s->computed, 0);
    if (!e) e = SX_CU(d, er, to_host, s->results.p, s->found.p, cell_bytes(b) + b->n * map_bytes(w, &b->part), d->back);
    return e ? e : SX_CU(d, er, event_record, s->done, d->back);
}

/* Records of a part of the sweep, into cells. */
static void put_cells(const wave *q, const batch *b, const double *from, double *to)
{
    const sx_cuda_work *w = q->w;
    const part *p = &b->part;
    const size_t len = sx_prog_stat_len(w->prog);
    for (size_t s = 0; s < w->spec.n_sum; s++) {
        const size_t own = len_of(w, w->spec.sum[s]), k = combos_in(w, p, w->e->sum_sink[s]);
        for (size_t i = 0; i < k; i++, from += own) {
            const size_t at = sx_prog_stat_off(w->prog, s) + whole(w, p, w->e->sum_sink[s], i) * own;
            for (size_t t = 0; t < b->n; t++) memcpy(to + t * len + at, from + t * p->rec, own * sizeof *to);
        }
    }
}

/* Sums that count pixels, from what the labels have told. */
static void put_counts(const wave *q, const batch *b, double *cells)
{
    const sx_cuda_work *w = q->w;
    const size_t len = sx_prog_stat_len(w->prog);
    sx_gpu_piece *p = NULL;
    for (size_t s = 0; s < w->spec.n_sum; s++) {
        if (!sx_emit_counts(w->spec.g, w->spec.sum[s])) continue;
        const bool by_label = node(w, w->spec.sum[s])->op == SX_OP_bysum;
        double *to = cells + sx_prog_stat_off(w->prog, s);
        for (size_t t = b->first; t < b->first + b->n; t++, to += len) {
            p = piece_of(q, &q->v->task[t], p);
            const uint32_t *counts = p->counts + (q->v->task[t].first - p->first) / SX_BLOCK * w->classes;
            if (!by_label) *to = (double)q->v->valid[t];
            for (size_t c = 0; by_label && c < w->classes; c++) to[c] = counts[c];
        }
    }
}

/* The records of a batch have come: of all of the sweep they are its cells; parts are put together first. */
static sx_err hand_out(wave *q, const batch *b, double *records, sx_error *er)
{
    const size_t len = sx_prog_stat_len(q->w->prog);
    if (b->part.of > 1) {
        if (b->part.number == 0) {
            sx_free(q->cells);
            if (!(q->cells = sx_malloc_aligned((b->n * len + 1) * sizeof *q->cells))) return sx_nomem(er);
        }
        put_cells(q, b, records, q->cells);
        records = q->cells;
    }
    if (b->part.number + 1 < b->part.of) return SX_EOK;
    put_counts(q, b, records);
    q->v->take(q->v->arg, b->first, b->n, records);
    return SX_EOK;
}

typedef struct put_maps {
    const wave *q;
    const batch *b;
    const char *from;
} put_maps;

static sx_err put_task(void *arg, size_t t, int worker, sx_error *er)
{
    const put_maps *a = arg;
    const sx_cuda_work *w = a->q->w;
    const sx_cuda_wave *v = a->q->v;
    const part *p = &a->b->part;
    const sx_cuda_task *task = &v->task[a->b->first + t];
    const size_t px = sx_dump_n_px(v->dump, v->first + task->image);
    const char *from = a->from + t * map_bytes(w, p);
    (void)worker, (void)er;
    for (size_t m = 0; m < w->spec.n_map; m++) {
        const size_t own = len_of(w, w->spec.map[m]), k = combos_in(w, p, w->e->map_sink[m]);
        char *to = v->map[task->image * v->map_step + m];
        for (size_t i = 0; i < k * own; i++, from += SX_BLOCK * w->es) {
            const size_t row = whole(w, p, w->e->map_sink[m], i / own) * own + i % own;
            memcpy(to + (row * px + task->first) * w->es, from, task->count * w->es);
        }
    }
    return SX_EOK;
}

/* The end of a batch: waits for it and puts its results where they belong. Its slot is free then. */
static sx_err finish(wave *q, int turn, sx_error *er)
{
    sx_cuda *d = q->w->d;
    batch *b = &q->batch[turn];
    const sx_slot *s = &d->slot[turn];
    float ms = 0;
    if (!b->busy) return SX_EOK;
    sx_err e = SX_CU(d, er, event_sync, s->done);
    if (!e) e = SX_CU(d, er, event_time, &ms, s->begun, s->computed);
    if (e) return e;
    b->busy = false;
    d->counts.kernel_ms += (double)ms;
    if (b->part.number + 1 == b->part.of) d->done = b->number;
    if ((e = hand_out(q, b, (double *)(void *)s->results.p, er))) return e;
    put_maps a = {.q = q, .b = b, .from = s->results.p + cell_bytes(b)};
    return b->part.map_rec ? sx_pool_for(q->v->pool, b->n, put_task, &a, er) : SX_EOK;
}

/* The life of a batch, for each part of the sweep: the one before the last ends and leaves its slot; images come, while the last one
 * computes; then tables, kernels, results. It ends like that when another takes its slot, or with the wave. */
static sx_err run_batch(wave *q, size_t tasks, size_t parts, sx_error *er)
{
    sx_cuda_work *w = q->w;
    sx_cuda *d = w->d;
    sx_err e = SX_EOK;
    for (size_t i = 0; !e && i < parts; i++) {
        batch *b = &q->batch[q->turn];
        sx_slot *s = &d->slot[q->turn];
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = finish(q, q->turn, er);
        if (!e && i == 0) e = bring(q, tasks, er);
        if (!e && i == 0) e = send_tables(q, er);
        if (e) return e;
        *b = (batch){.first = q->first, .n = q->n, .part = make_part(w, i, parts, &w->args), .number = d->batch};
        const size_t results = cell_bytes(b) + b->n * map_bytes(w, &b->part);
        e = sx_cu_room(d, &d->records, b->n * records(w) * b->part.rec * w->es + 1, er);
        if (!e) e = sx_cu_room(d, &s->found, results + 1, er);
        if (!e) e = sx_cu_pin(d, &s->results, results + 1, er);
        if (!e) e = compute(q, b, s, er);
        b->busy = !e;
        q->turn = !q->turn;
    }
    if (!e) q->first += q->n;
    return e;
}

static sx_err finish_all(wave *q, sx_error *er)
{
    sx_err e = finish(q, q->turn, er);         /* the older one */
    return e ? e : finish(q, !q->turn, er);
}

/* Out of memory: what is under way ends well, and there is room for smaller batches. */
static sx_err lessen(wave *q, sx_error *er)
{
    sx_cuda *d = q->w->d;
    sx_err e = finish_all(q, er);
    if (!e) e = sx_cu_quiet(d, er);
    if (e) return e;
    sx_cu_drop(d, &d->records);
    for (int i = 0; i < 2; i++) sx_cu_drop(d, &d->slot[i].found);
    q->w->budget /= 2;
    q->lessened = true;
    d->counts.split++;
    d->oom = false;
    return SX_EOK;
}

/* Tasks of the next batch at most, for a short first and a short last one: nothing is computed while the one is made ready, and while
 * what the other has found is put away. */
static size_t in_turn(const wave *q)
{
    const size_t left = q->v->n_task - q->first, edge = q->v->n_task / 8;
    if (edge < EDGE) return left;
    return q->first == 0 ? edge : left > edge ? left - edge : left;
}

sx_err sx_cuda_run(sx_cuda_work *w, const sx_cuda_wave *v, sx_error *er)
{
    sx_cuda *d = w->d;
    wave q = {.w = w, .v = v};
    d->oom = false;
    sx_err e = begin(&q, er);
    while (!e && q.first < v->n_task) {
        size_t tasks, parts;
        choose(w, in_turn(&q), &tasks, &parts);
        e = run_batch(&q, tasks, parts, er);
        if (e == SX_EDEVICE && d->oom && (tasks > 1 || parts < w->most_parts || !q.lessened)) e = lessen(&q, er);
    }
    if (!e) e = finish_all(&q, er);
    if (e) sx_cu_quiet(d, NULL);
    sx_free(q.cells);
    return e;
}
