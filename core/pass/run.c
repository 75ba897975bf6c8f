/*
 * run.c: drives a plan. A pass walks the dump in waves of images: decode in parallel, compute blocks in parallel (each into its own
 * numbered cell), then fold cells in order into one record of statistics per image, which is kept. Sums over images and everything
 * after them are computed from those records, image by image, so memory does not grow with the dump.
 */
#include <math.h>
#include <string.h>

#include "cpu/tile.h"
#include "pass/keep.h"
#include "pass/plan_impl.h"
#include "pass/store.h"

#define WAVE_BYTES ((size_t)24 << 20)
#define WAVE_PX ((size_t)4 << 20)
#define CELL_BYTES ((size_t)64 << 20)
#define MAP_BYTES ((size_t)128 << 20)   /* of mapped values, unless one image needs more */
#define DEFAULT_MEM ((size_t)2 << 30)   /* a quarter each for decoded images, cells, and kept statistics */

typedef struct batch {
    sx_id id;
    size_t len;
    sx_store *store;           /* one record per batch: the finished sums of a bsum node */
} batch;

typedef struct runner {
    sx_plan *p;
    const sx_run_opts *o;
    const sx_kernels *k;
    sx_result *res;
    double **value;            /* by id: nodes without image axis; or the current image's value of image-wise nodes */
    size_t *stat_at;           /* by id: where a pixel sum lies in its pass's record */
    sx_store **store;          /* per pass */
    double **record;           /* per pass: the current image's record */
    size_t passes_done;
    batch *batch;
    size_t n_batch;
    uint8_t *mark;             /* by id, scratch */
} runner;

static size_t mem_of(const runner *r) { return r->o->mem ? r->o->mem : DEFAULT_MEM; }
static size_t quarter(const runner *r, size_t most) { return mem_of(r) / 4 < most ? mem_of(r) / 4 : most; }
static const sx_node *node(const runner *r, sx_id id) { return sx_node_get(r->p->g, id); }
static size_t len_of(const runner *r, sx_id id) { return sx_value_len(r->p->g, r->p->classes, id); }

static sx_err room_for(runner *r, sx_id id, sx_error *er)
{
    if (r->value[id]) return SX_EOK;
    r->value[id] = sx_calloc(len_of(r, id) + 1, sizeof(double));
    return r->value[id] ? SX_EOK : sx_nomem(er);
}

/* -- Values of image-wise nodes for one image ------------------------------------------------------- */

/* Marks the image-wise nodes below id that must be computed for it. */
static void mark_images(runner *r, sx_id id)
{
    const sx_node *n = node(r, id);
    if (r->mark[id] || !(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) return;
    r->mark[id] = 1;
    sx_class cl = sx_op_class((sx_op)n->op);
    if (cl == SX_CL_PSUM || cl == SX_CL_BYSUM || cl == SX_CL_BSUM) return;
    for (int i = 0; i < n->n_arg; i++) mark_images(r, n->arg[i]);
}

static batch *find_batch(runner *r, sx_id id)
{
    for (size_t i = 0; i < r->n_batch; i++)
        if (r->batch[i].id == id) return &r->batch[i];
    return NULL;
}

static sx_err image_value(runner *r, sx_id id, size_t image, sx_error *er)
{
    const sx_node *n = node(r, id);
    sx_err e = room_for(r, id, er);
    if (e) return e;
    switch (n->op) {
    case SX_OP_psum:
    case SX_OP_bysum: {
        size_t pass = 0;
        while (r->p->sum[pass] != id) pass++;
        memcpy(r->value[id], r->record[r->p->sum_pass[pass]] + r->stat_at[id], len_of(r, id) * sizeof(double));
        return SX_EOK;
    }
    case SX_OP_first:
        r->value[id][0] = image % (size_t)n->attr == 0;
        return SX_EOK;
    case SX_OP_bsum: {
        batch *b = find_batch(r, id);
        if (!b) return sx_fail(er, SX_EBUG, "a batch sum is missing");
        return sx_store_get(b->store, image / (size_t)n->attr, r->value[id], er);
    }
    default: return sx_epilogue_node(r->p->g, r->p->classes, id, r->value, r->value[id], er);
    }
}

/* Computes all marked nodes for one image. */
static sx_err image_values(runner *r, size_t image, sx_error *er)
{
    sx_err e;
    size_t n = sx_graph_size(r->p->g);
    for (size_t i = 0; i < r->passes_done; i++)
        if ((e = sx_store_get(r->store[i], image, r->record[i], er))) return e;
    for (sx_id id = 1; id <= n; id++)
        if (r->mark[id] && (e = image_value(r, id, image, er))) return e;
    return SX_EOK;
}

static void clear_marks(runner *r) { memset(r->mark, 0, sx_graph_size(r->p->g) + 1); }

/* -- Step: sums over images --------------------------------------------------------------------------- */

static sx_err start_batches(runner *r, const plan_step *s, sx_error *er)
{
    for (size_t i = 0; i < s->n; i++) {
        sx_id id = s->id[i];
        if (node(r, id)->op != SX_OP_bsum) continue;
        batch *b = sx_realloc(r->batch, (r->n_batch + 1) * sizeof *b);
        if (!b) return sx_nomem(er);
        r->batch = b;
        b += r->n_batch;
        *b = (batch){.id = id, .len = len_of(r, id)};
        sx_err e = sx_store_new(b->len, mem_of(r) / 16, &b->store, er);
        if (e) return e;
        r->n_batch++;
    }
    return SX_EOK;
}

static void add_to(double *restrict sum, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) sum[i] += x[i];
}

