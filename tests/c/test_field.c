/* test_field.c: pixels in order, sums in order and distances against the obvious loops. Planes have their exact size on the heap, so
 * that a sanitizer sees what reads or writes beside them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "field/field.h"

static uint64_t state_of_rng;

static uint64_t rng(void)   /* splitmix64 */
{
    uint64_t z = state_of_rng += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static size_t pick(size_t n) { return (size_t)(rng() % n); }
static double uniform(void) { return (double)(rng() >> 11) * 0x1p-53; }

/* -- Planes of float or double --------------------------------------------------------------------- */

static size_t size_of(bool dbl) { return dbl ? sizeof(double) : sizeof(float); }

static void *plane(size_t n, bool dbl)
{
    void *p = malloc(n ? n * size_of(dbl) : 1);
    assert_non_null(p);
    return p;
}

static double get(const void *p, size_t i, bool dbl) { return dbl ? ((const double *)p)[i] : (double)((const float *)p)[i]; }

static void put(void *p, size_t i, bool dbl, double v)
{
    if (dbl) ((double *)p)[i] = v;
    else ((float *)p)[i] = (float)v;
}

static void put_bits(void *p, size_t i, bool dbl, uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    if (dbl) memcpy((double *)p + i, &bits, sizeof bits);
    else memcpy((float *)p + i, &low, sizeof low);
}

/* 0, sometimes -0, at a share of the pixels; elsewhere something that is not 0. */
static void *mask(size_t n, bool dbl, double zeros)
{
    static const double other[] = {1, 1, -2, 0.25, 1e-40, (double)INFINITY};
    void *p = plane(n, dbl);
    for (size_t i = 0; i < n; i++) put(p, i, dbl, uniform() < zeros ? (pick(2) ? 0.0 : -0.0) : other[pick(sizeof other / sizeof *other)]);
    return p;
}

/* -- Order ------------------------------------------------------------------------------------------ */

static bool before(double a, double b) { return isnan(a) ? !isnan(b) : a > b; }

/* The valid pixels by merging, stable; returns how many. */
static size_t slow_order(const void *v, const void *valid, size_t n, bool dbl, uint32_t **out)
{
    uint32_t *a = malloc((n + 1) * sizeof *a), *b = malloc((n + 1) * sizeof *b);
    size_t m = 0;
    assert_true(a && b);
    for (size_t i = 0; i < n; i++)
        if (get(valid, i, dbl) != 0) a[m++] = (uint32_t)i;
    for (size_t run = 1; run < m; run *= 2) {
        for (size_t at = 0; at < m; at += 2 * run) {
            const size_t middle = at + run < m ? at + run : m, end = at + 2 * run < m ? at + 2 * run : m;
            size_t l = at, r = middle;
            for (size_t k = at; k < end; k++) {
                const bool right = l == middle || (r < end && before(get(v, a[r], dbl), get(v, a[l], dbl)));
                b[k] = right ? a[r++] : a[l++];
            }
        }
        uint32_t *t = a;
        a = b;
        b = t;
    }
    free(b);
    *out = a;
    return m;
}

static void same_order(const sx_field_work *w, size_t count, const void *v, const void *valid, size_t n, bool dbl)
{
    uint32_t *want;
    assert_int_equal(count, slow_order(v, valid, n, dbl, &want));
    for (size_t i = 0; i < count; i++) assert_int_equal(w->order[i], want[i]);
    free(want);
}

static void check_order(sx_field_work *w, const void *v, const void *valid, size_t n, bool dbl)
{
    sx_error er;
    size_t count = n + 1;
    assert_int_equal(sx_order(w, v, valid, n, dbl, &count, &er), SX_EOK);
    same_order(w, count, v, valid, n, dbl);
}

enum values { TIES, REAL, SPECIAL, LOW_BITS, MIDDLE_BITS, EXPONENTS, ANY_BITS, RUNS, ONE_VALUE, KINDS };

/* n numbers of a kind. */
static void *values(size_t n, bool dbl, enum values kind)
{
    static const double special[] = {0, -0.0, 1, -1, 1e-45, -1e-45, 0x1p-126, -0x1p-126, 0x1.fffffep127, -0x1.fffffep127, (double)INFINITY,
                                     -(double)INFINITY};
    static const uint64_t nan32[] = {0x7fc00000U, 0xffc00000U, 0x7f800001U, 0xffffffffU};
    static const uint64_t nan64[] = {0x7ff8000000000000U, 0xfff8000000000000U, 0x7ff0000000000001U, 0xffffffffffffffffU};
    const uint64_t one = dbl ? 0x3ff0000000000000U : 0x3f800000U, sign = (uint64_t)1 << (dbl ? 63 : 31);
    const double constant = (double)pick(5) - 2;
    void *p = plane(n, dbl);
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case TIES: put(p, i, dbl, pick(8) ? (double)pick(7) - 3 : -0.0); break;
        case REAL: put(p, i, dbl, 2 * uniform() - 1); break;
        case SPECIAL:
            if (pick(4)) put(p, i, dbl, special[pick(sizeof special / sizeof *special)]);
            else put_bits(p, i, dbl, dbl ? nan64[pick(4)] : nan32[pick(4)]);
            break;
        case LOW_BITS: put_bits(p, i, dbl, (one + pick(3000)) ^ (pick(50) ? 0 : sign)); break;   /* two digits of 11 bits */
        case MIDDLE_BITS: put_bits(p, i, dbl, one + ((uint64_t)pick(2048) << (dbl ? 22 : 11))); break;
        case EXPONENTS: put(p, i, dbl, ldexp(pick(3) ? 1 : -1, (int)pick(250) - 125)); break;
        case ANY_BITS: put_bits(p, i, dbl, rng()); break;
        case RUNS: put_bits(p, i, dbl, one + ((uint64_t)pick(n / 20 + 1) << (dbl ? 32 : 11)) + pick(3)); break;   /* short, with ties */
        default: put(p, i, dbl, constant);
        }
    }
    return p;
}

