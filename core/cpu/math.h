/*
 * math.h: segx's own elementary functions for float (name ends in f) and double; half <-> float.
 *
 * Bits. Every function is a fixed sequence of IEEE operations with each fused multiply-add written
 * out, so the same argument gives the same bits from gcc and clang, scalar or vectorised, on every
 * instruction set (also without FMA hardware: then the C library's exact fmaf is called, slowly).
 * Build with -ffp-contract=off and never with -ffast-math. Only that a NaN is a NaN is promised,
 * not its sign and payload. Needs round-to-nearest and subnormals (no flush-to-zero mode).
 *
 * Speed. No branch, no table, no call: loops over arrays that call these functions vectorise under
 * -O3 -fno-math-errno -fno-trapping-math. All selects choose between values already computed.
 *
 * Accuracy. Float functions are within 1 ULP over all floats (tests/c/math_exhaustive.c), double
 * ones within 1 ULP over samples (tests/c/test_math.c); exceptions stand at the function. Special
 * values follow C99 Annex F.
 *
 * The text is also CUDA C (with --fmad=false), and then every function is __device__; under NVRTC
 * it needs no other header. Coefficients: near-minimax fits, refitted after rounding the leading
 * ones.
 */
#ifndef SX_CPU_MATH_H
#define SX_CPU_MATH_H

#ifdef __FAST_MATH__
#error "cpu/math.h needs IEEE arithmetic: build without -ffast-math"
#endif

#if defined(__CUDACC_RTC__)
#define SX_M static __device__ __forceinline__
#elif defined(__CUDACC__)
#define SX_M static __host__ __device__ __forceinline__
#include <math.h>
#else
#define SX_M static inline __attribute__((always_inline))
#include <math.h>
#include <stddef.h>
#endif

typedef unsigned short sx_u16;
typedef unsigned int sx_u32;
typedef unsigned long long sx_u64;

/* -- Bits ------------------------------------------------------------------------------------- */

#if defined(__CUDA_ARCH__)
SX_M sx_u32 sx_m_bitsf(float x) { return __float_as_uint(x); }
SX_M float sx_m_floatf(sx_u32 b) { return __uint_as_float(b); }
SX_M sx_u64 sx_m_bits(double x) { return (sx_u64)__double_as_longlong(x); }
SX_M double sx_m_float(sx_u64 b) { return __longlong_as_double((long long)b); }
#else
SX_M sx_u32 sx_m_bitsf(float x)
{
    union { float f; sx_u32 u; } v;
    v.f = x;
    return v.u;
}
SX_M float sx_m_floatf(sx_u32 b)
{
    union { float f; sx_u32 u; } v;
    v.u = b;
    return v.f;
}
SX_M sx_u64 sx_m_bits(double x)
{
    union { double f; sx_u64 u; } v;
    v.f = x;
    return v.u;
}
SX_M double sx_m_float(sx_u64 b)
{
    union { double f; sx_u64 u; } v;
    v.u = b;
    return v.f;
}
#endif

#define SX_M_INFF sx_m_floatf(0x7f800000u)
#define SX_M_NANF sx_m_floatf(0x7fc00000u)
#define SX_M_INF sx_m_float(0x7ff0000000000000ull)
#define SX_M_NAN sx_m_float(0x7ff8000000000000ull)

/* ln 2 = hi + lo: n * hi is exact for every n that occurs. */
#define SX_M_LN2HF 0x1.62e4p-1f
#define SX_M_LN2LF 0x1.7f7d1cp-20f
#define SX_M_LN2H 0x1.62e42fefa3p-1
#define SX_M_LN2L 0x1.3de6af278ece6p-42
#define SX_M_LOG2EF 0x1.715476p+0f
#define SX_M_LOG2ELF 0x1.4ae0cp-26f
#define SX_M_LOG2E 0x1.71547652b82fep+0
#define SX_M_LOG2EL 0x1.777d0ffda0d24p-56

/* ============================================================================================= */
/* float                                                                                         */
/* ============================================================================================= */

/* Adding MAGIC rounds to the nearest integer, which then stands in the low bits (plus what was
 * added to MAGIC, here 127 or 256, so that it is a ready exponent or never negative). */
#define SX_M_MAGICF 0x1.8p23f

/* (e^r - 1 - r) / r^2 on |r| <= ln2/2: the short one is for e^r, the long one also serves where
 * the leading 1 cancels. */
SX_M float sx_m_exp_q4f(float r)
{
    float q = fmaf(0x1.6a5eeep-10f, r, 0x1.123ac8p-7f);
    q = fmaf(q, r, 0x1.5558a2p-5f);
    q = fmaf(q, r, 0x1.55549p-3f);
    return fmaf(q, r, 0x1.fffffcp-2f);
}

