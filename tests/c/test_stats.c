/* test_stats.c: rank correlation and bootstrap against their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "stats/bootstrap.h"
#include "stats/rank.h"

enum { N = 60 };

static double uniform(uint64_t stream, uint64_t i) { return sx_draw_uniform(77, stream, i); }

/* Two normal numbers, correlation rho. */
static void normals(uint64_t stream, uint64_t i, double rho, double *x, double *y)
{
    double r = sqrt(-2 * log(1 - uniform(stream, 2 * i))), a = 2 * 3.14159265358979323846 * uniform(stream, 2 * i + 1);
    *x = r * cos(a);
    *y = rho * *x + sqrt(1 - rho * rho) * r * sin(a);
}

static int order(double a, double b) { return (a > b) - (a < b); }

/* Every pair of a list in which item i stands w[i] times. */
static double slow_kendall(const double *x, const double *y, const uint32_t *w, size_t n)
{
    double net = 0, nx = 0, ny = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            double k = (double)w[i] * (double)w[j];
            int a = order(x[i], x[j]), b = order(y[i], y[j]);
            net += k * a * b;
            nx += k * a * a;
            ny += k * b * b;
        }
    return net / sqrt(nx * ny);
}

static double slow_rank(const double *x, const uint32_t *w, size_t n, size_t i)
{
    double r = 0;
    for (size_t j = 0; j < n; j++) r += (double)w[j] * order(x[i], x[j]);
    return r;
}

static double slow_spearman(const double *x, const double *y, const uint32_t *w, size_t n)
{
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        double a = slow_rank(x, w, n, i), b = slow_rank(y, w, n, i);
        xx += w[i] * a * a;
        yy += w[i] * b * b;
        xy += w[i] * a * b;
    }
    return xy / sqrt(xx * yy);
}

static void test_weights(void **state)
{
    (void)state;
    double x[N], y[N];
    uint32_t w[N];
    for (uint64_t s = 0; s < 40; s++) {
        double levels = s % 4 == 0 ? 1e9 : 2 + (double)s;
        for (uint64_t i = 0; i < N; i++) {
            normals(s, i, 0.5, x + i, y + i);
            x[i] = floor(x[i] * levels);
            y[i] = floor(y[i] * 3);
            w[i] = (uint32_t)(uniform(s + 1000, i) * 4);
        }
        sx_rank *r;
        sx_error er;
        assert_int_equal(sx_rank_new(x, y, N, &r, &er), SX_EOK);
        assert_true(fabs(sx_rank_kendall(r, w) - slow_kendall(x, y, w, N)) < 1e-14);
        assert_true(fabs(sx_rank_spearman(r, w) - slow_spearman(x, y, w, N)) < 1e-14);
        for (size_t i = 0; i < N; i++) w[i] = 1;
        assert_true(sx_rank_kendall(r, w) == sx_rank_kendall(r, NULL));
        assert_true(sx_rank_spearman(r, w) == sx_rank_spearman(r, NULL));
        sx_rank_free(r);
    }
}

static void test_edges(void **state)
{
    (void)state;
    const double x[] = {1, 2, (double)NAN, 4}, y[] = {2, 3, 9, (double)NAN}, one[] = {5, 5, 5, 5};
    sx_rank *r;
    assert_int_equal(sx_rank_new(x, y, 4, &r, NULL), SX_EOK);
    assert_int_equal(sx_rank_pairs(r), 2);
    assert_true(sx_rank_kendall(r, NULL) == 1 && sx_rank_spearman(r, NULL) == 1);
    sx_rank_free(r);
    for (size_t n = 0; n <= 4; n++) {
        assert_int_equal(sx_rank_new(one, y, n, &r, NULL), SX_EOK);
        assert_true(isnan(sx_rank_kendall(r, NULL)) && isnan(sx_rank_spearman(r, NULL)));
        sx_rank_free(r);
    }
    sx_rank_free(NULL);
}

typedef struct list {
    const double *x, *y;
    sx_rank *r;
} list;

static double mean(void *arg, const uint32_t *w, size_t n)
{
    const double *x = ((list *)arg)->x;
    double sum = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        sum += w[i] * x[i];
        count += w[i];
    }
    return sum / count;
}

static double tau(void *arg, const uint32_t *w, size_t n)
{
    (void)n;
    return sx_rank_kendall(((list *)arg)->r, w);
}

static double rho(void *arg, const uint32_t *w, size_t n)
{
    (void)n;
    return sx_rank_spearman(((list *)arg)->r, w);
}

/* Part of `runs` made-up data sets whose 95 % interval holds the truth. */
static double coverage(sx_statistic f, size_t n, double r, double truth, bool bca, int runs)
{
    double x[200], y[200];
    int held = 0;
    for (int k = 0; k < runs; k++) {
        for (uint64_t i = 0; i < n; i++) normals((uint64_t)k + 5000, i, r, x + i, y + i);
        list l = {x, y, NULL};
        double value, lo, hi;
        assert_int_equal(sx_rank_new(x, y, n, &l.r, NULL), SX_EOK);
        sx_boot b = {.n = n, .resamples = 400, .seed = (uint64_t)k, .level = 0.95, .bca = bca};
        assert_int_equal(sx_boot_interval(&b, f, &l, &value, &lo, &hi, NULL), SX_EOK);
        assert_true(lo <= hi);
        held += lo <= truth && truth <= hi;
        sx_rank_free(l.r);
    }
    return (double)held / runs;
}