static sx_err sum_images(runner *r, const plan_step *s, sx_error *er)
{
    sx_err e = start_batches(r, s, er);
    clear_marks(r);
    for (size_t i = 0; !e && i < s->n; i++) {
        mark_images(r, node(r, s->id[i])->arg[0]);
        e = room_for(r, s->id[i], er);
        if (!e) memset(r->value[s->id[i]], 0, len_of(r, s->id[i]) * sizeof(double));
    }
    for (size_t image = 0; !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = image_values(r, image, er);
        for (size_t i = 0; !e && i < s->n; i++) {
            sx_id id = s->id[i];
            size_t n = len_of(r, id), B = (size_t)node(r, id)->attr;
            add_to(r->value[id], r->value[node(r, id)->arg[0]], n);
            if (node(r, id)->op != SX_OP_bsum || ((image + 1) % B && image + 1 < r->p->images)) continue;
            e = sx_store_append(find_batch(r, id)->store, r->value[id], er);
            memset(r->value[id], 0, n * sizeof(double));
        }
    }
    return e;
}

/* -- Step: values ------------------------------------------------------------------------------------- */

static sx_err compute_values(runner *r, const plan_step *s, sx_error *er)
{
    for (size_t i = 0; i < s->n; i++) {
        sx_err e = room_for(r, s->id[i], er);
        if (!e) e = sx_epilogue_node(r->p->g, r->p->classes, s->id[i], r->value, r->value[s->id[i]], er);
        if (e) return e;
    }
    return SX_EOK;
}

/* -- Step: a pass over the dump ------------------------------------------------------------------------ */

typedef struct task {
    size_t image, first, count;      /* image inside the wave */
} task;

typedef struct pass_run {
    runner *r;
    sx_prog *prog;
    sx_wave own;                     /* what is decoded here, unless the dump keeps it */
    const sx_image *image;           /* this wave: count images from number first */
    size_t first, count;
    size_t stat_len, import_len;
    bool per_image;                  /* some import has an image axis: one set of imports per image of the wave */
    double *imports;
    char *imports_t;
    double *cells;
    size_t cells_cap;
    task *task;
    size_t n_task, task_cap;
    char **scratch;                  /* per worker */
    uint64_t *valid, *masked;        /* per task */
    double *const *map;              /* per map node; with each: the same per image of the wave */
    size_t n_map;
    bool each;                       /* map every image and hand it out */
    const size_t *map_out, *map_per_px;   /* each: per map node, its output number and its numbers per pixel */
    double *sums;                    /* stat_len: one image's record */
    const sx_box *box;               /* the part of the sweep that is computed; NULL: all of it */
    sx_segment *seg;                 /* records go there, or NULL */
} pass_run;

static sx_err decode_task(void *arg, size_t i, int worker, sx_error *er)
{
    pass_run *pr = arg;
    return sx_dump_decode(pr->r->p->d, &pr->own, i, worker, er);
}

static sx_err block_task(void *arg, size_t i, int worker, sx_error *er)
{
    pass_run *pr = arg;
    const task *t = &pr->task[i];
    size_t set = pr->per_image ? t->image * pr->import_len : 0;
    sx_block b = {.dump = pr->r->p->d, .image = &pr->image[t->image], .index = pr->first + t->image,
                  .first = t->first, .count = t->count, .imports = pr->imports + set,
                  .imports_t = pr->imports_t + set * pr->r->k->size, .cell = pr->cells + i * pr->stat_len,
                  .map = pr->map ? pr->map + (pr->each ? t->image * pr->n_map : 0) : NULL};
    memset(b.cell, 0, pr->stat_len * sizeof *b.cell);
    sx_err e = sx_prog_run(pr->prog, pr->scratch[worker], &b, er);
    pr->valid[i] = b.valid;
    pr->masked[i] = b.masked;
    return e;
}

