/*
 * graph.h: expressions as hash-consed nodes. A node is a function over a subset of named axes and is
 * computed over no more than the union of its operands' axes: that is what hoists work out of a sweep.
 *
 * Nodes are immutable and live as long as their graph. Equal expressions are one node (one id).
 * Building a node may return a different, equal node: the constructors hold the rewrites
 *   - target-out softmax: log(pick(softmax(x), y)), 1 - p_t, pick(log_softmax) ... -> one stable family,
 *   - linear factors leave sums: sum w[y] f -> sum over classes of w_c (sum of f by class), and so on,
 *   - pow with an exponent that no pixel knows -> shared basis,
 *   - |s v| = |s| |v|, (s v)^2 = s^2 v^2: what no pixel, only the label, or no class knows leaves norms.
 * Rewrites look at structure only, never at values or sizes of sweeps (decisions 10).
 *
 * Not thread safe: build on one thread; reading from many is fine while nobody builds.
 */
#ifndef SX_GRAPH_H
#define SX_GRAPH_H

#include "base/base.h"

typedef uint32_t sx_id;        /* node id; 0 = none */
typedef uint64_t sx_axes;      /* set of axes */

#define SX_AX_P ((sx_axes)1)   /* pixel */
#define SX_AX_C ((sx_axes)2)   /* class */
#define SX_AX_L ((sx_axes)4)   /* label: second class axis, rows of a matrix */
#define SX_AX_N ((sx_axes)8)   /* image */
#define SX_SWEEP_SHIFT 4
#define SX_MAX_SWEEP 60
#define SX_AX_SWEEP(i) ((sx_axes)1 << (SX_SWEEP_SHIFT + (i)))
#define SX_SWEEP_MASK (~(sx_axes)15)

typedef enum sx_op {
    SX_OP_NONE,
#define SX_EW(name, args, value, da, db, dc, probes, doc) SX_OP_##name,
#define SX_XX(name, args, cls, doc) SX_OP_##name,
#include "graph/ops.def"
    SX_OP_COUNT
} sx_op;

/* How an op changes axes. */
typedef enum sx_class {
    SX_CL_EW,      /* union */
    SX_CL_LEAF,
    SX_CL_CRED,    /* drops C */
    SX_CL_CMAP,    /* keeps all; needs C */
    SX_CL_PICK,    /* (x - (L if x has L, else C)) + index */
    SX_CL_ONEHOT,  /* + C */
    SX_CL_LRED,    /* drops L */
    SX_CL_TRANS,   /* C <-> L */
    SX_CL_TGT, SX_CL_TROW, SX_CL_TSOFT,
    SX_CL_BASIS, SX_CL_POWB,
    SX_CL_FIELD,   /* union; needs P */
    SX_CL_PSUM,    /* drops P */
    SX_CL_BYSUM,   /* drops P, adds C (or L, where C is there already) */
    SX_CL_NSUM, SX_CL_BSUM
} sx_class;

const char *sx_op_name(sx_op op);
int sx_op_args(sx_op op);
sx_class sx_op_class(sx_op op);
const char *sx_op_doc(sx_op op);
sx_op sx_op_find(const char *name);    /* SX_OP_NONE when unknown */

/* The op in Python (ops.def, "In Python"); text is "" for leaves that are printed otherwise. */
typedef struct sx_torch {
    const char *takes, *text;
    char gives;
} sx_torch;
const sx_torch *sx_op_torch(sx_op op);   /* NULL when unknown */

typedef struct sx_node {
    uint16_t op;
    uint8_t n_arg;
    bool nonneg;         /* its op and arguments say that it is never below 0 (numbers are not looked at) */
    sx_axes axes;
    sx_id arg[3];
    uint32_t dump;       /* slot of the dump it reads, 0 = none */
    uint32_t classes;    /* size of its class (and label) axis where known, else 0 */
    int64_t attr;        /* field: index; first, bsum, sum_above, sum_below: B (0: all images); data: 1 = variable */
    const double *data;  /* data: [sweep][L][C] values; sweep: at most one axis */
    size_t n_data;
    const char *name;    /* data on a sweep axis: the parameter's name; field: its name; else NULL */
    uint64_t hash;       /* of the content: the same in every process */
    uint64_t form;       /* of the structure alone: no numbers, no sweep axes, no parameter names */
} sx_node;

