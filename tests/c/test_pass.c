/* test_pass.c: expressions to numbers over a dump in memory: fixtures T1/T2, passes, bit identity, faults. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pass/pass.h"
#include "pass/store.h"

typedef struct world {
    sx_graph *g;
    sx_dump *d;
    sx_id X, Y, one;
    float *x;
    uint8_t *y;
} world;

static sx_error er;

static sx_id f1(world *w, sx_op op, sx_id a) { return sx_make1(w->g, op, a, &er); }
static sx_id f2(world *w, sx_op op, sx_id a, sx_id b) { return sx_make2(w->g, op, a, b, &er); }
static sx_id num(world *w, double v) { return sx_const(w->g, v, &er); }

static void make_world(world *w, size_t n, size_t classes, const size_t *dims, size_t n_dims, float *x, uint8_t *y)
{
    const int64_t ignore = 255;
    sx_dump_opts o = {.has_ignore = true, .ignore = &ignore, .n_ignore = 1};
    memset(&er, 0, sizeof er);
    w->x = x;
    w->y = y;
    assert_int_equal(sx_dump_memory("test", x, SX_F32, y, SX_U8, n, classes, dims, n_dims, &o, &w->d, &er), SX_EOK);
    w->g = sx_graph_new();
    w->X = sx_leaf(w->g, SX_OP_logits, 1, (uint32_t)classes, 0, NULL, &er);
    w->Y = sx_leaf(w->g, SX_OP_labels, 1, (uint32_t)classes, 0, NULL, &er);
    w->one = num(w, 1);
}

static void drop_world(world *w)
{
    sx_graph_free(w->g);
    sx_dump_close(w->d);
    free(w->x);
    free(w->y);
}

/* Fixture T1 of the loss catalogue; the second image makes it T2. */
static void fixture(world *w, size_t images, uint8_t last)
{
    static const int e[8][3] = {{2, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 1}, {2, 1, 1}, {2, 1, 1}, {2, 1, 1}, {2, 1, 1}};
    static const uint8_t label[8] = {0, 0, 1, 2, 0, 0, 0, 0};
    const size_t dims[2] = {2, 2};
    float *x = malloc(images * 12 * sizeof *x);
    uint8_t *y = malloc(images * 4);
    for (size_t n = 0; n < images; n++)
        for (size_t p = 0; p < 4; p++) {
            for (size_t c = 0; c < 3; c++) x[(n * 3 + c) * 4 + p] = (float)log(e[n * 4 + p][c]);
            y[n * 4 + p] = label[n * 4 + p];
        }
    y[3] = last;
    make_world(w, images, 3, dims, 2, x, y);
}

static sx_result *run(world *w, const sx_id *out, size_t n, int threads, sx_isa isa, bool dbl)
{
    sx_pool *pool = NULL;
    sx_plan *plan = NULL;
    sx_result *r = NULL;
    assert_int_equal(sx_pool_new(threads, &pool, &er), SX_EOK);
    sx_run_opts o = {.pool = pool, .isa = isa, .use_double = dbl};
    if (!sx_plan_new(w->g, w->d, 1, out, n, SIZE_MAX, &plan, &er)) sx_plan_run(plan, &o, &r, &er);
    sx_plan_free(plan);
    sx_pool_free(pool);
    return r;
}

static double value(world *w, sx_id id)
{
    assert_true(id != 0);
    sx_result *r = run(w, &id, 1, 1, sx_isa_best(), true);
    if (!r) fail_msg("%s", er.msg);
    assert_int_equal(r->out[0].n, 1);
    double v = r->out[0].v[0];
    sx_result_free(r);
    return v;
}

static void near(double a, double b)
{
    if (fabs(a - b) > 1e-7 * fabs(b) + 1e-9) fail_msg("%.12g is not %.12g", a, b);
}