static sx_err plan_tasks(pass_run *pr, sx_error *er)
{
    pr->n_task = 0;
    for (size_t i = 0; i < pr->count; i++) {
        size_t px = pr->image[i].n_px;
        for (size_t at = 0; at < px; at += SX_BLOCK) {
            if (pr->n_task == pr->task_cap) {
                size_t cap = pr->task_cap ? 2 * pr->task_cap : 64;
                task *t = sx_realloc(pr->task, cap * sizeof *t);
                if (!t) return sx_nomem(er);
                pr->task = t;
                uint64_t *v = sx_realloc(pr->valid, cap * sizeof *v);
                if (!v) return sx_nomem(er);
                pr->valid = v;
                if (!(v = sx_realloc(pr->masked, cap * sizeof *v))) return sx_nomem(er);
                pr->masked = v;
                pr->task_cap = cap;
            }
            pr->task[pr->n_task++] = (task){i, at, px - at < SX_BLOCK ? px - at : SX_BLOCK};
        }
    }
    if (pr->n_task * pr->stat_len > pr->cells_cap || !pr->cells) {
        sx_free(pr->cells);
        pr->cells_cap = pr->n_task * pr->stat_len;
        pr->cells = sx_malloc_aligned((pr->cells_cap + 1) * sizeof *pr->cells);
        if (!pr->cells) {
            pr->cells_cap = 0;
            return sx_nomem(er);
        }
    }
    return SX_EOK;
}

/* Of an import's values those of the box. */
static void copy_import(const pass_run *pr, const sx_import *im, double *dst)
{
    const double *v = pr->r->value[im->id];
    sx_axes axes = node(pr->r, im->id)->axes & SX_SWEEP_MASK;
    if (!pr->box) {
        memcpy(dst, v, im->n * sizeof *dst);
        return;
    }
    size_t n = sx_box_count(pr->r->p->g, pr->box, axes), len = im->n / n;
    for (size_t k = 0; k < n; k++)
        memcpy(dst + k * len, v + sx_box_full(pr->r->p->g, pr->box, axes, k) * len, len * sizeof *dst);
}

static sx_err fill_imports(pass_run *pr, sx_error *er)
{
    runner *r = pr->r;
    const sx_import *im;
    size_t n = sx_prog_imports(pr->prog, &im), sets = pr->per_image ? pr->count : 1;
    for (size_t s = 0; s < sets; s++) {
        sx_err e = pr->per_image ? image_values(r, pr->first + s, er) : SX_EOK;
        if (e) return e;
        double *d = pr->imports + s * pr->import_len;
        for (size_t i = 0; i < n; i++) copy_import(pr, &im[i], d + im[i].off);
        r->k->from_double(pr->imports_t + s * pr->import_len * r->k->size, d, pr->import_len);
    }
    return SX_EOK;
}

static sx_err prepare_imports(pass_run *pr, size_t wave_max, sx_error *er)
{
    runner *r = pr->r;
    const sx_import *im;
    size_t n = sx_prog_imports(pr->prog, &im);
    clear_marks(r);
    for (size_t i = 0; i < n; i++)
        if (node(r, im[i].id)->axes & SX_AX_N) {
            pr->per_image = true;
            mark_images(r, im[i].id);
        }
    size_t len = pr->import_len * (pr->per_image ? wave_max : 1) + 1;
    pr->imports = sx_malloc_aligned(len * sizeof(double));
    pr->imports_t = sx_malloc_aligned(len * sizeof(double));
    if (!pr->imports || !pr->imports_t) return sx_nomem(er);
    return SX_EOK;
}

/* Cells of an image's blocks, in order, into its record. */
static sx_err fold_wave(pass_run *pr, sx_store *st, sx_error *er)
{
    size_t t = 0;
    for (size_t i = 0; i < pr->count; i++) {
        uint64_t valid = 0, masked = 0;
        memset(pr->sums, 0, pr->stat_len * sizeof *pr->sums);
        for (; t < pr->n_task && pr->task[t].image == i; t++) {
            add_to(pr->sums, pr->cells + t * pr->stat_len, pr->stat_len);
            valid += pr->valid[t];
            masked += pr->masked[t];
        }
        sx_err e = pr->seg ? sx_segment_append(pr->seg, pr->sums, valid, masked, er) : sx_store_append(st, pr->sums, er);
        if (e) return e;
    }
    return pr->seg ? sx_segment_sync(pr->seg, false, er) : SX_EOK;
}

static sx_err emit_wave(pass_run *pr, sx_error *er)
{
    const sx_run_opts *o = pr->r->o;
    for (size_t i = 0; i < pr->count; i++)
        for (size_t k = 0; k < pr->n_map; k++) {
            size_t n = pr->map_per_px[k] * pr->image[i].n_px;
            sx_err e = o->emit(o->emit_arg, pr->first + i, pr->map_out[k], pr->map[i * pr->n_map + k], n, er);
            if (e) return e;
        }
    return SX_EOK;
}

