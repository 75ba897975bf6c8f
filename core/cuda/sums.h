/*
 * sums.h: the sums of a kernel, after kernel.h. What they give are records: numbers of which the kernel sx_fold_tiles adds those of a
 * task, in double and in order, to its cell.
 */

/* Four neighbours in shared memory, aligned to their size. */
SX_DEVICE void sx_get4(T *x, const T *p)
{
    SX_ALIGNED(p, 16);
#if defined(__CUDACC_RTC__) && !SX_DOUBLE
    const float4 four = *(const float4 *)p;
    x[0] = four.x;
    x[1] = four.y;
    x[2] = four.z;
    x[3] = four.w;
#else
    SX_UNROLL for (int i = 0; i < 4; i++) x[i] = p[i];
#endif
}

#if SX_FAST

/* -- Mode fast ------------------------------------------------------------------------------------
 * A warp adds up what its own pixels give, chunk after chunk, in its record of the unit; it waits for no other warp. Of a chunk: each
 * thread adds its pixels to one number; a row has those of the 32 threads, which one of them adds, as many rows at once as there are
 * threads. The order is the same for every sum, whatever else is in the kernel. By label, there is a row for each label that the
 * tile has. */

#define SX_WARP_ROW 36    /* 4 more places keep neighbouring rows out of each other's banks */
#define SX_LABELS SX_CUDA_BATCH /* labels that are summed at once */

/* Small records are kept here while a unit lasts: SX_OWN numbers per warp; 0: where the others are. */
SX_DEVICE float *sx_record(const sx_chunk *k, float *s_own, int tid, sx_u64 rec)
{
    return SX_OWN ? s_own + tid / 32 * SX_OWN : k->part + (sx_u64)(tid / 32) * rec;
}

SX_DEVICE void sx_begin_record(float *s_own, int tid)
{
    SX_ROLLED for (int i = tid % 32; i < SX_OWN; i += 32) s_own[tid / 32 * SX_OWN + i] = 0.0f;
}

SX_DEVICE void sx_end_record(const sx_chunk *k, const float *s_own, int tid)
{
    SX_ROLLED for (int i = tid % 32; i < SX_OWN; i += 32) k->part[tid / 32 * SX_OWN + i] = s_own[tid / 32 * SX_OWN + i];
}

/* The labels of the thread's tile: how many; one of the first, fetched early; where in their list those of its pixels are; whether
 * some are neither the first pixel's nor the last one's. */
typedef struct sx_list {
    int n, label, place[SX_V], more;
} sx_list;

#if !SX_FEW
SX_DEVICE void sx_look_up(const sx_chunk *k, int tid, sx_list *l)
{
    const int tile = tid * SX_V / SX_CUDA_TILE;
    l->n = (int)SX_GET(k->head + 2 * tile + 1);
    l->label = tid % 32 < l->n ? sx_label_of(k, tile, tid % 32) : -1;
}

/* The list, for the warp's threads: labels from base on, and (bytes) the place of each. */
SX_DEVICE void sx_tell(const sx_chunk *k, int tid, int base, const sx_list *l, int *s_label, unsigned char *s_place)
{
    const int lane = tid % 32, tile = tid * SX_V / SX_CUDA_TILE;
    s_label[tid / 32 * SX_LABELS + lane] = base == 0 ? l->label : base + lane < l->n ? sx_label_of(k, tile, base + lane) : -1;
#if SX_BYTE_LABELS
    unsigned char *const place = s_place + tid / 32 * (SX_CLASSES + 1);
    if (base == 0 && lane < l->n) place[l->label] = (unsigned char)lane;
    SX_ROLLED for (int i = 32 + lane; base == 0 && i < l->n; i += 32) place[sx_label_of(k, tile, i)] = (unsigned char)i;
#endif
}

SX_DEVICE void sx_find(const sx_chunk *k, int tid, const int *y, sx_list *l, const unsigned char *s_place)
{
    l->more = 0;
    SX_EACH(v) {
        l->place[v] = SX_BYTE_LABELS ? s_place[tid / 32 * (SX_CLASSES + 1) + y[v]] : SX_GET(k->loc + tid * SX_V + v);
        l->more |= y[v] != y[0] && y[v] != y[SX_V - 1];
    }
}
#endif

/* Labels of a list at most, of those that go through them together: a warp, of one tile; on the host the block. The vote tells the
 * compiler that a warp's threads agree. */
#if defined(__CUDACC_RTC__)
#define SX_MOST(l) l->n
#define SX_ANY(x) __any_sync(0xffffffffu, x)
#else
#define SX_MOST(l) sx_longest(l)
#define SX_ANY(x) (x)
SX_DEVICE int sx_longest(sx_list (*l)[1])
{
    int most = 0;
    for (int tid = 0; tid < SX_CUDA_THREADS; tid++) most = l[tid]->n > most ? l[tid]->n : most;
    return most;
}
#endif

