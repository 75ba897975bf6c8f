/*
 * abi.h: what host and kernels agree on. Part of every printed kernel; plain C, no includes. Addresses are device
 * addresses; every member has the same size and place on both sides.
 *
 * The work of one launch is a list of tasks: at most SX_BLOCK pixels of one piece (a run of whole blocks of an image) each.
 * Blocks of threads take units of a task. A unit's sums are records of `rec` numbers in `part`: in mode exact one for each logical
 * tile of 256 pixels, in mode fast one for each warp. The kernel sx_fold_tiles adds the records of a task, in double and in
 * order, to the task's cell.
 */
#ifndef SX_CUDA_ABI_H
#define SX_CUDA_ABI_H

#define SX_CUDA_TILE 256
#define SX_CUDA_BLOCK 32768
#define SX_CUDA_THREADS 256
#define SX_CUDA_UNIT(fast) ((fast) ? 16384 : 4096)       /* pixels */
#define SX_CUDA_RECORDS(fast) ((fast) ? SX_CUDA_THREADS / 32 : SX_CUDA_UNIT(0) / SX_CUDA_TILE)   /* of a unit */
#define SX_CUDA_BATCH 32         /* rows of a warp that mode fast sums at once (sums.h) */
#define SX_CUDA_PAR 900          /* numbers in par at most: arguments of a kernel are 4 KiB */
#ifndef SX_PAR
#define SX_PAR SX_CUDA_PAR       /* a text defines it as what it needs */
#endif

/* A power's exponent, prepared: quarters >= 0: on the quarter lattice; -1: any; -2: whole and beyond the lattice. */
typedef struct sx_pw {
    double g;
    float hi, lo;            /* g in two floats */
    int quarters, parity;    /* parity: 0 even, 1 odd, 2 not whole */
} sx_pw;

/* A piece is a row of SX_PIECE_FIELDS addresses and numbers, then one address per field that the kernel reads. Every row of
 * pixels is padded to a multiple of SX_CUDA_PAD; padding has label C. */
enum {
    SX_PIECE_LOGITS,         /* [channels][stride] in the dump's type */
    SX_PIECE_STRIDE,
    SX_PIECE_LOC,            /* [stride] bytes: labels; from 256 classes on their places in their tile's list */
    SX_PIECE_HEAD,           /* [tiles] of two 32-bit numbers: where the tile's list begins in the table, its length */
    SX_PIECE_TABLE,          /* 32-bit labels; C: pixels that do not count */
    SX_PIECE_FIELDS
};
#define SX_CUDA_PAD 2048

typedef struct sx_gpu_task {
    unsigned piece, first, count;   /* pixels of the piece */
    unsigned set;                   /* of imports */
} sx_gpu_task;

typedef struct sx_gpu_args {
    unsigned long long piece, task;          /* tables */
    unsigned long long imports, powers;      /* [sets][import_len] numbers, [sets][power_len] sx_pw */
    unsigned long long part, cell, map;      /* [task][unit][record][rec]; [task][rec] doubles; [task][map_rec][SX_CUDA_BLOCK] */
    unsigned long long n_task, import_len, power_len, rec, map_rec;
    unsigned par[SX_PAR];                    /* numbers that the text calls by name: counts of axes, offsets (emit.h) */
} sx_gpu_args;

#endif