/* Makes images from `first` on available: kept ones, or a wave decoded now. keep: the dump may have it afterwards. */
static sx_err next_wave(pass_run *pr, size_t first, size_t most, bool keep, sx_error *er)
{
    sx_dump *d = pr->r->p->d;
    const uint32_t fields = sx_prog_fields(pr->prog);
    const sx_wave *w = sx_dump_kept(d, first, fields);
    sx_err e = SX_EOK;
    if (!w) {
        size_t count = sx_dump_wave_size(d, first, quarter(pr->r, WAVE_BYTES)), threads = (size_t)sx_pool_threads(pr->r->o->pool);
        if (count < threads) count = threads;
        if (count > most) count = most;
        e = sx_dump_prepare(d, first, count, fields, &pr->own, er);
        if (!e) e = sx_pool_for(pr->r->o->pool, pr->own.tasks, decode_task, pr, er);
        if (e) return e;
        if (keep) sx_dump_keep(d, &pr->own, fields);
        w = keep ? sx_dump_kept(d, first, fields) : &pr->own;
        if (!w) return sx_nomem(er);
    }
    pr->first = first;
    pr->image = w->image + (first - w->first);
    pr->count = w->count - (first - w->first);
    if (pr->count > most) pr->count = most;
    return e;
}

static sx_err run_waves(pass_run *pr, size_t from, size_t to, size_t wave_max, sx_store *st, sx_error *er)
{
    runner *r = pr->r;
    uint64_t done = 0, total = 0;
    const bool keep = sx_dump_decoded_bytes(r->p->d) <= mem_of(r) / 4;
    sx_err e = SX_EOK;
    for (size_t i = from; i < to; i++) total += sx_dump_n_px(r->p->d, i);
    if (!pr->per_image && (e = fill_imports(pr, er))) return e;
    for (size_t first = from; first < to; first += pr->count) {
        if ((e = next_wave(pr, first, to - first < wave_max ? to - first : wave_max, keep, er)) ||
            (e = plan_tasks(pr, er)))
            return e;
        if (pr->per_image && (e = fill_imports(pr, er))) return e;
        if ((e = sx_pool_for(r->o->pool, pr->n_task, block_task, pr, er))) return e;
        if ((st || pr->seg) && (e = fold_wave(pr, st, er))) return e;
        if (pr->each && (e = emit_wave(pr, er))) return e;
        for (size_t t = 0; t < pr->n_task; t++) {
            done += pr->task[t].count;
            if (r->passes_done == 0 && !pr->seg) {
                r->res->pixels_valid += pr->valid[t];
                r->res->pixels_masked += pr->masked[t];
            }
        }
        if (r->o->progress && !r->o->progress(r->o->progress_arg, r->passes_done, r->p->info.passes, done, total))
            return sx_fail(er, SX_EINTR, "interrupted");
    }
    return e;
}

/* How many images share a wave at most: so that their cells fit, and progress is told now and then. */
static size_t most_images(const runner *r, size_t stat_len)
{
    size_t blocks = sx_dump_get_info(r->p->d)->max_px / SX_BLOCK + 1, bytes = blocks * stat_len * sizeof(double);
    size_t n = quarter(r, CELL_BYTES) / (bytes + 1) + 1, m = WAVE_PX / (blocks * SX_BLOCK) + 1;
    return n < m ? n : m;
}

static void free_pass(pass_run *pr)
{
    size_t threads = (size_t)sx_pool_threads(pr->r->o->pool);
    for (size_t i = 0; pr->scratch && i < threads; i++) sx_free(pr->scratch[i]);
    sx_free(pr->scratch);
    sx_wave_free(&pr->own);
    sx_free(pr->imports);
    sx_free(pr->imports_t);
    sx_free(pr->cells);
    sx_free(pr->task);
    sx_free(pr->valid);
    sx_free(pr->masked);
    sx_free(pr->sums);
    sx_prog_free(pr->prog);
}

static sx_err start_pass(pass_run *pr, const sx_id *sum, size_t n_sum, const sx_id *map, size_t n_map, sx_error *er)
{
    runner *r = pr->r;
    size_t threads = (size_t)sx_pool_threads(r->o->pool);
    sx_err e = sx_prog_new(r->p->g, sx_dump_get_info(r->p->d), r->k, sum, n_sum, map, n_map, pr->box ? pr->box->count : NULL,
                           &pr->prog, er);
    if (e) return e;
    pr->stat_len = sx_prog_stat_len(pr->prog);
    pr->import_len = sx_prog_import_len(pr->prog);
    pr->sums = sx_calloc(pr->stat_len + 1, sizeof *pr->sums);
    pr->scratch = sx_calloc(threads, sizeof *pr->scratch);
    if (!pr->sums || !pr->scratch) return sx_nomem(er);
    for (size_t i = 0; i < threads; i++) {
        if (!(pr->scratch[i] = sx_malloc_aligned(sx_prog_scratch(pr->prog)))) return sx_nomem(er);
        memset(pr->scratch[i], 0, sx_prog_scratch(pr->prog));
    }
    return SX_EOK;
}

/* A refused pass: the whole dump again, for the count and the first place in order. What refused stays when this fails. */
static void explain(runner *r, pass_run *pr, sx_error *er)
{
    sx_census c = {0};
    sx_error own = {0};
    for (size_t i = 0; i < r->p->images; i++) {
        if (sx_dump_prepare(r->p->d, i, 1, 0, &pr->own, &own)) return;
        for (size_t t = 0; t < pr->own.tasks; t++)
            if (sx_dump_decode(r->p->d, &pr->own, t, 0, &own)) return;
        sx_census_image(&c, r->p->d, &pr->own.image[0], i);
    }
    if (sx_census_error(&c, r->p->d, &own) && er) *er = own;
}