/* Rows are 1 << bits for each value: as many labels as are summed at once. */
SX_DEVICE int sx_bits(int n)
{
    if (SX_FEW) return SX_CLASSES <= 2 ? 1 : 2;
    return SX_ANY(n > 16) ? 5 : SX_ANY(n > 8) ? 4 : SX_ANY(n > 4) ? 3 : SX_ANY(n > 2) ? 2 : SX_ANY(n > 1) ? 1 : 0;
}

/* Label of the row that a lane looks after; C or more: none. */
SX_DEVICE unsigned sx_row_label(const int *s_label, int tid, int bits)
{
    const int i = tid % 32 & ((1 << bits) - 1);
#if SX_FEW
    (void)s_label;
    return (unsigned)i;
#else
    return (unsigned)s_label[tid / 32 * SX_LABELS + i];
#endif
}

SX_DEVICE float *sx_slot(float *s_v, int tid, int row) { return s_v + (tid / 32 * SX_CUDA_BATCH + row) * SX_WARP_ROW + tid % 32; }

/* The thread's pixels, added up. */
SX_DEVICE float sx_all(const float *w)
{
    float a[SX_V];
    SX_EACH(v) a[v] = w[v];
    SX_UNROLL for (int n = SX_V / 2; n; n /= 2)
        SX_UNROLL for (int v = 0; v < n; v++) a[v] = a[2 * v] + a[2 * v + 1];
    return a[0];
}

/* Values of the thread's pixels into a row, 0 where they do not count. */
SX_DEVICE void sx_put(float *s_v, int tid, int row, const float *x, const int *y)
{
    float w[SX_V];
    SX_EACH(v) w[v] = y[v] < SX_CLASSES ? x[v] : 0.0f;
    *sx_slot(s_v, tid, row) = sx_all(w);
}

/* The same of probabilities, from their logits (sx_p): `by` is 0 where they do not count, and no logit is NaN or +inf. */
SX_DEVICE void sx_put_p(float *s_v, int tid, int row, const float *x, const float *ref, const float *by)
{
    float sum = 0.0f;
    SX_EACH(v) sum = fmaf(sx_ex2(fmaf(x[v], SX_M_LOG2EF, -ref[v])), by[v], sum);
    *sx_slot(s_v, tid, row) = sum;
}

SX_DEVICE void sx_clear(float *slot, int from, int to)
{
    SX_UNROLL for (int i = from; i < to; i++) slot[i * SX_WARP_ROW] = 0.0f;
}

/* Is a place among the labels from base on? */
SX_DEVICE int sx_in(int place, int base) { return SX_CLASSES < SX_LABELS || (place >= base && place < base + SX_LABELS); }

/* By label, into 1 << bits rows: those of the labels from base on. */
SX_DEVICE void sx_put_by(float *s_v, int tid, int row, int bits, int base, const sx_list *l, const float *x, const int *y)
{
#if SX_FEW
    (void)bits, (void)base, (void)l;
    SX_UNROLL for (int i = 0; i < SX_CLASSES; i++) {
        float w[SX_V];
        SX_EACH(v) w[v] = y[v] == i ? x[v] : 0.0f;
        *sx_slot(s_v, tid, row + i) = sx_all(w);
    }
#else
    float *const slot = sx_slot(s_v, tid, row), w[SX_V];
    const int first = l->place[0], last = l->place[SX_V - 1];
    (void)y;
    if (bits > 0) {
        sx_clear(slot, 0, 2);
        if (bits > 1) sx_clear(slot, 2, 4);
        if (bits > 2) sx_clear(slot, 4, 8);
        if (bits > 3) sx_clear(slot, 8, 16);
        if (bits > 4) sx_clear(slot, 16, 32);
    }
    SX_EACH(v) w[v] = l->place[v] == first ? x[v] : 0.0f;
    if (sx_in(first, base)) slot[(first - base) * SX_WARP_ROW] = sx_all(w);
    SX_EACH(v) w[v] = l->place[v] == last ? x[v] : 0.0f;
    if (last != first && sx_in(last, base)) slot[(last - base) * SX_WARP_ROW] = sx_all(w);
    if (l->more) SX_UNROLL for (int v = 1; v < SX_V - 1; v++) {
        const int i = l->place[v];
        if (i != first && i != last && sx_in(i, base)) slot[(i - base) * SX_WARP_ROW] = slot[(i - base) * SX_WARP_ROW] + x[v];
    }
#endif
}

/* The sum of the row that a lane looks after. */
SX_DEVICE float sx_row_sum(const float *s_v, int tid)
{
    const float *row = s_v + tid * SX_WARP_ROW;
    float x[4], a[8];
    SX_UNROLL for (int i = 0; i < 8; i++) {
        sx_get4(x, row + 4 * i);
        a[i] = (x[0] + x[1]) + (x[2] + x[3]);
    }
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
}

