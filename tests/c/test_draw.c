/* test_draw.c: canvases, panels, captions, and the PNG files made of them: read back by libpng, and every allocation of
 * writing one made to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "draw/draw.h"

static const unsigned char WHITE[3] = {255, 255, 255}, BLACK[3] = {0, 0, 0}, RED[3] = {200, 10, 20};

static sx_canvas *made(size_t w, size_t h)
{
    sx_canvas *c;
    sx_error er;
    assert_int_equal(sx_canvas_new(w, h, WHITE, &c, &er), SX_EOK);
    return c;
}

static const unsigned char *at(const sx_canvas *c, size_t x, size_t y) { return c->rgb + 3 * (y * c->w + x); }

static size_t count(const sx_canvas *c, const unsigned char colour[3])
{
    size_t n = 0;
    for (size_t i = 0; i < c->w * c->h; i++) n += memcmp(c->rgb + 3 * i, colour, 3) == 0;
    return n;
}

static void test_sizes(void **state)
{
    (void)state;
    sx_canvas *c;
    sx_error er;
    assert_int_equal(sx_canvas_new(0, 5, WHITE, &c, &er), SX_EARG);
    assert_int_equal(sx_canvas_new(SX_CANVAS_MAX, 2, WHITE, &c, &er), SX_EARG);
    assert_int_equal(sx_canvas_new(SIZE_MAX, SIZE_MAX, WHITE, &c, &er), SX_EARG);
    assert_null(c);
}

static void test_fill_is_clipped(void **state)
{
    (void)state;
    sx_canvas *c = made(5, 4);
    sx_canvas_fill(c, -2, -1, 4, 3, RED);
    assert_int_equal(count(c, RED), 2 * 2);
    sx_canvas_fill(c, 4, 3, 100, 100, RED);
    assert_int_equal(count(c, RED), 5);
    sx_canvas_fill(c, 7, 1, 1, 1, RED);
    sx_canvas_fill(c, 1, 1, -3, 1, RED);
    assert_int_equal(count(c, RED), 5);
    sx_canvas_free(c);
    sx_canvas_free(NULL);
}

static void test_text(void **state)
{
    (void)state;
    sx_canvas *c = made(60, 13);
    assert_int_equal(sx_canvas_text(NULL, 0, 0, "a\xc3\xa4\xe2\x82\xac", 6, BLACK), 3 * SX_TEXT_W);   /* a, a umlaut, euro */
    assert_int_equal(sx_canvas_text(NULL, 0, 0, "\xff\xc3", 2, BLACK), 2 * SX_TEXT_W);                /* no UTF-8 */
    assert_int_equal(sx_canvas_text(c, 0, 0, "|", 1, BLACK), SX_TEXT_W);
    size_t bar = count(c, BLACK);
    assert_in_range(bar, 8, 13);                        /* an upright line ... */
    for (size_t y = 0; y < 13; y++)
        for (size_t x = 0; x < 60; x++)
            if (memcmp(at(c, x, y), BLACK, 3) == 0) assert_int_equal(x, 3);   /* ... in the middle of its cell */
    sx_canvas_text(c, -3, -8, "MMMMMMMMMMMMMM", 14, BLACK);   /* over every edge */
    sx_canvas_text(c, 58, 12, "MM", 2, BLACK);
    sx_canvas_free(c);
}

/* Two glyphs are the same only if the characters look alike. */
static void test_glyphs_differ(void **state)
{
    (void)state;
    sx_canvas *seen[95];
    for (int i = 0; i < 95; i++) {
        char s[1] = {(char)(32 + i)};
        seen[i] = made(SX_TEXT_W, SX_TEXT_H);
        sx_canvas_text(seen[i], 0, 0, s, 1, BLACK);
        for (int k = 0; k < i; k++) assert_int_not_equal(memcmp(seen[k]->rgb, seen[i]->rgb, 3 * SX_TEXT_W * SX_TEXT_H), 0);
    }
    for (int i = 0; i < 95; i++) sx_canvas_free(seen[i]);
}