/* One work for all of them, in which sizes grow and shrink, and numbers are of one type and the other. */
static void test_order(void **state)
{
    (void)state;
    static const size_t size[] = {0, 1, 2, 3, 17, 2047, 2048, 2049, 1, 4096, 100, 4097, 6143, 2048 * 5, 0, 2048 * 5 + 1, 30000, 5};
    static const double invalid[] = {0, 0.3, 0.99, 1};
    sx_field_work w = {0};
    state_of_rng = 1;
    for (size_t s = 0; s < sizeof size / sizeof *size; s++)
        for (int k = 0; k < KINDS; k++)
            for (size_t z = 0; z < 4; z++)
                for (int dbl = 0; dbl < 2; dbl++) {
                    void *v = values(size[s], dbl, (enum values)k), *valid = mask(size[s], dbl, invalid[z]);
                    check_order(&w, v, valid, size[s], dbl);
                    free(v);
                    free(valid);
                }
    sx_field_work_free(&w);
}

/* By hand, so that slow_order is not the only witness. */
static void test_order_by_hand(void **state)
{
    (void)state;
    const float nan = NAN, inf = INFINITY;
    const float f[] = {0, -1, -0.0F, inf, nan, 2, 2, -inf, 9, -nan, 0}, here[] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1};
    const uint32_t want[] = {4, 9, 3, 5, 6, 0, 2, 10, 1, 7};
    double d[11], there[11];
    sx_field_work w = {0};
    size_t count;
    for (size_t i = 0; i < 11; i++) {
        d[i] = (double)f[i];
        there[i] = (double)here[i];
    }
    assert_int_equal(sx_order(&w, f, here, 11, false, &count, NULL), SX_EOK);
    assert_int_equal(count, 10);
    assert_memory_equal(w.order, want, sizeof want);
    assert_int_equal(sx_order(&w, d, there, 11, true, &count, NULL), SX_EOK);
    assert_int_equal(count, 10);
    assert_memory_equal(w.order, want, sizeof want);
    d[3] = 2 + 0x1p-51;   /* is 2 in float */
    d[6] = 2 + 0x1p-50;
    const uint32_t close[] = {4, 9, 6, 3, 5, 0, 2, 10, 1, 7};
    assert_int_equal(sx_order(&w, d, there, 11, true, &count, NULL), SX_EOK);
    assert_memory_equal(w.order, close, sizeof close);
    sx_field_work_free(&w);
}