SX_M float sx_m_exp_q5f(float r)
{
    float q = fmaf(0x1.a29446p-13f, r, 0x1.6d405p-10f);
    q = fmaf(q, r, 0x1.110fep-7f);
    q = fmaf(q, r, 0x1.5554f2p-5f);
    q = fmaf(q, r, 0x1.555556p-3f);
    return fmaf(q, r, 0.5f);
}

/* 2^r on |r| <= 1/2. */
SX_M float sx_m_exp2_polyf(float r)
{
    float q = fmaf(0x1.442f44p-13f, r, 0x1.5f0bc6p-10f);
    q = fmaf(q, r, 0x1.3b2a3ep-7f);
    q = fmaf(q, r, 0x1.c6af76p-5f);
    q = fmaf(q, r, 0x1.ebfbep-3f);
    q = fmaf(q, r, 0x1.62e43p-1f);
    return fmaf(q, r, 1.0f);
}

/* p * 2^n where the low bits of magic + 256 + n are given: two steps, so that the result may be
 * subnormal or infinite and is rounded once. -256 < n < 254. */
SX_M float sx_m_scalef(float p, float t)
{
    const sx_u32 k = sx_m_bitsf(t) & 0x3ffu, h = k >> 1;
    return p * sx_m_floatf((h - 1u) << 23) * sx_m_floatf((k - h - 1u) << 23);
}

/* e^x for x <= 0 (right up to x = 88), the cheapest one. Results below 2^-126 are 0. */
SX_M float sx_expf_neg(float x)
{
    const float t = fmaf(x, SX_M_LOG2EF, SX_M_MAGICF + 127.0f), n = t - (SX_M_MAGICF + 127.0f);
    const float r = fmaf(n, -SX_M_LN2LF, fmaf(n, -SX_M_LN2HF, x));
    const float p = fmaf(fmaf(sx_m_exp_q4f(r), r, 1.0f), r, 1.0f);
    const float y = p * sx_m_floatf(sx_m_bitsf(t) << 23);
    return x < -0x1.5d589ep+6f ? 0.0f : y;
}

SX_M float sx_expf(float x)
{
    float c = x < -104.0f ? -104.0f : x;
    c = c > 89.0f ? 89.0f : c;
    const float t = fmaf(c, SX_M_LOG2EF, SX_M_MAGICF + 256.0f), n = t - (SX_M_MAGICF + 256.0f);
    const float r = fmaf(n, -SX_M_LN2LF, fmaf(n, -SX_M_LN2HF, c));
    return sx_m_scalef(fmaf(fmaf(sx_m_exp_q4f(r), r, 1.0f), r, 1.0f), t);
}

SX_M float sx_exp2f(float x)
{
    float c = x < -151.0f ? -151.0f : x;
    c = c > 129.0f ? 129.0f : c;
    const float t = c + (SX_M_MAGICF + 256.0f), n = t - (SX_M_MAGICF + 256.0f);
    return sx_m_scalef(sx_m_exp2_polyf(c - n), t);
}

/* e^c = (hi + lo) 2^n, |lo| < ulp(hi), with t as sx_m_scalef wants it; c in [-104, 89]. */
SX_M void sx_m_exp_pairf(float c, float *hi, float *lo, float *t)
{
    *t = fmaf(c, SX_M_LOG2EF, SX_M_MAGICF + 256.0f);
    const float n = *t - (SX_M_MAGICF + 256.0f);
    const float r1 = fmaf(n, -SX_M_LN2HF, c), r = fmaf(n, -SX_M_LN2LF, r1);
    const float h = 1.0f + r1;
    const float l = (r1 - (h - 1.0f)) + fmaf(r * r, sx_m_exp_q5f(r), n * -SX_M_LN2LF);
    *hi = h + l;
    *lo = l - (*hi - h);
}

/* (e^x - 1) / 2 = hi + lo for x in [-20, 89]; halved so that it never overflows early. */
SX_M void sx_m_expm1_pairf(float x, float *hi, float *lo)
{
    const float t = fmaf(x, SX_M_LOG2EF, SX_M_MAGICF + 126.0f), n = t - (SX_M_MAGICF + 126.0f);
    const float h = sx_m_floatf(sx_m_bitsf(t) << 23), b = h - 0.5f, bh = b - h;
    const float bl = (h - (b - bh)) - (0.5f + bh);                   /* b + bl = h - 1/2 exactly */
    const float r1 = fmaf(n, -SX_M_LN2HF, x), r = fmaf(n, -SX_M_LN2LF, r1);
    const float p = fmaf(r * r, sx_m_exp_q5f(r), n * -SX_M_LN2LF);
    const float s = fmaf(r1, h, b);
    *hi = s;
    *lo = fmaf(h, p, fmaf(r1, h, (b - s) + bl));
}

SX_M float sx_expm1f(float x)
{
    float hi, lo, c = x < -20.0f ? -20.0f : x;
    c = c > 89.0f ? 89.0f : c;
    sx_m_expm1_pairf(c, &hi, &lo);
    const float y = 2.0f * (hi + lo);
    return fabsf(x) < 0x1p-25f ? x : y;       /* keeps subnormals and -0 */
}

