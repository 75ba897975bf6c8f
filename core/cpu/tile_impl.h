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

/* What fuse.c finds: row D + p (vec - sub), or csum(vec p); 0 where a part is missing. */
typedef struct soft_form {
    sx_id tgt, row, vec, sub;
    bool masked;               /* 0 at pixels that do not count */
    sx_id logits;              /* of sums: the leaf, when it is a factor */
    size_t plain, times;       /* numbers of the sums without and with it; SIZE_MAX: there is none */
} soft_form;

/* Sums by label of row[i] basis^exponent; sum: their numbers in the list of sums. */
typedef struct pow_form {
    sx_id basis, exponent, row[2];
    size_t sum[2], n;
} pow_form;

typedef enum ins_kind { INS_OP, INS_MAP, INS_SOFT_MAP, INS_SOFT_DOT, INS_SOFT_SUM, INS_POW_SUMS, INS_AFFINE_TGT } ins_kind;
enum { INS_ARGS = 5, OWN = INS_ARGS };

typedef struct ins {
    ins_kind kind;
    sx_op op;                  /* INS_OP */
    sx_id id;                  /* the node; of maps, what is mapped */
    /* INS_MAP: the value; INS_SOFT_*: tgt, row, vec, sub, logits; INS_POW_SUMS: basis, exponent, rows; INS_AFFINE_TGT: logits,
     * scale, shift */
    sx_id arg[INS_ARGS];
    bool masked;               /* INS_SOFT_MAP */
    size_t stat, stat2;        /* sums: offset of the first combination in the cell, SIZE_MAX: none; maps, field operators: its number */
    const size_t *proj[INS_ARGS + 1];   /* per argument and (OWN) result: offset of combination k, or NULL */
    /* resolved once, since rows are short: places and steps in bytes */
    size_t off[INS_ARGS + 1], step[3];  /* step: from class to class */
    uint8_t outside[INS_ARGS + 1];
    unsigned scalars;          /* bit i: argument i is one number */
    bool flat;                 /* planes and numbers only: one long row */
    size_t rows;               /* of the result */
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
    bool *with;                /* by sum: another sum's instruction takes it along */
    uint32_t fields;
    sx_id *made;               /* field operators, n_made of them */
    size_t n_made;
    size_t value_len, max_present, scratch;
    size_t at_tmp, at_lab, at_group, at_present, at_head, at_piece, at_n_present, at_all_valid, at_seen;
};

/* Product of the counts of the sweep axes in the set. */
size_t sx_prog_combos(const sx_prog *p, sx_axes sweeps);

bool sx_fuse_map(const sx_prog *p, sx_id id, soft_form *f);
bool sx_fuse_dot(const sx_prog *p, sx_id id, soft_form *f);
/* Sums of a form, alone and times the logits: of those from `first` on two may share an instruction. */
bool sx_fuse_sum(const sx_prog *p, const sx_id *sum, size_t n, size_t first, soft_form *f);
/* The state of scale * logits + shift, neither of which knows pixels. */
bool sx_fuse_affine(const sx_prog *p, sx_id tgt, sx_id *logits, sx_id *scale, sx_id *shift);
/* Which of the sums from `first` on share its power: how many, at most two; 0: it is no such sum. */
size_t sx_fuse_pow(const sx_prog *p, const sx_id *sum, size_t n, size_t first, pow_form *f);

/* Does this tgt node read the dump's numbers without a staged plane of logits? */
bool sx_tgt_direct(const sx_prog *p, const sx_node *tgt);

#endif