typedef struct sx_sweep_axis {
    const char *name;          /* of the axis (its first parameter) */
    size_t count;
    const char *const *label;  /* count texts, for tables */
} sx_sweep_axis;

typedef struct sx_graph sx_graph;

sx_graph *sx_graph_new(void);            /* NULL: out of memory */
void sx_graph_free(sx_graph *g);
const sx_node *sx_node_get(const sx_graph *g, sx_id id);
size_t sx_graph_size(const sx_graph *g); /* ids run from 1 to this */

/* The nodes that id[0 .. n - 1] are made of, and these, as a graph of their own, in the same order: what is done with it depends on the
 * expression's size, not on how long a session has built others. out[i]: id[i] there. Numbers, names and axes stay in g, which
 * must outlive it; nothing can be built in it. */
sx_err sx_graph_part(const sx_graph *g, const sx_id *id, size_t n, sx_graph **part, sx_id *out, sx_error *er);
sx_id sx_graph_origin(const sx_graph *part, sx_id id);   /* of a part's node: in the graph that it was cut out of; */
sx_id sx_graph_number(const sx_graph *part, sx_id origin);   /*   the way back; 0: it is not in the part */

/* The same (name, count, labels) gives the same axis. Labels are copied. */
sx_err sx_graph_axis(sx_graph *g, const char *name, size_t count, const char *const *label, int *axis, sx_error *er);
const sx_sweep_axis *sx_graph_axis_get(const sx_graph *g, int axis);
int sx_graph_axes(const sx_graph *g);
size_t sx_axes_count(const sx_graph *g, sx_axes sweeps);  /* product of the counts of the sweep axes in the set */

/* -- Leaves: all return 0 and fill er on failure ------------------------------------------------- */

sx_id sx_const(sx_graph *g, double v, sx_error *er);
/* axes: subset of {C, L} plus at most one sweep axis; values in the order [sweep][L][C]. */
sx_id sx_data(sx_graph *g, sx_axes axes, uint32_t classes, const double *v, size_t n, const char *name, sx_error *er);
/* Numbers that change between runs of a plan: nobody looks at them while planning. The name is its own. Starts with zeros. */
sx_id sx_variable(sx_graph *g, sx_axes axes, uint32_t classes, const char *name, sx_error *er);
void sx_variable_set(sx_graph *g, sx_id variable, const double *v);
sx_id sx_leaf(sx_graph *g, sx_op op, uint32_t dump, uint32_t classes, int64_t attr, const char *name, sx_error *er);

/* -- Building: rewrites included ----------------------------------------------------------------- */

/* Unused arguments are 0. attr: B of bsum, sum_above and sum_below (0: all images together). */
sx_id sx_make(sx_graph *g, sx_op op, sx_id a, sx_id b, sx_id c, int64_t attr, sx_error *er);
static inline sx_id sx_make1(sx_graph *g, sx_op op, sx_id a, sx_error *er) { return sx_make(g, op, a, 0, 0, 0, er); }
static inline sx_id sx_make2(sx_graph *g, sx_op op, sx_id a, sx_id b, sx_error *er)
{
    return sx_make(g, op, a, b, 0, 0, er);
}

/* Is the node a leaf with data, no axes and no name (a plain number)? Its value then. */
bool sx_is_const(const sx_graph *g, sx_id id, double *v);

/* a + b with the factors that both have taken out, those by class and pixel excepted: 2 w f + w h = w (2 f + h). For
 * sums that gradients make; what a user writes is added as written. */
sx_id sx_add_factored(sx_graph *g, sx_id a, sx_id b, sx_error *er);

/* Value of an elementwise op on plain numbers (double arithmetic of the epilogues). */
double sx_op_eval(sx_op op, double a, double b, double c);

/* -- Text ---------------------------------------------------------------------------------------- */

/* Canonical text, e.g. "csum(mul(bysum(ce(tgt(logits,labels))),w))"; malloc'ed with sx_malloc, NULL when out of memory.
 * Expressions longer than limit bytes are cut with "..." and the content hash. */
char *sx_text(const sx_graph *g, sx_id id, size_t limit);

#endif
