/*
 * rank.c: see rank.h. Kendall: pairs in the order of x; the y ranks seen so far, with their
 * multiplicities, are kept in a Fenwick tree, so each pair learns in O(log n) how many earlier ones
 * agree and disagree with it (Knight 1966 counts the same by merging).
 */
#include "stats/rank.h"

#include <math.h>
#include <stdlib.h>

typedef struct item {
    double x, y;
    size_t at;
} item;

struct sx_rank {
    size_t n, ys;      /* pairs without NaN; distinct values of y */
    size_t *at;        /* by order of x: place in the caller's lists */
    uint32_t *x, *y;   /* by order of x: rank among distinct values, from 0 */
    int64_t *tree;     /* scratch, ys + 1: Fenwick tree, or counts by rank */
    int64_t *mid;      /* scratch, max(distinct) + 1: twice the mid-rank */
};

static int by_x(const void *a, const void *b)
{
    const item *p = a, *q = b;
    if (p->x < q->x || p->x > q->x) return p->x < q->x ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

static int by_y(const void *a, const void *b)
{
    const item *p = a, *q = b;
    if (p->y < q->y || p->y > q->y) return p->y < q->y ? -1 : 1;
    return p->at < q->at ? -1 : p->at > q->at;
}

sx_err sx_rank_new(const double *x, const double *y, size_t n, sx_rank **out, sx_error *er)
{
    sx_err e = SX_EOK;
    *out = NULL;
    if (n > INT32_MAX) return sx_fail(er, SX_EARG, "rank correlation: too many pairs");
    sx_rank *r = sx_calloc(1, sizeof *r);
    item *list = sx_calloc(n, sizeof *list);
    uint32_t *rank = sx_calloc(n, sizeof *rank); /* of y, by place */
    if (!r || !list || !rank) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i]) && !isnan(y[i])) list[r->n++] = (item){x[i], y[i], i};
    r->at = sx_calloc(r->n, sizeof *r->at);
    r->x = sx_calloc(r->n, sizeof *r->x);
    r->y = sx_calloc(r->n, sizeof *r->y);
    r->tree = sx_calloc(r->n + 1, sizeof *r->tree);
    r->mid = sx_calloc(r->n + 1, sizeof *r->mid);
    if (!r->at || !r->x || !r->y || !r->tree || !r->mid) {
        e = sx_nomem(er);
        goto done;
    }
    qsort(list, r->n, sizeof *list, by_y);
    for (size_t i = 0; i < r->n; i++) {
        if (i == 0 || list[i].y > list[i - 1].y) r->ys++;
        rank[list[i].at] = (uint32_t)(r->ys - 1);
    }
    qsort(list, r->n, sizeof *list, by_x);
    for (size_t i = 0; i < r->n; i++) {
        r->at[i] = list[i].at;
        r->y[i] = rank[list[i].at];
        r->x[i] = i == 0 ? 0 : r->x[i - 1] + (list[i].x > list[i - 1].x);
    }
done:
    sx_free(list);
    sx_free(rank);
    if (e) {
        sx_rank_free(r);
        return e;
    }
    *out = r;
    return SX_EOK;
}

void sx_rank_free(sx_rank *r)
{
    if (!r) return;
    sx_free(r->at);
    sx_free(r->x);
    sx_free(r->y);
    sx_free(r->tree);
    sx_free(r->mid);
    sx_free(r);
}

size_t sx_rank_pairs(const sx_rank *r) { return r->n; }

static int64_t weight(const sx_rank *r, const uint32_t *w, size_t i)
{
    return w ? (int64_t)w[r->at[i]] : 1;
}

static int64_t choose2(int64_t n) { return n * (n - 1) / 2; }

/* Number of entries with a rank below k. */
static int64_t below(const int64_t *tree, size_t k)
{
    int64_t sum = 0;
    for (; k; k &= k - 1) sum += tree[k];
    return sum;
}

static void add(int64_t *tree, size_t size, size_t k, int64_t v)
{
    for (k++; k <= size; k += k & (~k + 1)) tree[k] += v;
}

double sx_rank_kendall(sx_rank *r, const uint32_t *w)
{
    int64_t total = 0, net = 0, same_x = 0, same_y = 0, seen = 0;
    for (size_t k = 0; k <= r->ys; k++) r->tree[k] = 0;
    for (size_t i = 0; i < r->n;) {
        size_t end = i;
        int64_t run = 0;
        for (; end < r->n && r->x[end] == r->x[i]; end++) {
            int64_t v = weight(r, w, end);
            if (!v) continue;
            int64_t less = below(r->tree, r->y[end]);
            int64_t more = seen - below(r->tree, (size_t)r->y[end] + 1);
            net += v * (less - more);
            run += v;
        }
        for (; i < end; i++) {
            int64_t v = weight(r, w, i);
            if (v) add(r->tree, r->ys, r->y[i], v);
        }
        seen += run;
        same_x += choose2(run);
    }
    total = seen;
    for (size_t k = 0; k < r->ys; k++)
        same_y += choose2(below(r->tree, k + 1) - below(r->tree, k));
    double dx = (double)(choose2(total) - same_x), dy = (double)(choose2(total) - same_y);
    /* The square roots apart: their product cannot overflow, and equal factors give exactly 1. */
    if (!(dx > 0) || !(dy > 0)) return (double)NAN;
    return dx == dy ? (double)net / dx : (double)net / sqrt(dx) / sqrt(dy);
}

double sx_rank_spearman(sx_rank *r, const uint32_t *w)
{
    /* Twice the mid-rank of each y, minus (total + 1): centred, an integer. */
    int64_t total = 0;
    for (size_t k = 0; k <= r->n; k++) r->mid[k] = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->mid[r->y[i]] += weight(r, w, i);
        total += weight(r, w, i);
    }
    int64_t before = 0;
    for (size_t k = 0; k < r->ys; k++) {
        int64_t count = r->mid[k];
        r->mid[k] = 2 * before + count - total;
        before += count;
    }
    double xx = 0, yy = 0, xy = 0;
    before = 0;
    for (size_t i = 0; i < r->n;) {
        size_t end = i;
        int64_t run = 0;
        for (; end < r->n && r->x[end] == r->x[i]; end++) run += weight(r, w, end);
        double mx = (double)(2 * before + run - total);
        for (; i < end; i++) {
            double v = (double)weight(r, w, i), my = (double)r->mid[r->y[i]];
            xx += v * mx * mx;
            yy += v * my * my;
            xy += v * mx * my;
        }
        before += run;
    }
    if (!(xx > 0) || !(yy > 0)) return (double)NAN;
    double rho = sqrt(xx) == sqrt(yy) ? xy / xx : xy / sqrt(xx) / sqrt(yy);
    return rho > 1 ? 1 : rho < -1 ? -1 : rho;
}
