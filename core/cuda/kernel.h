/*
 * kernel.h: what every printed kernel begins with: a vocabulary that reads the same to NVRTC and to a C compiler, loading,
 * and the classes of a pixel. The sums are in sums.h.
 *
 * A kernel is a sequence of phases. A phase is what each thread of a block does by itself; between phases threads wait for each other:
 * all of a block, in mode fast those of a warp, whose sums are its own. On the host a phase is a loop over the threads, so that the
 * same text runs there, one thread after the other. What a thread carries from one phase to the next is a SX_LOCAL. No shuffles, no
 * atomics.
 *
 * A block works on one chunk at a time: SX_CHUNK consecutive pixels, SX_V neighbours per thread; the chunks of a unit
 * (SX_CUDA_UNIT pixels) one after the other. The printed text defines before this one SX_DOUBLE, SX_FAST, SX_LOGIT (16, 32 or 64:
 * bits of the dump's logits), SX_ONE_CHANNEL and SX_PROBABILITIES (what they are), SX_CLASSES, SX_ROWS (rows of pixels that are
 * summed at once), SX_OWN (sums.h), SX_FIELDS (fields that it reads).
 */

/* -- Vocabulary --------------------------------------------------------------------------------- */

#if defined(__CUDACC_RTC__)
#define SX_KERNEL(name) extern "C" __global__ void __launch_bounds__(SX_CUDA_THREADS, SX_CUDA_BLOCKS) name(const sx_gpu_args sx_in)
#define SX_ARGS const sx_gpu_args &args = sx_in
#define SX_DEVICE static __device__ __forceinline__
#define SX_NOINLINE static __device__ __noinline__
#define SX_SHARED(type, name, n) __shared__ __align__(16) type name[n]
#define SX_LOCAL(type, name, n) type name[n]
#define L(name) name
#define SX_PHASE { const int tid = (int)threadIdx.x;
#if SX_FAST
#define SX_END } __syncwarp();
#else
#define SX_END } __syncthreads();
#endif
#define SX_BID blockIdx.x
#define SX_GRID gridDim.x
#define SX_UNROLL _Pragma("unroll")
#define SX_UNROLL_8 _Pragma("unroll 8")
#define SX_ROLLED _Pragma("unroll 1")
#define SX_GET(p) __ldg(p)
#define SX_ALIGNED(p, bytes)
#else
#define SX_KERNEL(name) \
    void name(const sx_gpu_args *sx_in, unsigned sx_bid, unsigned sx_grid); \
    void name(const sx_gpu_args *sx_in, unsigned sx_bid, unsigned sx_grid)
#define SX_ARGS const sx_gpu_args args = *sx_in
#define SX_DEVICE static inline
#define SX_NOINLINE static inline
#define SX_SHARED(type, name, n) _Alignas(16) type name[n]
#define SX_LOCAL(type, name, n) type name[SX_CUDA_THREADS][n]
#define L(name) name[tid]
#ifdef SX_BACKWARDS       /* threads take their turns from the last to the first: finds barriers that are missing */
#define SX_PHASE for (int tid = SX_CUDA_THREADS - 1; tid >= 0; tid--) {
#else
#define SX_PHASE for (int tid = 0; tid < SX_CUDA_THREADS; tid++) {
#endif
#define SX_END }
#define SX_BID sx_bid
#define SX_GRID sx_grid
#define SX_UNROLL
#define SX_UNROLL_8
#define SX_ROLLED
#define SX_GET(p) (*(p))
/* What the GPU reads or writes at once; it would stop on an address that is not a multiple of its size. */
#define SX_ALIGNED(p, bytes) \
    if ((sx_u64)(p) % (bytes)) __builtin_trap()
#endif

#define SX_FEW (SX_CLASSES <= 4)      /* so few that a thread can look after more pixels, and sums by label after all labels */

#ifndef SX_CLASS_LOOP     /* over groups of classes; a test unrolls it, to count instructions */
#define SX_CLASS_LOOP SX_ROLLED
#endif