static sx_id prob(world *w) { return f1(w, SX_OP_softmax, w->X); }
static sx_id pt(world *w) { return f2(w, SX_OP_pick, prob(w), w->Y); }
static sx_id u(world *w) { return f2(w, SX_OP_sub, w->one, pt(w)); }
static sx_id ce(world *w) { return f1(w, SX_OP_neg, f1(w, SX_OP_log, pt(w))); }
static sx_id total(world *w, sx_id px) { return f1(w, SX_OP_nsum, f1(w, SX_OP_psum, px)); }
static sx_id focal(world *w, sx_id gamma) { return f2(w, SX_OP_mul, f2(w, SX_OP_pow, u(w), gamma), ce(w)); }
static sx_id valid(world *w) { return sx_leaf(w->g, SX_OP_valid, 1, 0, 0, NULL, &er); }
static sx_id mean(world *w, sx_id px) { return f2(w, SX_OP_div, total(w, px), total(w, valid(w))); }

static sx_id dice(world *w)
{
    sx_id h = f1(w, SX_OP_onehot, w->Y), tp = total(w, f2(w, SX_OP_mul, prob(w), h));
    sx_id den = f2(w, SX_OP_add, total(w, prob(w)), total(w, h));
    sx_id d = f2(w, SX_OP_sub, w->one, f2(w, SX_OP_div, f2(w, SX_OP_mul, num(w, 2), tp), den));
    return f2(w, SX_OP_div, f1(w, SX_OP_csum, d), num(w, 3));
}

static void fixtures(void **state)
{
    world w;
    (void)state;
    fixture(&w, 1, 2);
    near(value(&w, mean(&w, ce(&w))), 1.25 * log(2));
    near(value(&w, mean(&w, focal(&w, num(&w, 0.5)))), 0.66773834);
    near(value(&w, mean(&w, focal(&w, num(&w, 2)))), 0.32491274);
    near(value(&w, mean(&w, focal(&w, num(&w, 5)))), 0.09848917);
    near(value(&w, dice(&w)), 0.59074074);
    const double v[3] = {1, 2, 4};
    sx_id weight = sx_data(w.g, SX_AX_C, 3, v, 3, NULL, &er), wl = f2(&w, SX_OP_pick, weight, w.Y);
    near(value(&w, mean(&w, f2(&w, SX_OP_mul, wl, ce(&w)))), 3 * log(2));
    near(value(&w, f2(&w, SX_OP_div, total(&w, f2(&w, SX_OP_mul, wl, ce(&w))), total(&w, wl))), 1.5 * log(2));
    drop_world(&w);
    fixture(&w, 1, 255);
    near(value(&w, mean(&w, ce(&w))), log(2));
    drop_world(&w);
}

/* A sum over the data set used at every pixel: two passes, and the plan says so. */
static void sums_inside_pixels(void **state)
{
    world w;
    sx_plan *plan;
    (void)state;
    fixture(&w, 2, 2);
    sx_id n = f1(&w, SX_OP_nsum, f1(&w, SX_OP_psum, f1(&w, SX_OP_onehot, w.Y)));           /* 6 1 1 */
    sx_id soft = f1(&w, SX_OP_nsum, f1(&w, SX_OP_psum, prob(&w)));                         /* 3.75 2.25 2 */
    sx_id out = total(&w, f2(&w, SX_OP_sigmoid, f2(&w, SX_OP_pick, f2(&w, SX_OP_div, soft, n), w.Y), 0));
    near(value(&w, out), 6 / (1 + exp(-3.75 / 6)) + 1 / (1 + exp(-2.25)) + 1 / (1 + exp(-2)));
    /* per image: mean over the image of p_t minus the image's mean p_t, cubed */
    sx_id m = f2(&w, SX_OP_div, f1(&w, SX_OP_psum, pt(&w)), f1(&w, SX_OP_psum, valid(&w)));
    sx_id d = f2(&w, SX_OP_sub, pt(&w), m);
    out = total(&w, f2(&w, SX_OP_mul, d, f2(&w, SX_OP_mul, d, d)));
    near(value(&w, out), 3 * pow(0.0625, 3) - pow(0.1875, 3));
    assert_int_equal(sx_plan_new(w.g, w.d, 1, &out, 1, SIZE_MAX, &plan, &er), SX_EOK);
    assert_int_equal(sx_plan_get_info(plan)->passes, 2);
    sx_plan_free(plan);
    drop_world(&w);
}

