/* Subsets of dumps: the chosen images in their order, whatever the storage; how long they live; what is refused. */
#include "dump_files.h"

static const size_t order[] = {3, 0, 1, 4};

/* Images order[0 .. n-1] of the usual dump, in waves of each size. */
static void check_subset(sx_dump *d, const size_t *want, size_t n)
{
    const sx_dump_info *i = sx_dump_get_info(d);
    sx_error er;
    sx_wave w = {0};
    assert_int_equal(i->n, n);
    for (size_t step = 1; step <= n; step++)
        for (size_t first = 0; first < n; first += step) {
            size_t count = n - first < step ? n - first : step;
            assert_ok(read_wave(d, first, count, i->n_fields ? 1 : 0, &w, &er));
            for (size_t k = 0; k < count; k++) {
                const sx_image *im = &w.image[k];
                const size_t number = want[first + k];
                for (size_t p = 0; p < PX; p++) {
                    if (sx_label_value(im->labels, i->labels_type, p) != label_at(number, p))
                        fail_msg("label of image %zu pixel %zu", number, p);
                    if (i->n_fields && value_of(im->field[0], im->field_type[0], p) != label_at(number, p))
                        fail_msg("field of image %zu pixel %zu", number, p);
                    for (size_t c = 0; c < C; c++)
                        if (value_of(im->logits, i->logits_type, c * im->c_stride + p * im->p_stride) != logit_at(number, c, p))
                            fail_msg("logit of image %zu class %zu pixel %zu (waves of %zu)", number, c, p, step);
                }
            }
        }
    sx_wave_free(&w);
}

static sx_dump *subset_ok(sx_dump *d, const size_t *list, size_t n)
{
    sx_error er;
    sx_dump *v;
    assert_ok(sx_dump_subset(d, list, n, &v, &er));
    return v;
}

static void storages(void **state)
{
    (void)state;
    static const how list[] = {
        {"contiguous", {0}, 0, 0, 0},          {"image chunks", {1, C, H, W}, 0, 0, 0},
        {"shuffle gzip", {1, C, H, W}, 4, 1, 0}, {"rows, edge", {1, 1, 4, W}, 1, 1, 0},
        {"odd", {2, 3, 5, 4}, 3, 1, 1},        {"all images", {N, C, H, W}, 2, 1, 0},
    };
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
        hid_t f = new_file("v.h5");
        put_logits(f, "logits", H5T_IEEE_F32LE, 0, &list[k]);
        how labels = list[k];
        labels.chunk[1] = list[k].chunk[2];
        labels.chunk[2] = list[k].chunk[3];
        put_labels(f, "labels", H5T_STD_U8LE, &labels);
        put_labels(f, "more", H5T_STD_I16BE, NULL);
        H5Fclose(f);
        sx_dump *d = open_ok("v.h5", NULL);
        for (size_t n = 1; n <= 4; n++) {
            sx_dump *v = subset_ok(d, order, n);
            check_subset(v, order, n);
            sx_dump_close(v);
        }
        check_values(d);
        sx_dump_close(d);
        unlink(tmp_path("v.h5"));
    }
}

static void arrays(void **state)
{
    (void)state;
    double *x = all_logits(0);
    int *y = all_labels();
    sx_error er;
    sx_dump *d;
    assert_ok(sx_dump_memory("m", x, SX_F64, y, SX_I32, N, C, (size_t[]){H, W}, 2, NULL, &d, &er));
    assert_ok(sx_dump_memory_field(d, "more", y, SX_I32, &er));
    sx_dump *v = subset_ok(d, order, 4), *of_it = subset_ok(v, (size_t[]){3, 0}, 2);
    sx_dump_close(d);   /* they go on without it */
    check_subset(v, order, 4);
    sx_dump_close(v);
    check_subset(of_it, (const size_t[]){4, 3}, 2);
    sx_dump_close(of_it);
    free(x);
    free(y);
}

