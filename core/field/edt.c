/* edt.c: the Euclidean distance transform, one axis after the other: in integers, or in double where a pixel is not as wide as high. */
#include <math.h>
#include <string.h>

#include "field/field.h"

/* f[i], i < m: squared distances without this axis, `none` where nothing was met. Replaced by min over j of (i - j)^2 w + f[j]. site:
 * the parabolas of the lower envelope; from[k]: the first i where site[k] is lowest. quotient: rounded down; for two sites s < q, of
 * which s is the lower one somewhere at 0 or later, it is the last i where s is not the higher one. */
#define ENVELOPE(name, type, none, quotient)                                                                        \
    static void name(type *f, size_t m, type w, type *g, int64_t *site, int64_t *from)                              \
    {                                                                                                               \
        const int64_t n = (int64_t)m;                                                                               \
        int64_t k = -1;                                                                                             \
        for (int64_t q = 0; q < n; q++) {                                                                           \
            if (f[q] == (none)) continue;                                                                           \
            while (k >= 0) {                                                                                        \
                const type a = (type)(from[k] - site[k]), b = (type)(from[k] - q);                                  \
                if (a * a * w + f[site[k]] <= b * b * w + f[q]) break;                                              \
                k--;                                                                                                \
            }                                                                                                       \
            int64_t first = 0;                                                                                      \
            if (k >= 0) {                                                                                           \
                const type s = (type)site[k], t = (type)q;                                                          \
                const type last = quotient((t * t - s * s) * w + f[q] - f[site[k]], 2 * (t - s) * w);               \
                first = last < (type)n ? (int64_t)last + 1 : n;                                                     \
                if (first <= from[k]) first = from[k] + 1;                                                          \
            }                                                                                                       \
            if (first >= n) continue;                                                                               \
            site[++k] = q;                                                                                          \
            from[k] = first;                                                                                        \
        }                                                                                                           \
        if (k < 0) return;                                                                                          \
        for (int64_t i = n - 1; i >= 0; i--) {                                                                      \
            const type d = (type)(i - site[k]);                                                                     \
            g[i] = d * d * w + f[site[k]];                                                                          \
            if (i == from[k]) k--;                                                                                  \
        }                                                                                                           \
        memcpy(f, g, m * sizeof *f);                                                                                \
    }
#define WHOLE(a, b) ((a) / (b))
#define FLOOR(a, b) floor((a) / (b))
ENVELOPE(whole_envelope, int64_t, INT64_MAX, WHOLE)
ENVELOPE(envelope, double, (double)INFINITY, FLOOR)

static sx_err room(sx_field_work *w, size_t n, size_t longest, sx_error *er)
{
    if (w->squares < n) {
        sx_free(w->square);
        w->squares = 0;
        if (!(w->square = sx_malloc_aligned(n * 8))) return sx_nomem(er);
        w->squares = n;
    }
    if (w->lines < longest) {
        sx_free(w->line);
        w->lines = 0;
        if (!(w->line = sx_malloc_aligned(4 * longest * 8))) return sx_nomem(er);
        w->lines = longest;
    }
    return SX_EOK;
}

static double number(const void *v, size_t i, bool use_double)
{
    return use_double ? ((const double *)v)[i] : (double)((const float *)v)[i];
}

/* All lines along an axis of m pixels, step apart. whole: squares are integers. */
static void along(sx_field_work *w, bool whole, size_t n, size_t m, size_t step, size_t longest, double width)
{
    int64_t *site = (int64_t *)w->line + 2 * longest, *from = site + longest, *whole_line = w->line, *whole_plane = w->square;
    double *line = w->line, *plane = w->square;
    for (size_t start = 0; start < n; start += step * m)
        for (size_t at = start; at < start + step; at++) {
            if (whole) {
                for (size_t i = 0; i < m; i++) whole_line[i] = whole_plane[at + i * step];
                whole_envelope(whole_line, m, 1, whole_line + longest, site, from);
                for (size_t i = 0; i < m; i++) whole_plane[at + i * step] = whole_line[i];
            } else {
                for (size_t i = 0; i < m; i++) line[i] = plane[at + i * step];
                envelope(line, m, width * width, line + longest, site, from);
                for (size_t i = 0; i < m; i++) plane[at + i * step] = line[i];
            }
        }
}

sx_err sx_edt(sx_field_work *w, const void *v, const void *valid, const size_t *dims, const double *spacing, size_t n_dims,
              bool use_double, void *out, sx_error *er)
{
    size_t n = 1, longest = 1, step = 1, sites = 0;
    bool whole = true;
    for (size_t d = 0; d < n_dims; d++) {
        n *= dims[d];
        if (dims[d] > longest) longest = dims[d];
        whole &= spacing[d] >= spacing[0] && spacing[d] <= spacing[0];
    }
    sx_err e = room(w, n, longest, er);
    if (e) return e;
    int64_t *whole_square = w->square;
    double *square = w->square;
    for (size_t i = 0; i < n; i++) {
        const bool site = number(valid, i, use_double) != 0 && number(v, i, use_double) == 0;
        if (whole) whole_square[i] = site ? 0 : INT64_MAX;
        else square[i] = site ? 0 : (double)INFINITY;
        sites += site;
    }
    for (size_t d = n_dims; d-- > 0 && sites && sites < n; step *= dims[d]) along(w, whole, n, dims[d], step, longest, spacing[d]);
    for (size_t i = 0; i < n; i++) {
        const bool there = sites && number(valid, i, use_double) != 0;
        const double d = !there ? 0 : whole ? sqrt((double)whole_square[i]) * spacing[0] : sqrt(square[i]);
        if (use_double) ((double *)out)[i] = d;
        else ((float *)out)[i] = (float)d;
    }
    return SX_EOK;
}