/* (n + nl) / (d + dl) with one division; |dl| < ulp(d). */
SX_M float sx_m_div_pairf(float n, float nl, float d, float dl)
{
    const float inv = 1.0f / d, q = n * inv;
    return fmaf(fmaf(-q, d, n) + fmaf(-q, dl, nl), inv, q);
}

SX_M float sx_tanhf(float x)
{
    const float a = fabsf(x), c = a > 10.0f ? 10.0f : a;
    float h, l;
    sx_m_expm1_pairf(-2.0f * c, &h, &l);      /* E = (e^-2a - 1) / 2; tanh a = -E / (1 + E) */
    const float n = h + l, nl = l - (n - h), d = 1.0f + n, dl = (n - (d - 1.0f)) + nl;
    const float y = sx_m_div_pairf(-n, -nl, d, dl);
    const float z = sx_m_floatf(sx_m_bitsf(y) | (sx_m_bitsf(x) & 0x80000000u));
    return a < 0x1p-13f ? x : z;
}

/* 1 / (1 + e^-x), to relative accuracy in both tails. */
SX_M float sx_sigmoidf(float x)
{
    const float a = fabsf(x), c = a > 104.0f ? 104.0f : a;
    float h, l, t;
    sx_m_exp_pairf(-c, &h, &l, &t);
    const float z = sx_m_scalef(h, t), zl = sx_m_scalef(l, t);
    const float d = 1.0f + z, dl = (z - (d - 1.0f)) + zl;
    /* negative x: z / (1 + z), scaled last so that a subnormal result is rounded once */
    const float up = sx_m_div_pairf(1.0f, 0.0f, d, dl);
    const float down = sx_m_scalef(sx_m_div_pairf(h, l, d, dl), t);
    return x < 0.0f ? down : up;
}

/* log(1 + f) - f for f in [-1/4, 1/2]. */
SX_M float sx_m_log1p_tailf(float f)
{
    const float s = f * f;
    float q = fmaf(0x1.3d4b8p-5f, f, -0x1.7aa28ap-4f);
    q = fmaf(q, f, 0x1.e0a0c6p-4f);
    q = fmaf(q, f, -0x1.046b7p-3f);
    q = fmaf(q, f, 0x1.24447ep-3f);
    q = fmaf(q, f, -0x1.551afp-3f);
    q = fmaf(q, f, 0x1.9998b2p-3f);
    q = fmaf(q, f, -0x1.00007p-2f);
    q = fmaf(q, f, 0x1.555558p-2f);
    return fmaf(-0.5f * f, f, f * s * q);
}

/* e ln2 + log(1 + f) = hi + lo; e is whole. */
SX_M void sx_m_log_pairf(float e, float f, float *hi, float *lo)
{
    const float y = fmaf(e, SX_M_LN2LF, sx_m_log1p_tailf(f)), a = e * SX_M_LN2HF, s = a + f;
    *hi = s;
    *lo = (f - (s - a)) + y;
}

/* x = (1 + f) 2^e with 1 + f in [m, 2m), where mbits are the bits of m; x finite and > 0. */
SX_M void sx_m_splitf(float x, sx_u32 mbits, float *e, float *f)
{
    const int sub = x < 0x1p-126f;
    const float big = x * 0x1p23f, v = sub ? big : x, less = sub ? 150.0f : 127.0f;
    const sx_u32 i = sx_m_bitsf(v) + (0x3f800000u - mbits);
    *e = (float)(int)(i >> 23) - less;
    *f = sx_m_floatf((i & 0x7fffffu) + mbits) - 1.0f;
}

/* What log gives outside (0, inf); y is the result inside. */
SX_M float sx_m_log_edgef(float x, float y)
{
    const float zero = x == 0.0f ? -SX_M_INFF : SX_M_NANF;
    const float in = x == SX_M_INFF ? x : y;
    return x > 0.0f ? in : zero;
}

SX_M float sx_logf(float x)
{
    float e, f, hi, lo;
    sx_m_splitf(x, 0x3f400000u, &e, &f);
    sx_m_log_pairf(e, f, &hi, &lo);
    return sx_m_log_edgef(x, hi + lo);
}

/* log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt 2]. */
SX_M float sx_m_log_tailf(float f)
{
    const float s = f * f;
    float q = fmaf(0x1.1b052ep-4f, f, -0x1.e2c3aep-4f);
    q = fmaf(q, f, 0x1.e6580ap-4f);
    q = fmaf(q, f, -0x1.fb4a5p-4f);
    q = fmaf(q, f, 0x1.2332bcp-3f);
    q = fmaf(q, f, -0x1.5562acp-3f);
    q = fmaf(q, f, 0x1.99a544p-3f);
    q = fmaf(q, f, -0x1.ffffeep-3f);
    q = fmaf(q, f, 0x1.555546p-2f);
    return fmaf(-0.5f * f, f, f * s * q);
}

