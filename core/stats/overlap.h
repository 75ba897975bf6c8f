/*
 * overlap.h: metrics of predictions from counts by image: true positives, predicted and labelled pixels of each class. Counts are
 * pooled over the images first (averages of ratios are not ratios of sums). Undefined is NaN and left out of means over classes.
 */
#ifndef SX_OVERLAP_H
#define SX_OVERLAP_H

#include "base/pool.h"
#include "stats/bootstrap.h"

typedef enum sx_metric { SX_IOU, SX_DICE, SX_PRECISION, SX_RECALL, SX_ACCURACY, SX_METRICS } sx_metric;
#define SX_MEAN SIZE_MAX      /* in place of a class: the mean over classes */

typedef struct sx_overlap {
    const uint32_t *counts;   /* [configuration][image][3][class] */
    size_t configurations, images, classes;
    sx_metric metric;
    size_t of;                /* a class, or SX_MEAN; not looked at for accuracy */
} sx_overlap;

/* Of configuration k; w: how often each image counts, NULL: once. */
double sx_overlap_value(const sx_overlap *o, size_t k, const uint32_t *w);
/* Value and interval over images; minus: less that of this configuration under the same draws; SIZE_MAX: nothing. b->n is the
 * number of images. */
sx_err sx_overlap_interval(const sx_overlap *o, size_t k, size_t minus, const sx_boot *b, double *value, double *lo, double *hi,
                           sx_error *er);
/* Ranks of the first n configurations (1 = the largest value; NaN last): interval over draws of images at b->level. lo, hi: n. */
sx_err sx_overlap_ranks(const sx_overlap *o, size_t n, const sx_boot *b, double *lo, double *hi, sx_error *er);

#endif
