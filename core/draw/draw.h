/*
 * draw.h: pictures to look at: a canvas of RGB pixels, on it pictures, label maps, heat maps and captions, written as PNG.
 *
 * Everything that is drawn is clipped to the canvas. A panel shows an array of h x w numbers, each of them as a square of
 * `up` pixels, or `down` x `down` of them as one pixel; one of the two is 1. One thread per canvas.
 */
#ifndef SX_DRAW_H
#define SX_DRAW_H

#include "base/base.h"

#define SX_CANVAS_MAX ((size_t)1 << 26)   /* pixels of a canvas */

typedef struct sx_canvas {
    size_t w, h;
    unsigned char *rgb;                   /* h * w * 3, row by row from the top */
} sx_canvas;

/* A canvas of one colour (red, green, blue). SX_EARG: no pixels, or more than SX_CANVAS_MAX. */
sx_err sx_canvas_new(size_t w, size_t h, const unsigned char colour[3], sx_canvas **out, sx_error *er);
void sx_canvas_free(sx_canvas *c);        /* NULL is fine */

void sx_canvas_fill(sx_canvas *c, long x, long y, long w, long h, const unsigned char colour[3]);

/* UTF-8 text in one line; (x, y) is its top left corner. Latin-1 has glyphs, the rest becomes a box. Returns where the
 * next character would be, from x on; with c == NULL only that. */
enum { SX_TEXT_W = 7, SX_TEXT_H = 13 };
size_t sx_canvas_text(sx_canvas *c, long x, long y, const char *text, size_t n, const unsigned char colour[3]);

typedef struct sx_panel {
    long x, y;                            /* top left corner on the canvas */
    size_t w, h;                          /* of the array */
    size_t up, down;
} sx_panel;

/* h x w pixels of 3 bytes; reduced ones are means. grey 0 .. 1: how far colours are taken away; fade 0 .. 1: how far it goes
 * to white. */
void sx_canvas_picture(sx_canvas *c, const sx_panel *p, const unsigned char *rgb, double grey, double fade);
/* Whole numbers 0 .. n-1 in their colours (n * 3 bytes); others leave what is there. Reduced ones: the top left. */
void sx_canvas_labels(sx_canvas *c, const sx_panel *p, const double *v, const unsigned char *colour, size_t n);
/* Numbers from lo to hi in the 256 colours of a map (768 bytes); those beyond an end have its colour; NaN leaves what is
 * there. Opacity goes from `low` at lo to `high` at hi. Reduced ones: the greatest. */
typedef struct sx_heat {
    double lo, hi, low, high;
    const unsigned char *map;
} sx_heat;
void sx_canvas_heat(sx_canvas *c, const sx_panel *p, const double *v, const sx_heat *heat);

/* The canvas as a PNG file (8 bits per colour): *bytes from sx_malloc, the caller's. */
sx_err sx_canvas_png(const sx_canvas *c, unsigned char **bytes, size_t *n, sx_error *er);

#endif
