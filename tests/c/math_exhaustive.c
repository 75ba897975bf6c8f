/*
 * math_exhaustive: the largest error, in ULP, of each float function of core/cpu/math.h over all
 * 2^32 floats, against the C library's double functions. Minutes long, so not part of the tests:
 *   cc -O3 -march=x86-64-v3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Icore \
 *      tests/c/math_exhaustive.c -lm && ./a.out [stride [function]]
 * Exit status 1 if any function is beyond 1 ULP.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/math.h"

enum { BLOCK = 1024 };

typedef struct fn {
    const char *name;
    void (*run)(float *restrict y, const float *restrict x);
    double (*ref)(double x);
    float from, to;        /* only arguments in [from, to], and nan when all of it is covered */
    double tiny;           /* references below are not looked at (documented flush to zero) */
} fn;

#define LOOP(name, expr)                                                                          \
    static void run_##name(float *restrict y, const float *restrict x)                            \
    {                                                                                             \
        for (int i = 0; i < BLOCK; i++) y[i] = (expr);                                            \
    }
LOOP(expf, sx_expf(x[i]))
LOOP(expf_neg, sx_expf_neg(x[i]))
LOOP(exp2f, sx_exp2f(x[i]))
LOOP(logf, sx_logf(x[i]))
LOOP(log2f, sx_log2f(x[i]))
LOOP(log1pf, sx_log1pf(x[i]))
LOOP(log1pf_pos, sx_log1pf_pos(x[i]))
LOOP(expm1f, sx_expm1f(x[i]))
LOOP(tanhf, sx_tanhf(x[i]))
LOOP(sigmoidf, sx_sigmoidf(x[i]))
LOOP(softplusf, sx_softplusf(x[i]))

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double softplus(double x) { return x < 0 ? log1p(exp(x)) : x + log1p(exp(-x)); }

static const fn table[] = {
    {"expf", run_expf, exp, -INFINITY, INFINITY, 0},
    {"expf_neg", run_expf_neg, exp, -INFINITY, 0.0f, 0x1p-126},
    {"exp2f", run_exp2f, exp2, -INFINITY, INFINITY, 0},
    {"logf", run_logf, log, -INFINITY, INFINITY, 0},
    {"log2f", run_log2f, log2, -INFINITY, INFINITY, 0},
    {"log1pf", run_log1pf, log1p, -INFINITY, INFINITY, 0},
    {"log1pf_pos", run_log1pf_pos, log1p, 0x1p-149f, INFINITY, 0},
    {"expm1f", run_expm1f, expm1, -INFINITY, INFINITY, 0},
    {"tanhf", run_tanhf, tanh, -INFINITY, INFINITY, 0},
    {"sigmoidf", run_sigmoidf, sigmoid, -INFINITY, INFINITY, 0},
    {"softplusf", run_softplusf, softplus, -INFINITY, INFINITY, 0},
};

/* Distance in units of the last place that a float near the reference has. */
static double ulps(float y, double ref)
{
    const double huge = HUGE_VAL, v = (double)y;
    if (isnan(ref) || isnan(v)) return isnan(ref) && isnan(v) ? 0 : huge;
    if (v == ref) return !signbit(v) == !signbit(ref) ? 0 : huge;
    if (isinf(ref)) return huge;
    if (isinf(v) && fabs(ref) >= 0x1p128) return (ref > 0) == (v > 0) ? 0 : huge;
    int e = fabs(ref) < 0x1p-126 ? -126 : ilogb(ref);
    if (e > 127) e = 127;                        /* inf counts as the next float, 2^128 */
    return fabs((isinf(v) ? copysign(0x1p128, v) : v) - ref) / ldexp(1, e - 23);
}

int main(int argc, char **argv)
{
    const uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int bad = 0;
    for (size_t f = 0; f < sizeof table / sizeof *table; f++) {
        const fn *t = &table[f];
        if (argc > 2 && strcmp(argv[2], t->name) != 0) continue;
        double worst = 0;
        float at = 0, x[BLOCK], y[BLOCK];
        for (uint64_t b = 0; b < (uint64_t)1 << 32; b += stride * BLOCK) {
            for (uint64_t i = 0; i < BLOCK; i++) {
                const uint32_t u = (uint32_t)(b + i * stride);
                memcpy(&x[i], &u, 4);
            }
            t->run(y, x);
            for (int i = 0; i < BLOCK; i++) {
                if (x[i] < t->from || x[i] > t->to) continue;
                const double ref = t->ref((double)x[i]);
                if (fabs(ref) < t->tiny) continue;
                const double u = ulps(y[i], ref);
                if (u > worst) worst = u, at = x[i];
            }
        }
        printf("%-12s %.4f ULP at %a (%.9g)\n", t->name, worst, (double)at, (double)at);
        fflush(stdout);
        bad |= !(worst <= 1);
    }
    return bad;
}
