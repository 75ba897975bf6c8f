/* sample.c: the dump in waves, images of a wave in parallel. What an image gives depends on the seed and its number alone. */
#include "fit/sample.h"

#include <math.h>

#include "cpu/math.h"
#include "fit/visit.h"
#include "stats/bootstrap.h"

#define LEAST 1e-12               /* of a probability, as in passes */

typedef struct work {
    sx_dump *d;
    const sx_sample *s;
    sx_pool *pool;
    const sx_wave *wave;
    size_t from;                  /* number in s->image of the first wanted image of the wave */
} work;

static double number(const void *x, sx_dtype type, size_t i)
{
    switch (type) {
    case SX_F16: return (double)sx_half_to_float(((const uint16_t *)x)[i]);
    case SX_F32: return (double)((const float *)x)[i];
    case SX_F64: return ((const double *)x)[i];
    default: return (double)sx_label_value(x, type, i);
    }
}

static double logit(const sx_dump_info *info, const sx_image *im, size_t c, size_t px)
{
    if (info->activation == SX_SIGMOID1 && c == 0) return 0;
    const size_t channel = info->activation == SX_SIGMOID1 ? 0 : c;
    const double v = number(im->logits, info->logits_type, channel * im->c_stride + px * im->p_stride);
    if (info->activation == SX_PROBS) return sx_log(v > LEAST ? v : LEAST);
    return v;
}

/* NaN and +inf are no logits. */
static bool finite_pixel(const sx_dump_info *info, const sx_image *im, size_t px)
{
    for (size_t c = 0; c < info->classes; c++) {
        const double v = logit(info, im, c, px);
        if (isnan(v) || v == (double)INFINITY) return false;
    }
    return true;
}

/* The class of a pixel, or classes when it does not count. */
static sx_err class_of(const work *w, const sx_image *im, size_t index, size_t px, size_t *c, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(w->d);
    const int64_t v = sx_label_value(im->labels, info->labels_type, px);
    *c = sx_dump_label_class(w->d, v);
    if (*c == SIZE_MAX) return sx_dump_bad_label(w->d, v, index, px, 0, 0, er);
    if (*c == info->classes || finite_pixel(info, im, px)) return SX_EOK;
    *c = info->classes;
    if (info->skip_nonfinite) return SX_EOK;
    char at[256];
    sx_dump_where(w->d, index, px, at, sizeof at);
    sx_fail(er, SX_EDATA, "%s: logits are not finite (NaN or +inf)\n  first at %s", info->path, at);
    sx_hint(er, "open with nonfinite = \"skip\" to leave such pixels out");
    return SX_EDATA;
}

static void take(const work *w, const sx_image *im, size_t number_of, size_t at, size_t px, size_t c)
{
    const sx_dump_info *info = sx_dump_get_info(w->d);
    const sx_sample *s = w->s;
    for (size_t k = 0; k < info->classes; k++) {
        const double v = logit(info, im, k, px), x = v < -1e30 ? -1e30 : v;
        const size_t to = (number_of * info->classes + k) * s->px + at;
        if (s->use_double) ((double *)s->logits)[to] = x;
        else ((float *)s->logits)[to] = (float)x;
    }
    s->labels[number_of * s->px + at] = (int16_t)c;
    for (size_t f = 0; s->field && f < info->n_fields; f++)
        s->field[f][number_of * s->px + at] = number(im->field[f], im->field_type[f], px);
}

/* Which of the valid pixels is the j-th of m: one at random from the j-th of m equal parts. */
static uint64_t pick(const sx_sample *s, size_t index, uint64_t j, uint64_t m, uint64_t valid)
{
    return (uint64_t)(((double)j + sx_draw_uniform(s->seed, index, j)) * ((double)valid / (double)m));
}

static sx_err sample_image(void *arg, size_t i, int worker, sx_error *er)
{
    const work *w = arg;
    const sx_sample *s = w->s;
    const size_t n = w->from + i, index = s->image[n], C = sx_dump_get_info(w->d)->classes;
    const sx_image *im = &w->wave->image[index - w->wave->first];
    uint64_t valid = 0, rank = 0;
    size_t c;
    (void)worker;
    for (size_t px = 0; px < im->n_px; px++) {
        sx_err e = class_of(w, im, index, px, &c, er);
        if (e) return e;
        valid += c < C;
    }
    const uint64_t m = valid < s->px ? valid : s->px;
    uint64_t taken = 0, next = m ? pick(s, index, 0, m, valid) : 0;
    for (size_t px = 0; px < im->n_px && taken < m; px++) {
        sx_err e = class_of(w, im, index, px, &c, er);
        if (e) return e;
        if (c == C) continue;
        if (rank++ < next) continue;
        take(w, im, n, (size_t)taken, px, c);
        next = pick(s, index, ++taken, m, valid);
        if (next < rank) next = rank;                /* parts hardly larger than a pixel share an end */
    }
    for (size_t at = (size_t)taken; at < s->px; at++) {
        s->labels[n * s->px + at] = -1;
        for (size_t k = 0; k < C; k++) {
            if (s->use_double) ((double *)s->logits)[(n * C + k) * s->px + at] = 0;
            else ((float *)s->logits)[(n * C + k) * s->px + at] = 0;
        }
        for (size_t f = 0; s->field && f < sx_dump_get_info(w->d)->n_fields; f++) s->field[f][n * s->px + at] = 0;
    }
    s->taken[n] = taken;
    s->valid[n] = valid;
    return SX_EOK;
}

static sx_err sample_wave(void *arg, const sx_wave *wave, size_t from, size_t to, sx_error *er)
{
    work *w = arg;
    w->wave = wave;
    w->from = from;
    return sx_pool_for(w->pool, to - from, sample_image, w, er);
}

sx_err sx_sample_fill(sx_dump *d, const sx_sample *s, sx_pool *pool, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(d);
    const uint32_t fields = s->field && info->n_fields ? (uint32_t)((1ull << info->n_fields) - 1) : 0;
    work w = {.d = d, .s = s, .pool = pool};
    return sx_visit(d, s->image, s->n, fields, pool, sample_wave, &w, er);
}
