/*
 * tune.h: biases for a metric itself: coordinate ascent. With all other biases held, the prediction of a pixel changes at one value of
 * the bias of class c; going through these values in order keeps the confusion counts up to date, so that the best bias of c is found
 * exactly. Classes in turn until none brings anything.
 */
#ifndef SX_TUNE_H
#define SX_TUNE_H

#include "dump/dump.h"
#include "stats/overlap.h"

/* d: a dump in memory whose logits are float or double (a sample). metric: SX_IOU or SX_DICE, mean over classes, or SX_ACCURACY.
 * b: out, one per class; before, after: the metric on these pixels without and with it. */
sx_err sx_tune(sx_dump *d, sx_metric metric, size_t rounds, double *b, double *before, double *after, sx_error *er);

#endif