static sx_err do_pass(runner *r, const plan_step *s, sx_error *er)
{
    pass_run pr = {.r = r};
    size_t n = r->passes_done, limit = mem_of(r) / 4 / r->p->info.passes;
    sx_err e = start_pass(&pr, s->id, s->n, NULL, 0, er);
    if (e) goto done;
    size_t wave_max = most_images(r, pr.stat_len);
    for (size_t i = 0; i < s->n; i++) r->stat_at[s->id[i]] = sx_prog_stat_off(pr.prog, i);
    r->record[n] = sx_calloc(pr.stat_len + 1, sizeof(double));
    if (!r->record[n]) {
        e = sx_nomem(er);
        goto done;
    }
    if ((e = sx_store_new(pr.stat_len, limit, &r->store[n], er)) || (e = prepare_imports(&pr, wave_max, er)) ||
        (e = run_waves(&pr, 0, r->p->images, wave_max, r->store[n], er)))
        goto done;
    r->passes_done++;
done:
    if (e == SX_EDATA) explain(r, &pr, er);
    free_pass(&pr);
    return e;
}

/* -- A pass with a run folder: what is on disk is read, the rest is computed, box by box, and stays there ---------------- */

typedef struct kept {
    const plan_step *s;
    uint64_t *key;                   /* of every cell of the pass: [sum][combination] */
    size_t *start, n;                /* first cell of each sum; cells */
    bool *missing;
    sx_segment **seg;                /* where found: the segment, the cell in it, its number in `used` */
    const sx_segment_cell **cell;
    size_t *use;
    size_t *bad;                     /* first image with a number that is not finite, or SIZE_MAX */
    sx_segment **used;               /* distinct segments, a record of each */
    double **rec;
    size_t n_used;
} kept;

static void free_kept(kept *k)
{
    for (size_t i = 0; i < k->n_used; i++) {
        if (k->rec) sx_free(k->rec[i]);
        sx_segment_rest(k->used[i]);
    }
    sx_free(k->key);
    sx_free(k->start);
    sx_free(k->missing);
    sx_free(k->seg);
    sx_free(k->cell);
    sx_free(k->use);
    sx_free(k->bad);
    sx_free(k->used);
    sx_free(k->rec);
}

static sx_err start_kept(runner *r, kept *k, const plan_step *s, sx_error *er)
{
    k->s = s;
    sx_err e = sx_cell_keys(r->p->g, sx_dump_get_info(r->p->d), r->o->use_double, s->id, s->n, &k->key, &k->start, er);
    if (e) return e;
    k->n = k->start[s->n];
    k->missing = sx_calloc(k->n + 1, sizeof *k->missing);
    k->seg = sx_calloc(k->n + 1, sizeof *k->seg);
    k->cell = sx_calloc(k->n + 1, sizeof *k->cell);
    k->use = sx_calloc(k->n + 1, sizeof *k->use);
    k->bad = sx_calloc(k->n + 1, sizeof *k->bad);
    k->used = sx_calloc(k->n + 1, sizeof *k->used);
    k->rec = sx_calloc(k->n + 1, sizeof *k->rec);
    if (!k->missing || !k->seg || !k->cell || !k->use || !k->bad || !k->used || !k->rec) return sx_nomem(er);
    return SX_EOK;
}

/* Looks all cells up; gives how many are missing. */
static size_t find_cells(runner *r, kept *k)
{
    size_t missing = 0;
    for (size_t i = 0; i < k->n; i++) {
        k->missing[i] = !sx_keep_find(r->o->keep, k->key[i], r->p->images, &k->seg[i], &k->cell[i]);
        missing += k->missing[i];
    }
    return missing;
}

static sx_err list_segments(kept *k, sx_error *er)
{
    for (size_t i = 0; i < k->n_used; i++) sx_free(k->rec[i]);
    k->n_used = 0;
    for (size_t i = 0; i < k->n; i++) {
        size_t u = 0;
        if (k->missing[i]) continue;
        if (i && !k->missing[i - 1] && k->seg[i - 1] == k->seg[i]) u = k->use[i - 1];
        while (u < k->n_used && k->used[u] != k->seg[i]) u++;
        k->use[i] = u;
        if (u < k->n_used) continue;
        k->used[u] = k->seg[i];
        if (!(k->rec[u] = sx_malloc((k->seg[i]->len + 1) * sizeof **k->rec))) return sx_nomem(er);
        k->n_used++;
    }
    return SX_EOK;
}

