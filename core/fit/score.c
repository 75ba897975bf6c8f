/* score.c: the dump in waves, blocks of pixels in parallel; a block's pixels are staged once and looked at by all configurations. Counts
 * are whole numbers, so the order in which blocks arrive does not matter. */
#include "fit/score.h"

#include <pthread.h>
#include <string.h>

#include "cpu/kernels.h"
#include "fit/visit.h"

#define BLOCK ((size_t)1 << 15)

typedef struct task {
    size_t number, first, count;  /* number: of the image in the list */
} task;

typedef struct work {
    sx_dump *d;
    const sx_score *s;
    const sx_kernels *k;
    const char *theta;            /* in the arithmetic's type */
    sx_pool *pool;
    const sx_wave *wave;
    task *task;
    size_t n_task, cap;
    char **scratch;               /* per worker: a plane, labels, predictions, counts */
    pthread_mutex_t lock;
} work;

static size_t plane_bytes(const work *w) { return sx_dump_get_info(w->d)->classes * SX_TILE * w->k->size; }
static size_t block_counts(const work *w) { return w->s->count * SX_COUNTS * sx_dump_get_info(w->d)->classes; }

static size_t scratch_bytes(const work *w)
{
    return plane_bytes(w) + 2 * SX_TILE * sizeof(int32_t) + block_counts(w) * sizeof(uint32_t);
}

/* Stages pixels from `at` on: logits as rows, and the class of each, or C. */
static sx_err stage(const work *w, const task *t, size_t at, size_t n, char *plane, int32_t *lab, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(w->d);
    const size_t C = info->classes, index = w->s->image[t->number], rows = (n + SX_LANES - 1) / SX_LANES * SX_LANES;
    const sx_image *im = &w->wave->image[index - w->wave->first];
    const size_t skip = info->activation == SX_SIGMOID1, es = w->k->size;
    const sx_src src = {.x = (const char *)im->logits + at * im->p_stride * sx_dtype_size(info->logits_type), .type = info->logits_type,
                        .c_stride = im->c_stride, .p_stride = im->p_stride, .n_px = n, .channels = C - skip};
    bool odd = false;
    if (skip) w->k->fill(plane, 0, rows);
    for (size_t c = skip; c < C; c++) {
        odd |= w->k->load(plane + c * SX_TILE * es, &src, c - skip, rows);
        if (info->activation == SX_PROBS) w->k->log_prob(plane + c * SX_TILE * es, rows);
    }
    for (size_t i = 0; i < n; i++) {
        const int64_t v = sx_label_value(im->labels, info->labels_type, at + i);
        const size_t c = sx_dump_label_class(w->d, v);
        if (c == SIZE_MAX) return sx_dump_bad_label(w->d, v, index, at + i, 0, 0, er);
        lab[i] = (int32_t)c;
    }
    for (size_t c = 0; odd && c < C; c++)
        for (size_t i = 0; i < n; i++) {
            const char *p = plane + (c * SX_TILE + i) * es;
            const double v = es == 4 ? (double)*(const float *)(const void *)p : *(const double *)(const void *)p;
            if (v != v || v > 1.7e308) lab[i] = (int32_t)C;
        }
    return SX_EOK;
}