#else

/* -- Mode exact ----------------------------------------------------------------------------------
 * The order of decisions 13. A row's sum over a logical tile: 16 lanes (pixel mod 16), each in ascending order, then the tree 8-4-2-1;
 * the record of the tile gets it as number s_dst[row] or, where there is no such list, first + row. By label the same for each label
 * that the tile holds, label * step numbers further on. */

#define SX_TILES (SX_CHUNK / SX_CUDA_TILE)
/* Rows of values in shared memory: 16 more places per tile keep neighbouring tiles out of each other's banks. */
#define SX_TILE_ROW (SX_CUDA_TILE + 16)
#define SX_ROW (SX_TILES * SX_TILE_ROW)
#define SX_LANE_ROW 20    /* 16 lanes */
#define SX_LABELS 4       /* labels of a tile that are summed at once */

SX_DEVICE void sx_set4(T *p, const T *x)
{
    SX_ALIGNED(p, 16);
#if defined(__CUDACC_RTC__) && !SX_DOUBLE
    *(float4 *)p = make_float4(x[0], x[1], x[2], x[3]);
#else
    SX_UNROLL for (int i = 0; i < 4; i++) p[i] = x[i];
#endif
}

/* Place of the thread's first pixel in a row of shared memory. */
SX_DEVICE int sx_place(int tid)
{
    const int px = tid * SX_V;
    return px / SX_CUDA_TILE * SX_TILE_ROW + px % SX_CUDA_TILE;
}

/* What the sums by label need to know of a chunk's tiles: how many labels, and which. */
typedef struct sx_tiles {
    int n[SX_TILES], label[SX_TILES * SX_LABELS];     /* of each tile the first SX_LABELS */
} sx_tiles;

SX_DEVICE void sx_lists(const sx_chunk *k, int tid, unsigned char *s_loc, sx_tiles *s_tiles)
{
    const int at = sx_place(tid);
    SX_ALIGNED(s_loc + at, SX_V);
#if defined(__CUDACC_RTC__) && SX_V == 4
    *(unsigned *)(s_loc + at) = SX_GET((const unsigned *)(k->loc + tid * SX_V));
#else
    SX_EACH(v) s_loc[at + v] = SX_GET(k->loc + tid * SX_V + v);
#endif
    if (tid < SX_TILES * SX_LABELS) {
        const int t = tid / SX_LABELS, i = tid % SX_LABELS, n = (int)SX_GET(k->head + 2 * t + 1);
        s_tiles->label[tid] = i < n ? sx_label_of(k, t, i) : -1;
        if (i == 0) s_tiles->n[t] = n;
    }
}

/* Values of the thread's pixels into a row, 0 where they do not count. */
SX_DEVICE void sx_put(T *row, int tid, const T *x, const int *y)
{
    T *r = row + sx_place(tid), w[SX_V];
    SX_EACH(v) w[v] = y[v] < SX_CLASSES ? x[v] : C(0);
#if SX_V == 4
    sx_set4(r, w);
#else
    SX_EACH(v) r[v] = w[v];
#endif
}

SX_DEVICE sx_u64 sx_number(const sx_u64 *s_dst, sx_u64 first, int row) { return s_dst ? s_dst[row] : first + (sx_u64)row; }

/* Four lanes of a row's tile. */
SX_DEVICE void sx_lanes(T *to, const T *v)
{
    T sum[4] = {C(0), C(0), C(0), C(0)}, x[4];
    SX_UNROLL for (int g = 0; g < 16; g++) {
        sx_get4(x, v + 16 * g);
        SX_UNROLL for (int i = 0; i < 4; i++) sum[i] = sum[i] + x[i];
    }
    sx_set4(to, sum);
}

