/*
 * walk.c: a walk over the dump in waves of images: decode in parallel, compute blocks in parallel (each into its own numbered cell),
 * then fold cells in order into one record of statistics per image.
 */
#include <stdio.h>
#include <string.h>

#include "pass/run_impl.h"

#define WAVE_BYTES ((size_t)24 << 20)
#define WAVE_PX ((size_t)4 << 20)
#define GPU_WAVE_PX ((size_t)64 << 20)   /* or more, where there is little to compute: so many numbers in cells */
#define GPU_WAVE_CELLS ((size_t)1 << 20)
#define GPU_WAVE_BYTES ((size_t)1 << 30) /* decoded, of images that the GPU does not have: many batches, that overlap */
#define CELL_BYTES ((size_t)64 << 20)
#define PROBE 0.1                /* part of a choice's seconds that the CPU's pace is measured over */
#define TRIAL 0.25               /* part of them after which a GPU must have been faster */

static size_t quarter(const sx_runner *r, size_t most) { return sx_run_mem(r) / 4 < most ? sx_run_mem(r) / 4 : most; }

static sx_err decode_task(void *arg, size_t i, int worker, sx_error *er)
{
    sx_walk *w = arg;
    return sx_dump_decode(w->r->p->d, &w->own, i, worker, er);
}

/* What the CPU's workers need. */
static sx_err make_scratch(sx_walk *w, sx_error *er)
{
    const size_t threads = (size_t)sx_pool_threads(w->r->o.pool);
    for (size_t i = 0; i < threads; i++) {
        if (w->scratch[i]) continue;
        if (!(w->scratch[i] = sx_malloc_aligned(sx_prog_scratch(w->prog)))) return sx_nomem(er);
        memset(w->scratch[i], 0, sx_prog_scratch(w->prog));
    }
    return SX_EOK;
}

static sx_err block_task(void *arg, size_t number, int worker, sx_error *er)
{
    sx_walk *w = arg;
    const size_t i = w->task_at + number;
    const task *t = &w->task[i];
    size_t set = w->per_image ? t->image * w->import_len : 0, span = w->first + t->image;   /* place in the span of field operators */
    const sx_walk *out = w->outer ? w->outer : w;
    const sx_id *made;
    if (out->fields) span -= sx_fields_first(out->fields);
    sx_block b = {.dump = w->r->p->d, .image = &w->image[t->image], .index = w->first + t->image,
                  .first = t->first, .count = t->count, .imports = w->imports + set,
                  .imports_t = w->imports_t + set * w->r->k->size, .cell = w->cells + i * w->stat_len,
                  .map = w->map ? w->map + (w->outer ? span : w->each ? t->image : 0) * w->n_map : NULL,
                  .made = w->made ? w->made + span * sx_prog_made(w->prog, &made) : NULL};
    memset(b.cell, 0, w->stat_len * sizeof *b.cell);
    sx_err e = sx_prog_run(w->prog, w->scratch[worker], &b, er);
    w->valid[i] = b.valid;
    w->masked[i] = b.masked;
    return e;
}

/* Room for a cell of each task or, on a GPU, which gives cells as they come, a record of each image. */
static sx_err make_cells(sx_walk *w, sx_error *er)
{
    const size_t n = (w->gpu ? w->count : w->n_task) * w->stat_len;
    if (w->cells && n <= w->cells_cap) return SX_EOK;
    sx_free(w->cells);
    w->cells_cap = 0;
    /* glibc's aligned_alloc seldom takes the room again that it had before, and fresh pages cost more than adding up does. */
    w->cells = w->gpu ? sx_malloc((n + 1) * sizeof *w->cells) : sx_malloc_aligned((n + 1) * sizeof *w->cells);
    if (!w->cells) return sx_nomem(er);
    w->cells_cap = n;
    return SX_EOK;
}

/* Of an image of the wave. */
static size_t blocks_of(const sx_walk *w, size_t i) { return (sx_dump_n_px(w->r->p->d, w->first + i) + SX_BLOCK - 1) / SX_BLOCK; }

