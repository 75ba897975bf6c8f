/* emit_impl.h: a text while it is printed, for emit.c (what is printed: nodes, sinks, numbers) and print.c, print_pixel.c (how). */
#ifndef SX_CUDA_EMIT_IMPL_H
#define SX_CUDA_EMIT_IMPL_H

#include "cuda/emit.h"

/*
 * Depth. The loops over the sweep axes of a sink are nested; a node belongs to the outermost depth whose axes cover its own.
 * Depth 0 has none: it is computed once per chunk, for all sinks. Rows (a number per pixel) are kept in variables; planes (one
 * per class too) never are: they are computed again in each loop over the classes that wants them.
 *
 * Level. Inside a depth, rows and loops over the classes alternate: level 0 rows need no loop, loop 1 needs level 0 rows,
 * level 1 rows need what loop 1 has summed, and so on.
 */
typedef struct sx_em {
    const sx_emit_spec *s;
    const sx_graph *g;
    sx_emitted *e;
    char *text;
    size_t len, cap;
    int indent;
    bool nomem, too_long;
    size_t n_ids;
    sx_id *order;                /* needed nodes, arguments first */
    size_t n_order;
    uint8_t *need, *stored;      /* by id; stored: a basis whose rows are kept */
    uint32_t *num;               /* by id: the number in the text */
    /* the sink that is printed */
    uint8_t *in;                 /* by id: below its sums and maps */
    int *depth;                  /* by id, of those */
    int nest[SX_MAX_SWEEP], n_nest;
    int cur;                     /* the depth that is printed */
    bool inner;                  /* its rows live in one phase */
    int *row_level, *plane_level;   /* by id, at this depth; -1: not known yet */
    uint8_t *body;               /* by id: planes of the loop that is printed */
} sx_em;

static inline const sx_node *sx_em_node(const sx_em *m, sx_id id) { return sx_node_get(m->g, id); }
static inline sx_class sx_em_class(const sx_em *m, sx_id id) { return sx_op_class((sx_op)sx_em_node(m, id)->op); }
static inline bool sx_em_pixel(const sx_em *m, sx_id id) { return id && (sx_em_node(m, id)->axes & SX_AX_P); }
static inline bool sx_em_plane(const sx_em *m, sx_id id) { return sx_em_pixel(m, id) && (sx_em_node(m, id)->axes & SX_AX_C); }
static inline sx_axes sx_em_sweeps(const sx_em *m, sx_id id) { return sx_em_node(m, id)->axes & SX_SWEEP_MASK; }

/* Rows of a chunk that are summed at once: what shared memory has room for besides enough resident blocks. */
enum { SX_ROWS_FLOAT = 4, SX_ROWS_DOUBLE = 4 };

/* Classes that are loaded before the first is used. In exact mode sums go by class mod 4. */
static inline size_t sx_em_group(const sx_em *m)
{
    return m->s->info->classes <= 8 ? m->s->info->classes : m->s->fast ? 8 : 4;
}

/* Arguments that a pixel node reads (a target state reads the labels by itself). */
static inline int sx_em_args(const sx_em *m, sx_id id)
{
    return sx_em_node(m, id)->op == SX_OP_tgt ? 1 : sx_em_node(m, id)->n_arg;
}

/* Numbers in the text of an axis, an import, ... (emit.h); found by what they stand for. */
size_t sx_em_axis(const sx_em *m, int axis);
size_t sx_em_import(const sx_em *m, sx_id id);
size_t sx_em_power(const sx_em *m, sx_id id);
size_t sx_em_basis(const sx_em *m, sx_id id);
size_t sx_em_field(const sx_em *m, int64_t field);

/* Chooses the nest of a set of axes and the depth of the nodes below (m->in). */
void sx_em_nest(sx_em *m, sx_axes axes);

/* print.c: the whole text into m->text. */
void sx_em_print(sx_em *m);

#endif
