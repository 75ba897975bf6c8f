/* test_kernels.c: every loop of the tile machine against plain double arithmetic, and the same bits from every ISA level. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/kernels.h"

enum { P = 512, C = 5, TILES = P / SX_TILE };

static uint64_t state_ = 7;
static double uniform(double lo, double hi)
{
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return lo + (hi - lo) * (double)(state_ >> 11) / (double)(1ull << 53);
}

static double get(const sx_kernels *k, const void *v, size_t i)
{
    return k->size == 4 ? (double)((const float *)v)[i] : ((const double *)v)[i];
}
static void put(const sx_kernels *k, void *v, size_t i, double x)
{
    if (k->size == 4) ((float *)v)[i] = (float)x;
    else ((double *)v)[i] = x;
}

/* Calls f for each arithmetic with the tables of all levels that run here; [0] is the reference. */
typedef void (*each_fn)(const sx_kernels *const *k, int n);
static void each(each_fn f)
{
    for (int dbl = 0; dbl < 2; dbl++) {
        const sx_kernels *k[SX_ISA_COUNT];
        int n = 0;
        for (int isa = 0; isa <= (int)sx_isa_best(); isa++) {
            k[n] = sx_kernels_get((sx_isa)isa, dbl);
            if (k[n]) n++;
        }
        f(k, n);
    }
}

static double tolerance(const sx_kernels *k) { return k->size == 4 ? 4e-7 : 2e-15; }

static void elementwise(const sx_kernels *const *k, int levels)
{
    static double x[3][P], out[P], first[P], zero[P];
    for (int op = 1; op < SX_OP_COUNT; op++) {
        if (sx_op_class((sx_op)op) != SX_CL_EW) continue;
        const bool positive = op == SX_OP_log || op == SX_OP_sqrt || op == SX_OP_pow || op == SX_OP_log1p || op == SX_OP_recip;
        for (int a = 0; a < 3; a++)
            for (size_t i = 0; i < P; i++) {
                double v = uniform(positive ? 0.01 : -3, 3);
                if (op >= SX_OP_lt && op <= SX_OP_where && i % 3 == 0) v = i % 2 ? 1 : 0;
                put(k[0], x[a], i, v);
            }
        for (unsigned scalars = 0; scalars < 8; scalars++) {
            if (scalars >> sx_op_args((sx_op)op) || (sx_op_args((sx_op)op) == 1 && scalars)) continue;
            if (sx_op_args((sx_op)op) == 2 && scalars == 3) continue;
            for (int l = 0; l < levels; l++) {
                memcpy(out, zero, sizeof out);
                k[l]->ew[op](l ? (void *)out : (void *)first, x[0], x[1], x[2], P, scalars);
                if (l) assert_memory_equal(out, first, P * k[l]->size);
            }
            for (size_t i = 0; i < P; i++) {
                double a = get(k[0], x[0], scalars & 1 ? 0 : i), b = get(k[0], x[1], scalars & 2 ? 0 : i);
                double want = sx_op_eval((sx_op)op, a, b, get(k[0], x[2], scalars & 4 ? 0 : i)), got = get(k[0], first, i);
                if (!(fabs(got - want) <= tolerance(k[0]) * (fabs(want) + 1)))
                    fail_msg("%s(%g, %g): %.17g not %.17g", sx_op_name((sx_op)op), a, b, got, want);
            }
        }
    }
}

static void powers(const sx_kernels *const *k, int levels)
{
    static double u[P], rows[SX_BASIS_ROWS * P], out[P], first[P];
    for (size_t i = 0; i < P; i++) put(k[0], u, i, i == 0 ? 0 : i == 1 ? 1 : pow(10, uniform(-12, 0)));
    for (int g = 0; g < 80; g++) {
        double gamma = g < 33 ? g * 0.25 : g < 60 ? uniform(0, 12) : g - 50;
        for (int l = 0; l < levels; l++) {
            k[l]->basis(rows, u, 0x7f, P, P);
            k[l]->powb(l ? (void *)out : (void *)first, rows, gamma, P, P);
            if (l) assert_memory_equal(out, first, P * k[l]->size);
        }
        for (size_t i = 0; i < P; i++) {
            double want = pow(get(k[0], u, i), gamma), got = get(k[0], first, i), tol = k[0]->size == 4 ? 3e-7 : 1e-14;
            if (want < 1e-37) continue;             /* below the normal range of float */
            if (!(fabs(got - want) <= tol * (1 + gamma) * want)) fail_msg("%g ^ %g: %.9g not %.9g", get(k[0], u, i), gamma, got, want);
        }
        assert_true(get(k[0], first, 0) == (gamma == 0 ? 1 : 0) && get(k[0], first, 1) == 1);
    }
}

