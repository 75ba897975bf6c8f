/* canvas.c: see draw.h. */
#include "draw/draw.h"

#include <math.h>
#include <string.h>

#include "draw/draw_impl.h"

sx_err sx_canvas_new(size_t w, size_t h, const unsigned char colour[3], sx_canvas **out, sx_error *er)
{
    *out = NULL;
    if (w == 0 || h == 0 || w > SX_CANVAS_MAX / h)
        return sx_fail(er, SX_EARG, "a picture of %zu x %zu pixels: from 1 to %zu are possible", w, h, SX_CANVAS_MAX);
    sx_canvas *c = sx_calloc(1, sizeof *c);
    if (!c) return sx_nomem(er);
    c->w = w;
    c->h = h;
    c->rgb = sx_malloc(w * h * 3);
    if (!c->rgb) {
        sx_free(c);
        return sx_nomem(er);
    }
    sx_canvas_fill(c, 0, 0, (long)w, (long)h, colour);
    *out = c;
    return SX_EOK;
}

void sx_canvas_free(sx_canvas *c)
{
    if (!c) return;
    sx_free(c->rgb);
    sx_free(c);
}

static unsigned char *pixel(const sx_canvas *c, long x, long y)
{
    if (x < 0 || y < 0 || (size_t)x >= c->w || (size_t)y >= c->h) return NULL;
    return c->rgb + 3 * ((size_t)y * c->w + (size_t)x);
}

/* from .. to cut to 0 .. n */
static void clip(long *from, long *to, size_t n)
{
    if (*from < 0) *from = 0;
    if (*to > (long)n) *to = (long)n;
}

void sx_canvas_fill(sx_canvas *c, long x, long y, long w, long h, const unsigned char colour[3])
{
    long x1 = x + w, y1 = y + h;
    clip(&x, &x1, c->w);
    clip(&y, &y1, c->h);
    for (long j = y; j < y1; j++)
        for (long i = x; i < x1; i++) memcpy(pixel(c, i, j), colour, 3);
}

/* -- Text ------------------------------------------------------------------------------------------ */

/* Code point at s (n bytes left, at least one) and its length; what is no UTF-8 counts as one unknown character. */
static unsigned long decode(const char *s, size_t n, size_t *length)
{
    const unsigned char b = (unsigned char)s[0];
    size_t k = b < 0x80 ? 1 : b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
    *length = 1;
    if (k == 0 || k > n) return ~0ul;
    if (k == 1) return b;
    unsigned long v = b & (0x7fu >> k);
    for (size_t i = 1; i < k; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80) return ~0ul;
        v = v << 6 | ((unsigned char)s[i] & 0x3fu);
    }
    *length = k;
    return v;
}

static void glyph(sx_canvas *c, long x, long y, unsigned long code, const unsigned char colour[3])
{
    static const unsigned char box[SX_GLYPH_H] = {0, 0, 0x7c, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44, 0x7c, 0, 0};
    const unsigned char *rows = code >= 0x20 && code <= 0x7e ? sx_glyph_rows[code - 0x20]
                                : code >= 0xa0 && code <= 0xff ? sx_glyph_rows[code - 0xa0 + 95] : box;
    for (long j = 0; j < SX_GLYPH_H; j++)
        for (long i = 0; i < SX_TEXT_W; i++) {
            unsigned char *to = rows[j] >> (7 - i) & 1 ? pixel(c, x + i, y + j) : NULL;
            if (to) memcpy(to, colour, 3);
        }
}

size_t sx_canvas_text(sx_canvas *c, long x, long y, const char *text, size_t n, const unsigned char colour[3])
{
    size_t wide = 0;
    for (size_t at = 0, k; at < n; at += k, wide += SX_TEXT_W) {
        unsigned long code = decode(text + at, n - at, &k);
        if (c) glyph(c, x + (long)wide, y, code, colour);
    }
    return wide;
}

/* -- Panels ---------------------------------------------------------------------------------------- */

/* Calls `put` for every pixel of the canvas that the panel covers, with the block of the array it stands for. */
typedef void put_fn(unsigned char *to, const sx_panel *p, size_t i0, size_t i1, size_t j0, size_t j1, const void *arg);