SX_M float sx_log2f(float x)
{
    float e, f;
    sx_m_splitf(x, 0x3f3504f3u, &e, &f);
    const float y = sx_m_log_tailf(f), p = f * SX_M_LOG2EF;
    const float pl = fmaf(y, SX_M_LOG2EF, fmaf(f, SX_M_LOG2ELF, fmaf(f, SX_M_LOG2EF, -p)));
    const float hi = e + p;
    return sx_m_log_edgef(x, hi + ((p - (hi - e)) + pl));
}

/* 1 + x = (1 + f) 2^e, f exact but for one rounding at rare x: s = 2^-e is a power of two and
 * x s + (s - 1) does not round (Sterbenz) because 1 + f stays in [3/4, 3/2]. */
SX_M void sx_m_split1pf(float x, float *e, float *f)
{
    const sx_u32 b = (sx_m_bitsf(1.0f + x) + (0x3f800000u - 0x3f400001u)) >> 23;
    const float s = 0.25f * sx_m_floatf((256u - b) << 23);           /* down to 2^-128, subnormal */
    *e = (float)((int)b - 127);
    *f = fmaf(x, s, s - 1.0f);
}

/* log(1 + x) for x >= 0 (the cheaper one; -0 gives 0). */
SX_M float sx_log1pf_pos(float x)
{
    float e, f, hi, lo;
    sx_m_split1pf(x, &e, &f);
    sx_m_log_pairf(e, f, &hi, &lo);
    const float y = hi + lo;
    return x < SX_M_INFF ? y : x;
}

SX_M float sx_log1pf(float x)
{
    float e, f, hi, lo;
    sx_m_split1pf(x, &e, &f);
    sx_m_log_pairf(e, f, &hi, &lo);
    const float y = hi + lo, z = fabsf(x) < 0x1p-25f ? x : y;
    const float in = x == SX_M_INFF ? x : z, edge = x == -1.0f ? -SX_M_INFF : SX_M_NANF;
    return x > -1.0f ? in : edge;
}

/* log(1 + e^x). */
SX_M float sx_softplusf(float x)
{
    const float a = fabsf(x), c = a > 104.0f ? 104.0f : a, m = x > 0.0f ? x : 0.0f;
    float h, l, t, e, f, hi, lo;
    sx_m_exp_pairf(-c, &h, &l, &t);
    const float z = sx_m_scalef(h, t), zl = sx_m_scalef(l, t);
    sx_m_split1pf(z, &e, &f);
    sx_m_log_pairf(e, f, &hi, &lo);
    /* log(1 + z + zl) = log(1 + z) + zl / (1 + z); zl is tiny, so 1% is enough for the quotient */
    const float inv = fmaf(fmaf(0x1.4a84e6p-2f, z, -0x1.9d7d68p-1f), z, 0x1.facab2p-1f);
    lo = fmaf(zl, inv, lo);
    const float s = m + hi, v = s - m, r = (m - (s - v)) + (hi - v);  /* s + r = m + hi exactly */
    const float y = s + (r + lo);
    return m < SX_M_INFF ? y : m;
}

/*
 * Powers u^g for many g of one u: log2 u = hi + lo once, then sx_pow_2f per g.
 * Relative error of hi + lo about 2^-42 at worst. u = 0: -inf, 0; u = 1: 0, 0; u < 0: nan.
 */
SX_M void sx_log2_2f(float u, float *hi, float *lo)
{
    float e, f;
    sx_m_splitf(u, 0x3f3504f3u, &e, &f);
    /* s = f / (2 + f) = sh + sl; log2(1 + f) = s (A0 + z (A1 + z (A2 + z Q))), z = s^2 */
    const float d = 2.0f + f, dl = f - (d - 2.0f), inv = 1.0f / d, sh = f * inv;
    const float sl = fmaf(-sh, dl, fmaf(-sh, d, f)) * inv;
    const float z = sh * sh, zl = fmaf(sh + sh, sl, fmaf(sh, sh, -z));
    float q = fmaf(0x1.e9fa2p-3f, z, 0x1.0c0b68p-2f);
    q = fmaf(q, z, 0x1.484cfep-2f);
    q = fmaf(q, z, 0x1.a6176p-2f);
    const float k2 = 0x1.2776c6p-1f, k1 = 0x1.ec709ep-1f, k0 = 0x1.715476p+1f, qz = q * z;
    const float ql = fmaf(q, zl, fmaf(q, z, -qz)), a = k2 + qz;
    const float al = (qz - (a - k2)) + (ql - 0x1.e20c8p-26f);
    const float b0 = z * a, b0l = fmaf(z, al, fmaf(zl, a, fmaf(z, a, -b0)));
    const float b = k1 + b0, bl = (b0 - (b - k1)) + (b0l - 0x1.e2fe02p-28f);
    const float c0 = z * b, c0l = fmaf(z, bl, fmaf(zl, b, fmaf(z, b, -c0)));
    const float c = k0 + c0, cl = (c0 - (c - k0)) + (c0l + 0x1.4ae0cp-25f);
    const float g = sh * c, gl = fmaf(sh, cl, fmaf(sl, c, fmaf(sh, c, -g)));
    const float v = e + g, vl = (g - (v - e)) + gl;
    const float w = v + vl;
    const float y = sx_m_log_edgef(u, w);
    *hi = y;
    *lo = fabsf(y) < SX_M_INFF ? vl - (w - v) : 0.0f;
}

