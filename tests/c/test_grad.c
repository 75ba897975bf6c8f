/* test_grad.c: generated gradients against central differences in double; every row of the op table at its probe points. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/grad.h"
#include "pass/pass.h"

enum { N = 2, C = 4, H = 5, Wd = 7, PX = H * Wd };

static sx_graph *g;
static sx_dump *d;
static sx_pool *pool;
static sx_error er;
static double x[N * C * PX];
static uint8_t y[N * PX];
static sx_id X, Y, ONE;

static sx_id f1(sx_op op, sx_id a) { return sx_make1(g, op, a, &er); }
static sx_id f2(sx_op op, sx_id a, sx_id b) { return sx_make2(g, op, a, b, &er); }
static sx_id num(double v) { return sx_const(g, v, &er); }

static int setup(void **state)
{
    const int64_t ignore = 255;
    const size_t dims[2] = {H, Wd};
    sx_dump_opts o = {.has_ignore = true, .ignore = &ignore, .n_ignore = 1};
    uint64_t s = 99;
    (void)state;
    for (size_t i = 0; i < N * C * PX; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = ((double)(s >> 11) / (double)(1ull << 53) - 0.5) * 6;
    }
    for (size_t i = 0; i < N * PX; i++) y[i] = (uint8_t)(i % 13 == 5 ? 255 : (i * 7 + i / 5) % (i < PX ? C : C - 1));
    if (sx_dump_memory("grad", x, SX_F64, y, SX_U8, N, C, dims, 2, &o, &d, &er)) return -1;
    if (sx_pool_new(1, &pool, &er)) return -1;
    g = sx_graph_new();
    X = sx_leaf(g, SX_OP_logits, 1, C, 0, NULL, &er);
    Y = sx_leaf(g, SX_OP_labels, 1, C, 0, NULL, &er);
    ONE = num(1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sx_graph_free(g);
    sx_dump_close(d);
    sx_pool_free(pool);
    return 0;
}

static sx_result *run(sx_id out, size_t image)
{
    sx_plan *p = NULL;
    sx_result *r = NULL;
    sx_run_opts o = {.pool = pool, .isa = sx_isa_best(), .use_double = true};
    if (!sx_plan_new(g, d, 1, &out, 1, image, &p, &er)) sx_plan_run(p, &o, &r, &er);
    sx_plan_free(p);
    if (!r) fail_msg("%s", er.msg);
    return r;
}

static double value(sx_id id)
{
    sx_result *r = run(id, SIZE_MAX);
    double v = r->out[0].v[0];
    assert_int_equal(r->out[0].n, 1);
    sx_result_free(r);
    return v;
}

static void check(const char *what, sx_id loss)
{
    sx_id dx = 0;
    double worst = 0, scale = 0;
    if (!loss) fail_msg("%s: %s", what, er.msg);
    assert_int_equal(sx_grad(g, loss, X, &dx, &er), SX_EOK);
    for (size_t n = 0; n < N; n++) {
        sx_result *r = run(dx, n);
        assert_int_equal(r->out[0].n, C * PX);
        for (size_t i = 0; i < C * PX; i++) {
            double *at = &x[n * C * PX + i], keep = *at, h = 1e-5, got = r->out[0].v[i];
            if (y[n * PX + i % PX] == 255) {
                assert_true(got == 0);
                continue;
            }
            if (i % 3 && i > 20) continue;
            *at = keep + h;
            double up = value(loss);
            *at = keep - h;
            double down = value(loss), want = (up - down) / (2 * h);
            *at = keep;
            worst = fmax(worst, fabs(got - want));
            scale = fmax(scale, fabs(want));
        }
        sx_result_free(r);
    }
    if (!(worst <= 1e-6 * scale + 1e-9)) fail_msg("%s: gradient off by %g of %g", what, worst, scale);
}

static sx_id prob(void) { return f1(SX_OP_softmax, X); }
static sx_id pt(void) { return f2(SX_OP_pick, prob(), Y); }
static sx_id u(void) { return f2(SX_OP_sub, ONE, pt()); }
static sx_id ce(void) { return f1(SX_OP_neg, f1(SX_OP_log, pt())); }
static sx_id total(sx_id px) { return f1(SX_OP_nsum, f1(SX_OP_psum, px)); }
static sx_id focal(double gamma) { return f2(SX_OP_mul, f2(SX_OP_pow, u(), num(gamma)), ce()); }

static sx_id dice(bool image)
{
    sx_id h = f1(SX_OP_onehot, Y), tp = f1(SX_OP_psum, f2(SX_OP_mul, prob(), h)), n = f1(SX_OP_psum, h);
    sx_id P = f1(SX_OP_psum, prob());
    if (!image) tp = f1(SX_OP_nsum, tp), n = f1(SX_OP_nsum, n), P = f1(SX_OP_nsum, P);
    sx_id D = f2(SX_OP_sub, ONE, f2(SX_OP_div, f2(SX_OP_mul, num(2), tp), f2(SX_OP_add, P, n)));
    D = sx_make(g, SX_OP_where, f2(SX_OP_gt, n, num(0)), D, num(0), 0, &er);
    D = f1(SX_OP_csum, D);
    return image ? f1(SX_OP_nsum, D) : D;
}

static void losses(void **state)
{
    const double gamma[6] = {0, 0.3, 0.5, 1, 2, 5};
    char name[32];
    (void)state;
    check("ce", total(ce()));
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "focal %g", gamma[i]);
        check(name, total(focal(gamma[i])));
    }
    check("log u", total(f1(SX_OP_log, u())));
    check("dice", dice(false));
    check("dice by image", dice(true));
    check("dice + focal", f2(SX_OP_add, dice(false), total(focal(1.5))));
    check("brier", total(f1(SX_OP_csum, f1(SX_OP_square, f2(SX_OP_sub, prob(), f1(SX_OP_onehot, Y))))));
    check("smoothing", total(f1(SX_OP_csum, f1(SX_OP_log_softmax, X))));
    check("logsumexp", total(f1(SX_OP_square, f1(SX_OP_logsumexp, X))));
    check("largest other logit", total(f1(SX_OP_square, f1(SX_OP_cmax, sx_make(g, SX_OP_where, f1(SX_OP_onehot, Y),
          num(-1e9), X, 0, &er)))));
    check("sigmoid", total(f1(SX_OP_csum, f1(SX_OP_softplus, f2(SX_OP_mul, f2(SX_OP_sub, ONE, f2(SX_OP_mul, num(2),
          f1(SX_OP_onehot, Y))), X)))));
    sx_id conf = f1(SX_OP_bysum, prob());            /* soft confusion matrix */
    check("confusion", f1(SX_OP_nsum, f1(SX_OP_csum, f1(SX_OP_lsum, f1(SX_OP_square, conf)))));
    sx_id tau = f2(SX_OP_sub, f1(SX_OP_softmax, f2(SX_OP_mul, X, num(0.5))), prob());
    check("two temperatures", total(f1(SX_OP_csum, f1(SX_OP_square, tau))));
}