static void each_pixel(sx_canvas *c, const sx_panel *p, put_fn *put, const void *arg)
{
    long wide = (long)((p->w + p->down - 1) / p->down * p->up), high = (long)((p->h + p->down - 1) / p->down * p->up);
    long x0 = p->x, x1 = p->x + wide, y0 = p->y, y1 = p->y + high;
    clip(&x0, &x1, c->w);
    clip(&y0, &y1, c->h);
    for (long y = y0; y < y1; y++)
        for (long x = x0; x < x1; x++) {
            size_t i = (size_t)(x - p->x) / p->up * p->down, j = (size_t)(y - p->y) / p->up * p->down;
            size_t i1 = i + p->down < p->w ? i + p->down : p->w, j1 = j + p->down < p->h ? j + p->down : p->h;
            put(pixel(c, x, y), p, i, i1, j, j1, arg);
        }
}

static unsigned char byte(double v)
{
    return (unsigned char)(v <= 0 ? 0 : v >= 255 ? 255 : v + 0.5);
}

typedef struct picture {
    const unsigned char *rgb;
    double grey, fade;
} picture;

static void put_picture(unsigned char *to, const sx_panel *p, size_t i0, size_t i1, size_t j0, size_t j1, const void *arg)
{
    const picture *a = arg;
    double sum[3] = {0, 0, 0}, n = (double)((i1 - i0) * (j1 - j0));
    for (size_t j = j0; j < j1; j++)
        for (size_t i = i0; i < i1; i++)
            for (size_t k = 0; k < 3; k++) sum[k] += a->rgb[3 * (j * p->w + i) + k];
    double luma = 0.299 * sum[0] + 0.587 * sum[1] + 0.114 * sum[2];   /* ITU-R BT.601 */
    for (size_t k = 0; k < 3; k++) {
        double v = ((1 - a->grey) * sum[k] + a->grey * luma) / n;
        to[k] = byte(v + a->fade * (255 - v));
    }
}

void sx_canvas_picture(sx_canvas *c, const sx_panel *p, const unsigned char *rgb, double grey, double fade)
{
    const picture a = {rgb, grey, fade};
    each_pixel(c, p, put_picture, &a);
}

typedef struct labels {
    const double *v;
    const unsigned char *colour;
    double n;
} labels;

static void put_label(unsigned char *to, const sx_panel *p, size_t i0, size_t i1, size_t j0, size_t j1, const void *arg)
{
    const labels *a = arg;
    (void)i1;
    (void)j1;
    double v = a->v[j0 * p->w + i0];
    if (v >= 0 && v < a->n) memcpy(to, a->colour + 3 * (size_t)v, 3);
}

void sx_canvas_labels(sx_canvas *c, const sx_panel *p, const double *v, const unsigned char *colour, size_t n)
{
    const labels a = {v, colour, (double)n};
    each_pixel(c, p, put_label, &a);
}

typedef struct heat_map {
    const double *v;
    const sx_heat *h;
} heat_map;

static void put_heat(unsigned char *to, const sx_panel *p, size_t i0, size_t i1, size_t j0, size_t j1, const void *arg)
{
    const heat_map *a = arg;
    double most = (double)NAN;
    for (size_t j = j0; j < j1; j++)
        for (size_t i = i0; i < i1; i++) {
            double v = a->v[j * p->w + i];
            if (v > most || most != most) most = v;
        }
    if (most != most) return;
    double t = (most - a->h->lo) / (a->h->hi - a->h->lo);
    t = t > 0 ? t < 1 ? t : 1 : 0;
    const unsigned char *from = a->h->map + 3 * (size_t)(t * 255 + 0.5);
    double opaque = a->h->low + t * (a->h->high - a->h->low);
    for (size_t k = 0; k < 3; k++) to[k] = byte((1 - opaque) * to[k] + opaque * from[k]);
}

void sx_canvas_heat(sx_canvas *c, const sx_panel *p, const double *v, const sx_heat *heat)
{
    const heat_map a = {v, heat};
    each_pixel(c, p, put_heat, &a);
}