static void batches(void **state)
{
    world w;
    (void)state;
    fixture(&w, 2, 2);
    for (int64_t B = 1; B <= 3; B++) {
        sx_id s = sx_make(w.g, SX_OP_bsum, f1(&w, SX_OP_psum, pt(&w)), 0, 0, B, &er);
        sx_id first = sx_leaf(w.g, SX_OP_first, 1, 0, B, NULL, &er);
        sx_id sq = f1(&w, SX_OP_nsum, f2(&w, SX_OP_mul, first, f2(&w, SX_OP_mul, s, s)));
        near(value(&w, sq), B == 1 ? 1.75 * 1.75 + 4 : 3.75 * 3.75);
    }
    drop_world(&w);
}

/* -- Bits ---------------------------------------------------------------------------------------------- */

static void random_world(world *w, size_t n, size_t classes, size_t side)
{
    size_t px = side * side, dims[2] = {side, side};
    float *x = malloc(n * classes * px * sizeof *x);
    uint8_t *y = malloc(n * px);
    uint64_t s = 12345;
    for (size_t i = 0; i < n * classes * px; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(s >> 40) / (1 << 24) - 0.5) * 24;
    }
    for (size_t i = 0; i < n * px; i++) {
        size_t blocks = i % side / 23 + i / side / 17;
        y[i] = (uint8_t)(i % 301 == 7 ? 255 : (blocks * 7 + (i % 97 == 0)) % classes);
    }
    make_world(w, n, classes, dims, 2, x, y);
}

static void same(const sx_array *a, const sx_array *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->v, b->v, a->n * sizeof *a->v);
}

static void bits_do_not_depend_on_threads_or_isa(void **state)
{
    (void)state;
    for (int dbl = 0; dbl < 2; dbl++)
        for (size_t classes = 2; classes <= 19; classes += 17) {
            world w;
            random_world(&w, 3, classes, 211);
            sx_id out[4] = {mean(&w, ce(&w)), mean(&w, focal(&w, num(&w, 1.3))), dice(&w),
                            f1(&w, SX_OP_bysum, f1(&w, SX_OP_onehot, f1(&w, SX_OP_argmax, w.X)))};
            if (classes != 3) out[2] = total(&w, prob(&w));
            sx_result *ref = run(&w, out, 4, 1, sx_isa_best(), dbl);
            assert_non_null(ref);
            for (int t = 2; t <= 8; t += t == 3 ? 5 : 1) {
                sx_result *r = run(&w, out, 4, t, sx_isa_best(), dbl);
                for (size_t i = 0; i < 4; i++) same(&ref->out[i], &r->out[i]);
                sx_result_free(r);
            }
            for (int isa = 0; isa <= (int)sx_isa_best(); isa++) {
                sx_result *r = run(&w, out, 4, 2, (sx_isa)isa, dbl);
                for (size_t i = 0; i < 4; i++) same(&ref->out[i], &r->out[i]);
                sx_result_free(r);
            }
            sx_result_free(ref);
            drop_world(&w);
        }
}