/* A class sum inside the pixels: the gradient needs the epilogue's adjoint and another pass. */
static void sums_inside_pixels(void **state)
{
    (void)state;
    sx_id P = f1(SX_OP_nsum, f1(SX_OP_psum, prob()));
    check("pixels that know a sum", total(f2(SX_OP_mul, f2(SX_OP_pick, f1(SX_OP_log, P), Y), ce())));
}

static void parameters(void **state)
{
    const double w[C] = {1, 2, 0.5, 3};
    (void)state;
    sx_id weight = sx_data(g, SX_AX_C, C, w, C, "w", &er), gamma = num(1.7), out = 0;
    sx_id l = total(f2(SX_OP_mul, f2(SX_OP_pick, weight, Y), f2(SX_OP_mul, f2(SX_OP_pow, u(), gamma), ce())));
    assert_int_equal(sx_grad(g, l, gamma, &out, &er), SX_EOK);
    double got = value(out), h = 1e-5, v[2];
    for (int i = 0; i < 2; i++)
        v[i] = value(total(f2(SX_OP_mul, f2(SX_OP_pick, weight, Y), focal(1.7 + (i ? h : -h)))));
    assert_true(fabs(got - (v[1] - v[0]) / (2 * h)) < 1e-7 * fabs(got));
    assert_int_equal(sx_grad(g, l, weight, &out, &er), SX_EOK);
    sx_result *r = run(out, SIZE_MAX);
    assert_int_equal(r->out[0].n, C);
    double sum = 0;
    for (size_t c = 0; c < C; c++) sum += r->out[0].v[c] * w[c];
    assert_true(fabs(sum - value(l)) < 1e-9 * sum);    /* linear in w: Euler */
    sx_result_free(r);
}

/* d/dx of the sum over channels of dL/dx times x: a gradient of a gradient. */
static void second_order(void **state)
{
    sx_id dx = 0;
    (void)state;
    assert_int_equal(sx_grad(g, total(focal(2)), X, &dx, &er), SX_EOK);
    check("squared norm of a gradient", total(f1(SX_OP_csum, f1(SX_OP_square, dx))));
}

/* -- Rows of the table ------------------------------------------------------------------------------------- */

#define P1(a) {a, 0, 0}
#define P2(a, b) {a, b, 0}
#define P3(a, b, c) {a, b, c}
static const struct {
    sx_op op;
    int args;
    double at[3];
} rows[] = {
#define SX_EW(name, args, value, da, db, dc, probes, doc) {SX_OP_##name, args, probes},
#include "graph/ops.def"
};

static void every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int a = 0; a < rows[i].args; a++) {
            double at[3] = {rows[i].at[0], rows[i].at[1], rows[i].at[2]}, h = 1e-5;
            sx_id leaf[3] = {0, 0, 0}, out = 0;
            char name[3][2] = {"a", "b", "c"};
            for (int k = 0; k < rows[i].args; k++) leaf[k] = sx_data(g, 0, 0, &at[k], 1, name[k], &er);
            sx_id f = sx_make(g, rows[i].op, leaf[0], leaf[1], leaf[2], 0, &er);
            assert_int_equal(sx_grad(g, f, leaf[a], &out, &er), SX_EOK);
            double got = value(out), v0 = at[a];
            if (rows[i].op == SX_OP_stop) {
                assert_true(got == 0);
                continue;
            }
            at[a] = v0 + h;
            double up = sx_op_eval(rows[i].op, at[0], at[1], at[2]);
            at[a] = v0 - h;
            double want = (up - sx_op_eval(rows[i].op, at[0], at[1], at[2])) / (2 * h);
            if (rows[i].op == SX_OP_where && a == 0) want = 0;
            if (fabs(got - want) > 1e-8 * (1 + fabs(want)))
                fail_msg("d %s / d %s: %.12g, differences say %.12g", sx_op_name(rows[i].op), name[a], got, want);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses), cmocka_unit_test(sums_inside_pixels), cmocka_unit_test(parameters),
        cmocka_unit_test(second_order), cmocka_unit_test(every_row),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