#if SX_DOUBLE
#define SX_V 2
#define SX_INF SX_M_INF
#else
#define SX_V (SX_FAST && SX_FEW ? 8 : 4)
#define SX_INF SX_M_INFF
#endif
#define SX_EACH(v) SX_UNROLL for (int v = 0; v < SX_V; v++)
#define SX_CHUNK (SX_CUDA_THREADS * SX_V)
#define SX_TILES (SX_CHUNK / SX_CUDA_TILE)
#define SX_UNITS (SX_CUDA_BLOCK / SX_CUDA_UNIT(SX_FAST))   /* of a task */
#define SX_BYTE_LABELS (SX_CLASSES < 256)               /* else a byte is the label's place in its tile's list */

/* -- Loading ------------------------------------------------------------------------------------ */

#if SX_LOGIT == 16
typedef sx_u16 sx_logit;
#elif SX_LOGIT == 32
typedef float sx_logit;
#else
typedef double sx_logit;
#endif

#if defined(__CUDACC_RTC__)
SX_DEVICE float sx_half(sx_u16 h)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
SX_DEVICE void sx_words2(unsigned *x, const void *p)
{
    asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(x[0]), "=r"(x[1]) : "l"(p));
}
SX_DEVICE void sx_words4(unsigned *x, const void *p)
{
    asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "l"(p));
}
#else
#define sx_half sx_half_to_float
#endif

/* SX_V neighbouring numbers, the first one aligned to their whole size. */
SX_DEVICE void sx_load(T *x, const sx_logit *p)
{
    SX_ALIGNED(p, SX_V * sizeof *p < 16 ? SX_V * sizeof *p : 16);
#if !defined(__CUDACC_RTC__)
    SX_EACH(v)
#if SX_LOGIT == 16
        x[v] = (T)sx_half(p[v]);
#else
        x[v] = (T)p[v];
#endif
#elif SX_LOGIT == 16
    unsigned w[SX_V / 2];
    if (SX_V == 8) sx_words4(w, p);
    else if (SX_V == 4) sx_words2(w, p);
    else w[0] = SX_GET((const unsigned *)p);
    SX_EACH(v) x[v] = (T)sx_half((sx_u16)(w[v / 2] >> v % 2 * 16));
#elif SX_LOGIT == 32
    unsigned w[SX_V];
    SX_UNROLL for (int v = 0; v + 4 <= SX_V; v += 4) sx_words4(w + v, p + v);
    if (SX_V == 2) sx_words2(w, p);
    SX_EACH(v) x[v] = (T)__uint_as_float(w[v]);
#else
    double d[SX_V];
    SX_UNROLL for (int v = 0; v < SX_V; v += 2)
        asm("ld.global.nc.v2.f64 {%0, %1}, [%2];" : "=d"(d[v]), "=d"(d[v + 1]) : "l"(p + v));
    SX_EACH(v) x[v] = (T)d[v];
#endif
}

SX_DEVICE T sx_load1(const sx_logit *p)
{
#if SX_LOGIT == 16
    return (T)sx_half(SX_GET(p));
#else
    return (T)SX_GET(p);
#endif
}

/* -- A chunk ------------------------------------------------------------------------------------ */

typedef struct sx_chunk {
    int left;                    /* pixels of the unit from the chunk's first on */
    const sx_logit *logits;      /* channel 0 of the chunk's first pixel */
    sx_u64 stride;               /* between channels */
    const unsigned char *loc;
    const unsigned *head;        /* of the chunk's first tile */
    const int *table;
    const sx_u64 *field;         /* addresses of fields */
    sx_u64 at;                   /* the first pixel in the piece */
    const T *imp;
    const sx_pw *pow;
    T *part;                     /* exact: record of the first tile; fast: of the unit's first warp */
    T *map;                      /* the chunk's first pixel in row 0 of the task's mapped values */
} sx_chunk;

