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
 * threads. The order is the same for every sum, whatever else is in the kernel. By label: see Runs. */

#define SX_WARP_ROW 36    /* 4 more places keep neighbouring rows out of each other's banks */

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

/* The same from their exponentials, and of two classes, where own is the label's and by the other's. */
SX_DEVICE void sx_put_kept(float *s_v, int tid, int row, const float *e, const float *by)
{
    float sum = 0.0f;
    SX_EACH(v) sum = fmaf(e[v], by[v], sum);
    *sx_slot(s_v, tid, row) = sum;
}

SX_DEVICE void sx_put_pair(float *s_v, int tid, const float *own, const float *by, const int *y)
{
    SX_UNROLL for (int c = 0; c < 2; c++) {
        float w[SX_V];
        SX_EACH(v) w[v] = y[v] == c ? own[v] : y[v] < SX_CLASSES ? by[v] : 0.0f;
        *sx_slot(s_v, tid, c) = sx_all(w);
    }
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

/* -- Runs -----------------------------------------------------------------------------------------
 * Sums by label. Up to four classes have a row for each label. Else labels come in runs: each thread adds those of its pixels that have
 * the label of the first one, and those that have the label of the last one; what is neither stands alone. These numbers, in the
 * order of the pixels, are a row; runs are neighbours in it that have one label. One thread adds a run, as many of as many rows at once
 * as there are threads; then the runs go into the record, in their order. Rows have room for 64 numbers: of labels that leave more than
 * that, the upper 16 threads take a second turn. */

#if SX_FEW

#define SX_LABEL_BITS (SX_CLASSES <= 2 ? 1 : 2)

/* By label, into as many rows. */
SX_DEVICE void sx_put_by(float *s_v, int tid, int row, const float *x, const int *y)
{
    SX_UNROLL for (int i = 0; i < SX_CLASSES; i++) {
        float w[SX_V];
        SX_EACH(v) w[v] = y[v] == i ? x[v] : 0.0f;
        *sx_slot(s_v, tid, (row << SX_LABEL_BITS) + i) = sx_all(w);
    }
}

#else

#define SX_RUN_ROWS 16
#define SX_RUN_MOST 64
#define SX_RUN_ROW 65     /* odd: one place of all rows is in different banks */
#define SX_RUN_LIST 68

/* alone: pixels that are neither the first one's label nor the last one's (nor the label of the one before, which takes them along).
 * tail: label of the last number. Of the warp, a bit for each thread: does its first number start a run; has it two; has it those? Of the turn: where its first number
 * is, -1: it has another turn; how many runs there are. */
typedef struct sx_list {
    int first, last, tail, two, alone[SX_V];
    unsigned starting, ending, lonely[SX_V];
    int turns, at, runs;
} sx_list;

SX_DEVICE void sx_look(const int *y, sx_list *l)
{
    l->first = y[0];
    l->last = y[SX_V - 1];
    l->two = l->first != l->last;
    l->tail = l->first;
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++) {
        l->alone[v] = y[v] != l->first && y[v] != l->last && !(v > 1 && l->alone[v - 1] && y[v] == y[v - 1]);
        l->tail = l->alone[v] ? y[v] : l->tail;
    }
    l->tail = l->two ? l->last : l->tail;
}

SX_DEVICE int sx_ones(unsigned x)
{
#if defined(__CUDACC_RTC__)
    return __popc(x);
#else
    return __builtin_popcount(x);
#endif
}

/* What the threads of a warp tell each other; on the host they read it. SX_MOST: of a warp, all of which have the same; on the host of
 * the block, whose loops are the same for all. */
#if defined(__CUDACC_RTC__)
#define SX_ANY(x) __any_sync(0xffffffffu, x)
#define SX_MOST(l, part) l->part
SX_DEVICE void sx_share(sx_list *l, int tid)
{
    const int before = __shfl_up_sync(0xffffffffu, l->tail, 1);
    int any = 0;
    l->starting = __ballot_sync(0xffffffffu, tid % 32 == 0 || before != l->first);
    l->ending = __ballot_sync(0xffffffffu, l->two);
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++) any |= l->alone[v];
    any = SX_ANY(any);
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++) l->lonely[v] = any ? __ballot_sync(0xffffffffu, l->alone[v]) : 0u;
#else
#define SX_ANY(x) (x)
#define SX_MOST(l, part) sx_most_of(l, (int)((const char *)&l[0]->part - (const char *)l[0]))
SX_DEVICE int sx_most_of(const sx_list (*l)[1], int part)
{
    int most = 0;
    for (int tid = 0; tid < SX_CUDA_THREADS; tid++) {
        const int n = *(const int *)((const char *)l[tid] + part);
        most = n > most ? n : most;
    }
    return most;
}
SX_DEVICE void sx_share(sx_list (*all)[1], int tid)
{
    sx_list *const l = all[tid];
    l->starting = l->ending = 0u;
    for (int v = 1; v < SX_V - 1; v++) l->lonely[v] = 0u;
    for (int i = 0; i < 32; i++) {
        const sx_list *o = all[tid / 32 * 32 + i];
        l->starting |= (unsigned)(i == 0 || all[tid / 32 * 32 + i - 1]->tail != o->first) << i;
        l->ending |= (unsigned)o->two << i;
        for (int v = 1; v < SX_V - 1; v++) l->lonely[v] |= (unsigned)o->alone[v] << i;
    }
#endif
    int n = 32 + sx_ones(l->ending);
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++) n += SX_ANY(l->lonely[v] != 0u) ? sx_ones(l->lonely[v]) : 0;
    l->turns = n > SX_RUN_MOST ? 2 : 1;
}