/* -- Sums in order ------------------------------------------------------------------------------------- */

/* Does pixel j come before i, or is it i? */
static bool above(const void *v, size_t j, size_t i, bool dbl)
{
    const double a = get(v, j, dbl), b = get(v, i, dbl);
    return before(a, b) || (!before(b, a) && j <= i);
}

static bool near(double got, long double want, long double scale, bool dbl)
{
    return fabsl((long double)got - want) <= scale * (dbl ? 1e-14L : 1e-7L);   /* float: rounded once */
}

static void check_sums(sx_field_work *w, const void *v, const void *valid, const void *b, size_t n, bool dbl, bool whole)
{
    size_t count;
    void *up = plane(n, dbl), *down = plane(n, dbl);
    for (size_t i = 0; i < n; i++) {
        put(up, i, dbl, 7);
        put(down, i, dbl, 7);
    }
    assert_int_equal(sx_order(w, v, valid, n, dbl, &count, NULL), SX_EOK);
    sx_sum_ordered(w, count, b, false, n, dbl, up);
    sx_sum_ordered(w, count, b, true, n, dbl, down);
    for (size_t i = 0; i < n; i++) {
        const double got = get(up, i, dbl), rest = get(down, i, dbl);
        long double sum[2] = {0, 0}, scale[2] = {0, 0};
        for (size_t j = 0; get(valid, i, dbl) != 0 && j < n; j++) {
            if (!(get(valid, j, dbl) != 0)) continue;
            const int part = !above(v, j, i, dbl);
            sum[part] += get(b, j, dbl);
            scale[part] += fabs(get(b, j, dbl));
        }
        if (whole) {
            assert_true((long double)got == sum[0] && (long double)rest == sum[1]);
            assert_true((long double)(got + rest) == sum[0] + sum[1]);
        } else {
            assert_true(near(got, sum[0], scale[0], dbl) && near(rest, sum[1], scale[1], dbl));
        }
        assert_true(get(valid, i, dbl) != 0 || (got == 0 && rest == 0));
    }
    free(up);
    free(down);
}

static void test_sums(void **state)
{
    (void)state;
    static const size_t size[] = {0, 1, 2, 300, 77, 500};
    static const double invalid[] = {0, 0.4, 1};
    sx_field_work w = {0};
    state_of_rng = 2;
    for (size_t s = 0; s < sizeof size / sizeof *size; s++)
        for (int k = 0; k < KINDS; k++)
            for (size_t z = 0; z < 3; z++)
                for (int how = 0; how < 4; how++) {
                    const bool dbl = how & 1, whole = how & 2;
                    const size_t n = size[s];
                    void *v = values(n, dbl, (enum values)k), *valid = mask(n, dbl, invalid[z]), *b = plane(n, dbl);
                    for (size_t i = 0; i < n; i++) {   /* what takes no part has no influence */
                        put(b, i, dbl, whole ? (double)pick(2001) - 1000 : 2 * uniform() - 1);
                        if (!(get(valid, i, dbl) != 0)) put(b, i, dbl, (double)NAN);
                    }
                    check_sums(&w, v, valid, b, n, dbl, whole);
                    free(v);
                    free(valid);
                    free(b);
                }
    sx_field_work_free(&w);
}

/* Sums of float are kept in double: adding 1 to 2^25 again and again in float would stay there. */
static void test_sums_are_double(void **state)
{
    (void)state;
    enum { N = 41 };
    float v[N], valid[N], b[N], out[N];
    sx_field_work w = {0};
    size_t count;
    for (size_t i = 0; i < N; i++) {
        v[i] = -(float)i;
        valid[i] = b[i] = 1;
    }
    b[0] = b[N - 1] = 0x1p25F;
    assert_int_equal(sx_order(&w, v, valid, N, false, &count, NULL), SX_EOK);
    sx_sum_ordered(&w, count, b, false, N, false, out);
    for (size_t i = 0; i + 1 < N; i++) assert_true(out[i] == (float)(0x1p25 + (double)i));
    sx_sum_ordered(&w, count, b, true, N, false, out);
    for (size_t i = 1; i + 1 < N; i++) assert_true(out[i] == (float)(0x1p25 + (double)(N - 2 - i)));
    assert_true(out[0] == (float)(0x1p25 + N - 2) && out[N - 1] == 0);
    sx_field_work_free(&w);
}