SX_DEVICE T sx_fold(const T *l)
{
    T b[16];
    SX_UNROLL for (int i = 0; i < 16; i += 4) sx_get4(b + i, l + i);
    SX_UNROLL for (int i = 0; i < 8; i++) b[i] = b[i] + b[i + 8];
    SX_UNROLL for (int i = 0; i < 4; i++) b[i] = b[i] + b[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

SX_DEVICE void sx_sum(const T *s_v, T *s_lane, const sx_u64 *s_dst, sx_u64 first, int rows, const sx_chunk *k, sx_u64 rec)
{
    SX_PHASE
        SX_ROLLED for (int i = tid; i < rows * SX_TILES * 4; i += SX_CUDA_THREADS) {
            const int item = i / 4, lane = i % 4 * 4;
            sx_lanes(s_lane + item * SX_LANE_ROW + lane, s_v + item / SX_TILES * SX_ROW + item % SX_TILES * SX_TILE_ROW + lane);
        }
    SX_END
    SX_PHASE
        SX_ROLLED for (int item = tid; item < rows * SX_TILES; item += SX_CUDA_THREADS)
            k->part[item % SX_TILES * rec + sx_number(s_dst, first, item / SX_TILES)] = sx_fold(s_lane + item * SX_LANE_ROW);
    SX_END
}

/* What stands in the bytes for the tile's label number base + j. */
SX_DEVICE int sx_byte_of(const sx_chunk *k, const sx_tiles *s_tiles, int t, int base, int j)
{
#if SX_BYTE_LABELS
    return base ? sx_label_of(k, t, base + j) : s_tiles->label[t * SX_LABELS + j];
#else
    (void)k, (void)s_tiles, (void)t;
    return base + j;
#endif
}

SX_DEVICE void sx_sum_by(const T *s_v, const unsigned char *s_loc, const sx_tiles *s_tiles, T *s_lane, const sx_u64 *s_dst,
                         sx_u64 first, sx_u64 step, int rows, const sx_chunk *k, sx_u64 rec)
{
    int most = 0;
    SX_UNROLL for (int t = 0; t < SX_TILES; t++) most = s_tiles->n[t] > most ? s_tiles->n[t] : most;
    SX_ROLLED for (int base = 0; base < most; base += SX_LABELS) {
        SX_PHASE
            SX_ROLLED for (int i = tid; i < rows * SX_TILES * 4; i += SX_CUDA_THREADS) {       /* tiles of one label */
                const int item = i / 4, lane = i % 4 * 4, t = item % SX_TILES;
                if (s_tiles->n[t] == 1)
                    sx_lanes(s_lane + item * SX_LABELS * SX_LANE_ROW + lane, s_v + item / SX_TILES * SX_ROW + t * SX_TILE_ROW + lane);
            }
            SX_ROLLED for (int i = tid; i < rows * SX_TILES * 16; i += SX_CUDA_THREADS) {
                const int item = i / 16, lane = i % 16, t = item % SX_TILES, n = s_tiles->n[t];
                const T *v = s_v + item / SX_TILES * SX_ROW + t * SX_TILE_ROW + lane;
                const unsigned char *loc = s_loc + t * SX_TILE_ROW + lane;
                T *to = s_lane + item * SX_LABELS * SX_LANE_ROW + lane, x[16];
                unsigned char l[16];
                if (n == 1 || n <= base) continue;
                SX_UNROLL for (int g = 0; g < 16; g++) {
                    x[g] = v[g * 16];
                    l[g] = loc[g * 16];
                }
                SX_ROLLED for (int j = 0; j < SX_LABELS && base + j < n; j++) {
                    const int own = sx_byte_of(k, s_tiles, t, base, j);
                    T sum = C(0);
                    SX_UNROLL for (int g = 0; g < 16; g++) sum = l[g] == own ? sum + x[g] : sum;
                    to[j * SX_LANE_ROW] = sum;
                }
            }
        SX_END
        SX_PHASE
            SX_ROLLED for (int i = tid; i < rows * SX_TILES * SX_LABELS; i += SX_CUDA_THREADS) {
                const int item = i / SX_LABELS, j = i % SX_LABELS, t = item % SX_TILES;
                if (base + j >= s_tiles->n[t]) continue;
                const int label = base ? sx_label_of(k, t, base + j) : s_tiles->label[t * SX_LABELS + j];
                if (label >= SX_CLASSES) continue;
                k->part[t * rec + sx_number(s_dst, first, item / SX_TILES) + (sx_u64)label * step] = sx_fold(s_lane + i * SX_LANE_ROW);
            }
        SX_END
    }
}

#endif

/* -- Records -------------------------------------------------------------------------------------- */

/* Records of a task into its cell. One thread per number. */
SX_KERNEL(sx_fold_tiles)
{
    SX_ARGS;
    SX_PHASE
        for (sx_u64 i = (sx_u64)SX_BID * SX_CUDA_THREADS + (sx_u64)tid; i < args.n_task * args.rec;
             i += (sx_u64)SX_GRID * SX_CUDA_THREADS) {
            const sx_u64 t = i / args.rec, s = i % args.rec;
            const unsigned px = SX_GET((const unsigned *)args.task + 4 * t + 2);
            /* fast: whole units have records; exact: the tiles that the task has */
            const unsigned step = SX_FAST ? SX_CUDA_UNIT(1) : SX_CUDA_TILE, n = (px + step - 1) / step * (SX_FAST ? SX_CUDA_RECORDS(1) : 1);
            const T *p = (const T *)args.part + t * SX_UNITS * SX_CUDA_RECORDS(SX_FAST) * args.rec + s;
            double sum = 0.0;
            for (unsigned r = 0; r < n; r++, p += args.rec) sum = sum + (double)*p;
            ((double *)args.cell)[i] = sum;
        }
    SX_END
}
