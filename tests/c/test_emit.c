/* test_emit.c: maps of every image (sx_plan_new with SX_EACH_IMAGE) equal those of single images, in order, and files of one
 * array hold them; what goes wrong on the way ends cleanly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <hdf5.h>

#include "graph/grad.h"
#include "pass/pass.h"

enum { N = 7, C = 3, H = 5, W = 6, PX = H * W };

static sx_graph *g;
static sx_dump *d;
static sx_pool *pool;
static sx_error er;
static double x[N * C * PX];
static uint8_t y[N * PX];
static sx_id X, Y, DX;

static int setup(void **state)
{
    const int64_t ignore = 255;
    const size_t dims[2] = {H, W};
    sx_dump_opts o = {.has_ignore = true, .ignore = &ignore, .n_ignore = 1};
    uint64_t s = 5;
    (void)state;
    for (size_t i = 0; i < N * C * PX; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = ((double)(s >> 11) / (double)(1ull << 53) - 0.5) * 6;
    }
    for (size_t i = 0; i < N * PX; i++) y[i] = (uint8_t)(i % 11 == 3 ? 255 : i % C);
    if (sx_dump_memory("emit", x, SX_F64, y, SX_U8, N, C, dims, 2, &o, &d, &er) || sx_pool_new(2, &pool, &er)) return -1;
    g = sx_graph_new();
    X = sx_leaf(g, SX_OP_logits, 1, C, 0, NULL, &er);
    Y = sx_leaf(g, SX_OP_labels, 1, C, 0, NULL, &er);
    /* sum over images of (sum of p_t)^2: the gradient needs a value of each image first */
    sx_id pt = sx_make2(g, SX_OP_pick, sx_make1(g, SX_OP_softmax, X, &er), Y, &er);
    sx_id sum = sx_make1(g, SX_OP_square, sx_make1(g, SX_OP_psum, pt, &er), &er);
    return sx_grad(g, sx_make1(g, SX_OP_nsum, sum, &er), X, &DX, &er) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sx_graph_free(g);
    sx_dump_close(d);
    sx_pool_free(pool);
    return 0;
}

typedef struct seen {
    size_t next, stop_at;
    double v[N][C * PX], row[N][PX];
} seen;

static sx_err take(void *arg, size_t image, size_t out, const void *v, sx_dtype type, size_t n, sx_error *e)
{
    seen *s = arg;
    if (s->next / 2 == s->stop_at) return sx_fail(e, SX_EFILE, "the disk is full");
    if (image != s->next / 2 || out != 1 + s->next % 2) return sx_fail(e, SX_EBUG, "out of order");
    if (type != SX_F64) return sx_fail(e, SX_EBUG, "not in double");
    memcpy(out == 1 ? s->v[image] : s->row[image], v, n * sizeof(double));
    s->next++;
    return SX_EOK;
}

static sx_err run(const sx_id *out, size_t n, size_t image, seen *s, sx_result **r)
{
    sx_plan *p = NULL;
    sx_run_opts o = {.pool = pool, .isa = sx_isa_best(), .use_double = true, .emit = s ? take : NULL, .emit_arg = s};
    *r = NULL;
    sx_err e = sx_plan_new(g, d, 1, out, n, image, &p, &er);
    if (!e) e = sx_plan_run(p, &o, r, &er);
    sx_plan_free(p);
    return e;
}

static void each_equals_one(void **state)
{
    seen *s = calloc(1, sizeof *s);
    sx_result *r, *one;
    (void)state;
    s->stop_at = SIZE_MAX;
    const sx_id ce = sx_make1(g, SX_OP_ce, sx_make2(g, SX_OP_tgt, X, Y, &er), &er);
    const sx_id out[3] = {sx_make1(g, SX_OP_nsum, sx_make1(g, SX_OP_psum, ce, &er), &er), DX, ce};
    assert_int_equal(run(out, 3, SX_EACH_IMAGE, s, &r), SX_EOK);
    assert_int_equal(s->next, 2 * N);
    assert_true(r->out[0].n == 1 && r->out[0].v[0] > 0);
    assert_int_equal(r->n.passes, 2);                /* the sums of p_t; then the maps, and in the same walk those of ce */
    assert_int_equal(r->out[1].n, 0);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(run(out + 1, 2, i, NULL, &one), SX_EOK);
        assert_memory_equal(one->out[0].v, s->v[i], sizeof s->v[i]);
        assert_memory_equal(one->out[1].v, s->row[i], sizeof s->row[i]);
        sx_result_free(one);
    }
    sx_result_free(r);
    free(s);
}