/* -- Distances ---------------------------------------------------------------------------------------------- */

typedef struct shape {
    size_t n_dims, dims[3];
} shape;

static size_t pixels(const shape *s)
{
    size_t n = 1;
    for (size_t d = 0; d < s->n_dims; d++) n *= s->dims[d];
    return n;
}

/* Width of a pixel along each axis: 1, the same, different ones. */
static const double spacings[][3] = {{1, 1, 1}, {2.5, 2.5, 2.5}, {5, 0.7, 1.3}}, *const unit = spacings[0];

/* With equal widths as a whole number of squared ones. */
static double square_between(const shape *s, const double *spacing, size_t i, size_t j)
{
    double sum = 0;
    for (size_t d = s->n_dims; d-- > 0; i /= s->dims[d], j /= s->dims[d]) {
        const double x = (double)(i % s->dims[d]) - (double)(j % s->dims[d]), w = spacing == spacings[2] ? spacing[d] : 1;
        sum += x * x * (w * w);
    }
    return sum;
}

static void same_edt(const shape *s, const double *spacing, const void *v, const void *valid, bool dbl, const void *out)
{
    const size_t n = pixels(s);
    size_t *site = malloc(n * sizeof *site), sites = 0;
    assert_non_null(site);
    for (size_t i = 0; i < n; i++)
        if (get(valid, i, dbl) != 0 && get(v, i, dbl) == 0) site[sites++] = i;
    for (size_t i = 0; i < n; i++) {
        double least = 0;
        for (size_t k = 0; k < sites && get(valid, i, dbl) != 0; k++) {
            const double x = square_between(s, spacing, i, site[k]);
            if (!k || x < least) least = x;
        }
        const bool exact = spacing != spacings[2];
        const double want = sqrt(least) * (exact ? spacing[0] : 1), got = get(out, i, dbl);
        if (exact) assert_true(got == (dbl ? want : (double)(float)want));
        else assert_true(fabs(got - want) <= want * (dbl ? 1e-14 : 1e-7));
    }
    free(site);
}

static void check_edt(sx_field_work *w, const shape *s, const void *v, const void *valid, bool dbl)
{
    const size_t n = pixels(s);
    sx_error er;
    void *out = plane(n, dbl);
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < n; i++) put(out, i, dbl, -7);
        assert_int_equal(sx_edt(w, v, valid, s->dims, spacings[k], s->n_dims, dbl, out, &er), SX_EOK);
        same_edt(s, spacings[k], v, valid, dbl, out);
    }
    free(out);
}

static void random_edt(sx_field_work *w, const shape *s, double sites, double invalid, bool dbl)
{
    void *v = mask(pixels(s), dbl, sites), *valid = mask(pixels(s), dbl, invalid);
    check_edt(w, s, v, valid, dbl);
    free(v);
    free(valid);
}

static void test_edt(void **state)
{
    (void)state;
    static const shape list[] = {
        {1, {1}         },
        {1, {2}         },
        {1, {257}       },
        {2, {1, 1}      },
        {2, {1, 19}     },
        {2, {19, 1}     },
        {2, {40, 37}    },
        {2, {3, 5}      },
        {2, {2, 2}      },
        {2, {5, 101}    },
        {3, {1, 1, 1}   },
        {3, {9, 11, 13} },
        {3, {1, 7, 5}   },
        {3, {7, 1, 5}   },
        {3, {7, 5, 1}   },
        {3, {2, 3, 4}   },
        {3, {1, 1, 2000}},
        {3, {3, 40, 6}  },
    };
    static const double share[] = {0, 1e-3, 0.03, 0.5, 1}, invalid[] = {0, 0.3, 0.95, 1};
    sx_field_work w = {0};
    state_of_rng = 3;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (size_t k = 0; k < 5; k++)
            for (size_t z = 0; z < 4; z++)
                for (int how = 0; how < 4; how++) random_edt(&w, &list[i], share[k], invalid[z], how & 1);
    for (size_t round = 0; round < 400; round++) {   /* shapes and shares of all kinds, few pixels */
        const shape s = {1 + pick(3), {1 + pick(9), 1 + pick(9), 1 + pick(9)}};
        random_edt(&w, &s, uniform() * uniform(), pick(2) ? 0 : uniform(), pick(2));
    }
    sx_field_work_free(&w);
}

