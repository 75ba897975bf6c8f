/*
 * fast.h: the approximate exponential of mode "fast" and what is built on it. One sweep over the classes keeps the largest
 * value so far and the sum relative to it; exponents are base 2, so that each costs a multiply-add and the hardware's ex2.
 *
 * Errors. ex2.approx: 2^-22 relative (PTX ISA). Arguments x log2(e) - b are rounded once; the float log2(e) is 1.3e-8 wrong,
 * which moves exp(D) by 1.3e-8 D. All terms of a sum share b, and what is compared with the sum uses the same b. Results below
 * 2^-126 are 0.
 */
#if SX_FAST

SX_M float sx_ex2(float x)
{
#if defined(__CUDACC_RTC__)
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return x < -126.0f ? 0.0f : sx_exp2f(x);
#endif
}

SX_M float sx_lg2(float x)
{
#if defined(__CUDACC_RTC__)
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return sx_log2f(x);
#endif
}

/* 1 / x for x from 1 to 2^126, within 1 ulp: a quotient of any two numbers takes three more instructions. */
SX_M float sx_rcp(float x)
{
#if defined(__CUDACC_RTC__)
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

/* e^x: the rounding of x log2(e) is made good. */
SX_M float sx_fast_exp(float x)
{
    const float low = x < -150.0f ? -150.0f : x, c = low > 130.0f ? 130.0f : low;
    const float t = c * SX_M_LOG2EF, r = fmaf(c, SX_M_LOG2EF, -t);
    return sx_ex2(t) * fmaf(r, 0x1.62e43p-1f, 1.0f);
}

/* log(1 + z) of a target state, z >= 0: 2 atanh(z / (2 + z)) up to 1, more than which z is not with two classes, else from lg2.
 * Within 3e-7. */
SX_M float sx_fast_log1p(float z)
{
    const float s = z * sx_rcp(2.0f + z), w = s * s;
    float q = fmaf(0x1.1ef87p-3f, w, 0x1.1eb612p-3f);
    q = fmaf(q, w, 0x1.99d27cp-3f);
    q = fmaf(q, w, 0x1.5555p-2f);
    const float low = fmaf(s * w, q, s);
#if SX_CLASSES == 2
    return low + low;
#else
    const float high = sx_lg2(1.0f + z) * 0x1.62e43p-1f;
    return z < 1.0f ? low + low : high;
#endif
}

#undef F_EXP
#undef F_LOG1P_POS
#undef F_OVER
#define F_EXP(x) sx_fast_exp(x)
#define F_LOG1P_POS(x) sx_fast_log1p(x)
#define F_OVER(a, b) ((a) * sx_rcp(b))

#endif

