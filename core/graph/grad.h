/*
 * grad.h: reverse mode over the op table. A gradient is nodes again: it fuses into the same passes, and can be
 * differentiated again.
 */
#ifndef SX_GRAD_H
#define SX_GRAD_H

#include "graph/graph.h"

/* d (sum of y over its image, class, label and pixel axes) / d wrt. The result has the axes of wrt and the sweep axes of
 * y. wrt is any node that y depends on, usually the logits leaf or a data leaf (class weights, gamma ...); a constant 0
 * when y does not depend on it. Where wrt is the softmax p of the logits and labels of y, its entries count as independent:
 * p_t, 1 - p_t, ce and log p are functions of them then. Gradients with a pixel axis are 0 at ignored pixels. */
sx_err sx_grad(sx_graph *g, sx_id y, sx_id wrt, sx_id *out, sx_error *er);

#endif