static void bits_do_not_depend_on_company(void **state)
{
    enum { K = 100 };
    world w;
    const char *label[K];
    double gamma[K];
    int ax;
    (void)state;
    random_world(&w, 2, 5, 150);
    for (int i = 0; i < K; i++) {
        label[i] = "x";
        gamma[i] = i < 33 ? i * 0.25 : i * 0.071;
    }
    assert_int_equal(sx_graph_axis(w.g, "gamma", K, label, &ax, &er), SX_EOK);
    sx_id many = mean(&w, focal(&w, sx_data(w.g, SX_AX_SWEEP(ax), 0, gamma, K, "gamma", &er)));
    sx_id all[3] = {many, mean(&w, ce(&w)), total(&w, prob(&w))};
    sx_result *r = run(&w, all, 3, 2, sx_isa_best(), false);
    assert_non_null(r);
    assert_int_equal(r->out[0].n, K);
    for (int i = 0; i < K; i += 9) {
        sx_id one = mean(&w, focal(&w, num(&w, gamma[i])));
        sx_result *s = run(&w, &one, 1, 1, sx_isa_best(), false);
        assert_memory_equal(s->out[0].v, &r->out[0].v[i], sizeof(double));
        sx_result_free(s);
    }
    sx_id zero = mean(&w, focal(&w, num(&w, 0)));
    sx_result *s = run(&w, &zero, 1, 1, sx_isa_best(), false);
    assert_memory_equal(s->out[0].v, r->out[1].v, sizeof(double));      /* gamma 0 is cross entropy */
    sx_result_free(s);
    sx_result_free(r);
    drop_world(&w);
}

/* A product of many factors is the same multiplications whatever the exponent's values and axis (they change hashes). */
static void bits_do_not_depend_on_values(void **state)
{
    world w;
    (void)state;
    random_world(&w, 2, 5, 150);
    for (int i = 0; i < 12; i++) {
        const char *label[3] = {"a", "b", "c"};
        double gamma[3] = {0.37 * i, 1.3, 7.7 + i};
        int ax;
        char name[8];
        snprintf(name, sizeof name, "g%d", i);
        assert_int_equal(sx_graph_axis(w.g, name, 3, label, &ax, &er), SX_EOK);
        sx_id g[2] = {num(&w, 1.3), sx_data(w.g, SX_AX_SWEEP(ax), 0, gamma, 3, name, &er)};
        double v[2];
        for (int s = 0; s < 2; s++) {
            sx_id q = f2(&w, SX_OP_mul, pt(&w), f1(&w, SX_OP_square, f1(&w, SX_OP_log, u(&w))));
            sx_id l = mean(&w, f2(&w, SX_OP_mul, f2(&w, SX_OP_mul, f1(&w, SX_OP_sqrt, ce(&w)), focal(&w, g[s])), q));
            sx_result *r = run(&w, &l, 1, 2, sx_isa_best(), false);
            assert_non_null(r);
            v[s] = r->out[0].v[s];
            sx_result_free(r);
        }
        assert_memory_equal(&v[0], &v[1], sizeof v[0]);
    }
    drop_world(&w);
}

/* -- Bad data ------------------------------------------------------------------------------------------- */

static void bad_data_is_refused(void **state)
{
    world w;
    (void)state;
    fixture(&w, 2, 7);
    sx_id out = mean(&w, ce(&w));
    assert_null(run(&w, &out, 1, 1, sx_isa_best(), false));
    assert_int_equal(er.code, SX_EDATA);
    assert_non_null(strstr(er.msg, "label 7"));
    assert_non_null(strstr(er.msg, "image 1 y=1 x=1"));
    drop_world(&w);
    fixture(&w, 2, 2);
    w.x[12 + 5] = NAN;
    out = mean(&w, ce(&w));
    assert_null(run(&w, &out, 1, 2, sx_isa_best(), false));
    assert_int_equal(er.code, SX_EDATA);
    assert_non_null(strstr(er.msg, "image 2 y=0 x=1"));
    drop_world(&w);
    fixture(&w, 1, 255);                                   /* what is ignored may be anything */
    for (size_t c = 0; c < 3; c++) w.x[c * 4 + 3] = c ? NAN : INFINITY;
    near(value(&w, mean(&w, ce(&w))), log(2));
    drop_world(&w);
    fixture(&w, 1, 2);                                     /* -inf: a class that cannot be */
    w.x[2 * 4] = -INFINITY;
    near(value(&w, mean(&w, ce(&w))), (log(1.5) + 2 * log(2) + log(4)) / 4);
    drop_world(&w);
}