/* The runs of a turn: where each begins, and its label << 8; after the last one where it ends. */
SX_DEVICE void sx_tell(int tid, int turn, const int *y, sx_list *l, int *s_run)
{
    const unsigned lane = (unsigned)tid % 32, whose = SX_ANY(l->turns == 1) ? 0xffffffffu : turn ? 0xffff0000u : 0x0000ffffu;
    const unsigned starting = (l->starting | (turn ? 1u << 16 : 1u)) & whose, below = ((1u << lane) - 1u) & whose;
    const int in = (int)(whose >> lane & 1u) & (turn < l->turns);
    int more = sx_ones(l->ending & below), all = sx_ones(l->ending & whose);
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++)
        if (SX_ANY(l->lonely[v] != 0u)) {
            more += sx_ones(l->lonely[v] & below);
            all += sx_ones(l->lonely[v] & whose);
        }
    int *run = s_run + tid / 32 * SX_RUN_LIST, at = sx_ones(below) + more, i = sx_ones(starting & below) + more;
    l->at = in ? at : -1;
    l->runs = turn < l->turns ? sx_ones(starting) + all : 0;
    if (lane == 0 && turn < l->turns) run[l->runs] = sx_ones(whose) + all;
    if (!in) return;
    if (starting >> lane & 1u) run[i++] = at | l->first << 8;
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++)
        if (l->alone[v]) run[i++] = ++at | y[v] << 8;
    if (l->two) run[i] = (at + 1) | l->last << 8;
}

/* By label, into a row. */
SX_DEVICE void sx_put_by(float *s_v, int tid, int row, const sx_list *l, const float *x, const int *y)
{
    float *to = s_v + (tid / 32 * SX_RUN_ROWS + row) * SX_RUN_ROW + l->at, w[SX_V];
    if (l->at < 0) return;
    SX_EACH(v) w[v] = y[v] == l->first ? x[v] : 0.0f;
    *to = sx_all(w);
    SX_UNROLL for (int v = 1; v < SX_V - 1; v++)
        if (l->alone[v]) *++to = v + 1 < SX_V - 1 && y[v + 1] == y[v] ? x[v] + x[v + 1] : x[v];
    if (!l->two) return;
    SX_EACH(v) w[v] = y[v] == l->last ? x[v] : 0.0f;
    to[1] = sx_all(w);
}

/* Rows are 1 << bits: a lane looks after one of them, and of 32 >> bits runs from base on after one. */
SX_DEVICE int sx_bits(int rows) { return rows > 8 ? 4 : rows > 4 ? 3 : rows > 2 ? 2 : rows > 1 ? 1 : 0; }

SX_DEVICE float sx_run_sum(const float *s_v, const int *s_run, int tid, int bits, int rows, int base, const sx_list *l)
{
    const int lane = tid % 32, row = lane & ((1 << bits) - 1), i = base + (lane >> bits);
    const float *v = s_v + (tid / 32 * SX_RUN_ROWS + row) * SX_RUN_ROW;
    const int *run = s_run + tid / 32 * SX_RUN_LIST;
    float sum = 0.0f;
    if (row >= rows || i >= l->runs) return sum;
    const int from = run[i] & 255, to = run[i + 1] & 255;
    SX_UNROLL_4 for (int j = from; j < to; j++) sum = sum + v[j];
    return sum;
}

/* Label of the run that a lane has summed, when it is its turn; C or more: it has none. Two neighbours have different ones. */
SX_DEVICE unsigned sx_run_label(const int *s_run, int tid, int bits, int base, int part, const sx_list *l)
{
    const int own = tid % 32 >> bits, i = base + own;
    return (own == part || own == part + 1) && i < l->runs ? (unsigned)s_run[tid / 32 * SX_RUN_LIST + i] >> 8 : (unsigned)SX_CLASSES;
}

#endif

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