/* 2^((hi + lo)(g_hi + g_lo)), 1 ULP where the result is >= 2^-126; below that it is 0. g == 0
 * gives 1 for every u; otherwise hi = -inf gives 0 for g > 0 and inf for g < 0. g is finite. */
SX_M float sx_pow_2f(float hi, float lo, float g_hi, float g_lo)
{
    const float ph = hi * g_hi;
    const float pl = fmaf(lo, g_hi, fmaf(hi, g_lo, fmaf(hi, g_hi, -ph)));
    const float t = ph + SX_M_MAGICF, n = t - SX_M_MAGICF;
    const float p = sx_m_exp2_polyf((ph - n) + pl);
    const float y = sx_m_floatf(sx_m_bitsf(p) + (sx_m_bitsf(t) << 23));
    const float over = ph + SX_M_INFF;                               /* inf, or nan for a nan */
    const float a = ph < 128.0f ? y : over, b = ph < -126.0f ? 0.0f : a;
    return g_hi == 0.0f ? 1.0f : b;
}

/* -- Half ------------------------------------------------------------------------------------- */

/* Exact; a signalling nan becomes quiet, as the hardware's conversion has it. */
SX_M float sx_half_to_float(sx_u16 half)
{
    const sx_u32 h = half, sign = (h & 0x8000u) << 16;
    const float v = sx_m_floatf((h & 0x7fffu) << 13) * 0x1p112f;    /* subnormals become normal */
    const sx_u32 b = sx_m_bitsf(v), special = v >= 65536.0f ? 0x7f800000u : 0u;
    const sx_u32 quiet = v > 65536.0f ? 0x400000u : 0u;
    return sx_m_floatf(b | special | quiet | sign);
}

/* Round to nearest even; too large gives inf; a nan keeps its upper payload and is quiet. */
SX_M sx_u16 sx_float_to_half(float x)
{
    const sx_u32 b = sx_m_bitsf(x), sign = b >> 16 & 0x8000u, a = b & 0x7fffffffu;
    const float f = sx_m_floatf(a);
    const sx_u32 normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13;
    const sx_u32 small = sx_m_bitsf(f + 0.5f) - 0x3f000000u;         /* 0.5 has the ulp 2^-24 */
    const sx_u32 nan = 0x7e00u | (a >> 13 & 0x3ffu);
    const sx_u32 in = a < 0x38800000u ? small : normal;
    const sx_u32 big = a > 0x7f800000u ? nan : 0x7c00u;
    return (sx_u16)(sign | (a >= 0x47800000u ? big : in));
}

/* ============================================================================================= */
/* double: the same shapes, longer polynomials                                                   */
/* ============================================================================================= */

#define SX_M_MAGIC 0x1.8p52
#define SX_M_BIAS 2048.0      /* added to MAGIC: keeps the low bits positive */

/* (e^r - 1 - r - r^2/2) / r^3. */
SX_M double sx_m_exp_q(double r)
{
    double q = fma(0x1.1f8c5c05b7753p-29, r, 0x1.af5f7e839b752p-26);
    q = fma(q, r, 0x1.27e4cbf8e5bccp-22);
    q = fma(q, r, 0x1.71ddf7e7435edp-19);
    q = fma(q, r, 0x1.a01a01ad68c78p-16);
    q = fma(q, r, 0x1.a01a01b00fe42p-13);
    q = fma(q, r, 0x1.6c16c16c150c3p-10);
    q = fma(q, r, 0x1.111111110f642p-7);
    q = fma(q, r, 0x1.5555555555558p-5);
    return fma(q, r, 0x1.5555555555559p-3);
}

SX_M double sx_m_exp2_poly(double r)
{
    double q = fma(0x1.c078e802b7ff1p-36, r, 0x1.ec47a719d8ddbp-32);
    q = fma(q, r, 0x1.e4d26092d7075p-28);
    q = fma(q, r, 0x1.b5234bc9c0cfp-24);
    q = fma(q, r, 0x1.62c021457d7edp-20);
    q = fma(q, r, 0x1.ffcbfd3e50605p-17);
    q = fma(q, r, 0x1.430912f8b0ff2p-13);
    q = fma(q, r, 0x1.5d87fe7876271p-10);
    q = fma(q, r, 0x1.3b2ab6fba4d6ap-7);
    q = fma(q, r, 0x1.c6b08d704a1cep-5);
    q = fma(q, r, 0x1.ebfbdff82c58fp-3);
    q = fma(q, r, 0x1.62e42fefa39efp-1);
    return fma(q, r, 1.0);
}