/* -- Labels and sums ------------------------------------------------------------------------------------ */

static int32_t lab[P], group[P / SX_LANES], present[TILES * C], n_present[TILES];
static int16_t head[TILES * C];
static sx_piece piece[P];
static sx_seen seen[C];
static bool all_valid[TILES];
static sx_lab labels = {.lab = lab, .group = group, .present = present, .head = head, .piece = piece, .n_present = n_present,
                        .all_valid = all_valid, .tiles = TILES, .max_present = C, .classes = C, .seen = seen};

/* kind 0: one label everywhere; 1: runs of 16, some ignored; 2: noise */
static void make_labels(int kind)
{
    size_t valid = 0;
    for (size_t i = 0; i < P; i++) {
        lab[i] = kind == 0 ? 3 : kind == 1 ? (int32_t)(i / 16 * 7 % (C + 1)) : (int32_t)uniform(0, C + 0.999);
        valid += lab[i] < C;
    }
    assert_int_equal(sx_survey(&labels, P), valid);
    for (size_t t = 0; t < TILES; t++) {                /* every valid pixel is in one piece of its label */
        int of[C + 1] = {0}, n = 0;
        for (size_t i = 0; i < SX_TILE; i++) of[lab[t * SX_TILE + i]]++;
        for (int32_t j = 0; j < n_present[t]; j++) {
            const int32_t y = present[t * C + (size_t)j];
            for (int16_t q = head[t * C + (size_t)j]; q >= 0; q = piece[t * SX_TILE + (size_t)q].next)
                for (size_t i = 0; i < SX_LANES; i++)
                    of[y] -= lab[t * SX_TILE + piece[t * SX_TILE + (size_t)q].group * SX_LANES + i] == y;
        }
        for (int32_t c = 0; c < C; c++) n += of[c] != 0;
        assert_int_equal(n, 0);
        assert_int_equal(all_valid[t], of[C] == 0);
    }
}

static void sums(const sx_kernels *const *k, int levels)
{
    static double v[P];
    for (int kind = 0; kind < 3; kind++) {
        make_labels(kind);
        double want[C] = {0}, size[C] = {0}, total = 0, first[C + 1];
        for (size_t i = 0; i < P; i++) {
            put(k[0], v, i, lab[i] < C ? uniform(-1, 2) : NAN);
            if (lab[i] >= C) continue;
            want[lab[i]] += get(k[0], v, i);
            size[lab[i]] += fabs(get(k[0], v, i));
            total += get(k[0], v, i);
        }
        for (int l = 0; l < levels; l++) {
            double acc[C + 1] = {0};
            k[l]->sum_by(v, &labels, acc, 1);
            k[l]->sum(v, &labels, acc + C);
            for (size_t c = 0; c < C; c++) assert_true(fabs(acc[c] - want[c]) <= tolerance(k[l]) * size[c]);
            assert_true(fabs(acc[C] - total) <= tolerance(k[l]) * P);
            if (l) assert_memory_equal(acc, first, sizeof acc);
            memcpy(first, acc, sizeof acc);
        }
    }
}

/* The second half comes from what the first call has fetched: the source is gone by then. */
static void in_two_calls(const sx_kernels *k, const sx_src *src, double *rows, sx_tgt_work *w)
{
    static double copy[C * P], rows_unused[SX_TGT_ROWS * P];
    memcpy(copy, src->x, C * P * k->size);
    sx_src s = *src;
    s.x = copy;
    assert_false(k->tgt(&s, &labels, SX_TILE, P, rows, NULL, w));
    s.x = (const char *)s.x + SX_TILE * k->size;
    s.n_px -= SX_TILE;
    assert_ptr_equal(w->ahead, s.x);
    for (size_t c = 0; c < C; c++)
        for (size_t i = 0; i < 32; i++) put(k, copy, c * P + SX_TILE + i, 5);   /* the first pixels, staged by now */
    sx_lab later = labels;
    later.lab += SX_TILE;
    later.group += SX_TILE / SX_LANES;
    assert_false(k->tgt(&s, &later, P - SX_TILE, P, (char *)rows + SX_TILE * k->size, NULL, w));
    put(k, copy, C * P - P + 1, NAN);                                            /* last class, second pixel */
    s = *src;
    s.x = copy;
    w->ahead = NULL;
    assert_true(k->tgt(&s, &labels, P, P, rows_unused, NULL, w));
}