/* First chunk of unit n of the launch; none left when the image ends before it. */
SX_DEVICE void sx_unit_at(const sx_gpu_args *args, sx_u64 n, sx_chunk *k)
{
    const sx_u64 t = n / SX_UNITS;
    const unsigned unit = (unsigned)(n % SX_UNITS), at = unit * SX_CUDA_UNIT(SX_FAST);
    const unsigned *task = (const unsigned *)args->task + 4 * t;
    const int left = (int)SX_GET(task + 2) - (int)at;
    const sx_u64 *piece = (const sx_u64 *)args->piece + (SX_PIECE_FIELDS + SX_FIELDS) * (sx_u64)SX_GET(task);
    const sx_u64 px = SX_GET(task + 1) + at, set = SX_GET(task + 3);
    k->left = left < SX_CUDA_UNIT(SX_FAST) ? left : SX_CUDA_UNIT(SX_FAST);
    k->at = px;
    k->logits = (const sx_logit *)SX_GET(piece + SX_PIECE_LOGITS) + px;
    k->stride = SX_GET(piece + SX_PIECE_STRIDE);
    k->loc = (const unsigned char *)SX_GET(piece + SX_PIECE_LOC) + px;
    k->head = (const unsigned *)SX_GET(piece + SX_PIECE_HEAD) + 2 * (px / SX_CUDA_TILE);
    k->table = (const int *)SX_GET(piece + SX_PIECE_TABLE);
    k->field = piece + SX_PIECE_FIELDS;
    k->imp = (const T *)args->imports + set * args->import_len;
    k->pow = (const sx_pw *)args->powers + set * args->power_len;
    k->part = (T *)args->part + (t * SX_UNITS + unit) * SX_CUDA_RECORDS(SX_FAST) * args->rec;
    k->map = (T *)args->map + t * args->map_rec * SX_CUDA_BLOCK + at;
}

SX_DEVICE void sx_next_chunk(const sx_gpu_args *args, sx_chunk *k)
{
    k->left -= SX_CHUNK;
    k->at += SX_CHUNK;
    k->logits += SX_CHUNK;
    k->loc += SX_CHUNK;
    k->head += 2 * (SX_CHUNK / SX_CUDA_TILE);
#if !SX_FAST
    k->part += SX_CHUNK / SX_CUDA_TILE * args->rec;
#endif
    k->map += SX_CHUNK;
}

/* Label number i of the list of a tile. */
SX_DEVICE int sx_label_of(const sx_chunk *k, int tile, int i) { return SX_GET(k->table + SX_GET(k->head + 2 * tile) + i); }

/* Labels of the thread's pixels, C where they do not count. */
SX_DEVICE void sx_labels(const sx_chunk *k, int tid, int *y)
{
    const int px = tid * SX_V;
    SX_ALIGNED(k->loc + px, SX_V);
#if defined(__CUDACC_RTC__) && SX_V == 8
    unsigned w[2];
    sx_words2(w, k->loc + px);
    SX_EACH(v) y[v] = (int)(w[v / 4] >> v % 4 * 8 & 255u);
#elif defined(__CUDACC_RTC__) && SX_V == 4
    const unsigned w = SX_GET((const unsigned *)(k->loc + px));
    SX_EACH(v) y[v] = (int)(w >> v * 8 & 255u);
#else
    SX_EACH(v) y[v] = SX_GET(k->loc + px + v);
#endif
#if !SX_BYTE_LABELS
    SX_EACH(v) y[v] = sx_label_of(k, px / SX_CUDA_TILE, y[v]);
#endif
}

/* Values of the thread's pixels into a row of mapped values. */
SX_DEVICE void sx_store(T *p, const T *x)
{
    SX_ALIGNED(p, 16);
#if defined(__CUDACC_RTC__) && !SX_DOUBLE
    SX_UNROLL for (int v = 0; v < SX_V; v += 4)
        asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p + v), "f"(x[v]), "f"(x[v + 1]), "f"(x[v + 2]), "f"(x[v + 3])
                     : "memory");