static sx_err block(void *arg, size_t i, int worker, sx_error *er)
{
    work *w = arg;
    const sx_score *s = w->s;
    const task *t = &w->task[i];
    const size_t C = sx_dump_get_info(w->d)->classes, total = block_counts(w);
    char *plane = w->scratch[worker];
    int32_t *lab = (int32_t *)(void *)(plane + plane_bytes(w)), *best = lab + SX_TILE;
    uint32_t *counts = (uint32_t *)(void *)(best + SX_TILE);
    memset(counts, 0, total * sizeof *counts);
    for (size_t at = t->first; at < t->first + t->count; at += SX_TILE) {
        const size_t left = t->first + t->count - at, n = left < SX_TILE ? left : SX_TILE;
        sx_err e = stage(w, t, at, n, plane, lab, er);
        if (e) return e;
        for (size_t k = 0; k < s->count; k++) {
            const char *theta = w->theta + (s->fold[t->number] * s->count + k) * (1 + C) * w->k->size;
            uint32_t *own = counts + k * SX_COUNTS * C;
            w->k->best(plane, theta, C, SX_TILE, n, best);
            for (size_t p = 0; p < n; p++) {
                if ((size_t)lab[p] >= C) continue;
                own[SX_TRUE_POSITIVE * C + (size_t)lab[p]] += best[p] == lab[p];
                own[SX_PREDICTED * C + (size_t)best[p]]++;
                own[SX_LABELLED * C + (size_t)lab[p]]++;
            }
        }
    }
    pthread_mutex_lock(&w->lock);
    for (size_t k = 0; k < s->count; k++) {
        uint32_t *to = s->counts + (k * s->n + t->number) * SX_COUNTS * C;
        for (size_t j = 0; j < SX_COUNTS * C; j++) to[j] += counts[k * SX_COUNTS * C + j];
    }
    pthread_mutex_unlock(&w->lock);
    return SX_EOK;
}

/* Blocks of the wanted images of a wave. */
static sx_err plan(work *w, size_t from, size_t to, sx_error *er)
{
    w->n_task = 0;
    for (size_t n = from; n < to; n++) {
        const size_t px = w->wave->image[w->s->image[n] - w->wave->first].n_px;
        for (size_t at = 0; at < px; at += BLOCK) {
            if (w->n_task == w->cap) {
                const size_t cap = w->cap ? 2 * w->cap : 64;
                task *grown = sx_realloc(w->task, cap * sizeof *grown);
                if (!grown) return sx_nomem(er);
                w->task = grown;
                w->cap = cap;
            }
            w->task[w->n_task++] = (task){n, at, px - at < BLOCK ? px - at : BLOCK};
        }
    }
    return SX_EOK;
}

static sx_err score_wave(void *arg, const sx_wave *wave, size_t from, size_t to, sx_error *er)
{
    work *w = arg;
    w->wave = wave;
    sx_err e = plan(w, from, to, er);
    return e ? e : sx_pool_for(w->pool, w->n_task, block, w, er);
}

sx_err sx_score_run(sx_dump *d, const sx_score *s, sx_pool *pool, sx_error *er)
{
    const size_t C = sx_dump_get_info(d)->classes, n_theta = s->folds * s->count * (1 + C);
    const size_t threads = (size_t)sx_pool_threads(pool);
    work w = {.d = d, .s = s, .pool = pool, .k = sx_kernels_get(s->isa, s->use_double)};
    char *theta = sx_malloc_aligned((n_theta + 1) * w.k->size);
    sx_err e = SX_EOK;
    if (pthread_mutex_init(&w.lock, NULL)) {
        sx_free(theta);
        return sx_nomem(er);
    }
    w.scratch = sx_calloc(threads, sizeof *w.scratch);
    if (!theta || !w.scratch) e = sx_nomem(er);
    for (size_t i = 0; !e && i < threads; i++)
        if (!(w.scratch[i] = sx_malloc_aligned(scratch_bytes(&w)))) e = sx_nomem(er);
    if (!e) {
        w.k->from_double(theta, s->theta, n_theta);
        w.theta = theta;
        memset(s->counts, 0, s->count * s->n * SX_COUNTS * C * sizeof *s->counts);
    }
    if (!e) e = sx_visit(d, s->image, s->n, 0, pool, score_wave, &w, er);
    for (size_t i = 0; w.scratch && i < threads; i++) sx_free(w.scratch[i]);
    sx_free(w.scratch);
    sx_free(w.task);
    sx_free(theta);
    pthread_mutex_destroy(&w.lock);
    return e;
}