static void margins(void **state)
{
    const size_t dims[1] = {1};
    const double margin[6] = {17, 30, 90, 104, -100, -10000};
    (void)state;
    for (int i = 0; i < 6; i++) {
        world w;
        float *x = malloc(2 * sizeof *x);
        uint8_t *y = calloc(1, 1);
        x[0] = (float)margin[i];
        x[1] = 0;
        make_world(&w, 1, 2, dims, 1, x, y);
        sx_id out[3] = {total(&w, ce(&w)), total(&w, u(&w)), total(&w, f1(&w, SX_OP_log, u(&w)))};
        sx_result *r = run(&w, out, 3, 1, sx_isa_best(), false);
        assert_non_null(r);
        double m = margin[i], c = m > 0 ? log1p(exp(-m)) : -m + log1p(exp(m)), lu = m > 0 ? -m - log1p(exp(-m)) : -log1p(exp(m));
        if (fabs(r->out[0].v[0] - c) > 4e-7 * c + 1e-44) fail_msg("ce at %g: %g not %g", m, r->out[0].v[0], c);
        if (fabs(r->out[1].v[0] - exp(lu)) > 4e-7 * exp(lu) + 1e-44) fail_msg("u at %g: %g", m, r->out[1].v[0]);
        if (fabs(r->out[2].v[0] - lu) > 4e-7 * fabs(lu) + 1e-44) fail_msg("log u at %g: %g", m, r->out[2].v[0]);
        sx_result_free(r);
        drop_world(&w);
    }
}

static void memory_may_end(void **state)
{
    world w;
    (void)state;
    fixture(&w, 2, 2);
    sx_id out[2] = {mean(&w, focal(&w, num(&w, 1.3))), dice(&w)};
    for (long n = 1; n < 500; n++) {
        sx_pool *pool = NULL;
        sx_plan *plan = NULL;
        sx_result *r = NULL;
        sx_fault_memory(n);
        if (!sx_pool_new(1, &pool, &er) && !sx_plan_new(w.g, w.d, 1, out, 2, SIZE_MAX, &plan, &er))
            sx_plan_run(plan, &(sx_run_opts){.pool = pool, .isa = sx_isa_best()}, &r, &er);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        assert_true((r != NULL) != fired);
        if (fired) assert_int_equal(er.code, SX_EMEMORY);
        sx_result_free(r);
        sx_plan_free(plan);
        sx_pool_free(pool);
        if (!fired) {
            drop_world(&w);
            return;
        }
    }
    fail_msg("never got through");
}

static void store_spills(void **state)
{
    sx_store *s;
    double rec[3], got[3];
    (void)state;
    assert_int_equal(sx_store_new(3, 2, 5 * sizeof rec, &s, &er), SX_EOK);
    for (int i = 0; i < 40; i++) {
        for (int j = 0; j < 3; j++) rec[j] = i * 10 + j;
        assert_int_equal(sx_store_append(s, rec, &er), SX_EOK);
    }
    assert_true(sx_store_spilled(s));
    for (int i = 39; i >= 0; i--) {
        assert_int_equal(sx_store_get(s, (size_t)i, got, &er), SX_EOK);
        for (int j = 0; j < 3; j++) assert_true(got[j] == i * 10 + j);
    }
    sx_fault_read(1);
    assert_int_equal(sx_store_get(s, 30, got, &er), SX_EFILE);
    sx_fault_read(0);
    sx_store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures), cmocka_unit_test(sums_inside_pixels), cmocka_unit_test(batches),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_isa), cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(bits_do_not_depend_on_values),
        cmocka_unit_test(bad_data_is_refused), cmocka_unit_test(margins), cmocka_unit_test(memory_may_end),
        cmocka_unit_test(store_spills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
