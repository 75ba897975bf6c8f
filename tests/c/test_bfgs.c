/* test_bfgs.c: minimisation by reverse communication: known minima, hard starts, noise, failures. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fit/bfgs.h"

enum { MOST_N = 40 };
typedef double (*function)(const double *x, size_t n, double *g);

static double rosenbrock(const double *x, size_t n, double *g)
{
    double f = 0;
    memset(g, 0, n * sizeof *g);
    for (size_t i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return f;
}

/* Condition number 1e6; the minimum is at 1, 2, 3 ... */
static double valley(const double *x, size_t n, double *g)
{
    double f = 7;
    for (size_t i = 0; i < n; i++) {
        double w = pow(1e6, (double)i / (double)(n - 1)), d = x[i] - (double)(i + 1);
        f += 0.5 * w * d * d;
        g[i] = w * d;
    }
    return f;
}

/* Not finite for x <= 0; the minimum is at 1. */
static double walled(const double *x, size_t n, double *g)
{
    double f = 0;
    for (size_t i = 0; i < n; i++) {
        f += x[i] - log(x[i]);
        g[i] = 1 - 1 / x[i];
    }
    return f;
}

/* Values and gradients in single precision. */
static double rough(const double *x, size_t n, double *g)
{
    double f = valley(x, n, g);
    for (size_t i = 0; i < n; i++) g[i] = (float)g[i];
    return (float)f;
}

static double falling(const double *x, size_t n, double *g)
{
    for (size_t i = 0; i < n; i++) g[i] = 0;
    g[0] = -1;
    return -x[0];
}

static double nowhere(const double *x, size_t n, double *g)
{
    (void)x;
    for (size_t i = 0; i < n; i++) g[i] = NAN;
    return NAN;
}

static sx_bfgs *minimise(function fn, size_t n, double from, double tolerance, double noise)
{
    sx_bfgs *m = NULL;
    sx_error er;
    double x[MOST_N], g[MOST_N];
    for (size_t i = 0; i < n; i++) x[i] = from;
    assert_int_equal(sx_bfgs_new(n, &m, &er), SX_EOK);
    m->tolerance = tolerance;
    m->noise = noise;
    m->most = 200;
    sx_bfgs_start(m, x);
    while (m->state == SX_BFGS_ASKS) {
        double f = fn(m->at, n, g);
        sx_bfgs_tell(m, f, g);
        assert_true(m->evaluations < 20000);
    }
    return m;
}

static void known_minima(void **state)
{
    (void)state;
    sx_bfgs *m = minimise(rosenbrock, 10, -1.2, 1e-9, 1e-12);
    assert_int_equal(m->state, SX_BFGS_CONVERGED);
    for (size_t i = 0; i < 10; i++) assert_true(fabs(m->x[i] - 1) < 1e-7);
    assert_true(m->evaluations < 200);
    sx_bfgs_free(m);
    m = minimise(valley, 12, 100, 1e-6, 1e-12);
    assert_int_equal(m->state, SX_BFGS_CONVERGED);
    for (size_t i = 0; i < 12; i++) assert_true(fabs(m->x[i] - (double)(i + 1)) < 2e-6);
    assert_true(fabs(m->f - 7) < 1e-9);
    sx_bfgs_free(m);
    m = minimise(walled, 3, 30, 1e-9, 1e-12);
    assert_int_equal(m->state, SX_BFGS_CONVERGED);
    for (size_t i = 0; i < 3; i++) assert_true(fabs(m->x[i] - 1) < 1e-8);
    sx_bfgs_free(m);
    m = minimise(valley, 2, 1, 1, 1e-12);            /* not far, a loose tolerance */
    assert_int_equal(m->state, SX_BFGS_CONVERGED);
    sx_bfgs_free(m);
}

static void noise(void **state)
{
    (void)state;
    sx_bfgs *m = minimise(rough, 8, 3, 1e-3, 1e-7);
    assert_true(m->state == SX_BFGS_CONVERGED || m->state == SX_BFGS_FLAT);
    for (size_t i = 0; i < 8; i++) assert_true(fabs(m->x[i] - (double)(i + 1)) < 1e-3);
    sx_bfgs_free(m);
}

static void no_minimum(void **state)
{
    (void)state;
    sx_bfgs *m = minimise(falling, 2, 0, 1e-6, 1e-12);
    assert_int_equal(m->state, SX_BFGS_TIRED);
    sx_bfgs_free(m);
    m = minimise(nowhere, 2, 0, 1e-6, 1e-12);
    assert_int_equal(m->state, SX_BFGS_LOST);
    sx_bfgs_free(m);
}

/* From the minimum of similar data, with what was learnt there: a few evaluations. */
static void goes_on(void **state)
{
    (void)state;
    double g[12], x[12];
    sx_bfgs *m = minimise(valley, 12, 100, 1e-6, 1e-12);
    for (size_t i = 0; i < 12; i++) x[i] = m->x[i] + 0.01;
    sx_bfgs_start(m, x);
    while (m->state == SX_BFGS_ASKS) {
        double f = valley(m->at, 12, g);
        sx_bfgs_tell(m, f, g);
    }
    assert_int_equal(m->state, SX_BFGS_CONVERGED);
    assert_true(m->evaluations < 12);
    sx_bfgs_free(m);
}

static void memory_may_end(void **state)
{
    (void)state;
    for (int k = 1; k < 30; k++) {
        sx_bfgs *m = NULL;
        sx_error er;
        sx_fault_memory(k);
        sx_err e = sx_bfgs_new(5, &m, &er);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        assert_int_equal(e, fired ? SX_EMEMORY : SX_EOK);
        sx_bfgs_free(m);
        if (!fired) return;
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_minima), cmocka_unit_test(noise),   cmocka_unit_test(no_minimum),
        cmocka_unit_test(goes_on),      cmocka_unit_test(memory_may_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