/* p * 2^n, t = MAGIC + BIAS + n; -2046 < n < 2046. */
SX_M double sx_m_scale(double p, double t)
{
    const sx_u64 k = sx_m_bits(t) & 0xfffull, h = k >> 1;
    return p * sx_m_float((h - 1u) << 52) * sx_m_float((k - h - 1u) << 52);
}

SX_M double sx_exp(double x)
{
    double c = x < -746.0 ? -746.0 : x;
    c = c > 710.0 ? 710.0 : c;
    const double t = fma(c, SX_M_LOG2E, SX_M_MAGIC + SX_M_BIAS), n = t - (SX_M_MAGIC + SX_M_BIAS);
    const double r = fma(n, -SX_M_LN2L, fma(n, -SX_M_LN2H, c));
    return sx_m_scale(fma(fma(fma(sx_m_exp_q(r), r, 0.5), r, 1.0), r, 1.0), t);
}

/* e^x for x <= 0 (right up to x = 709); results below 2^-1022 are 0. */
SX_M double sx_exp_neg(double x)
{
    const double t = fma(x, SX_M_LOG2E, SX_M_MAGIC + 1023.0), n = t - (SX_M_MAGIC + 1023.0);
    const double r = fma(n, -SX_M_LN2L, fma(n, -SX_M_LN2H, x));
    const double p = fma(fma(fma(sx_m_exp_q(r), r, 0.5), r, 1.0), r, 1.0);
    const double y = p * sx_m_float(sx_m_bits(t) << 52);
    return x < -0x1.6232bdd7abcd2p+9 ? 0.0 : y;
}

SX_M double sx_exp2(double x)
{
    double c = x < -1080.0 ? -1080.0 : x;
    c = c > 1025.0 ? 1025.0 : c;
    const double t = c + (SX_M_MAGIC + SX_M_BIAS), n = t - (SX_M_MAGIC + SX_M_BIAS);
    return sx_m_scale(sx_m_exp2_poly(c - n), t);
}

/* e^c = (hi + lo) 2^n for c in [-746, 710]. */
SX_M void sx_m_exp_pair(double c, double *hi, double *lo, double *t)
{
    *t = fma(c, SX_M_LOG2E, SX_M_MAGIC + SX_M_BIAS);
    const double n = *t - (SX_M_MAGIC + SX_M_BIAS);
    const double r1 = fma(n, -SX_M_LN2H, c), r = fma(n, -SX_M_LN2L, r1);
    const double h = 1.0 + r1;
    const double w = fma(r * r * r, sx_m_exp_q(r), n * -SX_M_LN2L);
    const double l = (r1 - (h - 1.0)) + fma(0.5 * r, r, w);
    *hi = h + l;
    *lo = l - (*hi - h);
}

/* (e^x - 1) / 2 = hi + lo for x in [-40, 710]. */
SX_M void sx_m_expm1_pair(double x, double *hi, double *lo)
{
    const double t = fma(x, SX_M_LOG2E, SX_M_MAGIC + 1022.0), n = t - (SX_M_MAGIC + 1022.0);
    const double h = sx_m_float(sx_m_bits(t) << 52), b = h - 0.5, bh = b - h;
    const double bl = (h - (b - bh)) - (0.5 + bh);
    const double r1 = fma(n, -SX_M_LN2H, x), r = fma(n, -SX_M_LN2L, r1);
    const double p = fma(0.5 * r, r, fma(r * r * r, sx_m_exp_q(r), n * -SX_M_LN2L));
    const double s = fma(r1, h, b);
    *hi = s;
    *lo = fma(h, p, fma(r1, h, (b - s) + bl));
}

SX_M double sx_expm1(double x)
{
    double hi, lo, c = x < -40.0 ? -40.0 : x;
    c = c > 710.0 ? 710.0 : c;
    sx_m_expm1_pair(c, &hi, &lo);
    const double y = 2.0 * (hi + lo);
    return fabs(x) < 0x1p-54 ? x : y;
}

SX_M double sx_m_div_pair(double n, double nl, double d, double dl)
{
    const double inv = 1.0 / d, q = n * inv;
    return fma(fma(-q, d, n) + fma(-q, dl, nl), inv, q);
}

SX_M double sx_tanh(double x)
{
    const double a = fabs(x), c = a > 20.0 ? 20.0 : a;
    double h, l;
    sx_m_expm1_pair(-2.0 * c, &h, &l);
    const double n = h + l, nl = l - (n - h), d = 1.0 + n, dl = (n - (d - 1.0)) + nl;
    const double y = sx_m_div_pair(-n, -nl, d, dl);
    const double z = sx_m_float(sx_m_bits(y) | (sx_m_bits(x) & 0x8000000000000000ull));
    return a < 0x1p-28 ? x : z;
}

