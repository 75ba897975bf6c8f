/* tile_impl.h: a compiled program, for tile.c (makes it) and exec.c (runs it). */
#ifndef SX_TILE_IMPL_H
#define SX_TILE_IMPL_H

#include "cpu/tile.h"

#define SX_MAX_GROUPS 64

typedef enum vkind { V_NONE, V_ROW, V_PLANE, V_ROWS, V_SCALAR, V_VEC, V_MAT } vkind;

typedef struct val {
    vkind kind;
    bool outside;              /* an import: off and step count in the imports array */
    bool kept;                 /* all combinations are kept, step apart */
    bool placed, freed;        /* while compiling */
    sx_axes axes;              /* its sweep axes */
    size_t off, step, size;    /* in elements */
    size_t rows;
    sx_id plane;               /* tgt: the p or dir node whose plane it fills; itself when both; 0 when none */
} val;

typedef struct ins {
    sx_op op;                  /* SX_OP_NONE: write arg[0] to map number stat */
    sx_id id, arg[3];
    size_t stat;               /* sums: offset of the first combination in the cell */
    const size_t *proj[4];     /* per argument and (3) result: offset of combination k, or NULL */
} ins;

typedef struct group {
    sx_axes axes;
    size_t count;              /* combinations */
    size_t first, n;           /* instructions */
} group;

struct sx_prog {
    const sx_graph *g;
    const sx_kernels *k;
    const sx_dump_info *info;
    sx_arena *arena;
    size_t classes, P;
    size_t axis_count[SX_MAX_SWEEP];   /* values of each sweep axis */
    val *val;                  /* by node id */
    ins *ins;
    size_t n_ins, cap_ins;
    group group[SX_MAX_GROUPS];
    size_t n_group;
    sx_import *import;
    size_t n_import, import_len;
    size_t *stat_off, stat_len;
    uint32_t fields;
    size_t value_len, max_present, scratch;
    size_t at_tmp, at_lanes, at_row, at_lab, at_group, at_present, at_n_present, at_all_valid, at_seen;
};

/* Product of the counts of the sweep axes in the set. */
size_t sx_prog_combos(const sx_prog *p, sx_axes sweeps);

/* Does this tgt node read the dump's numbers without a staged plane of logits? */
bool sx_tgt_direct(const sx_prog *p, const sx_node *tgt);

#endif