#else
    SX_EACH(v) p[v] = x[v];
#endif
}

/* -- Logits and classes -------------------------------------------------------------------------- */

/* Logits of class c, and how far the next class is. One channel stands for class 1, class 0 is 0. */
#if SX_ONE_CHANNEL
#define SX_CHANNEL(c) k.logits
#define SX_STEP 0
#else
#define SX_CHANNEL(c) (k.logits + (sx_u64)(unsigned)(c) * k.stride)
#define SX_STEP k.stride
#endif

SX_DEVICE T sx_logits(T x, int c)
{
#if SX_ONE_CHANNEL
    return c ? x : C(0);
#elif SX_PROBABILITIES
    (void)c;
    return F_LOG(x > C(1e-12) ? x : C(1e-12));
#else
    (void)c;
    return x;
#endif
}

/* An index that some value names; anything else reads class 0: sums select those pixels away. */
SX_DEVICE int sx_index(T x) { return x > C(0) && x < C(SX_CLASSES) ? (int)x : 0; }

/* The larger one; of two zeros the positive one, as the GPU has it. */
SX_DEVICE T sx_max(T a, T b)
{
#if SX_DOUBLE
    return b > a ? b : a;
#elif defined(__CUDACC_RTC__)
    return fmaxf(a, b);
#else
    return b > a || (b == a && !__builtin_signbit(b)) ? b : a;
#endif
}

/* A group of classes, c0 .. c0 + n - 1, into the largest value. */
SX_DEVICE void sx_most(T (*w)[SX_V], int n, T *m)
{
    SX_UNROLL for (int q = 0; q < n; q++) SX_EACH(v) m[v] = sx_max(m[v], w[q][v]);
}

/* May one of the thread's labels be in the group? */
SX_DEVICE int sx_near(const int *y, int c0, int n)
{
    int lo = y[0], hi = y[0];
    SX_UNROLL for (int v = 1; v < SX_V; v++) {
        lo = y[v] < lo ? y[v] : lo;
        hi = y[v] > hi ? y[v] : hi;
    }
    return lo < c0 + n && hi >= c0;
}

#if SX_CLASSES == 2
/* Both classes into a target state: the other one's value, the label's, and whether there is another at all. */
SX_DEVICE void sx_pair(T (*w)[SX_V], const int *y, T *m, T *x, T *s)
{
    SX_EACH(v) {
        const T other = y[v] ? w[0][v] : w[1][v], least = SX_FAST ? C(-1e38) : C(-3e38);
        m[v] = sx_max(least, other);
        x[v] = y[v] ? w[1][v] : w[0][v];
        s[v] = other >= m[v] ? C(1) : C(0);
    }
}
#endif

/* The group without the pixels' labels. */
SX_DEVICE void sx_without(T (*w)[SX_V], int n, const int *y, int c0)
{
    SX_UNROLL for (int q = 0; q < n; q++) SX_EACH(v) w[q][v] = y[v] - c0 == q ? -SX_INF : w[q][v];
}

#if !SX_FAST

SX_DEVICE T sx_exp_from(T x, T m) { return F_EXP_NEG(x - m); }

/* The same for a target state, where the one other class of two has exp(0) = 1, or 0 where it cannot be. */
SX_DEVICE T sx_tgt_exp(T x, T m)
{
#if SX_CLASSES == 2
    return x >= m ? C(1) : C(0);
#else
    return F_EXP_NEG(x - m);
#endif
}

/* A group of classes into the sum of exp(x - m), in ascending order; for a target state into four of them, class mod 4. */
SX_DEVICE void sx_exps(T (*w)[SX_V], int n, const T *m, T *s)
{
    SX_UNROLL for (int q = 0; q < n; q++) SX_EACH(v) s[v] = s[v] + sx_exp_from(w[q][v], m[v]);
}

