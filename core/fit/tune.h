/*
 * tune.h: biases for a metric itself: coordinate ascent. With all other biases held, the prediction of a pixel changes at one value of
 * the bias of class c; going through these values in order keeps the confusion counts up to date, so that the best bias of c is found
 * exactly. Classes in turn until a round of all
 * of them brings less than 1e-5, at most 20 rounds. With a start from a coarser sample three or four do.
 */
#ifndef SX_TUNE_H
#define SX_TUNE_H

#include "dump/dump.h"
#include "stats/overlap.h"

/* d: a dump in memory whose logits are float or double (a sample). metric: SX_IOU or SX_DICE, mean over classes, or SX_ACCURACY.
 * b: one per class, in: where to start, out: the best; before, after: the metric on these pixels with the one and the other. */
sx_err sx_tune(sx_dump *d, sx_metric metric, double *b, double *before, double *after, sx_error *er);

#endif
