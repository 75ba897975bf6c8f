/*
 * field.h: operators that look at all pixels of a plane together: their order, and distances between them. Numbers are float or, with
 * use_double, double; `valid` is 0 where a pixel does not count. Results are 0 there.
 *
 * Each worker has one sx_field_work, zero at first, that keeps memory from call to call.
 */
#ifndef SX_FIELD_H
#define SX_FIELD_H

#include "base/base.h"

typedef struct sx_field_work {
    void *pair[2];             /* sort: keys with their pixels, */
    size_t *count;             /*   how often each digit occurs, */
    uint32_t *order;           /*   pixels in order */
    void *square, *line;       /* edt: squared distances of the plane; a line of them, its sites and where each of these begins */
    size_t room, squares, lines;   /* for so many */
} sx_field_work;
void sx_field_work_free(sx_field_work *w);

/* Valid pixels of a plane of n numbers, at most UINT32_MAX of them, from the largest down, equal ones (0 and -0 are) in order of
 * pixels, NaN first: w->order[0 .. *count - 1], which the next call replaces. */
sx_err sx_order(sx_field_work *w, const void *v, const void *valid, size_t n, bool use_double, size_t *count, sx_error *er);

/* In the order of w (count pixels), out[pixel] = sum of b from the first pixel on, its own included; below: of those after it. Sums are
 * double. out, n numbers, is 0 at pixels that are not in the order. */
void sx_sum_ordered(const sx_field_work *w, size_t count, const void *b, bool below, size_t n, bool use_double, void *out);

/* out: at valid pixels where v is not 0, the Euclidean distance to the nearest valid pixel where it is; 0 elsewhere, and everywhere if
 * there is no such pixel. dims: 1 to 3 axes, the last one fastest; spacing: width of a pixel along each. Exact where these are
 * equal: squares are integers then. Lower envelopes along each axis: Meijster et al. 2000; Felzenszwalb & Huttenlocher 2012. */
sx_err sx_edt(sx_field_work *w, const void *v, const void *valid, const size_t *dims, const double *spacing, size_t n_dims,
              bool use_double, void *out, sx_error *er);

#endif
