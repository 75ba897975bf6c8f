/*
 * Tests of core/cpu/math.h: errors in ULP over samples, special values, half conversions over all
 * values, and hashes of the bits, which every compiler and instruction set must give.
 * All floats: tests/c/math_exhaustive.c.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/math.h"

#define INF HUGE_VAL
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Every 1999th float where that is quick. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { STRIDE = 1999 };
#else
enum { STRIDE = 49999 };
#endif

/* -- The functions ---------------------------------------------------------------------------- */

enum { BLOCK = 256 };

typedef struct fn {
    const char *name;
    void (*f)(float *restrict y, const float *restrict x, size_t n);      /* one of f and d */
    void (*d)(double *restrict y, const double *restrict x, size_t n);
    long double (*ref)(long double x);
    double from, to;        /* where the function is defined (or promised) */
    double low, high;       /* where most happens */
    double tiny;            /* smaller references are flushed to 0 and not looked at */
    uint64_t hash;          /* of hash_of() */
} fn;

#define LOOP(T, name)                                                                             \
    static void run_##name(T *restrict y, const T *restrict x, size_t n)                          \
    {                                                                                             \
        for (size_t i = 0; i < n; i++) y[i] = sx_##name(x[i]);                                    \
    }
LOOP(float, expf)
LOOP(float, expf_neg)
LOOP(float, exp2f)
LOOP(float, logf)
LOOP(float, log2f)
LOOP(float, log1pf)
LOOP(float, log1pf_pos)
LOOP(float, expm1f)
LOOP(float, tanhf)
LOOP(float, sigmoidf)
LOOP(float, softplusf)
LOOP(double, exp)
LOOP(double, exp_neg)
LOOP(double, exp2)
LOOP(double, log)
LOOP(double, log2)
LOOP(double, log1p)
LOOP(double, expm1)
LOOP(double, tanh)
LOOP(double, sigmoid)
LOOP(double, softplus)

static long double ref_sigmoid(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}
static long double ref_softplus(long double x)
{
    return x < 0 ? log1pl(expl(x)) : x + log1pl(expl(-x));
}

#define FLOATS(name, ...) {#name, run_##name, NULL, __VA_ARGS__}
#define DOUBLES(name, ...) {#name, NULL, run_##name, __VA_ARGS__}
static const fn table[] = {
    FLOATS(expf, expl, -INF, INF, -105, 90, 0,
        0xe82afe368c2b2d51u),
    FLOATS(expf_neg, expl, -INF, 0, -90, 0, 0x1p-126,
        0x803539d5a038afb4u),
    FLOATS(exp2f, exp2l, -INF, INF, -151, 129, 0,
        0x8b271719ae213062u),
    FLOATS(logf, logl, -INF, INF, 0, 3, 0,
        0x0d159aef8dd01cc0u),
    FLOATS(log2f, log2l, -INF, INF, 0, 3, 0,
        0x698bbb8d9bbcbf97u),
    FLOATS(log1pf, log1pl, -INF, INF, -1, 3, 0,
        0xb393b67d45c051fau),
    FLOATS(log1pf_pos, log1pl, 0x1p-149, INF, 0, 3, 0,
        0xe5e2b7c36c49f72eu),
    FLOATS(expm1f, expm1l, -INF, INF, -20, 20, 0,
        0x0600cf0e5d17563au),
    FLOATS(tanhf, tanhl, -INF, INF, -10, 10, 0,
        0x60e8c5f7b0838a9fu),
    FLOATS(sigmoidf, ref_sigmoid, -INF, INF, -105, 20, 0,
        0x5a69f909ec7adbbbu),
    FLOATS(softplusf, ref_softplus, -INF, INF, -105, 20, 0,
        0x8d8789ece3768f89u),
    DOUBLES(exp, expl, -INF, INF, -746, 710, 0,
        0xa43774cf88f0b835u),
    DOUBLES(exp_neg, expl, -INF, 0, -708, 0, 0x1p-1022,
        0x003410410acb2e0eu),
    DOUBLES(exp2, exp2l, -INF, INF, -1075, 1025, 0,
        0x5a755766c4083121u),
    DOUBLES(log, logl, -INF, INF, 0, 3, 0,
        0x2bc2ca74d47ac4f5u),
    DOUBLES(log2, log2l, -INF, INF, 0, 3, 0,
        0xf7b548e89b313d43u),
    DOUBLES(log1p, log1pl, -INF, INF, -1, 3, 0,
        0x5c8750fa1eebb0fau),
    DOUBLES(expm1, expm1l, -INF, INF, -40, 40, 0,
        0xc12406f000015e77u),
    DOUBLES(tanh, tanhl, -INF, INF, -20, 20, 0,
        0x2c3a7311379ffbc3u),
    DOUBLES(sigmoid, ref_sigmoid, -INF, INF, -746, 40, 0,
        0x98686a3757f186a2u),
    DOUBLES(softplus, ref_softplus, -INF, INF, -746, 40, 0,
        0x4c632dd098255e36u),
};