SX_M double sx_sigmoid(double x)
{
    const double a = fabs(x), c = a > 746.0 ? 746.0 : a;
    double h, l, t;
    sx_m_exp_pair(-c, &h, &l, &t);
    const double z = sx_m_scale(h, t), zl = sx_m_scale(l, t);
    const double d = 1.0 + z, dl = (z - (d - 1.0)) + zl;
    const double up = sx_m_div_pair(1.0, 0.0, d, dl);
    const double down = sx_m_scale(sx_m_div_pair(h, l, d, dl), t);
    return x < 0.0 ? down : up;
}

/* log(1 + f) - f for f in [-1/4, 1/2], through s = f / (2 + f): log(1 + f) = 2 atanh(s). */
SX_M double sx_m_log1p_tail(double f)
{
    const double s = f / (2.0 + f), z = s * s, g = 0.5 * f, h = g * f;
    double q = fma(0x1.ea16d31c00b98p-4, z, 0x1.df4d8ed6d8edap-4);
    q = fma(q, z, 0x1.110ef70022950p-3);
    q = fma(q, z, 0x1.3b145686e1b95p-3);
    q = fma(q, z, 0x1.745d114deb44dp-3);
    q = fma(q, z, 0x1.c71c71e123511p-3);
    q = fma(q, z, 0x1.2492492475380p-2);
    q = fma(q, z, 0x1.9999999999b7fp-2);
    q = fma(q, z, 0x1.5555555555555p-1);
    return fma(-g, f, s * fma(q, z, h));
}

SX_M void sx_m_log_pair(double e, double f, double *hi, double *lo)
{
    const double y = fma(e, SX_M_LN2L, sx_m_log1p_tail(f)), a = e * SX_M_LN2H, s = a + f;
    *hi = s;
    *lo = (f - (s - a)) + y;
}

/* A whole number below 2^52 as a double, without the conversion that AVX2 lacks. */
SX_M double sx_m_whole(sx_u64 n) { return sx_m_float(n | 0x4330000000000000ull) - 0x1p52; }

SX_M void sx_m_split(double x, sx_u64 mbits, double *e, double *f)
{
    const int sub = x < 0x1p-1022;
    const double big = x * 0x1p52, v = sub ? big : x, less = sub ? 1075.0 : 1023.0;
    const sx_u64 i = sx_m_bits(v) + (0x3ff0000000000000ull - mbits);
    *e = sx_m_whole(i >> 52) - less;
    *f = sx_m_float((i & 0xfffffffffffffull) + mbits) - 1.0;
}

SX_M double sx_m_log_edge(double x, double y)
{
    const double zero = x == 0.0 ? -SX_M_INF : SX_M_NAN;
    const double in = x == SX_M_INF ? x : y;
    return x > 0.0 ? in : zero;
}

SX_M double sx_log(double x)
{
    double e, f, hi, lo;
    sx_m_split(x, 0x3fe6a09e667f3bcdull, &e, &f);
    sx_m_log_pair(e, f, &hi, &lo);
    return sx_m_log_edge(x, hi + lo);
}

SX_M double sx_log2(double x)
{
    double e, f;
    sx_m_split(x, 0x3fe6a09e667f3bcdull, &e, &f);
    const double y = sx_m_log1p_tail(f), p = f * SX_M_LOG2E;
    const double pl = fma(y, SX_M_LOG2E, fma(f, SX_M_LOG2EL, fma(f, SX_M_LOG2E, -p)));
    const double hi = e + p;
    return sx_m_log_edge(x, hi + ((p - (hi - e)) + pl));
}

SX_M void sx_m_split1p(double x, double *e, double *f)
{
    const sx_u64 b = (sx_m_bits(1.0 + x) + (0x3ff0000000000000ull - 0x3fe8000000000001ull)) >> 52;
    const double s = 0.25 * sx_m_float((2048u - b) << 52);
    *e = sx_m_whole(b) - 1023.0;
    *f = fma(x, s, s - 1.0);
}

SX_M double sx_log1p(double x)
{
    double e, f, hi, lo;
    sx_m_split1p(x, &e, &f);
    sx_m_log_pair(e, f, &hi, &lo);
    const double y = hi + lo, z = fabs(x) < 0x1p-54 ? x : y;
    const double in = x == SX_M_INF ? x : z, edge = x == -1.0 ? -SX_M_INF : SX_M_NAN;
    return x > -1.0 ? in : edge;
}

SX_M double sx_softplus(double x)
{
    const double a = fabs(x), c = a > 746.0 ? 746.0 : a, m = x > 0.0 ? x : 0.0;
    double h, l, t, e, f, hi, lo;
    sx_m_exp_pair(-c, &h, &l, &t);
    const double z = sx_m_scale(h, t), zl = sx_m_scale(l, t);
    sx_m_split1p(z, &e, &f);
    sx_m_log_pair(e, f, &hi, &lo);
    const double inv = fma(fma(0x1.4a84e6p-2, z, -0x1.9d7d68p-1), z, 0x1.facab2p-1);
    lo = fma(zl, inv, lo);
    const double s = m + hi, v = s - m, r = (m - (s - v)) + (hi - v);
    const double y = s + (r + lo);
    return m < SX_M_INF ? y : m;
}