/* The bits of power, product and sum one after the other. */
static void sums_of_powers(const sx_kernels *const *k, int levels)
{
    static double u[P], r1[P], r2[P], rows[SX_BASIS_ROWS * P], w[P], v[P];
    for (size_t i = 0; i < P; i++) put(k[0], u, i, uniform(0, 1)), put(k[0], r1, i, uniform(-1, 1)), put(k[0], r2, i, uniform(0, 9));
    for (int kind = 0; kind < 3; kind++) {
        make_labels(kind);
        for (int g = 0; g < 3; g++) {
            const double gamma = g == 0 ? 0 : g == 1 ? 1.75 : 2.3;
            for (int l = 0; l < levels; l++) {
                double want[2][C] = {{0}}, got[2][C] = {{0}}, *const acc[2] = {got[0], got[1]};
                const void *row[2] = {r1, r2};
                k[l]->basis(rows, u, 0x7f, P, P);
                k[l]->powb(w, rows, gamma, P, P);
                for (int j = 0; j < 2; j++) {
                    k[l]->ew[SX_OP_mul](v, w, row[j], NULL, P, 0);
                    k[l]->sum_by(v, &labels, want[j], 1);
                }
                k[l]->pow_sums(rows, gamma, P, row, 2, &labels, acc);
                assert_memory_equal(got, want, sizeof got);
            }
        }
    }
}

static void target_out(const sx_kernels *const *k, int levels)
{
    static double x[C * P], rows[SX_TGT_ROWS * P], e[C * P], p[C * P], row[P], first[C * P], again[SX_TGT_ROWS * P];
    make_labels(2);
    for (size_t i = 0; i < C * P; i++) put(k[0], x, i, uniform(-1, 1) * (i % 7 ? 8 : 40));
    const sx_src src = {.x = x, .type = k[0]->size == 4 ? SX_F32 : SX_F64, .c_stride = P, .p_stride = 1, .n_px = P};
    void *work = malloc(sx_tgt_tmp(C, k[0]->size));
    for (int l = 0; l < levels; l++) {
        sx_tgt_work w = {.buf = work};
        assert_false(k[l]->tgt(&src, &labels, P, P, rows, e, &w));
        assert_null(w.ahead);
        in_two_calls(k[l], &src, again, &w);
        assert_memory_equal(rows, again, SX_TGT_ROWS * P * k[l]->size);
        k[l]->tgt_soft(SX_OP_p, p, e, rows, &labels, P, P);
        if (l) assert_memory_equal(p, first, C * P * k[l]->size);
        memcpy(first, p, sizeof first);
    }
    for (size_t i = 0; i < P; i++) {
        long double s = 0, other = 0;
        if (lab[i] >= C) continue;
        for (size_t c = 0; c < C; c++) s += expl((long double)get(k[0], x, c * P + i));
        for (size_t c = 0; c < C; c++)
            if ((int32_t)c != lab[i]) other += expl((long double)get(k[0], x, c * P + i));
        for (size_t c = 0; c < C; c++) {
            double want = (double)(expl((long double)get(k[0], x, c * P + i)) / s);
            double margin = fabs(log(want));     /* x - m' is rounded: an error relative to the margin */
            assert_true(fabs(get(k[0], p, c * P + i) - want) <= tolerance(k[0]) * (2 + margin / 3) * want + 1e-37);
        }
        k[0]->tgt_row(SX_OP_u, row, rows, P, P);
        double want = (double)(other / s);
        assert_true(fabs(get(k[0], row, i) - want) <= tolerance(k[0]) * 2 * want + 1e-37);
        k[0]->tgt_row(SX_OP_ce, row, rows, P, P);
        want = (double)(other < s / 2 ? -log1pl(-other / s) : logl(s) - (long double)get(k[0], x, (size_t)lab[i] * P + i));
        if (!(fabs(get(k[0], row, i) - want) <= tolerance(k[0]) * 2 * want + 1e-37))
            fail_msg("ce %.17g not %.17g, u %.17g", get(k[0], row, i), want, (double)(other / s));
    }
    free(work);
}

#define TEST(f) static void test_##f(void **s) { (void)s; each(f); }
TEST(elementwise)
TEST(powers)
TEST(sums)
TEST(sums_of_powers)
TEST(target_out)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_powers), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_sums_of_powers), cmocka_unit_test(test_target_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