/* -- Errors in ULP ---------------------------------------------------------------------------- */

/* |y - ref| in units of the last place that a number of `digits` bits near ref has. */
static double ulps(double y, long double ref, int digits, int least, int most)
{
    if (isnan(ref) || isnan(y)) return isnan(ref) && isnan(y) ? 0 : INF;
    if ((long double)y == ref) return !signbit(y) == !signbit(ref) ? 0 : INF;
    if (isinf(ref)) return INF;
    const long double over = ldexpl(1, most + 1);
    if (isinf(y) && fabsl(ref) >= over) return (ref > 0) == (y > 0) ? 0 : INF;
    if (y == 0 && fabsl(ref) < ldexpl(1, least - digits - 1)) return 0;
    int e = fabsl(ref) < ldexpl(1, least) ? least : ilogbl(ref);
    if (e > most) e = most;
    const long double v = isinf(y) ? copysignl(over, (long double)y) : (long double)y;
    return (double)(fabsl(v - ref) / ldexpl(1, e - digits + 1));
}
static double ulps_f(float y, long double ref) { return ulps((double)y, ref, 24, -126, 127); }
static double ulps_d(double y, long double ref) { return ulps(y, ref, 53, -1022, 1023); }

static int looked_at(const fn *t, double x, long double ref)
{
    return !(x < t->from) && !(x > t->to) && !(fabsl(ref) < (long double)t->tiny);
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}
static double double_of(uint64_t u)
{
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static void check_floats(const fn *t)
{
    double worst = 0, at = 0;
    float x[BLOCK], y[BLOCK];
    for (uint64_t b = 0; b < (uint64_t)1 << 32; b += (uint64_t)STRIDE * BLOCK) {
        for (uint64_t i = 0; i < BLOCK; i++) x[i] = float_of((uint32_t)(b + i * STRIDE));
        t->f(y, x, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            const long double ref = t->ref((long double)x[i]);
            if (!looked_at(t, (double)x[i], ref)) continue;
            const double u = ulps_f(y[i], ref);
            if (u > worst) worst = u, at = (double)x[i];
        }
    }
    print_message("# %-11s %.3f ULP at %a\n", t->name, worst, at);
    if (!(worst <= 1)) fail_msg("%s: %g ULP at %a", t->name, worst, at);
}

static uint64_t mix(uint64_t *state)           /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static double unit(uint64_t *state) { return (double)(mix(state) >> 11) * 0x1p-53; }

/* A sample: any bits, near 0 and near 1 at every scale, evenly where most happens. */
static double sample(const fn *t, uint64_t *state, int kind)
{
    const uint64_t r = mix(state);
    const double sign = r & 1 ? -1 : 1, m = 1 + unit(state), even = unit(state);
    switch (kind % 4) {
    case 0: return double_of(r);
    case 1: return sign * ldexp(m, -(int)(r >> 8 & 63));
    case 2: return 1 + sign * ldexp(m, -(int)(r >> 8 & 63) - 1);
    default: return t->low + (t->high - t->low) * even;
    }
}

static void check_doubles(const fn *t)
{
    double worst = 0, at = 0, x[BLOCK], y[BLOCK];
    uint64_t state = 1;
    for (int b = 0; b < (STRIDE > 2000 ? 40 : 800); b++) {
        for (int i = 0; i < BLOCK; i++) x[i] = sample(t, &state, i);
        t->d(y, x, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            const long double ref = t->ref((long double)x[i]);
            if (!looked_at(t, x[i], ref)) continue;
            const double u = ulps_d(y[i], ref);
            if (u > worst) worst = u, at = x[i];
        }
    }
    print_message("# %-11s %.3f ULP at %a\n", t->name, worst, at);
    if (!(worst <= 1)) fail_msg("%s: %g ULP at %a", t->name, worst, at);
}

static void test_ulp_float(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++)
        if (table[i].f) check_floats(&table[i]);
}