static bool finite_cell(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

/* Goes through the images of the cells that are there; their records go to the store if there is one. */
static sx_err load_cells(runner *r, kept *k, sx_store *st, double *record, sx_error *er)
{
    sx_segment_record head = {0};
    sx_err e = list_segments(k, er);
    for (size_t i = 0; i < k->n; i++) k->bad[i] = SIZE_MAX;
    for (size_t image = 0; !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        for (size_t u = 0; !e && u < k->n_used; u++) {
            e = sx_segment_read(k->used[u], image, k->rec[u], &head, er);
            if (k->n_used > 100) sx_segment_rest(k->used[u]);
        }
        if (!e && st && r->passes_done == 0) {
            r->res->pixels_valid += head.valid;
            r->res->pixels_masked += head.masked;
        }
        size_t at = 0;
        for (size_t i = 0; !e && i < k->n; i++) {
            if (k->missing[i]) continue;
            const double *v = k->rec[k->use[i]] + k->cell[i]->off;
            if (st) memcpy(record + at, v, k->cell[i]->len * sizeof *v);
            if (k->bad[i] == SIZE_MAX && !finite_cell(v, k->cell[i]->len)) k->bad[i] = image;
            at += k->cell[i]->len;
        }
        if (!e && st) e = sx_store_append(st, record, er);
    }
    return e;
}

static sx_err forget_bad(runner *r, kept *k, sx_error *er)
{
    sx_err e = load_cells(r, k, NULL, NULL, er);
    for (size_t i = 0; !e && i < k->n; i++)
        if (!k->missing[i] && k->bad[i] != SIZE_MAX) sx_keep_forget(r->o->keep, k->key[i]);
    return e;
}

/* The cells that sums id[0 .. n-1] (number[i] in the step) have inside the box, in the order of the program's sums. */
static size_t box_cells(const runner *r, const kept *k, const pass_run *pr, const size_t *number, size_t n,
                        sx_segment_cell *cell, sx_id *sum, size_t *combo)
{
    size_t c = 0;
    for (size_t i = 0; i < n; i++) {
        sx_id id = k->s->id[number[i]];
        sx_axes axes = node(r, id)->axes & SX_SWEEP_MASK;
        size_t count = sx_box_count(r->p->g, pr->box, axes), len = len_of(r, id) / sx_axes_count(r->p->g, axes);
        for (size_t j = 0; j < count; j++, c++) {
            combo[c] = sx_box_full(r->p->g, pr->box, axes, j);
            sum[c] = id;
            cell[c] = (sx_segment_cell){k->key[k->start[number[i]] + combo[c]], sx_prog_stat_off(pr->prog, i) + j * len, len};
        }
    }
    return c;
}

/* One walk over the dump for as many missing cells as form a box. */
static sx_err fill_box(runner *r, kept *k, sx_error *er)
{
    const sx_graph *g = r->p->g;
    sx_box box = {0};
    pass_run pr = {.r = r, .box = &box};
    size_t n = 0, *number = sx_calloc(k->s->n + 1, sizeof *number), *combo = sx_calloc(k->n + 1, sizeof *combo);
    sx_id *id = sx_calloc(k->s->n + 1, sizeof *id), *sum = sx_calloc(k->n + 1, sizeof *sum);
    sx_segment_cell *cell = sx_calloc(k->n + 1, sizeof *cell);
    sx_err e = number && combo && id && sum && cell ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; !e && i < k->s->n; i++) {
        bool taken;
        e = sx_box_take(g, &box, node(r, k->s->id[i])->axes & SX_SWEEP_MASK, k->missing + k->start[i], &taken, er);
        if (e || !taken) continue;
        number[n] = i;
        id[n++] = k->s->id[i];
    }
    for (int a = 0; a < sx_graph_axes(g); a++)
        if (!box.index[a]) box.count[a] = sx_graph_axis_get(g, a)->count;
    if (e || (e = start_pass(&pr, id, n, NULL, 0, er))) goto done;
    size_t cells = box_cells(r, k, &pr, number, n, cell, sum, combo), wave_max = most_images(r, pr.stat_len);
    if ((e = sx_keep_begin(r->o->keep, cell, cells, r->p->images, pr.stat_len, &pr.seg, er))) goto done;
    size_t found = pr.seg->done;
    r->res->images_found += found;
    if (!(e = prepare_imports(&pr, wave_max, er))) e = run_waves(&pr, found, r->p->images, wave_max, NULL, er);
    r->res->images_new += pr.seg->done - found;
    if (!e) e = sx_keep_finish(r->o->keep, pr.seg, g, sum, combo, er);
    r->res->cells_new += cells;
    r->res->passes++;
done:
    if (e == SX_EDATA) explain(r, &pr, er);
    free_pass(&pr);
    sx_box_clear(&box);
    sx_free(number);
    sx_free(combo);
    sx_free(id);
    sx_free(sum);
    sx_free(cell);
    return e;
}

static sx_err note_bad(runner *r, const kept *k, sx_error *er)
{
    for (size_t i = 0, s = 0; i < k->n; i++) {
        while (i >= k->start[s + 1]) s++;
        if (k->bad[i] == SIZE_MAX) continue;
        struct sx_bad *b = sx_realloc(r->res->bad, (r->res->n_bad + 1) * sizeof *b);
        if (!b) return sx_nomem(er);
        r->res->bad = b;
        b[r->res->n_bad++] = (struct sx_bad){k->s->id[s], i - k->start[s], k->bad[i]};
    }
    return SX_EOK;
}

