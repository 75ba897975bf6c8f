/* sort.c: pixels in order of a value (radix sort, stable), and sums in that order. */
#include <string.h>

#include "field/field.h"

#define MOST_COUNTS (3U << 11)    /* three digits of 11 bits; for few numbers four of 8, whose counts are soon cleared */
#define FEW 4096
#define SHORT 24                  /* runs up to this are sorted by insertion */

typedef struct pair {
    uint32_t key, px;
} pair;

/* Keys ascend as values descend; NaN, whatever its sign, comes first. */
static uint32_t key32(float v)
{
    uint32_t b;
    v += 0.0F;                                   /* -0 is 0 */
    memcpy(&b, &v, sizeof b);
    if (v != v) return 0;
    return b >> 31 ? b : ~b & 0x7fffffffU;
}

static uint64_t key64(double v)
{
    uint64_t b;
    v += 0.0;
    memcpy(&b, &v, sizeof b);
    if (v != v) return 0;
    return b >> 63 ? b : ~b & 0x7fffffffffffffffU;
}

/* Stable, by key, in a or b: where it says. Digits that all keys share are skipped. */
static pair *sort_pairs(pair *a, pair *b, size_t n, size_t *count)
{
    const unsigned bits = n < FEW ? 8 : 11, digits = (31 + bits) / bits, buckets = 1U << bits, mask = buckets - 1;
    memset(count, 0, digits * buckets * sizeof *count);
    for (size_t i = 0; i < n; i++)
        for (unsigned d = 0; d < digits; d++) count[d * buckets + (a[i].key >> d * bits & mask)]++;
    for (unsigned d = 0; d < digits && n; d++) {
        size_t *at = count + d * buckets, sum = 0;
        if (at[a[0].key >> d * bits & mask] == n) continue;
        for (size_t k = 0; k < buckets; k++) {
            const size_t c = at[k];
            at[k] = sum;
            sum += c;
        }
        for (size_t i = 0; i < n; i++) b[at[a[i].key >> d * bits & mask]++] = a[i];
        pair *t = a;
        a = b;
        b = t;
    }
    return a;
}

/* Doubles whose first 32 bits are equal, by the others. */
static void sort_run(pair *a, pair *b, size_t n, const double *v, size_t *count)
{
    bool same = true;
    for (size_t i = 0; i < n; i++) {
        a[i].key = (uint32_t)key64(v[a[i].px]);
        same &= a[i].key == a[0].key;
    }
    if (same) return;
    if (n > SHORT) {
        const pair *sorted = sort_pairs(a, b, n, count);
        if (sorted != a) memcpy(a, sorted, n * sizeof *a);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        const pair x = a[i];
        size_t k = i;
        for (; k > 0 && a[k - 1].key > x.key; k--) a[k] = a[k - 1];
        a[k] = x;
    }
}

static const pair *sort_floats(sx_field_work *w, const float *v, const float *valid, size_t n, size_t *m)
{
    pair *a = w->pair[0];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (valid[i] != 0) a[count++] = (pair){key32(v[i]), (uint32_t)i};
    *m = count;
    return sort_pairs(a, w->pair[1], count, w->count);
}

static const pair *sort_doubles(sx_field_work *w, const double *v, const double *valid, size_t n, size_t *m)
{
    pair *a = w->pair[0];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (valid[i] != 0) a[count++] = (pair){(uint32_t)(key64(v[i]) >> 32), (uint32_t)i};
    *m = count;
    a = sort_pairs(a, w->pair[1], count, w->count);
    pair *b = a == w->pair[0] ? w->pair[1] : w->pair[0];
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && a[end].key == a[i].key;) end++;
        if (end > i + 1) sort_run(a + i, b + i, end - i, v, w->count);
    }
    return a;
}

static sx_err room(sx_field_work *w, size_t n, sx_error *er)
{
    if (!w->count && !(w->count = sx_malloc(MOST_COUNTS * sizeof *w->count))) return sx_nomem(er);
    if (w->room >= n && w->order) return SX_EOK;
    for (int i = 0; i < 2; i++) sx_free(w->pair[i]);
    sx_free(w->order);
    w->order = NULL;
    w->pair[1] = NULL;
    w->pair[0] = sx_malloc_aligned(n * sizeof(pair));
    if (w->pair[0]) w->pair[1] = sx_malloc_aligned(n * sizeof(pair));
    if (w->pair[1]) w->order = sx_malloc_aligned(n * sizeof *w->order);
    w->room = n;
    return w->order ? SX_EOK : sx_nomem(er);
}

sx_err sx_order(sx_field_work *w, const void *v, const void *valid, size_t n, bool use_double, size_t *count, sx_error *er)
{
    sx_err e = room(w, n, er);
    if (e) return e;
    const pair *p = use_double ? sort_doubles(w, v, valid, n, count) : sort_floats(w, v, valid, n, count);
    for (size_t i = 0; i < *count; i++) w->order[i] = p[i].px;
    return SX_EOK;
}

#define SUM_ORDERED(name, type)                                                                          \
    static void name(const uint32_t *order, size_t count, const type *b, bool below, size_t n, type *out) \
    {                                                                                                    \
        double sum = 0;                                                                                  \
        if (count < n) memset(out, 0, n * sizeof *out);                                                  \
        for (size_t i = 0; i < count; i++) {                                                             \
            const uint32_t px = order[below ? count - 1 - i : i];                                        \
            if (below) out[px] = (type)sum;                                                              \
            sum += (double)b[px];                                                                        \
            if (!below) out[px] = (type)sum;                                                             \
        }                                                                                                \
    }
SUM_ORDERED(sum32, float)
SUM_ORDERED(sum64, double)

void sx_sum_ordered(const sx_field_work *w, size_t count, const void *b, bool below, size_t n, bool use_double, void *out)
{
    if (use_double) sum64(w->order, count, b, below, n, out);
    else sum32(w->order, count, b, below, n, out);
}

void sx_field_work_free(sx_field_work *w)
{
    for (int i = 0; i < 2; i++) sx_free(w->pair[i]);
    sx_free(w->count);
    sx_free(w->order);
    sx_free(w->square);
    sx_free(w->line);
    *w = (sx_field_work){0};
}