static void test_ulp_double(void **state)
{
    (void)state;
    if (LDBL_MANT_DIG < 64) skip();            /* no better reference at hand */
    for (size_t i = 0; i < COUNT(table); i++)
        if (table[i].d) check_doubles(&table[i]);
}

static void test_pow_double(void **state)
{
    (void)state;
    if (LDBL_MANT_DIG < 64) skip();
    double worst = 0, ax = 0, ay = 0;
    uint64_t s = 7;
    for (int i = 0; i < (STRIDE > 2000 ? 20000 : 200000); i++) {
        const uint64_t r = mix(&s);
        double x = i % 3 == 0 ? double_of(r >> 2) : i % 3 == 1 ? 1 + ldexp(unit(&s), -(int)(r & 31))
                                                              : 2 * unit(&s);
        double y = i % 2 ? 1074 / fabs(log2(x)) * unit(&s)
                         : ldexp(unit(&s), (int)(r >> 5 & 15) - 5);
        if (r >> 20 & 1) y = -y;
        if (i % 7 == 0) y = rint(y), x = -x;
        const long double ref = powl((long double)x, (long double)y);
        if (fabsl(ref) < 0x1p-1022L) continue;
        const double u = ulps_d(sx_pow(x, y), ref);
        if (u > worst) worst = u, ax = x, ay = y;
    }
    print_message("# pow         %.3f ULP at %a ^ %a\n", worst, ax, ay);
    if (!(worst <= 2)) fail_msg("pow: %g ULP at %a ^ %a", worst, ax, ay);
    for (int a = -9; a <= 9; a++)                                  /* exact where it can be */
        for (int n = 0; n < 12; n++) {
            double p = 1;
            for (int k = 0; k < n; k++) p *= a;
            assert_true(sx_pow(a, n) == p);
        }
}

/* -- Two-float powers ------------------------------------------------------------------------- */

static float pow_2(float u, double g)
{
    float hi, lo;
    sx_log2_2f(u, &hi, &lo);
    return sx_pow_2f(hi, lo, (float)g, (float)(g - (double)(float)g));
}