/* A group per sample, sizes that differ; names, messages. */
static void groups(void **state)
{
    (void)state;
    hid_t f = new_file("v.h5");
    for (size_t s = 0; s < 3; s++) {
        char name[16];
        snprintf(name, sizeof name, "s%zu", s);
        hid_t g = H5Gcreate2(f, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        const hsize_t chw[3] = {2, 3 + s, 5}, hw[2] = {3 + s, 5};
        const size_t px = (3 + s) * 5;
        double x[2 * 25] = {0};
        int y[25];
        for (size_t i = 0; i < px; i++) y[i] = (int)((i + s) % 2);
        x[0] = (double)s;
        put(g, "logits", H5T_IEEE_F32LE, 3, chw, NULL, H5T_NATIVE_DOUBLE, x);
        put(g, "labels", H5T_STD_U8LE, 2, hw, NULL, H5T_NATIVE_INT, y);
        H5Gclose(g);
    }
    H5Fclose(f);
    sx_dump *d = open_ok("v.h5", NULL), *v = subset_ok(d, (size_t[]){2, 0}, 2);
    const uint64_t bytes = sx_dump_get_info(d)->bytes;
    sx_dump_close(d);
    sx_error er;
    sx_wave w = {0};
    char text[100];
    assert_int_equal(sx_dump_n_px(v, 0), 25);
    assert_int_equal(sx_dump_n_px(v, 1), 15);
    assert_int_equal(sx_dump_get_info(v)->max_px, 25);
    assert_int_equal(sx_dump_get_info(v)->bytes, bytes - 20 * 9);
    assert_string_equal(sx_dump_image_name(v, 1), "s0");
    assert_string_equal(sx_dump_where(v, 0, 7, text, sizeof text), "image 3 \"s2\" y=1 x=2");
    assert_true(has_note(v, "a subset: 2 of 3 images"));
    assert_ok(read_wave(v, 0, 2, 0, &w, &er));
    assert_true(((const float *)w.image[0].logits)[0] == 2.0f);
    assert_true(((const float *)w.image[1].logits)[0] == 0.0f);
    sx_wave_free(&w);
    sx_dump_close(v);
    unlink(tmp_path("v.h5"));
}

static void fingerprints(void **state)
{
    (void)state;
    H5Fclose(plain_file("v.h5"));
    sx_dump *d = open_ok("v.h5", NULL);
    sx_dump *a = subset_ok(d, order, 2), *b = subset_ok(d, order, 2), *c = subset_ok(d, order, 3);
    assert_true(sx_dump_get_info(a)->fingerprint == sx_dump_get_info(b)->fingerprint);
    assert_true(sx_dump_get_info(a)->fingerprint != sx_dump_get_info(c)->fingerprint);
    assert_true(sx_dump_get_info(a)->fingerprint != sx_dump_get_info(d)->fingerprint);
    sx_dump_close(a);
    sx_dump_close(b);
    sx_dump_close(c);
    sx_dump_close(d);
    unlink(tmp_path("v.h5"));
}

static void per_image(void **state)
{
    (void)state;
    hid_t f = plain_file("v.h5");
    const hsize_t n = N;
    const double group[N] = {10, 11, 12, 13, 14};
    put(f, "group", H5T_IEEE_F64LE, 1, &n, NULL, H5T_NATIVE_DOUBLE, group);
    H5Fclose(f);
    sx_dump *d = open_ok("v.h5", NULL), *v = subset_ok(d, order, 3);
    sx_error er;
    double got[3];
    const char *const *text;
    bool there;
    assert_ok(sx_dump_per_image(v, "/group", got, &text, &there, &er));
    assert_true(there && !text);
    for (size_t i = 0; i < 3; i++) assert_true(got[i] == group[order[i]]);
    assert_ok(sx_dump_per_image(v, "/none", got, &text, &there, &er));
    assert_false(there);
    sx_dump_close(v);
    sx_dump_close(d);
    unlink(tmp_path("v.h5"));
}

static void refused(void **state)
{
    (void)state;
    H5Fclose(plain_file("v.h5"));
    sx_dump *d = open_ok("v.h5", NULL), *v;
    sx_error er = {0};
    assert_int_equal(sx_dump_subset(d, order, 0, &v, &er), SX_EARG);
    assert_int_equal(sx_dump_subset(d, (size_t[]){1, N}, 2, &v, &er), SX_EARG);
    assert_non_null(strstr(er.msg, "image 6 of 5"));
    assert_int_equal(sx_dump_subset(d, (size_t[]){1, 2, 1}, 3, &v, &er), SX_EARG);
    assert_non_null(strstr(er.msg, "image 2 is named twice"));
    for (long n = 1;; n++) {
        sx_fault_memory(n);
        sx_err e = sx_dump_subset(d, order, 3, &v, &er);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        if (!fired) {
            assert_int_equal(e, SX_EOK);
            break;
        }
        assert_int_equal(e, SX_EMEMORY);
        assert_null(v);
    }
    sx_dump_close(d);
    check_subset(v, order, 3);
    sx_dump_close(v);
    unlink(tmp_path("v.h5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storages),     cmocka_unit_test(arrays),    cmocka_unit_test(groups),
        cmocka_unit_test(fingerprints), cmocka_unit_test(per_image), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("subset", tests, make_tmp, remove_tmp);
}
