/*
 * kernels.h: the loops of the tile machine, one table per arithmetic (float, double) and ISA level.
 *
 * A row is P consecutive pixels of one stage; a plane is C rows, P apart. Every loop is written as plain
 * scalar C with explicit FMAs, so that all levels and compilers give the same bits. n is a multiple of 16.
 */
#ifndef SX_KERNELS_H
#define SX_KERNELS_H

#include "base/cpu.h"
#include "dump/dump.h"
#include "graph/graph.h"

#define SX_TILE 256            /* pixels of a logical tile: the unit of float sums (decisions 13) */
#define SX_LANES 16
#define SX_STAGE (2 * SX_TILE)    /* pixels staged at once, at most */

/* 16 pixels of a tile that hold a label, all of them or (mixed) some. */
typedef struct sx_piece {
    int16_t next;              /* of the same label, in order; -1: the last */
    uint8_t group;             /* which 16 of the tile */
    bool mixed;
} sx_piece;

typedef struct sx_seen {
    int32_t tile, slot;        /* number of the last tile that held the label, and its place among the present ones */
    int16_t tail;              /* its last piece */
} sx_seen;

/* Labels of one stage. lab is given; sx_survey finds the rest. */
typedef struct sx_lab {
    int32_t *lab;              /* [P] class, or C where the pixel does not count */
    int32_t *group;            /* [P/16] the label of 16 pixels when it is one, else -1 */
    int32_t *present;          /* [tiles][max_present] labels of the valid pixels of each logical tile */
    int16_t *head;             /* [tiles][max_present] first piece of each */
    sx_piece *piece;           /* [tiles][256] */
    int32_t *n_present;        /* [tiles] */
    bool *all_valid;           /* [tiles] */
    size_t tiles, max_present; /* min(classes, 256) */
    size_t classes;
    sx_seen *seen;             /* [classes], zeroed once with tile_no */
    int32_t tile_no;
} sx_lab;

/* P pixels, tiles * 256. Returns how many count. */
size_t sx_survey(sx_lab *l, size_t P);

/* Numbers of a plane wherever they are; x points at channel 0 of the first pixel of the stage. */
typedef struct sx_src {
    const void *x;
    sx_dtype type;
    size_t c_stride, p_stride;
    size_t n_px;               /* pixels that may be read; the rest of the row is taken as 0 */
    size_t channels;           /* of the plane, to fetch rows early; 0: they are in the cache */
    const void *scale, *shift; /* of the arithmetic's type: every number times scale[0], plus shift[channel]; NULL: as they are */
} sx_src;

/* Rows of the target-out state, P apart, with m' the largest logit but the label's, S the sum of exp(x - m') without the
 * label, d = m' - x_label: d; z = S e^d (d <= 0) or (S - 1) + e^-d; S; the label's e^-d, at most 1; what turns exp(x - m')
 * into p. Then ce = max(d, 0) + log1p(z), 1 + z is the whole sum relative to the largest term, and so on. */
enum { SX_TGT_D, SX_TGT_Z, SX_TGT_S, SX_TGT_E, SX_TGT_F, SX_TGT_ROWS };
/* Rows of a basis: u^(1/4), u^(1/2), u, u^2, u^4, u^8, log2 u in two parts. */
enum { SX_BASIS_Q, SX_BASIS_H, SX_BASIS_1, SX_BASIS_2, SX_BASIS_4, SX_BASIS_8, SX_BASIS_HI, SX_BASIS_LO, SX_BASIS_ROWS };

/* What tgt keeps from call to call: pixels of the source that are staged already. */
typedef struct sx_tgt_work {
    void *buf;                 /* sx_tgt_tmp bytes */
    const void *ahead;         /* where the staged pixels come from; NULL: nothing is staged */
    bool second;               /* they are in the second of two tiles */
} sx_tgt_work;

/* row D + p (vec - sub) of a target-out state, and csum(vec p): see fuse.c. */
typedef struct sx_soft {
    const void *e, *rows;      /* the plane exp(x - m') and the state */
    const sx_lab *lab;
    const void *row, *sub;     /* a row or, where the bit is set, one number: bit 0 row, bit 1 sub; NULL: no such term */
    unsigned scalars;
    const void *vec;           /* by class */
    bool masked;               /* 0 where the pixel does not count */
    size_t P, n;
} sx_soft;