static void an_error_ends_it(void **state)
{
    seen *s = calloc(1, sizeof *s);
    sx_result *r;
    (void)state;
    const sx_id ce = sx_make1(g, SX_OP_ce, sx_make2(g, SX_OP_tgt, X, Y, &er), &er);
    const sx_id out[3] = {sx_const(g, 1, &er), DX, ce};
    s->stop_at = 3;
    assert_int_equal(run(out, 3, SX_EACH_IMAGE, s, &r), SX_EFILE);
    assert_null(r);
    assert_string_equal(er.msg, "the disk is full");
    assert_int_equal(s->next, 6);
    assert_int_equal(run(out, 3, SX_EACH_IMAGE, NULL, &r), SX_EARG);
    free(s);
}

static void memory_may_end(void **state)
{
    seen *s = calloc(1, sizeof *s);
    sx_result *r;
    (void)state;
    const sx_id ce = sx_make1(g, SX_OP_ce, sx_make2(g, SX_OP_tgt, X, Y, &er), &er);
    const sx_id out[3] = {sx_const(g, 1, &er), DX, ce};
    for (int k = 1; k < 400; k++) {
        s->next = 0;
        s->stop_at = SIZE_MAX;
        sx_fault_memory(k);
        sx_err e = run(out, 3, SX_EACH_IMAGE, s, &r);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        sx_result_free(r);
        if (!fired) break;
        if (e) assert_int_equal(e, SX_EMEMORY);
    }
    free(s);
}

static sx_err write_all(const char *path, sx_dtype type, double scale, size_t n, sx_error *e)
{
    sx_dump_writer *w = NULL;
    sx_write_opts o = {.n = N, .classes = C, .n_dims = 2, .dims = {H, W}, .logits_type = type, .labels_type = SX_U8,
                       .gzip = 1, .only = "grad", .text = "a test", .scale = scale};
    sx_err code = sx_dump_create(path, &o, &w, e);
    for (size_t i = 0; !code && i < n; i++) code = sx_dump_write_array(w, i, x + i * C * PX, SX_F64, e);
    if (code) {
        sx_dump_finish(w, NULL);
        return code;
    }
    return sx_dump_finish(w, e);
}

static void files_hold_it(void **state)
{
    const char *dir = getenv("SEGX_TMP");
    char path[400];
    (void)state;
    snprintf(path, sizeof path, "%s/segx-emit-%ld.h5", dir ? dir : "/tmp", (long)getpid());
    static const sx_dtype type[3] = {SX_F16, SX_F32, SX_F64};
    static const double rounding[3] = {0x1p-11, 0x1p-24, 0};
    for (int k = 0; k < 3; k++) {
        static double back[N * C * PX];
        double scale;
        assert_int_equal(write_all(path, type[k], 4, N, &er), SX_EOK);
        hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(f, "grad", H5P_DEFAULT);
        hid_t attr = H5Aopen(set, "scale", H5P_DEFAULT);
        assert_true(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, back) >= 0);
        assert_true(H5Aread(attr, H5T_NATIVE_DOUBLE, &scale) >= 0);
        H5Aclose(attr);
        H5Dclose(set);
        H5Fclose(f);
        assert_true(scale == 4);
        for (size_t i = 0; i < N * C * PX; i++) {
            double off = back[i] / scale - x[i], most = rounding[k] * (x[i] < 0 ? -x[i] : x[i]) + 1e-8 * (k == 0);
            assert_true(off <= most && -off <= most);
        }
        unlink(path);
    }
    assert_int_equal(write_all(path, SX_F32, 1, N - 1, &er), SX_EARG);    /* an image is missing: no file */
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_equals_one),
        cmocka_unit_test(an_error_ends_it),
        cmocka_unit_test(memory_may_end),
        cmocka_unit_test(files_hold_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
