/*
 * bootstrap.c: see bootstrap.h. Percentile interval: quantiles of the resampled values, linear
 * between neighbours. BCa (Efron 1987): the quantiles are moved by the share of resamples below the
 * value (bias) and by the skewness of the leave-one-unit-out values (acceleration).
 */
#include "stats/bootstrap.h"

#include <math.h>
#include <stdlib.h>

/* -- Draws ------------------------------------------------------------------------------------- */

/* Finalizer of SplitMix64 (variant 13 of Stafford). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

uint64_t sx_draw(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint64_t key = mix(mix(seed + GOLDEN) + (stream + 1) * UINT64_C(0xd1342543de82ef95));
    return mix(key + (counter + 1) * GOLDEN);
}

double sx_draw_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return (double)(sx_draw(seed, stream, counter) >> 11) * 0x1p-53;
}

/* In [0, n), n < 2^32: the upper half of a 32 x 32 bit product; off by less than n / 2^32. */
static uint32_t draw_below(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t n)
{
    return (uint32_t)(((sx_draw(seed, stream, counter) >> 32) * n) >> 32);
}

/* -- Normal distribution ----------------------------------------------------------------------- */

static double normal_cdf(double z) { return 0.5 * erfc(-z * 0.70710678118654752440); }

static double normal_quantile(double p)
{
    double lo = -9, hi = 9;
    for (int i = 0; i < 60; i++) {
        double m = 0.5 * (lo + hi);
        if (normal_cdf(m) < p) lo = m;
        else hi = m;
    }
    return 0.5 * (lo + hi);
}

/* -- Interval ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, size_t n, double p)
{
    double at = p * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) return sorted[n - 1];
    double part = at - (double)i;
    return part > 0 ? sorted[i] + part * (sorted[i + 1] - sorted[i]) : sorted[i];
}

typedef struct work {
    uint32_t *w, *times; /* by item, by unit */
    double *v;
} work;

static void spread(const sx_boot *b, const uint32_t *times, uint32_t *w)
{
    for (size_t i = 0; i < b->n; i++) w[i] = times[b->group ? b->group[i] : i];
}

void sx_boot_draw(const sx_boot *b, size_t s, uint32_t *times, uint32_t *w)
{
    const size_t units = b->group ? b->units : b->n;
    for (size_t u = 0; u < units; u++) times[u] = 0;
    for (size_t u = 0; u < units; u++) times[draw_below(b->seed, s, u, (uint32_t)units)]++;
    spread(b, times, w);
}

/* Skewness of the leave-one-out values, over 6; 0 where there is none. */
static double acceleration(const sx_boot *b, size_t units, sx_statistic f, void *arg, work *k,
                           double *leave)
{
    double mean = 0, two = 0, three = 0;
    for (size_t u = 0; u < units; u++) k->times[u] = 1;
    for (size_t u = 0; u < units; u++) {
        k->times[u] = 0;
        spread(b, k->times, k->w);
        leave[u] = f(arg, k->w, b->n);
        k->times[u] = 1;
        mean += leave[u] / (double)units;
    }
    for (size_t u = 0; u < units; u++) {
        double d = mean - leave[u];
        two += d * d;
        three += d * d * d;
    }
    double a = three / (6 * two * sqrt(two));
    return isfinite(a) ? a : 0;
}

static double moved(double z0, double a, double p)
{
    double z = z0 + normal_quantile(p);
    return normal_cdf(z0 + z / (1 - a * z));
}

sx_err sx_boot_interval(const sx_boot *b, sx_statistic f, void *arg, double *value, double *lo,
                        double *hi, sx_error *er)
{
    size_t units = b->group ? b->units : b->n, count = 0, less = 0, same = 0;
    sx_err e = SX_EOK;
    work k = {0};
    double *leave = NULL;
    *lo = *hi = *value = (double)NAN;
    if (b->n > INT32_MAX || b->resamples > UINT32_MAX)
        return sx_fail(er, SX_EARG, "bootstrap: too many items or resamples");
    if (!(b->level > 0 && b->level < 1))
        return sx_fail(er, SX_EARG, "bootstrap: level %g is not between 0 and 1", b->level);
    if (b->group)
        for (size_t i = 0; i < b->n; i++)
            if (b->group[i] >= units) return sx_fail(er, SX_EARG, "bootstrap: a group is too large");
    k.w = sx_calloc(b->n, sizeof *k.w);
    k.times = sx_calloc(units, sizeof *k.times);
    k.v = sx_calloc(b->resamples, sizeof *k.v);
    leave = sx_calloc(b->bca ? units : 0, sizeof *leave);
    if (!k.w || !k.times || !k.v || !leave) {
        e = sx_nomem(er);
        goto done;
    }
    for (size_t i = 0; i < b->n; i++) k.w[i] = 1;
    *value = f(arg, k.w, b->n);
    if (units < 2 || isnan(*value)) goto done;
    for (size_t s = 0; s < b->resamples; s++) {
        sx_boot_draw(b, s, k.times, k.w);
        double v = f(arg, k.w, b->n);
        if (isnan(v)) continue;
        less += v < *value;
        same += !(v < *value) && !(v > *value);
        k.v[count++] = v;
    }
    if (count == 0 || 2 * count < b->resamples) goto done;
    qsort(k.v, count, sizeof *k.v, by_value);
    double p = (1 - b->level) / 2, q = 1 - p;
    if (b->bca) {
        double share = ((double)less + 0.5 * (double)same) / (double)count;
        double z0 = normal_quantile(share), a = acceleration(b, units, f, arg, &k, leave);
        double low = moved(z0, a, p), high = moved(z0, a, q);
        p = low;
        q = high;
    }
    *lo = quantile(k.v, count, p);
    *hi = quantile(k.v, count, q);
done:
    sx_free(k.w);
    sx_free(k.times);
    sx_free(k.v);
    sx_free(leave);
    return e;
}
