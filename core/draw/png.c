/*
 * png.c: a canvas as a PNG file in memory.
 *
 * libpng reports errors by a callback that must not return: it jumps back into `write_all`, which owns nothing. All that
 * lives across the jump is in struct coder, outside of that frame. Memory comes from sx_malloc, zlib's too.
 */
#include "draw/draw.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct coder {
    jmp_buf back;
    png_structp png;
    png_infop info;
    unsigned char *bytes;
    size_t n, cap;
    bool no_memory;
    char message[200];
} coder;

static void on_error(png_structp png, png_const_charp message)
{
    coder *k = png_get_error_ptr(png);
    snprintf(k->message, sizeof k->message, "%s", message);
    longjmp(k->back, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t n)
{
    coder *k = png_get_mem_ptr(png);
    void *p = sx_malloc(n);
    k->no_memory = k->no_memory || !p;
    return p;
}

static void on_free(png_structp png, png_voidp p)
{
    (void)png;
    sx_free(p);
}

static void on_write(png_structp png, png_bytep data, size_t n)
{
    coder *k = png_get_io_ptr(png);
    if (k->cap - k->n < n) {
        size_t cap = k->cap ? 2 * k->cap : 1 << 16;
        while (cap - k->n < n) cap *= 2;
        unsigned char *grown = sx_realloc(k->bytes, cap);
        if (!grown) {
            k->no_memory = true;
            png_error(png, "out of memory");
        }
        k->bytes = grown;
        k->cap = cap;
    }
    memcpy(k->bytes + k->n, data, n);
    k->n += n;
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* False: libpng gave up. */
static bool write_all(coder *k, const sx_canvas *c)
{
    if (setjmp(k->back)) return false;
    k->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, k, on_error, on_warning, k, on_malloc, on_free);
    if (!k->png) return false;
    k->info = png_create_info_struct(k->png);
    if (!k->info) return false;
    png_set_write_fn(k->png, k, on_write, on_flush);
    png_set_IHDR(k->png, k->info, (png_uint_32)c->w, (png_uint_32)c->h, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(k->png, k->info);
    for (size_t y = 0; y < c->h; y++) png_write_row(k->png, c->rgb + 3 * y * c->w);
    png_write_end(k->png, NULL);
    return true;
}

sx_err sx_canvas_png(const sx_canvas *c, unsigned char **bytes, size_t *n, sx_error *er)
{
    *bytes = NULL;
    *n = 0;
    coder *k = sx_calloc(1, sizeof *k);
    if (!k) return sx_nomem(er);
    sx_err e = SX_EOK;
    if (write_all(k, c)) {
        *bytes = k->bytes;
        *n = k->n;
    } else {
        e = k->no_memory ? sx_nomem(er) : sx_fail(er, SX_EFILE, "the picture cannot be packed: %s",
                                                  k->message[0] ? k->message : "libpng failed");
        sx_free(k->bytes);
    }
    png_destroy_write_struct(k->png ? &k->png : NULL, k->info ? &k->info : NULL);
    sx_free(k);
    return e;
}