static void test_pow_2f(void **state)
{
    (void)state;
    if (LDBL_MANT_DIG < 64) skip();
    double worst = 0, worst_log = 0, ax = 0, ag = 0;
    uint64_t s = 3;
    for (int i = 0; i < (STRIDE > 2000 ? 20000 : 400000); i++) {
        const uint64_t r = mix(&s);
        const double any = (double)float_of((uint32_t)r & 0x7f7fffffu), u01 = unit(&s);
        const double near_1 = 1 + ldexp(u01 - 0.5, -(int)(r >> 40 & 31));
        const float x = (float)(i % 3 == 0 ? any : i % 3 == 1 ? near_1 : 2 * u01);
        if (!(x > 0)) continue;
        const double sign = r >> 33 & 1 ? -1 : 1, v01 = unit(&s);
        const double g = sign * (i % 2 ? 10 * v01 : ldexp(v01, (int)(r >> 50 & 15) - 8));
        float hi, lo;
        sx_log2_2f(x, &hi, &lo);
        const long double l = log2l((long double)x), p = powl((long double)x, (long double)g);
        const double e = x == 1 ? 0 : (double)fabsl(((long double)hi + (long double)lo - l) / l);
        if (e > worst_log) worst_log = e;
        if (p < 0x1p-126L) continue;
        const double u = ulps_f(pow_2(x, g), p);
        if (u > worst) worst = u, ax = (double)x, ag = g;
    }
    print_message("# log2_2f     2^%.1f relative; pow_2f %.3f ULP at %a ^ %a\n", log2(worst_log),
                  worst, ax, ag);
    assert_true(worst_log < 0x1p-42);
    if (!(worst <= 1)) fail_msg("pow_2f: %g ULP at %a ^ %a", worst, ax, ag);

    float hi, lo;
    sx_log2_2f(0.0f, &hi, &lo);
    assert_true(isinf(hi) && hi < 0 && lo == 0);
    sx_log2_2f(1.0f, &hi, &lo);
    assert_true(hi == 0 && lo == 0);
    sx_log2_2f(-1.0f, &hi, &lo);
    assert_true(isnan(hi));
    const float us[] = {0.0f, 1.0f, 0.3f, 1e-40f, 2.5f, HUGE_VALF};
    for (size_t i = 0; i < COUNT(us); i++) {
        assert_true(pow_2(us[i], 0) == 1);
        if (isfinite(us[i])) assert_true(pow_2(1.0f, (double)us[i]) == 1);
    }
    for (double g = 0x1p-40; g < 1e6; g *= 3) {
        assert_true(pow_2(0.0f, g) == 0 && isinf(pow_2(0.0f, -g)));
        assert_true(isinf(pow_2(HUGE_VALF, g)) && pow_2(HUGE_VALF, -g) == 0);
    }
    assert_true(isnan(pow_2(-1.0f, 1.5)) && isnan(pow_2(nanf(""), 1.5)));
    assert_true(isinf(pow_2(1e-30f, -5)) && pow_2(1e-30f, 5) == 0);
    assert_true(pow_2(0.5f, 126) == 0x1p-126f && pow_2(2.0f, 127) == 0x1p127f);
    assert_true(ulps_f(pow_2(2.0f, 127.75), exp2l(127.75L)) <= 1);
}

/* -- Special values --------------------------------------------------------------------------- */

