/* overlap.c: see overlap.h. */
#include "stats/overlap.h"

#include <math.h>
#include <stdlib.h>

static double ratio(sx_metric m, double tp, double predicted, double labelled)
{
    switch (m) {
    case SX_IOU: return tp / (predicted + labelled - tp);     /* 0 / 0 is NaN on purpose */
    case SX_DICE: return 2 * tp / (predicted + labelled);
    case SX_PRECISION: return tp / predicted;
    default: return tp / labelled;
    }
}

static void pool(const sx_overlap *o, size_t k, const uint32_t *w, size_t c, double sum[3])
{
    const size_t C = o->classes;
    const uint32_t *x = o->counts + k * o->images * 3 * C + c;
    uint64_t s[3] = {0, 0, 0};
    for (size_t i = 0; i < o->images; i++, x += 3 * C) {
        const uint64_t times = w ? w[i] : 1;
        for (size_t j = 0; j < 3; j++) s[j] += times * x[j * C];
    }
    for (size_t j = 0; j < 3; j++) sum[j] = (double)s[j];
}

double sx_overlap_value(const sx_overlap *o, size_t k, const uint32_t *w)
{
    double s[3], total = 0, right = 0, all = 0;
    size_t n = 0;
    if (o->metric != SX_ACCURACY && o->of != SX_MEAN) {
        pool(o, k, w, o->of, s);
        return ratio(o->metric, s[0], s[1], s[2]);
    }
    for (size_t c = 0; c < o->classes; c++) {
        pool(o, k, w, c, s);
        right += s[0];
        all += s[2];
        const double v = ratio(o->metric, s[0], s[1], s[2]);
        if (isnan(v)) continue;
        total += v;
        n++;
    }
    return o->metric == SX_ACCURACY ? right / all : total / (double)n;
}

typedef struct pair {
    const sx_overlap *o;
    size_t k, minus;
} pair;

static double pair_value(void *arg, const uint32_t *w, size_t n)
{
    const pair *p = arg;
    (void)n;
    const double v = sx_overlap_value(p->o, p->k, w);
    return p->minus == SIZE_MAX ? v : v - sx_overlap_value(p->o, p->minus, w);
}

sx_err sx_overlap_interval(const sx_overlap *o, size_t k, size_t minus, const sx_boot *b, double *value, double *lo, double *hi,
                           sx_error *er)
{
    pair p = {o, k, minus};
    return sx_boot_interval(b, pair_value, &p, value, lo, hi, er);
}

typedef struct item {
    double v;
    size_t k;
} item;

static int larger_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (isnan(x->v) || isnan(y->v)) return isnan(x->v) - isnan(y->v);
    return x->v > y->v ? -1 : x->v < y->v;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

sx_err sx_overlap_ranks(const sx_overlap *o, size_t n, const sx_boot *b, double *lo, double *hi, sx_error *er)
{
    const size_t units = b->group ? b->units : b->n, R = b->resamples;
    uint32_t *times = sx_calloc(units + 1, sizeof *times), *w = sx_calloc(b->n + 1, sizeof *w);
    uint32_t *rank = sx_calloc(n * R + 1, sizeof *rank);      /* [configuration][resample], twice the middle of equal ones */
    item *list = sx_calloc(n + 1, sizeof *list);
    sx_err e = times && w && rank && list ? SX_EOK : sx_nomem(er);
    for (size_t s = 0; !e && s < R; s++) {
        if (sx_interrupted()) {
            e = sx_fail(er, SX_EINTR, "interrupted");
            break;
        }
        sx_boot_draw(b, s, times, w);
        for (size_t k = 0; k < n; k++) list[k] = (item){sx_overlap_value(o, k, w), k};
        qsort(list, n, sizeof *list, larger_first);
        for (size_t i = 0, j; i < n; i = j) {
            for (j = i + 1; j < n && larger_first(&list[i], &list[j]) == 0;) j++;
            for (size_t k = i; k < j; k++) rank[list[k].k * R + s] = (uint32_t)(i + 1 + j);
        }
    }
    for (size_t k = 0; !e && k < n; k++) {
        qsort(rank + k * R, R, sizeof *rank, by_number);
        const double tail = (1 - b->level) / 2 * (double)(R - 1);
        lo[k] = rank[k * R + (size_t)floor(tail)] / 2.0;
        hi[k] = rank[k * R + (size_t)ceil((double)(R - 1) - tail)] / 2.0;
    }
    sx_free(times);
    sx_free(w);
    sx_free(rank);
    sx_free(list);
    return e;
}