static sx_err plan_tasks(sx_walk *w, sx_error *er)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++) n += blocks_of(w, i);
    if (n > w->task_cap) {
        sx_free(w->task);
        sx_free(w->valid);
        w->task_cap = 0;
        w->task = sx_malloc(n * sizeof *w->task);
        w->valid = sx_malloc(2 * n * sizeof *w->valid);
        if (!w->task || !w->valid) return sx_nomem(er);
        w->masked = w->valid + n;
        w->task_cap = n;
    }
    w->n_task = w->task_at = 0;
    w->px = 0;
    for (size_t i = 0; i < w->count; i++) {
        const size_t px = sx_dump_n_px(w->r->p->d, w->first + i);
        w->px += px;
        for (size_t at = 0; at < px; at += SX_BLOCK)
            w->task[w->n_task++] = (task){i, at, px - at < SX_BLOCK ? px - at : SX_BLOCK};
    }
    w->by_image = false;
    return make_cells(w, er);
}

static sx_err fill_imports(sx_walk *w, sx_error *er)
{
    sx_runner *r = w->r;
    const sx_import *im;
    size_t n = sx_prog_imports(w->prog, &im), sets = w->per_image ? w->count : 1;
    for (size_t s = 0; s < sets; s++) {
        sx_err e = w->per_image ? sx_run_image(r, &r->all, w->first + s, er) : SX_EOK;
        if (e) return e;
        double *d = w->imports + s * w->import_len;
        for (size_t i = 0; i < n; i++)
            sx_box_copy(r->p->g, w->box, sx_run_node(r, im[i].id)->axes, r->all.v[im[i].id], sx_run_len(r, im[i].id), d + im[i].off);
        r->k->from_double(w->imports_t + s * w->import_len * r->k->size, d, w->import_len);
    }
    return SX_EOK;
}

sx_err sx_walk_imports(sx_walk *w, size_t wave_max, sx_error *er)
{
    sx_runner *r = w->r;
    const sx_import *im;
    size_t n = sx_prog_imports(w->prog, &im);
    if (!w->outer) sx_run_unmark(r);
    for (size_t i = 0; w->fields && i < sx_fields_walks(w->fields); i++) {
        sx_err e = sx_walk_imports(sx_fields_walk(w->fields, i), wave_max, er);
        if (e) return e;
    }
    for (size_t i = 0; i < n; i++)
        if (sx_run_node(r, im[i].id)->axes & SX_AX_N) {
            w->per_image = true;
            sx_run_mark(r, im[i].id);
        }
    size_t len = w->import_len * (w->per_image ? wave_max : 1) + 1;
    w->imports = sx_malloc_aligned(len * sizeof(double));
    w->imports_t = sx_malloc_aligned(len * sizeof(double));
    if (!w->imports || !w->imports_t) return sx_nomem(er);
    return SX_EOK;
}

static sx_err append(sx_walk *w, size_t image, const double *sums, sx_store *st, sx_error *er)
{
    if (!w->before) return sx_store_append(st, sums, er);
    sx_err e = sx_store_get(w->before, image, w->whole, er);
    memcpy(w->whole + w->before_len, sums, w->stat_len * sizeof *sums);
    return e ? e : sx_store_append(st, w->whole, er);
}

static uint64_t total(const uint64_t *v, size_t n)
{
    uint64_t s = 0;
    for (size_t i = 0; i < n; i++) s += v[i];
    return s;
}

/* Cells of an image's blocks, in order, into its record. */
static sx_err fold_wave(sx_walk *w, sx_store *st, sx_error *er)
{
    size_t t = 0;
    for (size_t i = 0; i < w->count; i++) {
        const double *sums = w->by_image ? w->cells + i * w->stat_len : w->sums;
        const size_t n = blocks_of(w, i);
        if (!w->by_image) {
            memset(w->sums, 0, w->stat_len * sizeof *w->sums);
            for (size_t k = t; k < t + n; k++) sx_add_to(w->sums, w->cells + k * w->stat_len, w->stat_len);
        }
        sx_err e = w->seg ? sx_segment_append(w->seg, sums, total(w->valid + t, n), total(w->masked + t, n), er)
                          : append(w, w->first + i, sums, st, er);
        if (e) return e;
        t += n;
    }
    return w->seg ? sx_segment_sync(w->seg, false, er) : SX_EOK;
}