static void same_f(const char *what, float got, double want)
{
    const int ok = isnan(want) ? isnan(got)
                               : (double)got == want && !signbit(got) == !signbit(want);
    if (!ok) fail_msg("%s: %a instead of %a", what, (double)got, want);
}
static void same_d(const char *what, double got, double want)
{
    const int ok = isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want);
    if (!ok) fail_msg("%s: %a instead of %a", what, got, want);
}
#define BOTH(name, x, want)                                                                       \
    do {                                                                                          \
        same_f(#name "f(" #x ")", sx_##name##f((float)(x)), (want));                              \
        same_d(#name "(" #x ")", sx_##name(x), (want));                                           \
    } while (0)

static void test_special(void **state)
{
    (void)state;
    const double nan = (double)NAN;
    BOTH(exp, nan, nan); BOTH(exp, INF, INF); BOTH(exp, -INF, 0); BOTH(exp, 0, 1);
    BOTH(exp, -0.0, 1); BOTH(exp, 1e30, INF); BOTH(exp, -1e30, 0);
    BOTH(exp2, nan, nan); BOTH(exp2, INF, INF); BOTH(exp2, -INF, 0); BOTH(exp2, -0.0, 1);
    for (int e = -149; e < 128; e++) same_f("exp2f", sx_exp2f((float)e), ldexp(1, e));
    for (int e = -1074; e < 1024; e++) same_d("exp2", sx_exp2(e), ldexp(1, e));
    same_f("expf_neg", sx_expf_neg(-HUGE_VALF), 0);
    same_f("expf_neg", sx_expf_neg(nanf("")), nan);
    same_f("expf_neg", sx_expf_neg(float_of(0x7fc00001u)), nan);   /* payload in the low bits */
    same_f("expf_neg", sx_expf_neg(-0.0f), 1);
    same_d("exp_neg", sx_exp_neg(-INF), 0);
    same_d("exp_neg", sx_exp_neg(nan), nan);
    same_d("exp_neg", sx_exp_neg(-0.0), 1);

    BOTH(log, nan, nan); BOTH(log, 0, -INF); BOTH(log, -0.0, -INF); BOTH(log, -1, nan);
    BOTH(log, -INF, nan); BOTH(log, INF, INF); BOTH(log, 1, 0);
    BOTH(log2, nan, nan); BOTH(log2, 0, -INF); BOTH(log2, -0.0, -INF); BOTH(log2, -1, nan);
    BOTH(log2, -INF, nan); BOTH(log2, INF, INF); BOTH(log2, 1, 0);
    for (int e = -149; e < 128; e++) same_f("log2f", sx_log2f(ldexpf(1, e)), e);
    for (int e = -1074; e < 1024; e++) same_d("log2", sx_log2(ldexp(1, e)), e);
    BOTH(log1p, nan, nan); BOTH(log1p, -1, -INF); BOTH(log1p, -1.5, nan); BOTH(log1p, -INF, nan);
    BOTH(log1p, INF, INF); BOTH(log1p, 0, 0); BOTH(log1p, -0.0, -0.0);
    BOTH(log1p, 0x1p-140, 0x1p-140);
    same_f("log1pf_pos", sx_log1pf_pos(HUGE_VALF), INF);
    same_f("log1pf_pos", sx_log1pf_pos(nanf("")), nan);
    same_f("log1pf_pos", sx_log1pf_pos(0.0f), 0);

    BOTH(expm1, nan, nan); BOTH(expm1, INF, INF); BOTH(expm1, -INF, -1); BOTH(expm1, 0, 0);
    BOTH(expm1, -0.0, -0.0); BOTH(expm1, 0x1p-149, 0x1p-149); BOTH(expm1, -1e6, -1);
    BOTH(tanh, nan, nan); BOTH(tanh, INF, 1); BOTH(tanh, -INF, -1); BOTH(tanh, 0, 0);
    BOTH(tanh, -0.0, -0.0); BOTH(tanh, 0x1p-149, 0x1p-149);
    BOTH(sigmoid, nan, nan); BOTH(sigmoid, INF, 1); BOTH(sigmoid, -INF, 0); BOTH(sigmoid, 0, 0.5);
    BOTH(sigmoid, -1e4, 0);
    BOTH(softplus, nan, nan); BOTH(softplus, INF, INF); BOTH(softplus, -INF, 0);
    BOTH(softplus, 1000, 1000); BOTH(softplus, -1e4, 0);
    same_d("softplus(0)", sx_softplus(0), 0x1.62e42fefa39efp-1);

    /* pow: every pair of these, as the C library has it where that is exact or special */
    const double v[] = {0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 2.5, -2.5, 0.25, INF, -INF, nan,
                        0x1p52, 0x1p53, 0x1p52 + 1, -0x1p53, 0x1p53 - 1, -0x1p53 + 1, 1e300, -1e300,
                        0x1p-1074, -0x1p-1074, 0x1p-1022, DBL_MAX, -DBL_MAX, 1 + 0x1p-52};
    for (size_t i = 0; i < COUNT(v); i++)
        for (size_t j = 0; j < COUNT(v); j++) {
            const double got = sx_pow(v[i], v[j]), want = pow(v[i], v[j]);
            if (isnan(want) || isinf(want) || want == 0 || fabs(want) == 1)
                same_d("pow", got, want);
            else if (!(fabs(got - want) <= 2 * (fabs(want) * 0x1p-52)))
                fail_msg("pow(%a, %a): %a instead of %a", v[i], v[j], got, want);
        }
}

/* -- Shape ------------------------------------------------------------------------------------ */

/* All of them rise, but for the error of 1 ULP on each side; from one float to the next. */
static void test_shape(void **state)
{
    (void)state;
    enum { RUN = 4096 };
    static float x[RUN], y[RUN];
    for (size_t k = 0; k < COUNT(table); k++) {
        const fn *t = &table[k];
        if (!t->f) continue;
        for (int part = 0; part <= 16; part++) {
            float at = (float)(t->low + (t->high - t->low) * part / 16);
            for (int i = 0; i < RUN; i++) x[i] = at, at = nextafterf(at, HUGE_VALF);
            t->f(y, x, RUN);
            for (int i = 1; i < RUN; i++) {
                if ((double)x[i] > t->to || isnan(y[i - 1])) continue;
                const float floor = nextafterf(nextafterf(y[i - 1], -HUGE_VALF), -HUGE_VALF);
                if (!(y[i] >= floor)) fail_msg("%s falls at %a", t->name, (double)x[i]);
            }
        }
    }
    uint64_t s = 11;
    for (int i = 0; i < 20000; i++) {
        const double v = (unit(&s) - 0.5) * 60;
        const float w = (float)v;
        assert_true(sx_tanhf(-w) == -sx_tanhf(w) && fabsf(sx_tanhf(w)) <= 1);
        assert_true(sx_tanh(-v) == -sx_tanh(v) && fabs(sx_tanh(v)) <= 1);
        assert_true(sx_sigmoidf(w) > 0 && sx_sigmoidf(w) <= 1);
        assert_true(sx_sigmoid(v) > 0 && sx_sigmoid(v) <= 1);
        assert_true(sx_softplusf(w) >= (w > 0 ? w : 0) && sx_softplus(v) >= (v > 0 ? v : 0));
        assert_true(sx_expf(w) > 0 && (sx_expm1f(w) > 0) == (w > 0));
    }
}

/* -- Half ------------------------------------------------------------------------------------- */

static double half_value(unsigned h)                             /* finite ones */
{
    const int e = h >> 10 & 31, m = h & 1023;
    const double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000u ? -v : v;
}

static void check_to_half(float x)
{
    const unsigned got = sx_float_to_half(x), sign = signbit(x) ? 0x8000u : 0;
    unsigned want;
    const double a = fabs((double)x);
    if (isnan(x)) {
        if ((got & 0x7e00u) != 0x7e00u) fail_msg("half of nan: %04x", got);
        return;
    }
    if (a >= 65520) want = 0x7c00u;
    else if (a < 0x1p-14) want = (unsigned)nearbyint(a * 0x1p24);
    else {
        const int e = ilogb(a);
        want = (unsigned)((e + 14) * 1024 + (int)nearbyint(ldexp(a, 10 - e)));   /* carries up */
    }
    if (got != (want | sign))
        fail_msg("half of %a: %04x instead of %04x", (double)x, got, want | sign);
}

static void test_half(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        const float f = sx_half_to_float((sx_u16)h);
        uint32_t b;
        memcpy(&b, &f, 4);
        if ((h & 0x7c00u) != 0x7c00u) {
            same_f("half", f, half_value(h));
            assert_int_equal(sx_float_to_half(f), h);
            if ((h & 0x7fffu) < 0x7bffu) {                 /* halfway to the next, and beside */
                const float mid = (float)((half_value(h) + half_value(h + 1)) / 2);
                check_to_half(mid);
                check_to_half(nextafterf(mid, HUGE_VALF));
                check_to_half(nextafterf(mid, -HUGE_VALF));
            }
        } else {
            const uint32_t quiet = h & 0x3ffu ? 0x400000u : 0;
            assert_int_equal(b, (h & 0x8000u) << 16 | 0x7f800000u | (h & 0x3ffu) << 13 | quiet);
            assert_int_equal(sx_float_to_half(f), h | (h & 0x3ffu ? 0x200u : 0));
        }
    }
    for (uint64_t b = 0; b < (uint64_t)1 << 32; b += STRIDE) check_to_half(float_of((uint32_t)b));
    check_to_half(65519.996f);
    check_to_half(65520.0f);
    check_to_half(0x1p-25f);
    check_to_half(0x1.000002p-25f);
}

/* -- The same bits everywhere ----------------------------------------------------------------- */

enum { HASHED = 4096 };

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}
#define FNV_START 0xcbf29ce484222325u

