/* cpu.c: asks the processor what it can do. SX_HAVE_V3, SX_HAVE_V4: levels in this build. */
#include "base/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* The compilers' __builtin_cpu_supports look at the operating system's part (saved registers)
 * too, but not all of them know these bits of level v3. */
static bool v3_extras(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    bool movbe = c >> 22 & 1, f16c = c >> 29 & 1;
    if (!__get_cpuid(0x80000001u, &a, &b, &c, &d))
        return false;
    bool lzcnt = c >> 5 & 1;
    return movbe && f16c && lzcnt;
}

static bool has_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && v3_extras();
}

static bool has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl");
}

static sx_isa detect(void)
{
    __builtin_cpu_init();
    if (SX_HAVE_V4 && has_v4())
        return SX_ISA_V4;
    if (SX_HAVE_V3 && has_v3())
        return SX_ISA_V3;
    return SX_ISA_BASE;
}

/* Asked once: under a hypervisor each cpuid costs microseconds. All threads find the same. */
sx_isa sx_isa_best(void)
{
    static atomic_int best = -1;
    int isa = atomic_load_explicit(&best, memory_order_relaxed);
    if (isa < 0)
        atomic_store_explicit(&best, isa = (int)detect(), memory_order_relaxed);
    return (sx_isa)isa;
}

#else

sx_isa sx_isa_best(void)
{
    return SX_ISA_BASE;
}

#endif

const char *sx_isa_name(sx_isa isa)
{
    static const char *const name[SX_ISA_COUNT] = {"base", "v3", "v4"};
    return (unsigned)isa < SX_ISA_COUNT ? name[isa] : "?";
}
