/*
 * bench_math: ns per value of each function of core/cpu/math.h in a loop over arrays in the
 * first-level cache, best of several runs:
 *   cc -std=c11 -D_GNU_SOURCE -O3 -march=x86-64-v3 -ffp-contract=off -fno-math-errno \
 *      -fno-trapping-math -Icore tests/bench/bench_math.c -lm && ./a.out
 * Each loop is a function of its own (run_NAME), so that a disassembler shows whether it became
 * vector code.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cpu/math.h"

enum { N = 1024 };

#define ALONE __attribute__((noinline))
#define LOOP(name, T, expr)                                                                       \
    ALONE static void run_##name(void *restrict yv, const void *restrict xv)                      \
    {                                                                                             \
        T *restrict y = yv;                                                                       \
        const T *restrict x = xv;                                                                 \
        for (int i = 0; i < N; i++) y[i] = (expr);                                                \
    }
LOOP(expf_neg, float, sx_expf_neg(-x[i]))
LOOP(expf, float, sx_expf(x[i]))
LOOP(exp2f, float, sx_exp2f(x[i]))
LOOP(logf, float, sx_logf(x[i]))
LOOP(log2f, float, sx_log2f(x[i]))
LOOP(log1pf, float, sx_log1pf(x[i]))
LOOP(log1pf_pos, float, sx_log1pf_pos(x[i]))
LOOP(expm1f, float, sx_expm1f(x[i]))
LOOP(tanhf, float, sx_tanhf(x[i]))
LOOP(sigmoidf, float, sx_sigmoidf(x[i]))
LOOP(softplusf, float, sx_softplusf(x[i]))
LOOP(exp_neg, double, sx_exp_neg(-x[i]))
LOOP(exp, double, sx_exp(x[i]))
LOOP(exp2, double, sx_exp2(x[i]))
LOOP(log, double, sx_log(x[i]))
LOOP(log2, double, sx_log2(x[i]))
LOOP(log1p, double, sx_log1p(x[i]))
LOOP(expm1, double, sx_expm1(x[i]))
LOOP(tanh, double, sx_tanh(x[i]))
LOOP(sigmoid, double, sx_sigmoid(x[i]))
LOOP(softplus, double, sx_softplus(x[i]))
LOOP(pow, double, sx_pow(x[i], 2.3))

ALONE static void run_log2_2f(void *restrict yv, const void *restrict xv)
{
    float *restrict hi = yv, *restrict lo = hi + N;
    const float *restrict x = xv;
    for (int i = 0; i < N; i++) sx_log2_2f(x[i], &hi[i], &lo[i]);
}

ALONE static void pow_2f(float *restrict y, const float *restrict x, float gh, float gl)
{
    for (int i = 0; i < N; i++) y[i] = sx_pow_2f(-x[i], x[i + N], gh, gl);
}
static void run_pow_2f(void *restrict yv, const void *restrict xv)
{
    pow_2f(yv, xv, 2.3f, -4.7e-8f);
}

ALONE static void run_half_to_float(void *restrict yv, const void *restrict xv)
{
    float *restrict y = yv;
    const sx_u16 *restrict x = xv;
    for (int i = 0; i < N; i++) y[i] = sx_half_to_float(x[i]);
}
ALONE static void run_float_to_half(void *restrict yv, const void *restrict xv)
{
    sx_u16 *restrict y = yv;
    const float *restrict x = xv;
    for (int i = 0; i < N; i++) y[i] = sx_float_to_half(x[i]);
}

#define ROW(name, dbl) {#name, run_##name, dbl}
static const struct {
    const char *name;
    void (*run)(void *restrict y, const void *restrict x);
    int dbl;
} table[] = {
    ROW(expf_neg, 0), ROW(expf, 0), ROW(exp2f, 0), ROW(logf, 0), ROW(log2f, 0), ROW(log1pf, 0),
    ROW(log1pf_pos, 0), ROW(expm1f, 0), ROW(tanhf, 0), ROW(sigmoidf, 0), ROW(softplusf, 0),
    ROW(log2_2f, 0), ROW(pow_2f, 0), ROW(half_to_float, 0), ROW(float_to_half, 0),
    ROW(exp_neg, 1), ROW(exp, 1), ROW(exp2, 1), ROW(log, 1), ROW(log2, 1), ROW(log1p, 1),
    ROW(expm1, 1), ROW(tanh, 1), ROW(sigmoid, 1), ROW(softplus, 1), ROW(pow, 1),
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
    static float xf[2 * N];
    static double xd[N], out[2 * N];
    for (int i = 0; i < N; i++) {
        xd[i] = 0.01 + 19.0 * i / N;
        xf[i] = (float)xd[i];
        xf[i + N] = 1e-8f * xf[i];
    }
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const void *x = table[k].dbl ? (const void *)xd : (const void *)xf;
        double best = 1e9;
        for (int round = 0; round < 15; round++) {
            const int reps = 300;
            const double t = now();
            for (int r = 0; r < reps; r++) {
                table[k].run(out, x);
                __asm__ volatile("" ::: "memory");
            }
            const double ns = (now() - t) * 1e9 / reps / N;
            if (ns < best) best = ns;
        }
        printf("%-14s %6.3f ns\n", table[k].name, best);
    }
    return 0;
}
