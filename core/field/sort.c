/* sort.c: pixels in order of a value (radix sort, 11 bits at a time, stable), and sums in that order. */
#include <string.h>

#include "field/field.h"

#define BITS 11U
#define BUCKETS (1U << BITS)
#define MASK (BUCKETS - 1)
#define MOST_DIGITS 6U

typedef struct pair32 {
    uint32_t key, px;
} pair32;

typedef struct pair64 {
    uint64_t key;
    uint32_t px;
} pair64;

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

/* Digits that all keys share are skipped. */
#define RADIX_SORT(name, type, pairs_of, key_of, digits)                                                              \
    static const pairs_of *name(sx_field_work *w, const type *v, const type *valid, size_t n, size_t *m)              \
    {                                                                                                                 \
        pairs_of *a = w->pair[0], *b = w->pair[1];                                                                    \
        size_t count = 0;                                                                                             \
        memset(w->count, 0, BUCKETS * (digits) * sizeof *w->count);                                                   \
        for (size_t i = 0; i < n; i++) {                                                                              \
            if (!(valid[i] != 0)) continue;                                                                           \
            a[count].key = key_of(v[i]);                                                                              \
            a[count].px = (uint32_t)i;                                                                                \
            for (unsigned d = 0; d < (digits); d++) w->count[d * BUCKETS + (a[count].key >> (d * BITS) & MASK)]++;         \
            count++;                                                                                                  \
        }                                                                                                             \
        for (unsigned d = 0; d < (digits) && count; d++) {                                                                 \
            size_t *at = w->count + d * BUCKETS, sum = 0;                                                             \
            if (at[a[0].key >> (d * BITS) & MASK] == count) continue;                                                 \
            for (size_t k = 0; k < BUCKETS; k++) {                                                                    \
                const size_t c = at[k];                                                                               \
                at[k] = sum;                                                                                          \
                sum += c;                                                                                             \
            }                                                                                                         \
            for (size_t i = 0; i < count; i++) b[at[a[i].key >> (d * BITS) & MASK]++] = a[i];                         \
            pairs_of *t = a;                                                                                          \
            a = b;                                                                                                    \
            b = t;                                                                                                    \
        }                                                                                                             \
        *m = count;                                                                                                   \
        return a;                                                                                                     \
    }
RADIX_SORT(sort32, float, pair32, key32, 3U)
RADIX_SORT(sort64, double, pair64, key64, MOST_DIGITS)

static sx_err room(sx_field_work *w, size_t n, size_t size, sx_error *er)
{
    if (!w->count && !(w->count = sx_malloc(MOST_DIGITS * BUCKETS * sizeof *w->count))) return sx_nomem(er);
    if (w->pairs < n * size) {
        for (int i = 0; i < 2; i++) sx_free(w->pair[i]);
        w->pairs = 0;
        for (int i = 0; i < 2; i++) w->pair[i] = sx_malloc_aligned(n * size);
        if (!w->pair[0] || !w->pair[1]) return sx_nomem(er);
        w->pairs = n * size;
    }
    if (w->orders < n) {
        sx_free(w->order);
        w->orders = 0;
        if (!(w->order = sx_malloc_aligned(n * sizeof *w->order))) return sx_nomem(er);
        w->orders = n;
    }
    return SX_EOK;
}

sx_err sx_order(sx_field_work *w, const void *v, const void *valid, size_t n, bool use_double, size_t *count, sx_error *er)
{
    sx_err e = room(w, n, use_double ? sizeof(pair64) : sizeof(pair32), er);
    if (e) return e;
    if (use_double) {
        const pair64 *p = sort64(w, v, valid, n, count);
        for (size_t i = 0; i < *count; i++) w->order[i] = p[i].px;
    } else {
        const pair32 *p = sort32(w, v, valid, n, count);
        for (size_t i = 0; i < *count; i++) w->order[i] = p[i].px;
    }
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