/* Every way to choose sites in small planes. */
static void test_edt_all_masks(void **state)
{
    (void)state;
    static const shape list[] = {
        {1, {10}     },
        {2, {3, 4}   },
        {2, {2, 5}   },
        {3, {2, 3, 2}},
    };
    sx_field_work w = {0};
    double v[12], valid[12];
    for (size_t i = 0; i < 12; i++) valid[i] = 1;
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        for (unsigned sites = 0; sites < 1U << pixels(&list[k]); sites++) {
            for (size_t i = 0; i < pixels(&list[k]); i++) v[i] = sites >> i & 1 ? 0 : 1;
            check_edt(&w, &list[k], v, valid, true);
        }
    sx_field_work_free(&w);
}

/* Squares beyond 32 bits: one site in a corner, then one in each of two. */
static void test_edt_far(void **state)
{
    (void)state;
    static const shape list[] = {
        {1, {100000}    },
        {2, {2, 70000}  },
        {2, {70000, 2}  },
        {3, {3, 1, 60000}},
    };
    sx_field_work w = {0};
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        for (int how = 0; how < 4; how++) {
            const bool dbl = how & 1;
            const size_t n = pixels(&list[k]);
            void *v = plane(n, dbl), *valid = plane(n, dbl);
            for (size_t i = 0; i < n; i++) {
                put(v, i, dbl, 1);
                put(valid, i, dbl, 1);
            }
            put(v, n - 1, dbl, 0);
            if (how & 2) put(v, 0, dbl, 0);
            check_edt(&w, &list[k], v, valid, dbl);
            free(v);
            free(valid);
        }
    sx_field_work_free(&w);
}

static void test_edt_by_hand(void **state)
{
    (void)state;
    const float label[] = {0, 0, 1, 1, 1, 0}, rest[] = {1, 1, 0, 0, 0, 1}, all[] = {1, 1, 1, 1, 1, 1}, none[6] = {0};
    const float valid[] = {1, 0, 1, 1, 1, 1};
    const float inside[] = {0, 0, 1, 2, 1, 0}, outside[] = {2, 1, 0, 0, 0, 1}, without[] = {0, 0, 2, 2, 1, 0};
    const size_t line = 6, square[] = {2, 3};
    float out[6];
    sx_field_work w = {0};
    assert_int_equal(sx_edt(&w, label, all, &line, unit, 1, false, out, NULL), SX_EOK);
    assert_memory_equal(out, inside, sizeof out);
    assert_int_equal(sx_edt(&w, rest, all, &line, unit, 1, false, out, NULL), SX_EOK);
    assert_memory_equal(out, outside, sizeof out);
    assert_int_equal(sx_edt(&w, label, valid, &line, unit, 1, false, out, NULL), SX_EOK);   /* the invalid site does not count */
    assert_memory_equal(out, without, sizeof out);
    assert_int_equal(sx_edt(&w, all, all, &line, unit, 1, false, out, NULL), SX_EOK);       /* no site */
    assert_memory_equal(out, none, sizeof out);
    assert_int_equal(sx_edt(&w, none, all, &line, unit, 1, false, out, NULL), SX_EOK);      /* nothing else */
    assert_memory_equal(out, none, sizeof out);
    const float corner[] = {0, 1, 1, 1, 1, 1}, from_corner[] = {0, 1, 2, 1, sqrtf(2), sqrtf(5)};
    assert_int_equal(sx_edt(&w, corner, all, square, unit, 2, false, out, NULL), SX_EOK);   /* the last axis is the fastest */
    assert_memory_equal(out, from_corner, sizeof out);
    sx_field_work_free(&w);
}

