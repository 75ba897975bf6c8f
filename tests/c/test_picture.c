/* test_picture.c: the pictures that lie beside logits and labels: every arrangement, none, and failures. */
#include "dump_files.h"

static unsigned char pixel_at(size_t n, size_t p, size_t c) { return (unsigned char)(n * 50 + p * 3 + c * 7); }

/* A data set of this arrangement in a plain dump: 'l' channels last, 'f' first, channels 0: none. */
static void write_file(const char *set, size_t channels, char where, hid_t type, const how *h)
{
    hid_t f = plain_file("p.h5");
    const size_t c = channels ? channels : 1;
    unsigned char *v = malloc(N * PX * c);
    for (size_t n = 0; n < N; n++)
        for (size_t p = 0; p < PX; p++)
            for (size_t k = 0; k < c; k++) v[where == 'f' ? (n * c + k) * PX + p : (n * PX + p) * c + k] = pixel_at(n, p, k);
    const hsize_t last[4] = {N, H, W, c}, first[4] = {N, c, H, W};
    put(f, set, type, channels ? 4 : 3, channels && where == 'f' ? first : last, h, H5T_NATIVE_UINT8, v);
    free(v);
    H5Fclose(f);
}

static sx_dump *open_file(void)
{
    sx_error er;
    sx_dump *d;
    assert_ok(sx_dump_open(tmp_path("p.h5"), NULL, &d, &er));
    return d;
}

static void done(sx_dump *d)
{
    sx_dump_close(d);
    unlink(tmp_path("p.h5"));
}

/* Every image is what was written; channels: 0 or 1 give grey. */
static void check(size_t channels)
{
    sx_dump *d = open_file();
    for (size_t n = N; n-- > 0;) {
        unsigned char *rgb;
        sx_error er;
        assert_ok(sx_dump_picture(d, n, &rgb, &er));
        assert_non_null(rgb);
        for (size_t p = 0; p < PX; p++)
            for (size_t c = 0; c < 3; c++) assert_int_equal(rgb[3 * p + c], pixel_at(n, p, channels >= 3 ? c : 0));
        sx_free(rgb);
    }
    done(d);
}

static void check_none(void)
{
    sx_dump *d = open_file();
    unsigned char *rgb = (unsigned char *)d;
    sx_error er;
    assert_ok(sx_dump_picture(d, 0, &rgb, &er));
    assert_null(rgb);
    done(d);
}

static void arrangements(void **state)
{
    (void)state;
    static const how gz = {"", {2, 1, 3, 1}, 3, 1, 0};
    static const size_t channels[] = {0, 1, 3, 4};
    for (size_t k = 0; k < 4; k++)
        for (int stored = 0; stored < 2; stored++) {
            write_file("images", channels[k], 'l', H5T_STD_U8LE, stored ? &gz : NULL);
            check(channels[k]);
            if (!channels[k]) continue;
            write_file("rgb", channels[k], 'f', H5T_STD_U8LE, stored ? &gz : NULL);
            check(channels[k]);
        }
}

static void not_pictures(void **state)
{
    (void)state;
    write_file("scans", 3, 'l', H5T_STD_U8LE, NULL);    /* another name */
    check_none();
    write_file("images", 3, 'l', H5T_IEEE_F32LE, NULL); /* another type */
    check_none();
    write_file("images", 2, 'l', H5T_STD_U8LE, NULL);   /* two channels */
    check_none();
    hid_t f = plain_file("p.h5");                       /* another size; and a group of that name */
    const hsize_t other[4] = {N, H, W + 1, 3}, fewer[4] = {N - 1, H, W, 3};
    put(f, "images", H5T_STD_U8LE, 4, other, NULL, H5T_NATIVE_UINT8, NULL);
    put(f, "rgb", H5T_STD_U8LE, 4, fewer, NULL, H5T_NATIVE_UINT8, NULL);
    H5Gclose(H5Gcreate2(f, "pictures", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(f);
    check_none();
}

static void memory_dump(void **state)
{
    (void)state;
    static const float x[8];
    static const int64_t y[4];
    sx_error er;
    sx_dump *d;
    unsigned char *rgb;
    assert_ok(sx_dump_memory("m", x, SX_F32, y, SX_I64, 1, 2, (size_t[]){2, 2}, 2, NULL, &d, &er));
    assert_ok(sx_dump_picture(d, 0, &rgb, &er));
    assert_null(rgb);
    sx_dump_close(d);
}

/* A group per sample, sizes that differ. */
static void groups(void **state)
{
    (void)state;
    hid_t f = new_file("p.h5");
    for (size_t s = 0; s < 3; s++) {
        char name[16];
        snprintf(name, sizeof name, "%zu", s);
        hid_t g = H5Gcreate2(f, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        const hsize_t chw[3] = {2, 3 + s, 5}, hw[2] = {3 + s, 5}, hwc[3] = {3 + s, 5, 3};
        const size_t px = (3 + s) * 5;
        double *x = calloc(2 * px, sizeof *x);
        int *y = calloc(px, sizeof *y);
        unsigned char *v = malloc(3 * px);
        for (size_t i = 0; i < 3 * px; i++) v[i] = (unsigned char)(i + s);
        put(g, "logits", H5T_IEEE_F32LE, 3, chw, NULL, H5T_NATIVE_DOUBLE, x);
        put(g, "labels", H5T_STD_U8LE, 2, hw, NULL, H5T_NATIVE_INT, y);
        put(g, "image", H5T_STD_U8LE, 3, hwc, NULL, H5T_NATIVE_UINT8, v);
        free(x);
        free(y);
        free(v);
        H5Gclose(g);
    }
    H5Fclose(f);
    sx_dump *d = open_file();
    for (size_t s = 0; s < 3; s++) {
        unsigned char *rgb;
        sx_error er;
        assert_ok(sx_dump_picture(d, s, &rgb, &er));
        assert_non_null(rgb);
        for (size_t i = 0; i < 15 * (3 + s); i++) assert_int_equal(rgb[i], (unsigned char)(i + s));
        sx_free(rgb);
    }
    done(d);
}

static void every_allocation_fails(void **state)
{
    (void)state;
    write_file("images", 3, 'l', H5T_STD_U8LE, NULL);
    sx_dump *d = open_file();
    long failed = 0;
    for (long n = 1;; n++) {
        unsigned char *rgb;
        sx_error er;
        sx_fault_memory(n);
        sx_err e = sx_dump_picture(d, 1, &rgb, &er);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        if (!fired) {
            assert_int_equal(e, SX_EOK);
            sx_free(rgb);
            break;
        }
        assert_int_equal(e, SX_EMEMORY);
        assert_null(rgb);
        failed++;
    }
    assert_true(failed >= 2);
    done(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrangements), cmocka_unit_test(not_pictures), cmocka_unit_test(memory_dump),
        cmocka_unit_test(groups),       cmocka_unit_test(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, make_tmp, remove_tmp);
}