static sx_err kept_pass(runner *r, const plan_step *s, sx_error *er)
{
    kept k = {0};
    size_t pass = r->passes_done, len = 0, missing, limit = mem_of(r) / 4 / r->p->info.passes;
    sx_err e = start_kept(r, &k, s, er);
    if (e) goto done;
    for (size_t i = 0; i < s->n; i++) {
        r->stat_at[s->id[i]] = len;
        len += len_of(r, s->id[i]);
    }
    missing = find_cells(r, &k);
    if (sx_keep_retries(r->o->keep)) {
        if ((e = forget_bad(r, &k, er))) goto done;
        missing = find_cells(r, &k);
    }
    r->res->cells_found += k.n - missing;
    while (missing) {
        if ((e = fill_box(r, &k, er))) goto done;
        size_t left = find_cells(r, &k);
        if (left >= missing) {
            e = sx_fail(er, SX_EBUG, "a pass has made nothing ready");
            goto done;
        }
        missing = left;
    }
    r->record[pass] = sx_calloc(len + 1, sizeof(double));
    if (!r->record[pass]) {
        e = sx_nomem(er);
        goto done;
    }
    if ((e = sx_store_new(len, limit, &r->store[pass], er)) ||
        (e = load_cells(r, &k, r->store[pass], r->record[pass], er)) || (e = note_bad(r, &k, er)))
        goto done;
    r->passes_done++;
done:
    free_kept(&k);
    return e;
}

static sx_err do_map(runner *r, const plan_step *s, double *const *map, sx_error *er)
{
    pass_run pr = {.r = r, .map = map};
    sx_err e = start_pass(&pr, NULL, 0, s->id, s->n, er);
    if (!e && !(e = prepare_imports(&pr, 1, er))) e = run_waves(&pr, r->p->map_image, r->p->map_image + 1, 1, NULL, er);
    free_pass(&pr);
    return e;
}

/* Every image: as many at once as fit. */
static sx_err do_map_each(runner *r, const plan_step *s, sx_error *er)
{
    size_t n_map = s->n, per_px = 0, max_px = sx_dump_get_info(r->p->d)->max_px, k = 0, wave_max;
    size_t *out = sx_calloc(n_map + 1, sizeof *out), *len = sx_calloc(n_map + 1, sizeof *len);
    double **map = NULL;
    sx_err e = SX_EOK;
    pass_run pr = {.r = r, .each = true, .n_map = n_map, .map_out = out, .map_per_px = len};
    if (!out || !len) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < r->p->n_out; i++)
        if (node(r, r->p->out[i])->axes & SX_AX_P) {
            len[k] = len_of(r, r->p->out[i]);
            per_px += len[k];
            out[k++] = i;
        }
    wave_max = MAP_BYTES / (per_px * max_px * sizeof(double) + 1);
    if (wave_max < 1) wave_max = 1;
    if (wave_max > 64) wave_max = 64;
    if (wave_max > r->p->images) wave_max = r->p->images;
    map = sx_calloc(wave_max * n_map + 1, sizeof *map);
    if (!map) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < wave_max * n_map; i++)
        if (!(map[i] = sx_malloc_aligned((len[i % n_map] * max_px + 1) * sizeof **map))) {
            e = sx_nomem(er);
            goto done;
        }
    pr.map = map;
    if (!(e = start_pass(&pr, NULL, 0, s->id, s->n, er)) && !(e = prepare_imports(&pr, wave_max, er)))
        e = run_waves(&pr, 0, r->p->images, wave_max, NULL, er);
    if (e == SX_EDATA) explain(r, &pr, er);
done:
    for (size_t i = 0; map && i < wave_max * n_map; i++) sx_free(map[i]);
    sx_free(map);
    sx_free(out);
    sx_free(len);
    free_pass(&pr);
    return e;
}

/* -- Outputs --------------------------------------------------------------------------------------------- */

static sx_err allocate(runner *r, sx_array *a, sx_id id, sx_error *er)
{
    const sx_node *n = node(r, id);
    a->axes = n->axes;
    a->n = len_of(r, id);
    if (n->axes & SX_AX_P && r->p->map_image == SX_EACH_IMAGE) a->n = 0;
    else if (n->axes & SX_AX_P) a->n *= sx_dump_n_px(r->p->d, r->p->map_image);
    else if (n->axes & SX_AX_N) a->n *= r->p->images;
    a->v = sx_calloc(a->n + 1, sizeof *a->v);
    return a->v ? SX_EOK : sx_nomem(er);
}