static uint64_t fnv_f(uint64_t h, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &y[i], 4);
        if (isnan(y[i])) u = 0x7fc00000u;                        /* a nan is a nan */
        const unsigned char b[4] = {(unsigned char)u, (unsigned char)(u >> 8),
                                    (unsigned char)(u >> 16), (unsigned char)(u >> 24)};
        h = fnv(h, b, 4);
    }
    return h;
}
static uint64_t fnv_d(uint64_t h, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t u;
        memcpy(&u, &y[i], 8);
        if (isnan(y[i])) u = 0x7ff8000000000000u;
        for (int k = 0; k < 8; k++) {
            const unsigned char b = (unsigned char)(u >> 8 * k);
            h = fnv(h, &b, 1);
        }
    }
    return h;
}

/* Half of the arguments evenly where most happens, half any bits in the domain. */
static double argument(const fn *t, uint64_t *state, int i)
{
    if (i & 1) return t->low + (t->high - t->low) * i / HASHED;
    const uint64_t r = mix(state);
    const double x = t->f ? (double)float_of((uint32_t)r) : double_of(r);
    return x < t->from || x > t->to ? -x : x;
}

/* step = HASHED: one loop over all, which the compiler may vectorise; 1: each alone. */
static uint64_t hash_of(const fn *t, size_t step)
{
    static float xf[HASHED], yf[HASHED];
    static double xd[HASHED], yd[HASHED];
    uint64_t state = 5;
    for (int i = 0; i < HASHED; i++) {
        xd[i] = argument(t, &state, i);
        xf[i] = (float)xd[i];
    }
    for (size_t i = 0; i < HASHED; i += step)
        if (t->f) t->f(yf + i, xf + i, step);
        else t->d(yd + i, xd + i, step);
    return t->f ? fnv_f(FNV_START, yf, HASHED) : fnv_d(FNV_START, yd, HASHED);
}