SX_DEVICE void sx_tgt_exps(T (*w)[SX_V], int n, const T *m, T (*s)[SX_V])
{
    SX_UNROLL for (int q = 0; q < n; q++) SX_EACH(v) s[q % 4][v] = s[q % 4][v] + sx_tgt_exp(w[q][v], m[v]);
}

/* own for the label's class, by exp(x - m) for others: computed for all, which is cheaper than to branch. */
SX_DEVICE T sx_p(T x, int c, int y, T m, T by, T own)
{
    T p = sx_tgt_exp(x, m) * by;
#if defined(__CUDACC_RTC__) && !SX_DOUBLE
    asm("{ .reg .pred q; setp.eq.s32 q, %1, %2; selp.f32 %0, %3, %0, q; }" : "+f"(p) : "r"(c), "r"(y), "f"(own));
    return p;
#else
    return c == y ? own : p;
#endif
}

SX_DEVICE T sx_dir(T x, int c, int y, T m, T by, T own) { return sx_p(x, c, y, m, by, own); }

#else

SX_DEVICE float sx_exp_from(float x, float m) { return sx_ex2(fmaf(x, SX_M_LOG2EF, -(m * SX_M_LOG2EF))); }

/* A group of classes into the largest value m and the sum s of exp(x - m). */
SX_DEVICE void sx_online(float (*w)[SX_V], int n, float *m, float *s)
{
    SX_EACH(v) {
        float top = m[v], sum = 0.0f;
        SX_UNROLL for (int q = 0; q < n; q++) top = sx_max(top, w[q][v]);
        const float b = top * SX_M_LOG2EF;
        if (n < SX_CLASSES) sum = s[v] * sx_ex2(m[v] * SX_M_LOG2EF - b);     /* what other groups have summed */
        SX_UNROLL for (int q = 0; q < n; q++) sum = sum + sx_ex2(fmaf(w[q][v], SX_M_LOG2EF, -b));
        m[v] = top;
        s[v] = sum;
    }
}

/* log of the sum of exp: b and not m is what s is relative to. */
SX_DEVICE float sx_lse(float m, float s)
{
    return m + (F_LOG(s) - 0x1.62e43p-1f * fmaf(m, SX_M_LOG2EF, -(m * SX_M_LOG2EF)));
}

/* px_target with d in place of m' - x counted from b. */
SX_DEVICE void sx_fast_target(float m, float x, float S, float *d, float *z, float *e, float *f)
{
    const float t = fmaf(x, SX_M_LOG2EF, -(m * SX_M_LOG2EF));     /* -d, base 2 */
    const int pos = t < 0.0f;
#if SX_CLASSES == 2
    const float ex = sx_ex2(pos ? t : -t), zz = ex;               /* S is 1, or 0 where ex is */
    (void)S;
#else
    const float ex = sx_ex2(pos ? t : -t), zz = pos ? (S - 1.0f) + ex : S * ex;
#endif
    *d = -0x1.62e43p-1f * t;
    *z = zz;
    *e = pos ? ex : 1.0f;
    *f = F_OVER(pos ? 1.0f : ex, 1.0f + zz);
}

/* Probabilities are exp2(x log2(e) - m) by: counted from b, or from the label where that is so far above all others that it
 * would overflow. by is 0 where the pixel does not count. */
SX_DEVICE float sx_fast_p(int counts, float m, float x, float d, float z, float f, float *ref)
{
    const int far = d < -80.0f;
    *ref = (far ? x : m) * SX_M_LOG2EF;
    return !counts ? 0.0f : far ? sx_rcp(1.0f + z) : f;
}

SX_DEVICE float sx_p(float x, int c, int y, float ref, float by, float own)
{
    (void)c, (void)y, (void)own;
    return sx_ex2(fmaf(x, SX_M_LOG2EF, -ref)) * by;
}

SX_DEVICE float sx_dir(float x, int c, int y, float m, float by, float own)
{
    return c == y ? own : sx_ex2(fmaf(x, SX_M_LOG2EF, -(m * SX_M_LOG2EF))) * by;
}