/* Image-wise outputs: [sweep][n][L][C]. */
static sx_err imagewise_outputs(runner *r, sx_error *er)
{
    sx_err e = SX_EOK;
    bool any = false;
    clear_marks(r);
    for (size_t i = 0; i < r->p->n_out; i++) {
        const sx_node *n = node(r, r->p->out[i]);
        if (!(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) continue;
        mark_images(r, r->p->out[i]);
        any = true;
    }
    for (size_t image = 0; any && !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = image_values(r, image, er);
        for (size_t i = 0; !e && i < r->p->n_out; i++) {
            sx_id id = r->p->out[i];
            const sx_node *n = node(r, id);
            if (!(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) continue;
            size_t combos = sx_axes_count(r->p->g, n->axes), rec = len_of(r, id) / combos;
            for (size_t k = 0; k < combos; k++)
                memcpy(r->res->out[i].v + (k * r->p->images + image) * rec, r->value[id] + k * rec, rec * sizeof(double));
        }
    }
    return e;
}

static sx_err collect(runner *r, const plan_step *map_step, sx_error *er)
{
    sx_plan *p = r->p;
    double **map = sx_calloc(p->n_out + 1, sizeof *map);
    size_t n_map = 0;
    sx_err e = map ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; !e && i < p->n_out; i++) {
        sx_array *a = &r->res->out[i];
        const sx_node *n = node(r, p->out[i]);
        if ((e = allocate(r, a, p->out[i], er))) break;
        if (n->axes & SX_AX_P) map[n_map++] = a->v;
        else if (!(n->axes & SX_AX_N)) memcpy(a->v, r->value[p->out[i]], a->n * sizeof *a->v);
    }
    if (!e) e = imagewise_outputs(r, er);
    if (!e && map_step) e = p->map_image == SX_EACH_IMAGE ? do_map_each(r, map_step, er) : do_map(r, map_step, map, er);
    sx_free(map);
    return e;
}

static uint64_t spilled(const runner *r)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->passes_done; i++) bytes += sx_store_spilled(r->store[i]);
    for (size_t i = 0; i < r->n_batch; i++) bytes += sx_store_spilled(r->batch[i].store);
    return bytes;
}

static void free_runner(runner *r)
{
    size_t n = sx_graph_size(r->p->g);
    for (size_t i = 0; r->value && i <= n; i++) sx_free(r->value[i]);
    for (size_t i = 0; i < r->p->info.passes; i++) {
        if (r->store) sx_store_free(r->store[i]);
        if (r->record) sx_free(r->record[i]);
    }
    for (size_t i = 0; i < r->n_batch; i++) sx_store_free(r->batch[i].store);
    sx_free(r->batch);
    sx_free(r->value);
    sx_free(r->stat_at);
    sx_free(r->store);
    sx_free(r->record);
    sx_free(r->mark);
}

sx_err sx_plan_run(sx_plan *p, const sx_run_opts *o, sx_result **out, sx_error *er)
{
    size_t n = sx_graph_size(p->g) + 1;
    runner r = {.p = p, .o = o, .k = sx_kernels_get(o->isa, o->use_double)};
    const plan_step *map = NULL;
    sx_err e = SX_EOK;
    *out = NULL;
    if (p->map_image == SX_EACH_IMAGE && !o->emit) return sx_fail(er, SX_EARG, "images to be handed out, but no one to take them");
    if (!r.k) return sx_fail(er, SX_EARG, "this build has no kernels for ISA level '%s'", sx_isa_name(o->isa));
    r.value = sx_calloc(n, sizeof *r.value);
    r.stat_at = sx_calloc(n, sizeof *r.stat_at);
    r.mark = sx_calloc(n, 1);
    r.store = sx_calloc(p->info.passes + 1, sizeof *r.store);
    r.record = sx_calloc(p->info.passes + 1, sizeof *r.record);
    r.res = sx_calloc(1, sizeof *r.res);
    if (r.res) r.res->out = sx_calloc(p->n_out + 1, sizeof *r.res->out);
    if (!r.value || !r.stat_at || !r.mark || !r.store || !r.record || !r.res || !r.res->out) {
        e = sx_nomem(er);
        goto done;
    }
    r.res->n_out = p->n_out;
    r.res->passes = o->keep ? 0 : p->info.passes;
    for (size_t i = 0; !e && i < p->n_step; i++) {
        const plan_step *s = &p->step[i];
        switch (s->kind) {
        case STEP_VALUES: e = compute_values(&r, s, er); break;
        case STEP_IMAGES: e = sum_images(&r, s, er); break;
        case STEP_PASS: e = o->keep ? kept_pass(&r, s, er) : do_pass(&r, s, er); break;
        case STEP_MAP: map = s; break;
        }
    }
    if (!e) e = collect(&r, map, er);
    if (!e) r.res->spilled = spilled(&r);
done:
    free_runner(&r);
    if (e) {
        sx_result_free(r.res);
        r.res = NULL;
    }
    *out = r.res;
    return e;
}

void sx_result_free(sx_result *r)
{
    if (!r) return;
    for (size_t i = 0; r->out && i < r->n_out; i++) sx_free(r->out[i].v);
    sx_free(r->out);
    sx_free(r->bad);
    sx_free(r);
}