static void check_hash(const char *name, uint64_t got, uint64_t want)
{
    if (getenv("SEGX_PRINT_HASHES")) print_message("%s 0x%016llx\n", name, (unsigned long long)got);
    else if (got != want)
        fail_msg("%s: hash %016llx instead of %016llx", name, (unsigned long long)got,
                 (unsigned long long)want);
}

static const uint64_t hash_pow = 0x6e7f528a488d4049u, hash_log2_2f = 0xb3261712fcbae997u,
                      hash_pow_2f = 0x9565dbf29a351914u, hash_half = 0x757a42584868ae32u;

static void test_hash(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        check_hash(table[i].name, hash_of(&table[i], HASHED), table[i].hash);
        assert_true(hash_of(&table[i], 1) == hash_of(&table[i], HASHED));
    }
    static double x[HASHED], y[HASHED];
    static float u[HASHED], hi[HASHED], lo[HASHED], p[HASHED], q[HASHED];
    static sx_u16 h[HASHED];
    uint64_t s = 9;
    for (int i = 0; i < HASHED; i++) {
        x[i] = i % 2 ? 20 * unit(&s) : double_of(mix(&s));
        u[i] = i % 4 ? (float)unit(&s) : float_of((uint32_t)mix(&s));
    }
    for (int i = 0; i < HASHED; i++) y[i] = sx_pow(x[i], 2.3);
    uint64_t a = fnv_d(FNV_START, y, HASHED);
    for (int i = 0; i < HASHED; i++) y[i] = sx_pow(x[i], -3);
    check_hash("pow", fnv_d(a, y, HASHED), hash_pow);
    for (int i = 0; i < HASHED; i++) sx_log2_2f(u[i], &hi[i], &lo[i]);
    check_hash("log2_2f", fnv_f(fnv_f(FNV_START, hi, HASHED), lo, HASHED), hash_log2_2f);
    a = FNV_START;
    for (int k = -3; k < 8; k++) {
        const double g = 0.77 * k;
        const float gh = (float)g, gl = (float)(g - (double)gh);
        for (int i = 0; i < HASHED; i++) p[i] = sx_pow_2f(hi[i], lo[i], gh, gl);
        a = fnv_f(a, p, HASHED);
    }
    check_hash("pow_2f", a, hash_pow_2f);
    for (int i = 0; i < HASHED; i++) h[i] = sx_float_to_half(u[i]);
    for (int i = 0; i < HASHED; i++) q[i] = sx_half_to_float(h[i]);
    check_hash("half", fnv_f(FNV_START, q, HASHED), hash_half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ulp_float), cmocka_unit_test(test_ulp_double),
        cmocka_unit_test(test_pow_double), cmocka_unit_test(test_pow_2f),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_shape), cmocka_unit_test(test_half), cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