static sx_err emit_wave(sx_walk *w, sx_error *er)
{
    const sx_run_opts *o = &w->r->o;
    for (size_t i = 0; i < w->count; i++)
        for (size_t k = 0; k < w->n_map; k++) {
            size_t n = w->map_per_px[k] * sx_dump_n_px(w->r->p->d, w->first + i);
            sx_err e = o->emit(o->emit_arg, w->first + i, w->map_out[k], w->map[i * w->n_map + k], w->r->k->size == 4 ? SX_F32 : SX_F64, n, er);
            if (e) return e;
        }
    return SX_EOK;
}

/* Of the largest size, in so many pixels; at least one. */
static size_t images_in(const sx_runner *r, size_t px)
{
    return px / ((sx_dump_get_info(r->p->d)->max_px / SX_BLOCK + 1) * SX_BLOCK) + 1;
}

/* Image `first` and some after it: kept ones, the walk's own, or at most `most` that are decoded now. */
static sx_err decoded(sx_walk *w, size_t first, size_t most, const sx_wave **out, sx_error *er)
{
    sx_dump *d = w->r->p->d;
    if (w->outer) return decoded(w->outer, first, most, out, er);   /* which comes to the same images */
    const uint32_t fields = w->columns;
    *out = sx_dump_kept(d, first, fields);
    if (!*out && first >= w->own.first && first - w->own.first < w->own.count) *out = &w->own;
    if (*out) return SX_EOK;
    size_t count = sx_dump_wave_size(d, first, quarter(w->r, WAVE_BYTES)), threads = (size_t)sx_pool_threads(w->r->o.pool);
    if (count < threads) count = threads;
    if (count > most) count = most;
    sx_err e = sx_dump_prepare(d, first, count, fields, &w->own, er);
    if (!e) e = sx_pool_for(w->r->o.pool, w->own.tasks, decode_task, w, er);
    if (e) {
        w->own.count = 0;
        return e;
    }
    if (w->keep) sx_dump_keep(d, &w->own, fields);
    *out = w->keep ? sx_dump_kept(d, first, fields) : &w->own;
    return *out ? SX_EOK : sx_nomem(er);
}

/* The next wave: as many images as are decoded at a time. */
static sx_err next_wave(sx_walk *w, size_t first, size_t most, sx_error *er)
{
    const sx_wave *wave;
    if (most > images_in(w->r, WAVE_PX)) most = images_in(w->r, WAVE_PX);
    sx_err e = decoded(w, first, most, &wave, er);
    if (e) return e;
    w->first = first;
    w->image = wave->image + (first - wave->first);
    w->count = wave->count - (first - wave->first);
    if (w->count > most) w->count = most;
    return e;
}

/* -- On a GPU ----------------------------------------------------------------------------------------- */

/* A walk, or the rest of it, runs on the CPU though a GPU was wanted. */
static void to_cpu(sx_walk *w, const char *why)
{
    snprintf(w->r->n.why_cpu, sizeof w->r->n.why_cpu, "%.190s", why);
    w->r->n.on_cpu++;
    sx_cuda_work_free(w->gpu);
    w->gpu = NULL;
}

/* After a failure of the GPU: the CPU goes on where the program lacks a form for the GPU (SX_EARG) or does not fit there, and in any
 * case if nobody asked for the GPU. */
static sx_err leave_gpu(sx_walk *w, sx_err e, const sx_error *why, sx_error *er)
{
    sx_runner *r = w->r;
    const bool chosen = !r->o.cuda, no_room = e == SX_EDEVICE && r->gpu && sx_cuda_no_memory(r->gpu);
    if (e != SX_EARG && !no_room && !(chosen && (e == SX_EDEVICE || e == SX_EMEMORY))) {
        if (er) *er = *why;
        return e;
    }
    to_cpu(w, why->msg);
    if (chosen && r->gpu && e == SX_EDEVICE && !no_room) {
        r->gpu = NULL;
        r->o.choice->failed(r->o.choice->arg, why);
    }
    return SX_EOK;
}