#endif

/* -- Powers --------------------------------------------------------------------------------------- */

#if SX_FAST

/* x^g = exp2(g log2 |x|), of negative x only for whole g. 0^0 = 1. */
#define SX_BASIS 3        /* rows of a basis: x, log2 |x|, log2 x */

SX_DEVICE void sx_basis(float *r, float x, unsigned need)
{
    const float l = sx_lg2(fabsf(x)), low = l > -1e30f ? l : -1e30f;
    (void)need;
    r[0] = x;
    r[1] = low < 1e30f ? low : 1e30f;
    r[2] = x < 0.0f ? SX_INF - SX_INF : r[1];
}

SX_DEVICE float sx_power(const float *r, const sx_pw *g)
{
    const int parity = SX_GET(&g->parity);
    const float y = sx_ex2(SX_GET(&g->hi) * (parity == 2 ? r[2] : r[1]));
    return parity == 1 ? copysignf(y, r[0]) : y;
}

/* Of what is not negative. */
SX_DEVICE float sx_power_pos(const float *r, const sx_pw *g) { return sx_ex2(SX_GET(&g->hi) * r[1]); }

SX_DEVICE float sx_power1(float x, const sx_pw *g)
{
    float r[SX_BASIS];
    sx_basis(r, x, 0);
    return sx_power(r, g);
}

SX_DEVICE float sx_power1_pos(float x, const sx_pw *g)
{
    float r[SX_BASIS];
    sx_basis(r, x, 0);
    return sx_power_pos(r, g);
}

#else

#define SX_BASIS 8        /* rows of a basis: u^(1/4), u^(1/2), u, u^2, u^4, u^8, log2 u in two floats */
#define SX_BASIS_LOG 64u  /* bit of need that stands for both parts of log2 u; the others are 1 << row */

SX_DEVICE void sx_basis(T *r, T x, unsigned need)
{
    r[2] = x;
    if (need & 3) r[1] = F_SQRT(x);
    if (need & 1) r[0] = F_SQRT(r[1]);
    if (need & (7u << 3)) {
        r[3] = x * x;
        r[4] = r[3] * r[3];
        r[5] = r[4] * r[4];
    }
#if !SX_DOUBLE
    if (need & SX_BASIS_LOG) sx_log2_2f(x, &r[6], &r[7]);
#endif
}

/* Exponents off the lattice. Whole ones welcome negative bases. */
#if SX_DOUBLE
SX_DEVICE double sx_any_power(double x, double hi, double lo, const sx_pw *g)
{
    (void)hi, (void)lo;
    return sx_pow(x, SX_GET(&g->g));
}
#else
SX_NOINLINE float sx_whole_power(float x, double g)
{
    return (float)sx_pow((double)x, g);
}

SX_NOINLINE float sx_any_power(float x, float hi, float lo, const sx_pw *g)
{
    return SX_GET(&g->quarters) == -2 ? sx_whole_power(x, SX_GET(&g->g)) : sx_pow_2f(hi, lo, SX_GET(&g->hi), SX_GET(&g->lo));
}
#endif

/* u^g from a basis; on the lattice roots and squares in ascending order of the binary digits of 4 g. */
SX_DEVICE T sx_power(const T *r, const sx_pw *g)
{
    const int quarters = SX_GET(&g->quarters);
    T d = C(1);
    if (quarters < 0) return sx_any_power(r[2], r[6], r[7], g);
    SX_UNROLL for (int b = 0; b < 6; b++)
        if (quarters >> b & 1) d = d * r[b];
    return d;
}

/* The same from u alone. */
SX_DEVICE T sx_power1(T x, const sx_pw *g)
{
    const int quarters = SX_GET(&g->quarters);
    T r[SX_BASIS];
    sx_basis(r, x, quarters < 0 ? SX_BASIS_LOG : (unsigned)quarters);
    return sx_power(r, g);
}

#endif
