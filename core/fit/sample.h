/*
 * sample.h: some pixels of some images of a dump, in memory: what fits look at again and again. From every image the same number,
 * one at random out of each of as many equal parts of its valid pixels (in their order), so that the whole image is covered. Images
 * with fewer valid pixels give all they have.
 */
#ifndef SX_SAMPLE_H
#define SX_SAMPLE_H

#include "base/pool.h"
#include "dump/dump.h"

typedef struct sx_sample {
    const size_t *image;      /* n images of the dump, ascending */
    size_t n, px;             /* px: pixels of each */
    uint64_t seed;
    bool use_double;
    void *logits;             /* out: [n][C][px] float or double; probabilities as their logarithms, -inf as -1e30 */
    int16_t *labels;          /* out: [n][px]; -1 where an image has no more valid pixels */
    double *const *field;     /* out: per field of the dump [n][px], or NULL */
    uint64_t *taken, *valid;  /* out: [n] pixels taken, pixels that there were; valid: label and logits count */
} sx_sample;

/* Labels that are no class or logits that are not finite: SX_EDATA, as in a pass. */
sx_err sx_sample_fill(sx_dump *d, const sx_sample *s, sx_pool *pool, sx_error *er);

#endif