/* The same program for the GPU. Where there is none, w->gpu stays NULL. */
static sx_err start_gpu(sx_walk *w, sx_error *er)
{
    sx_runner *r = w->r;
    sx_error why = {0};
    const sx_emit_spec spec = {.g = r->p->g, .info = sx_dump_get_info(r->p->d), .use_double = r->o.use_double, .fast = sx_run_is_fast(&r->o),
                               .sum = w->sum, .n_sum = w->n_sum, .map = w->map_id, .n_map = w->n_map_id};
    w->decided = true;
    if (!r->gpu) r->gpu = r->o.choice->open(r->o.choice->arg, r->o.use_double, &why);
    sx_err e = r->gpu ? sx_cuda_work_new(r->gpu, &spec, w->prog, &w->gpu, &why) : SX_EDEVICE;
    if (!e) r->n.on_gpu++;
    return e ? leave_gpu(w, e, &why, er) : SX_EOK;
}

/* An image that the GPU does not have, with others of the wave. Decoding is no part of the GPU's pace, as it is none of the CPU's. */
static sx_err fetch_image(void *arg, size_t image, const sx_image **out, sx_error *er)
{
    sx_walk *w = arg;
    const sx_wave *wave;
    const double begin = sx_seconds();
    sx_err e = decoded(w, image, w->first + w->count - image, &wave, er);
    w->on_gpu.seconds -= sx_seconds() - begin;
    if (!e) *out = &wave->image[image - wave->first];
    return e;
}

/* Cells that come from the GPU: added up by image, in order, as fold_wave adds up the CPU's. */
static void take_cells(void *arg, size_t first, size_t n, const double *cells)
{
    const sx_walk *w = arg;
    for (size_t t = first; t < first + n; t++, cells += w->stat_len)
        sx_add_to(w->cells + w->task[t].image * w->stat_len, cells, w->stat_len);
}

/* The next wave on a GPU: images that it has, or else some that it will ask for one by one. */
static void gpu_wave(sx_walk *w, size_t first, size_t most)
{
    size_t n = 0;
    while (n < most && sx_cuda_resident(w->gpu, w->r->p->d, first + n)) n++;
    if (n == 0) n = sx_dump_wave_size(w->r->p->d, first, GPU_WAVE_BYTES);
    w->first = first;
    w->count = n < most ? n : most;
}

static void add_pace(walk_pace *p, uint64_t px, double begin)
{
    p->seconds += sx_seconds() - begin;
    p->px += px;
}

static double per_px(const walk_pace *p) { return p->seconds / (double)p->px; }

static sx_err run_gpu(sx_walk *w, sx_error *er)
{
    sx_runner *r = w->r;
    const sx_cuda_wave v = {.dump = r->p->d, .first = w->first, .task = w->task, .n_task = w->n_task, .imports = w->imports,
                            .imports_t = w->imports_t, .sets = w->per_image ? w->count : 1, .valid = w->valid,
                            .masked = w->masked, .map = w->map, .map_step = w->each ? w->n_map : 0, .pool = r->o.pool,
                            .take = take_cells, .fetch = fetch_image, .arg = w};
    w->by_image = true;
    memset(w->cells, 0, w->count * w->stat_len * sizeof *w->cells);
    const double begin = sx_seconds();
    sx_err e = sx_cuda_run(w->gpu, &v, er);
    if (!e) add_pace(&w->on_gpu, w->px, begin);
    return e;
}

/* -- Which one ------------------------------------------------------------------------------------------ */

/* May a GPU yet be chosen? */
static bool choosing(const sx_walk *w) { return w->r->o.choice && !w->r->o.cuda && !w->decided; }

/* Pixels of tasks from .. from + n - 1. */
static uint64_t px_of(const sx_walk *w, size_t from, size_t n)
{
    uint64_t px = 0;
    for (size_t i = from; i < from + n; i++) px += w->task[i].count;
    return px;
}

/* Is so much left, after the first `done` tasks of the wave, that a GPU is worth looking for? */
static bool much_left(const sx_walk *w, size_t done)
{
    const double enough = w->r->o.choice->seconds;
    const uint64_t left = w->left - px_of(w, 0, done);
    return w->on_cpu.seconds >= PROBE * enough && per_px(&w->on_cpu) * (double)left >= enough;
}

