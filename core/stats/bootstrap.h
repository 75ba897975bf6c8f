/*
 * bootstrap.h: intervals by resampling, from a generator without state.
 *
 * A resample draws as many units as there are, with repetition; a unit is one item, or all items of a
 * group (patient, city). It is given as the multiplicity of every item, so that two statistics under
 * the same resample are paired. Draws depend on (seed, resample, position) alone.
 */
#ifndef SX_BOOTSTRAP_H
#define SX_BOOTSTRAP_H

#include "base/base.h"

/* 64 random bits; any counter in any order. */
uint64_t sx_draw(uint64_t seed, uint64_t stream, uint64_t counter);
/* In [0, 1), a multiple of 2^-53. */
double sx_draw_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

/* A statistic of items under multiplicities w (n of them); NaN where it is not defined. */
typedef double (*sx_statistic)(void *arg, const uint32_t *w, size_t n);

typedef struct sx_boot {
    size_t n;              /* items */
    const uint32_t *group; /* unit of each item, below units; NULL: each item is one */
    size_t units;          /* groups; not read without them */
    size_t resamples;
    uint64_t seed;
    double level; /* 0.95 */
    bool bca;     /* bias-corrected and accelerated instead of percentile */
} sx_boot;

/* How often resample number s draws each unit (times) and so each item (w). */
void sx_boot_draw(const sx_boot *b, size_t s, uint32_t *times, uint32_t *w);

/* value: the statistic with every item once; lo, hi: its interval, NaN where it is not defined (fewer
 * than 2 units, or less than half of the resamples have a value). */
sx_err sx_boot_interval(const sx_boot *b, sx_statistic f, void *arg, double *value, double *lo,
                        double *hi, sx_error *er);

#endif