static void test_panels(void **state)
{
    (void)state;
    static const unsigned char picture[12] = {10, 20, 30, 50, 60, 70, 90, 100, 110, 130, 140, 150};
    static const unsigned char colour[6] = {1, 2, 3, 4, 5, 6};
    unsigned char map[768];
    for (size_t k = 0; k < 256; k++) memset(map + 3 * k, (int)k, 3);
    sx_canvas *c = made(8, 8);
    sx_panel p = {1, 1, 2, 2, 3, 1};
    sx_canvas_picture(c, &p, picture, 0, 0);
    assert_memory_equal(at(c, 1, 1), picture, 3);
    assert_memory_equal(at(c, 3, 3), picture, 3);
    assert_memory_equal(at(c, 4, 1), picture + 3, 3);
    assert_memory_equal(at(c, 6, 6), picture + 9, 3);
    assert_int_equal(count(c, WHITE), 64 - 36);
    p = (sx_panel){0, 0, 2, 2, 1, 2};                   /* one pixel of the mean */
    sx_canvas_picture(c, &p, picture, 0, 0);
    assert_memory_equal(at(c, 0, 0), ((unsigned char[]){70, 80, 90}), 3);
    sx_canvas_picture(c, &p, picture, 1, 0);            /* grey */
    assert_int_equal(at(c, 0, 0)[0], at(c, 0, 0)[2]);
    sx_canvas_picture(c, &p, picture, 0, 1);            /* white */
    assert_memory_equal(at(c, 0, 0), WHITE, 3);

    const double labels[6] = {0, 1, NAN, -1, 2, 0.5};   /* NaN, -1 and 2 have no colour */
    sx_canvas *l = made(6, 1);
    sx_canvas_labels(l, &(sx_panel){0, 0, 6, 1, 1, 1}, labels, colour, 2);
    assert_memory_equal(at(l, 0, 0), colour, 3);
    assert_memory_equal(at(l, 1, 0), colour + 3, 3);
    assert_int_equal(count(l, WHITE), 3);

    const double heat[8] = {0, 1, 2, 4, -7, NAN, NAN, NAN};
    sx_canvas *h = made(8, 1);
    sx_heat how = {0, 2, 1, 1, map};
    sx_canvas_heat(h, &(sx_panel){0, 0, 8, 1, 1, 1}, heat, &how);
    assert_int_equal(at(h, 0, 0)[0], 0);
    assert_int_equal(at(h, 1, 0)[0], 128);
    assert_int_equal(at(h, 2, 0)[0], 255);
    assert_int_equal(at(h, 3, 0)[0], 255);
    assert_int_equal(at(h, 4, 0)[0], 0);
    assert_int_equal(count(h, WHITE), 3 + 2);
    how.low = how.high = 0.5;
    sx_canvas_heat(h, &(sx_panel){0, 0, 4, 1, 1, 4}, heat, &how);   /* the greatest of four, half of it on 0 */
    assert_int_equal(at(h, 0, 0)[0], 128);
    sx_canvas_heat(h, &(sx_panel){0, 0, 8, 1, 1, 16}, heat, &(sx_heat){0, 0, 1, 1, map});   /* lo = hi: no crash */
    sx_canvas_free(c);
    sx_canvas_free(l);
    sx_canvas_free(h);
}

/* Sizes that are no multiple: the last block is smaller; panels over the edge are cut. */
static void test_reduction_at_the_edge(void **state)
{
    (void)state;
    double v[15];
    unsigned char map[768];
    for (size_t k = 0; k < 256; k++) memset(map + 3 * k, (int)k, 3);
    for (int i = 0; i < 15; i++) v[i] = i;
    sx_canvas *c = made(4, 4);
    const sx_heat how = {0, 255, 1, 1, map};
    sx_canvas_heat(c, &(sx_panel){0, 0, 5, 3, 1, 2}, v, &how);   /* 3 x 2 pixels */
    assert_int_equal(at(c, 0, 0)[0], 6);
    assert_int_equal(at(c, 2, 0)[0], 9);
    assert_int_equal(at(c, 2, 1)[0], 14);
    assert_int_equal(count(c, WHITE), 16 - 6);
    sx_canvas_heat(c, &(sx_panel){-1, 3, 5, 3, 1, 1}, v, &how);
    assert_int_equal(at(c, 0, 3)[0], 1);
    assert_int_equal(at(c, 3, 3)[0], 4);
    sx_canvas_free(c);
}

static sx_canvas *pattern(size_t w, size_t h)
{
    sx_canvas *c = made(w, h);
    uint32_t s = 1;
    for (size_t i = 0; i < 3 * w * h; i++) {
        s = s * 1664525u + 1013904223u;
        c->rgb[i] = (unsigned char)(s >> 24);
    }
    return c;
}

static void check_png(const sx_canvas *c, const unsigned char *bytes, size_t n)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_memory(&image, bytes, n));
    assert_int_equal(image.width, c->w);
    assert_int_equal(image.height, c->h);
    image.format = PNG_FORMAT_RGB;
    unsigned char *back = malloc(PNG_IMAGE_SIZE(image));
    assert_non_null(back);
    assert_true(png_image_finish_read(&image, NULL, back, 0, NULL));
    assert_memory_equal(back, c->rgb, 3 * c->w * c->h);
    free(back);
}

static void test_png_reads_back(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 3}, {640, 200}, {3, 3000}};
    for (size_t i = 0; i < 4; i++) {
        sx_canvas *c = pattern(sizes[i][0], sizes[i][1]);
        unsigned char *bytes;
        size_t n;
        sx_error er;
        assert_int_equal(sx_canvas_png(c, &bytes, &n, &er), SX_EOK);
        check_png(c, bytes, n);
        sx_free(bytes);
        sx_canvas_free(c);
    }
}

static void test_every_allocation_fails(void **state)
{
    (void)state;
    sx_error er;
    sx_canvas *c;
    for (long n = 1; n <= 2; n++) {
        sx_fault_memory(n);
        assert_int_equal(sx_canvas_new(10, 10, WHITE, &c, &er), SX_EMEMORY);
        assert_null(c);
    }
    sx_fault_memory(0);
    c = pattern(300, 300);                              /* more than the first buffer */
    long failed = 0;
    for (long n = 1;; n++) {
        unsigned char *bytes;
        size_t size;
        sx_fault_memory(n);
        sx_err e = sx_canvas_png(c, &bytes, &size, &er);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        if (!fired) {
            assert_int_equal(e, SX_EOK);
            sx_free(bytes);
            break;
        }
        if (e) {                                        /* some of zlib's and libpng's it can do without */
            assert_int_equal(e, SX_EMEMORY);
            assert_null(bytes);
            failed++;
        } else {
            check_png(c, bytes, size);
            sx_free(bytes);
        }
    }
    assert_true(failed >= 5);
    sx_canvas_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_fill_is_clipped),
        cmocka_unit_test(test_text),           cmocka_unit_test(test_glyphs_differ),
        cmocka_unit_test(test_panels),         cmocka_unit_test(test_reduction_at_the_edge),
        cmocka_unit_test(test_png_reads_back), cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
