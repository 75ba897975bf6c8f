/*
 * emit.h: prints the pixel part of a pass as CUDA C that is also C (kernel.h), from the nodes of the graph and the rows of
 * ops.def.
 *
 * The text depends on the structure of the expressions, the number of classes and the types; not on parameters, sizes of sweep
 * axes or images: those stand in `par`, an array of numbers among the arguments of every launch, and in the imports. So a sweep
 * compiles once, and so does the same loss on another dump of as many classes.
 */
#ifndef SX_CUDA_EMIT_H
#define SX_CUDA_EMIT_H

#include "cuda/abi.h"
#include "dump/dump.h"
#include "graph/graph.h"

typedef struct sx_emit_spec {
    const sx_graph *g;
    const sx_dump_info *info;
    bool use_double;
    bool fast;                   /* one sweep over the classes, approximate exp; only in single precision */
    const sx_id *sum, *map;      /* psum and bysum nodes; pixel nodes */
    size_t n_sum, n_map;
} sx_emit_spec;

/* Sums and maps with the same sweep axes: one nest of loops. */
typedef struct sx_emit_sink {
    sx_axes axes;
    int first;                   /* graph axis of the outermost loop; -1: no axes. Its values lo .. hi - 1 are computed; without
                                  * axes: lo = 0, hi = 1, or 0 to leave the sink out */
} sx_emit_sink;

/* What par holds, in this order: counts of axis[]; offsets of import[] in a set of imports; offsets of power[] in a set of
 * powers; bits of basis rows per basis[] (sx_basis_need); per sink: lo, hi; per sum: its offset in the record; per map: its
 * first row. A sum's numbers are [combinations of the sink's axes, of the first only lo .. hi - 1][L][C], a map's rows
 * [combinations][C]. */
typedef struct sx_emitted {
    char *text;
    int *axis;                   /* graph axes that the text knows */
    sx_id *import, *power, *basis;
    int64_t *field;              /* numbers of the dump's fields, in the order of a piece */
    sx_emit_sink *sink;
    size_t *sum_sink, *map_sink;
    size_t n_axis, n_import, n_power, n_basis, n_field, n_sink;
    size_t par_import, par_power, par_basis, par_sink, par_sum, par_map, n_par;
    bool logits;                 /* does it read them? */
    int sweeps;                  /* loops over the classes that do, of a chunk */
    size_t own;                  /* numbers of a record that a kernel of mode fast keeps while a unit lasts, and writes all of; 0: it adds
                                  * to records that must be 0 before */
} sx_emitted;

/* Does this sum count pixels, all that count or by label? The labels alone tell: no kernel computes it, its place in a record stays 0. */
bool sx_emit_counts(const sx_graph *g, sx_id sum);

/* SX_EARG with the reason when these nodes cannot run on a GPU: the caller falls back to the CPU. */
sx_err sx_emit(const sx_emit_spec *spec, sx_emitted **out, sx_error *er);
void sx_emitted_free(sx_emitted *e);

#endif