/* While a GPU may be chosen, in a few turns. */
static sx_err run_cpu(sx_walk *w, sx_error *er)
{
    const size_t threads = (size_t)sx_pool_threads(w->r->o.pool);
    sx_err e = make_scratch(w, er);
    for (size_t n; !e && w->task_at < w->n_task; w->task_at += n) {
        const double begin = sx_seconds();
        n = w->n_task - w->task_at;
        if (choosing(w) && n > threads && n > w->task_at) n = w->task_at > threads ? w->task_at : threads;
        if ((e = sx_pool_for(w->r->o.pool, n, block_task, w, er))) return e;
        add_pace(&w->on_cpu, px_of(w, w->task_at, n), begin);
        if (!choosing(w) || !much_left(w, w->task_at + n)) continue;
        if ((e = start_gpu(w, er))) return e;
        if (w->gpu) return run_gpu(w, er);
    }
    return e;
}

/* A chosen GPU that does not keep up with the CPU as it was. */
static bool is_slower(const sx_walk *w)
{
    const sx_runner *r = w->r;
    return w->gpu && !r->o.cuda && w->on_cpu.px && w->on_gpu.px && w->on_gpu.seconds >= TRIAL * r->o.choice->seconds &&
           per_px(&w->on_gpu) > per_px(&w->on_cpu);
}

/* The next images, at most `most` of them, into cells and maps. */
static sx_err do_wave(sx_walk *w, size_t first, size_t most, sx_error *er)
{
    for (;;) {
        const bool gpu = w->gpu != NULL;
        sx_error why = {0};
        sx_err e = SX_EOK;
        if (gpu) gpu_wave(w, first, most);
        else e = next_wave(w, first, most, &why);
        if (!e) e = plan_tasks(w, &why);
        if (!e && w->per_image) e = fill_imports(w, &why);
        if (!e) e = gpu ? run_gpu(w, &why) : run_cpu(w, &why);
        if (e && w->gpu) {                                     /* the wave again, on the CPU */
            if ((e = leave_gpu(w, e, &why, er))) return e;
            continue;
        }
        if (e && er) *er = why;
        if (!e && is_slower(w)) {
            char text[120];
            snprintf(text, sizeof text, "the GPU was slower here: %.3g million pixels a second, the CPU %.3g", 1e-6 / per_px(&w->on_gpu),
                     1e-6 / per_px(&w->on_cpu));
            to_cpu(w, text);
        }
        return e;
    }
}

/* Progress of the pass, of which the walk may be a part. */
static bool tell(const sx_walk *w)
{
    const sx_runner *r = w->r;
    uint64_t done = w->done;
    if (!r->o.progress || w->outer) return true;
    if (w->to > 0) done = (uint64_t)((w->from * (double)w->total) + (w->to - w->from) * (double)done);
    return r->o.progress(r->o.progress_arg, r->passes_done, r->p->info.passes, done, w->total, w->gpu != NULL);
}

sx_err sx_walk_range(sx_walk *w, size_t from, size_t to, size_t wave_max, sx_store *st, sx_error *er)
{
    sx_runner *r = w->r;
    sx_err e = SX_EOK;
    for (size_t first = from; first < to; first += w->count) {
        w->left = w->total - w->done;
        if ((e = do_wave(w, first, to - first < wave_max ? to - first : wave_max, er))) return e;
        if (w->outer) continue;
        if ((st || w->seg) && (e = fold_wave(w, st, er))) return e;
        if (w->each && (e = emit_wave(w, er))) return e;
        w->done += w->px;
        if (r->passes_done == 0 && !w->seg && !w->before) {
            r->n.pixels_valid += total(w->valid, w->n_task);
            r->n.pixels_masked += total(w->masked, w->n_task);
        }
        if (!tell(w)) return sx_fail(er, SX_EINTR, "interrupted");
    }
    return e;
}

/* What all images share. */
static sx_err common_imports(sx_walk *w, sx_error *er)
{
    sx_err e = w->per_image ? SX_EOK : fill_imports(w, er);
    for (size_t i = 0; !e && w->fields && i < sx_fields_walks(w->fields); i++) e = common_imports(sx_fields_walk(w->fields, i), er);
    return e;
}

