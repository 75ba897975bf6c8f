/*
 * rank.h: rank correlation of two lists of numbers, with ties, once or for many resamples of the
 * pairs. Pairs that hold a NaN are left out.
 *
 * A sx_rank is made once, in O(n log n); then every correlation under other multiplicities of the
 * pairs (a bootstrap resample) sorts nothing any more. It holds scratch memory: one thread at a time.
 */
#ifndef SX_RANK_H
#define SX_RANK_H

#include "base/base.h"

typedef struct sx_rank sx_rank;

/* n pairs; x and y are copied. *out is the caller's, for sx_rank_free. */
sx_err sx_rank_new(const double *x, const double *y, size_t n, sx_rank **out, sx_error *er);
void sx_rank_free(sx_rank *r); /* NULL is fine */
size_t sx_rank_pairs(const sx_rank *r); /* without NaN */

/* w: how often each of the n pairs occurs, by its place in x and y; NULL: once each. NaN where a list
 * is constant. Counts are exact integers: sum of w below 2^31. */
double sx_rank_kendall(sx_rank *r, const uint32_t *w);  /* tau-b */
double sx_rank_spearman(sx_rank *r, const uint32_t *w); /* correlation of mid-ranks */

#endif
