/*
 * print.h: printing a kernel, for print.c and print_pixel.c. Names in the text: n<i> nodes (i: number of the node), p<i> imports that are
 * one number, i<i> loops over sweep axes; N<i>, O<i>, D<i> ...: entries of par. v: the thread's pixel, c: the class, y: labels.
 */
#ifndef SX_CUDA_PRINT_H
#define SX_CUDA_PRINT_H

#include "cuda/emit_impl.h"

/* A short piece of text. What does not fit spoils the whole text (m->too_long), never a part of it silently. */
typedef struct sx_name {
    char s[1000];
} sx_name;
sx_name sx_named(sx_em *m, const char *fmt, ...) SX_PRINTF(2, 3);

/* One line; a line that ends in { indents what follows, one that starts with } ends that. */
void sx_say(sx_em *m, const char *fmt, ...) SX_PRINTF(2, 3);
void sx_append(sx_em *m, const void *p, size_t n);

extern const char *const sx_em_op_text[SX_OP_COUNT];     /* what an elementwise op computes; else NULL */

/* The variable of a row, or of a part of a node's state, without the pixel; a value at pixel v (and class c). */
sx_name sx_em_var(sx_em *m, sx_id id, const char *part);
sx_name sx_em_value(sx_em *m, sx_id id);
/* Number of a combination of sweep axes; sink: as the sink's sums and maps count them (its first axis from lo on). */
sx_name sx_em_combination(sx_em *m, sx_axes axes, const sx_emit_sink *sink);

/* Parts of the state that a node keeps per pixel; "" is the value itself. NULL ends the list. */
const char *const *sx_em_parts(const sx_em *m, sx_id id);
/* Does the node belong to the depth that is printed? */
bool sx_em_at_depth(const sx_em *m, sx_id id);
/* The variables of this depth; its rows and loops, level by level, into a phase that is open. */
void sx_em_say_variables(sx_em *m);
void sx_em_say_levels(sx_em *m);

/* Planes inside a loop over the classes: marks what one needs (m->body, cleared before), and prints what is marked, x being the logit. */
void sx_em_mark_body(sx_em *m, sx_id id);
void sx_em_say_body(sx_em *m, const char *x);
bool sx_em_reads_logits(const sx_em *m);
/* Is the body so long that unrolling gains nothing and costs the compiler its time? */
bool sx_em_long_body(const sx_em *m);
/* Opens the loop over the groups of `size` classes (part 0), or the block of those that are left over (part 1), c0 being the first
 * class; how many classes the group has, 0: there is no such part. */
size_t sx_em_open_group(sx_em *m, int part, size_t size);

#endif