/* log2 x = hi + lo, relative error about 2^-70; x = 0: -inf, 0; inf: inf, 0; x < 0: nan. */
SX_M void sx_m_log2_pair(double x, double *hi, double *lo)
{
    double e, f;
    sx_m_split(x, 0x3fe6a09e667f3bcdull, &e, &f);
    const double d = 2.0 + f, dl = f - (d - 2.0), inv = 1.0 / d, sh = f * inv;
    const double sl = fma(-sh, dl, fma(-sh, d, f)) * inv;
    const double z = sh * sh, zl = fma(sh + sh, sl, fma(sh, sh, -z));
    double q = fma(0x1.5ff399c9e647bp-3, z, 0x1.593f76fa0e27dp-3);
    q = fma(q, z, 0x1.8a061b729b829p-3);
    q = fma(q, z, 0x1.c68f040fe0eefp-3);
    q = fma(q, z, 0x1.0c9a85029f4abp-2);
    q = fma(q, z, 0x1.484b13d7334ecp-2);
    q = fma(q, z, 0x1.a61762a7ae389p-2);
    q = q * z;
    const double k2 = 0x1.2776c50ef9bfep-1, k1 = 0x1.ec709dc3a03fdp-1, k0 = 0x1.71547652b82fep+1;
    const double a = k2 + q, al = (q - (a - k2)) + 0x1.e4b29ccc535d4p-55;
    const double b0 = z * a, b0l = fma(z, al, fma(zl, a, fma(z, a, -b0)));
    const double b = k1 + b0, bl = (b0 - (b - k1)) + (b0l + 0x1.d27f05548af0cp-55);
    const double c0 = z * b, c0l = fma(z, bl, fma(zl, b, fma(z, b, -c0)));
    const double c = k0 + c0, cl = (c0 - (c - k0)) + (c0l + 0x1.777d0ffda0d24p-55);
    const double g = sh * c, gl = fma(sh, cl, fma(sl, c, fma(sh, c, -g)));
    const double v = e + g, vl = (g - (v - e)) + gl;
    const double w = v + vl;
    const double y = sx_m_log_edge(x, w);
    *hi = y;
    *lo = fabs(y) < SX_M_INF ? vl - (w - v) : 0.0;
}

/* x^y with all the special values of C99; within 2 ULP where the result is normal. */
SX_M double sx_pow(double x, double y)
{
    const double ax = fabs(x), ay = fabs(y);
    double hi, lo;
    sx_m_log2_pair(ax, &hi, &lo);
    const double ph = hi * y, pl = fma(lo, y, fma(hi, y, -ph));
    const double c0 = ph < -1080.0 ? -1080.0 : ph, c = c0 > 1025.0 ? 1025.0 : c0;
    const double cl = fabs(ph) < 1079.0 ? pl : 0.0;
    const double t = c + (SX_M_MAGIC + SX_M_BIAS), n = t - (SX_M_MAGIC + SX_M_BIAS);
    const double p = sx_m_scale(sx_m_exp2_poly((c - n) + cl), t);
    /* is y whole, is it odd: adding 2^52 rounds to a whole number; beyond 2^53 all are even */
    const double half = 0.5 * ay, w1 = (ay + 0x1p52) - 0x1p52, w2 = (half + 0x1p52) - 0x1p52;
    const double part = ay < 0x1p52 ? ay - w1 : 0.0;                 /* 0 for a whole number */
    const double rest = ay < 0x1p53 ? half - w2 : 0.0;               /* 0 for an even one */
    const sx_u64 minus = sx_m_bits(x) & 0x8000000000000000ull;
    const sx_u64 odd = rest != 0.0 ? minus : 0u, sign = part != 0.0 ? 0u : odd;
    const double signed_p = sx_m_float(sx_m_bits(p) | sign);
    /* a finite negative base (not -0) to a power that is not whole: nan */
    const double root = part != 0.0 ? SX_M_NAN : signed_p;
    const double neg = x > -SX_M_INF ? root : signed_p;
    const double r = x < 0.0 ? neg : signed_p;
    const double tops = ay == SX_M_INF ? 1.0 : r, unit = ax == 1.0 ? tops : r;   /* (+-1)^(+-inf) */
    const double one = x == 1.0 ? 1.0 : unit;
    return y == 0.0 ? 1.0 : one;
}

SX_M float sx_powf(float x, float y) { return (float)sx_pow((double)x, (double)y); }
SX_M double sx_log1p_pos(double x) { return sx_log1p(x); }           /* no cheaper one for double */

#endif
