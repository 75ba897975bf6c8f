/*
 * score.h: what fitted temperatures and biases predict: the arg-max of t * logits + b (ties go to the lowest class), counted by image.
 * One walk over the dump for any number of configurations.
 */
#ifndef SX_SCORE_H
#define SX_SCORE_H

#include "base/cpu.h"
#include "base/pool.h"
#include "dump/dump.h"

enum { SX_TRUE_POSITIVE, SX_PREDICTED, SX_LABELLED, SX_COUNTS };

typedef struct sx_score {
    const size_t *image;      /* n images of the dump, ascending */
    const uint32_t *fold;     /* n: whose parameters an image gets */
    size_t n, folds, count;
    const double *theta;      /* [folds][count][1 + C]: t, then b */
    bool use_double;
    sx_isa isa;
    uint32_t *counts;         /* out: [count][n][SX_COUNTS][C] valid pixels */
} sx_score;

/* Labels that are no class: SX_EDATA, as in a pass; pixels whose logits are not finite are left out. */
sx_err sx_score_run(sx_dump *d, const sx_score *s, sx_pool *pool, sx_error *er);

#endif