sx_err sx_walk_images(sx_walk *w, size_t from, size_t to, size_t wave_max, sx_store *st, sx_error *er)
{
    sx_err e = common_imports(w, er);
    w->keep = sx_dump_decoded_bytes(w->r->p->d) <= sx_run_mem(w->r) / 4;
    w->done = w->total = 0;
    for (size_t i = from; i < to; i++) w->total += sx_dump_n_px(w->r->p->d, i);
    for (size_t end; !e && from < to; from = end) {
        end = to;
        if (w->fields) e = sx_fields_make(w->fields, from, to, wave_max, &end, er);
        if (!e) e = sx_walk_range(w, from, end, wave_max, st, er);
    }
    return e;
}

size_t sx_walk_most(const sx_runner *r, size_t stat_len)
{
    size_t blocks = sx_dump_get_info(r->p->d)->max_px / SX_BLOCK + 1, bytes = blocks * stat_len * sizeof(double);
    size_t n = quarter(r, CELL_BYTES) / (bytes + 1) + 1, m = images_in(r, WAVE_PX);
    if (r->o.cuda || r->o.choice) {
        m = GPU_WAVE_CELLS / (blocks * (stat_len + 1));
        if (m < images_in(r, GPU_WAVE_PX)) m = images_in(r, GPU_WAVE_PX);
    }
    if (m > r->p->images) m = r->p->images;
    return n < m ? n : m;
}

void sx_walk_free(sx_walk *w)
{
    size_t threads = (size_t)sx_pool_threads(w->r->o.pool);
    sx_fields_free(w->fields);
    for (size_t i = 0; w->scratch && i < threads; i++) sx_free(w->scratch[i]);
    sx_free(w->scratch);
    sx_wave_free(&w->own);
    sx_free(w->imports);
    sx_free(w->imports_t);
    sx_free(w->cells);
    sx_free(w->task);
    sx_free(w->valid);
    sx_free(w->sums);
    sx_free(w->made);
    sx_free(w->whole);
    sx_cuda_work_free(w->gpu);
    sx_prog_free(w->prog);
}

sx_err sx_walk_start(sx_walk *w, const sx_id *sum, size_t n_sum, const sx_id *map, size_t n_map, sx_error *er)
{
    sx_runner *r = w->r;
    size_t threads = (size_t)sx_pool_threads(r->o.pool);
    w->sum = sum;
    w->n_sum = n_sum;
    w->map_id = map;
    w->n_map_id = n_map;
    sx_err e = sx_prog_new(r->p->g, sx_dump_get_info(r->p->d), r->k, sum, n_sum, map, n_map, w->box ? w->box->count : NULL,
                           &w->prog, er);
    if (e) return e;
    w->stat_len = sx_prog_stat_len(w->prog);
    w->import_len = sx_prog_import_len(w->prog);
    w->sums = sx_calloc(w->stat_len + 1, sizeof *w->sums);
    w->scratch = sx_calloc(threads, sizeof *w->scratch);
    if (!w->sums || !w->scratch) return sx_nomem(er);
    w->columns |= sx_prog_fields(w->prog);
    if ((e = sx_fields_new(w, er)) || w->outer || w->fields) {      /* sorting and distances run on the CPU */
        w->decided = true;
        if (!e && w->fields && r->o.cuda) to_cpu(w, "sorting and distances run on the CPU");
        return e;
    }
    return r->o.cuda || (choosing(w) && r->o.choice->seconds <= 0) ? start_gpu(w, er) : SX_EOK;
}

void sx_walk_explain(sx_walk *w, sx_error *er)
{
    sx_runner *r = w->r;
    sx_census c = {0};
    sx_error own = {0};
    for (size_t i = 0; i < r->p->images; i++) {
        if (sx_dump_prepare(r->p->d, i, 1, 0, &w->own, &own)) return;
        for (size_t t = 0; t < w->own.tasks; t++)
            if (sx_dump_decode(r->p->d, &w->own, t, 0, &own)) return;
        sx_census_image(&c, r->p->d, &w->own.image[0], i);
    }
    if (sx_census_error(&c, r->p->d, &own) && er) *er = own;
}