typedef struct sx_kernels {
    size_t size;               /* of an element: 4 or 8 */
    /* Elementwise; bit i of scalars: argument i is one number. */
    void (*ew[SX_OP_COUNT])(void *d, const void *a, const void *b, const void *c, size_t n, unsigned scalars);
    /* One row of a source, converted. True if it holds a value that is not finite. */
    bool (*load)(void *d, const sx_src *s, size_t channel, size_t n);
    /* log(max(p, p_min)) for dumps that hold probabilities */
    void (*log_prob)(void *d, size_t n);
    /* Target-out state of n pixels; e: NULL or the plane exp(x - m'), 0 at the label. What the source has after them is fetched
     * for the next call. True: a logit may not be finite. */
    bool (*tgt)(const sx_src *x, const sx_lab *l, size_t n, size_t P, void *rows, void *e, sx_tgt_work *w);
    void (*tgt_row)(sx_op op, void *d, const void *rows, size_t P, size_t n);
    void (*tgt_soft)(sx_op op, void *plane, const void *e, const void *rows, const sx_lab *l, size_t P, size_t n);
    void (*soft_map)(const sx_soft *f, void *d, size_t c_stride);   /* past the caches where it can: then call settle */
    void (*settle)(void);      /* before other threads read it */
    void (*soft_dot)(const sx_soft *f, void *d);
    /* Sums over pixels by channel, alone and times the plane x; either may be NULL. */
    void (*soft_sum)(const sx_soft *f, const void *x, double *plain, double *times);
    /* out[i]: class with the largest theta[0] * x + theta[1 + class]; ties go to the lowest. Reads up to a multiple of 16 pixels. */
    void (*best)(const void *plane, const void *theta, size_t classes, size_t P, size_t n, int32_t *out);
    /* Class reductions of a plane (op: csum, cmax, logsumexp, argmax), and softmax, log_softmax into d. */
    void (*cred)(sx_op op, void *d, const void *plane, size_t classes, size_t P, size_t n);
    void (*cmap)(sx_op op, void *d, const void *plane, size_t classes, size_t P, size_t n);
    void (*pick)(void *d, const void *plane, const void *index, size_t classes, size_t P, size_t n);
    void (*pick_vec)(void *d, const void *vec, const void *index, size_t classes, size_t n);
    void (*pick_mat)(void *d, const void *mat, const void *index, size_t classes, size_t P, size_t n);
    void (*onehot)(void *d, const void *index, size_t classes, size_t P, size_t n);
    /* need: bit i = row i will be read; SX_BASIS_HI stands for both log rows */
    void (*basis)(void *rows, const void *x, unsigned need, size_t P, size_t n);
    void (*powb)(void *d, const void *rows, double gamma, size_t P, size_t n);
    /* Sums of a row over the logical tiles of the stage, added to acc in tile order. by: acc[label * stride]. */
    void (*sum)(const void *v, const sx_lab *l, double *acc);
    void (*sum_by)(const void *v, const sx_lab *l, double *acc, size_t stride);
    /* Sums by label of row[i] b^gamma, from the rows of a basis: acc[i][label]; n: one or two. */
    void (*pow_sums)(const void *basis, double gamma, size_t P, const void *const *row, int n, const sx_lab *l,
                     double *const *acc);
    void (*fill)(void *d, double v, size_t n);
    void (*from_lab)(void *labels, void *valid, const sx_lab *l, size_t n);   /* either may be NULL */
    void (*to_double)(double *d, const void *v, size_t n);
    void (*from_double)(void *d, const double *v, size_t n);
} sx_kernels;

/* NULL when this build lacks the level. */
const sx_kernels *sx_kernels_get(sx_isa isa, bool use_double);
size_t sx_tgt_tmp(size_t classes, size_t elem);   /* bytes of tgt's buffer */
/* Can gamma use the lattice rows (a multiple of 1/4 in 0 .. 8)? */
static inline bool sx_on_lattice(double gamma)
{
    return gamma >= 0 && gamma <= 8 && gamma * 4 == (double)(int)(gamma * 4);
}

#endif