/* -- Memory ------------------------------------------------------------------------------------------------- */

/* Order (kind 0) or distances (1) of n pixels. */
static sx_err one_call(sx_field_work *w, int kind, const void *v, const void *valid, size_t n, bool dbl, size_t *count, void *out,
                       sx_error *er)
{
    if (kind) return sx_edt(w, v, valid, &n, unit, 1, dbl, out, er);
    return sx_order(w, v, valid, n, dbl, count, er);
}

static void checked_call(sx_field_work *w, int kind, const void *v, const void *valid, size_t n, bool dbl)
{
    const shape s = {1, {n}};
    if (kind) check_edt(w, &s, v, valid, dbl);
    else check_order(w, v, valid, n, dbl);
}

/* Every allocation of a call fails once; the work is new, or was used for fewer pixels. Afterwards it is freed, or used for fewer pixels
 * again and for as many. */
static void test_memory(void **state)
{
    (void)state;
    enum { FEW = 40, MANY = 900 };
    state_of_rng = 5;
    for (int how = 0; how < 16; how++) {
        const int kind = how & 1;
        const bool dbl = how & 2, used = how & 4, again = how & 8;
        void *v = values(MANY, dbl, TIES), *valid = mask(MANY, dbl, 0.2), *out = plane(MANY, dbl);
        long n = 0;
        for (sx_err e = SX_EMEMORY; e;) {
            sx_field_work w = {0};
            sx_error er = {.code = SX_EOK};
            size_t count = 0;
            if (used) checked_call(&w, kind, v, valid, FEW, dbl);
            sx_fault_memory(++n);
            e = one_call(&w, kind, v, valid, MANY, dbl, &count, out, &er);
            const bool failed = sx_fault_fired();
            sx_fault_memory(0);
            assert_int_equal(e, failed ? SX_EMEMORY : SX_EOK);
            assert_int_equal(er.code, e);
            if (again || !e) {
                checked_call(&w, kind, v, valid, FEW, dbl);
                checked_call(&w, kind, v, valid, MANY, dbl);
                checked_call(&w, !kind, v, valid, MANY, dbl);
                checked_call(&w, kind, v, valid, kind ? 1 : 0, dbl);
            }
            sx_field_work_free(&w);
            checked_call(&w, kind, v, valid, FEW, dbl);   /* freed: as new */
            sx_field_work_free(&w);
        }
        assert_int_equal(n - 1, kind ? 2 : used ? 3 : 4);
        free(v);
        free(valid);
        free(out);
    }
}

/* What is there is enough for fewer pixels, and for as many numbers half as large. */
static void test_memory_is_kept(void **state)
{
    (void)state;
    enum { N = 1000 };
    sx_field_work w = {0};
    state_of_rng = 6;
    for (int dbl = 1; dbl >= 0; dbl--) {
        void *v = values(N, dbl, REAL), *valid = mask(N, dbl, 0.1);
        const shape s = {2, {20, N / 20}}, fewer = {2, {N / 20, 20}};
        if (dbl) {
            check_order(&w, v, valid, N, true);
            check_edt(&w, &s, v, valid, true);
        }
        sx_fault_memory(1);
        check_order(&w, v, valid, N, dbl);
        check_order(&w, v, valid, N - 1, dbl);
        check_edt(&w, &s, v, valid, dbl);
        check_edt(&w, &fewer, v, valid, dbl);
        assert_false(sx_fault_fired());
        sx_fault_memory(0);
        free(v);
        free(valid);
    }
    sx_field_work_free(&w);
    sx_field_work_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_order_by_hand),
        cmocka_unit_test(test_sums),           cmocka_unit_test(test_sums_are_double),
        cmocka_unit_test(test_edt),            cmocka_unit_test(test_edt_all_masks),
        cmocka_unit_test(test_edt_far),        cmocka_unit_test(test_edt_by_hand),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_memory_is_kept),
    };
    return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
