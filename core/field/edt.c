/* edt.c: the exact Euclidean distance transform, one axis after the other, in integers. */
#include <math.h>
#include <string.h>

#include "field/field.h"

#define NO_SITE INT64_MAX

/* f[i], i < m: squared distances without this axis, NO_SITE where nothing was met. Replaced by min over j of (i - j)^2 + f[j]. site:
 * the parabolas of the lower envelope; from[k]: the first i where site[k] is lowest. */
static void envelope(int64_t *f, size_t m, int64_t *g, int64_t *site, int64_t *from)
{
    const int64_t n = (int64_t)m;
    int64_t k = -1;
    for (int64_t q = 0; q < n; q++) {
        if (f[q] == NO_SITE) continue;
        while (k >= 0) {
            const int64_t i = from[k], a = i - site[k], b = i - q;
            if (a * a + f[site[k]] <= b * b + f[q]) break;
            k--;
        }
        int64_t first = 0;
        if (k >= 0) {                            /* the last i where site[k] is not higher than q, and one more; never below from[k] */
            const int64_t s = site[k];
            first = (q * q - s * s + f[q] - f[s]) / (2 * (q - s)) + 1;
        }
        if (first >= n) continue;
        site[++k] = q;
        from[k] = first;
    }
    if (k < 0) return;
    for (int64_t i = n - 1; i >= 0; i--) {
        const int64_t d = i - site[k];
        g[i] = d * d + f[site[k]];
        if (i == from[k]) k--;
    }
    memcpy(f, g, m * sizeof *f);
}

static sx_err room(sx_field_work *w, size_t n, size_t longest, sx_error *er)
{
    if (w->squares < n) {
        sx_free(w->square);
        w->squares = 0;
        if (!(w->square = sx_malloc_aligned(n * sizeof *w->square))) return sx_nomem(er);
        w->squares = n;
    }
    if (w->lines < longest) {
        sx_free(w->line);
        w->lines = 0;
        if (!(w->line = sx_malloc_aligned(4 * longest * sizeof *w->line))) return sx_nomem(er);
        w->lines = longest;
    }
    return SX_EOK;
}

static double number(const void *v, size_t i, bool use_double)
{
    return use_double ? ((const double *)v)[i] : (double)((const float *)v)[i];
}

sx_err sx_edt(sx_field_work *w, const void *v, const void *valid, const size_t *dims, size_t n_dims, bool use_double, void *out,
              sx_error *er)
{
    size_t n = 1, longest = 1, step = 1, sites = 0;
    for (size_t d = 0; d < n_dims; d++) {
        n *= dims[d];
        if (dims[d] > longest) longest = dims[d];
    }
    sx_err e = room(w, n, longest, er);
    if (e) return e;
    for (size_t i = 0; i < n; i++) {
        const bool site = number(valid, i, use_double) != 0 && number(v, i, use_double) == 0;
        w->square[i] = site ? 0 : NO_SITE;
        sites += site;
    }
    for (size_t d = n_dims; d-- > 0 && sites && sites < n; step *= dims[d]) {
        const size_t m = dims[d];
        int64_t *line = w->line;
        for (size_t start = 0; start < n; start += step * m)
            for (size_t at = start; at < start + step; at++) {
                for (size_t i = 0; i < m; i++) line[i] = w->square[at + i * step];
                envelope(line, m, line + longest, line + 2 * longest, line + 3 * longest);
                for (size_t i = 0; i < m; i++) w->square[at + i * step] = line[i];
            }
    }
    for (size_t i = 0; i < n; i++) {
        const double d = sites && number(valid, i, use_double) != 0 ? sqrt((double)w->square[i]) : 0;
        if (use_double) ((double *)out)[i] = d;
        else ((float *)out)[i] = (float)d;
    }
    return SX_EOK;
}