static void test_coverage(void **state)
{
    (void)state;
    const double pi = 3.14159265358979323846;
    struct {
        const char *name;
        sx_statistic f;
        double r, truth;
    } cases[] = {
        {"mean", mean, 0, 0},
        {"tau 0", tau, 0, 0},
        {"tau 0.6", tau, 0.6, 2 / pi * asin(0.6)},
        {"rho 0.6", rho, 0.6, 6 / pi * asin(0.3)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int bca = 0; bca < 2; bca++) {
            double c = coverage(cases[i].f, 100, cases[i].r, cases[i].truth, bca, 600);
            print_message("# coverage of %s, %s: %.3f\n", cases[i].name, bca ? "BCa" : "percentile", c);
            assert_true(c >= 0.93 && c <= 0.97);
        }
}

static void test_same_again(void **state)
{
    (void)state;
    double x[N], y[N], v[3], again[3];
    for (uint64_t i = 0; i < N; i++) normals(3, i, 0.5, x + i, y + i);
    list l = {x, y, NULL};
    sx_boot b = {.n = N, .resamples = 300, .seed = 9, .level = 0.9};
    assert_int_equal(sx_boot_interval(&b, mean, &l, v, v + 1, v + 2, NULL), SX_EOK);
    assert_int_equal(sx_boot_interval(&b, mean, &l, again, again + 1, again + 2, NULL), SX_EOK);
    assert_memory_equal(v, again, sizeof v);
    b.seed = 10;
    assert_int_equal(sx_boot_interval(&b, mean, &l, again, again + 1, again + 2, NULL), SX_EOK);
    assert_true(v[0] == again[0] && v[1] != again[1]);
    assert_true(sx_draw(0, 0, 0) == UINT64_C(0xa26ab114db1f32cc) && sx_draw(1, 2, 3) == UINT64_C(0xea5cef51d08c13e7));
}

/* Groups of equal items: as wide as if there were only as many items as groups. */
static void test_groups(void **state)
{
    (void)state;
    double x[N], few[N / 4];
    uint32_t group[N];
    for (uint32_t i = 0; i < N; i++) {
        group[i] = i / 4;
        few[group[i]] = uniform(1, group[i]);
        x[i] = few[group[i]];
    }
    list all = {x, NULL, NULL}, one = {few, NULL, NULL};
    double a[3], c[3];
    sx_boot b = {.n = N, .group = group, .units = N / 4, .resamples = 500, .level = 0.95};
    assert_int_equal(sx_boot_interval(&b, mean, &all, a, a + 1, a + 2, NULL), SX_EOK);
    b = (sx_boot){.n = N / 4, .resamples = 500, .level = 0.95};
    assert_int_equal(sx_boot_interval(&b, mean, &one, c, c + 1, c + 2, NULL), SX_EOK);
    for (int i = 0; i < 3; i++) assert_true(fabs(a[i] - c[i]) < 1e-14);
}

static void test_refused(void **state)
{
    (void)state;
    const double x[] = {1, 2};
    const uint32_t group[] = {0, 2};
    list l = {x, x, NULL};
    double value, lo, hi;
    sx_error er;
    sx_boot b = {.n = 2, .resamples = 10, .level = 1};
    assert_int_equal(sx_boot_interval(&b, mean, &l, &value, &lo, &hi, &er), SX_EARG);
    b = (sx_boot){.n = 2, .resamples = 10, .level = 0.9, .group = group, .units = 2};
    assert_int_equal(sx_boot_interval(&b, mean, &l, &value, &lo, &hi, &er), SX_EARG);
    b = (sx_boot){.n = 1, .resamples = 10, .level = 0.9};
    assert_int_equal(sx_boot_interval(&b, mean, &l, &value, &lo, &hi, &er), SX_EOK);
    assert_true(value == 1 && isnan(lo) && isnan(hi));
}

static void test_no_memory(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4};
    list l = {x, x, NULL};
    sx_error er;
    for (long n = 1;; n++) {
        double value, lo, hi;
        sx_boot b = {.n = 4, .resamples = 10, .level = 0.9, .bca = true};
        sx_fault_memory(n);
        sx_err e = sx_rank_new(x, x, 4, &l.r, &er);
        if (!e) e = sx_boot_interval(&b, tau, &l, &value, &lo, &hi, &er);
        sx_rank_free(l.r);
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        assert_int_equal(e, fired ? SX_EMEMORY : SX_EOK);
        if (!fired) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),    cmocka_unit_test(test_edges),
        cmocka_unit_test(test_coverage),   cmocka_unit_test(test_same_again),
        cmocka_unit_test(test_groups),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
