/* kernels.c: compiled once per ISA level with -DSX_ISA=0, 1, 2 (see CMakeLists.txt); exports two tables per level. */
#include "cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "cpu/ftype.h"
#include "cpu/math.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

/* Pixels that tgt stages at once. Measured: 64 pixels of 150 classes (38 KiB) beat 32 that fit the first-level cache, since rows of
 * planes come from memory in longer runs. */
static size_t tgt_block(size_t classes, size_t elem)
{
    const size_t room = 64 * 1024 / elem / (classes + 8);
    return room >= 256 ? 256 : room >= 128 ? 128 : room >= 64 ? 64 : 32;
}

#if SX_ISA == 0
size_t sx_tgt_tmp(size_t classes, size_t elem) { return tgt_block(classes, elem) * (2 * classes + 6) * elem; }
#endif

static inline size_t dtype_size(sx_dtype t)      /* of numbers that logits can be */
{
    return t == SX_F16 ? 2 : t == SX_F32 ? 4 : 8;
}

#define PASTE2(a, b, c) a##_##b##_##c
#define PASTE(a, b, c) PASTE2(a, b, c)

#define T float
#define C(x) ((float)(x))
#define NAME(x) PASTE(sx_f32, SX_ISA, x)
#define SX_IS_DOUBLE 0
#define FN(n) sx_##n##f
#define FN2(n, t) sx_##n##f##t
#define LN(n) n##f
#include "cpu/pixel.h"
#include "cpu/kernels.inc"
#undef T
#undef C
#undef NAME
#undef SX_IS_DOUBLE
#undef FN
#undef FN2
#undef LN

#define T double
#define C(x) ((double)(x))
#define NAME(x) PASTE(sx_f64, SX_ISA, x)
#define SX_IS_DOUBLE 1
#define FN(n) sx_##n
#define FN2(n, t) sx_##n##t
#define LN(n) n
#include "cpu/pixel.h"
#include "cpu/kernels.inc"
