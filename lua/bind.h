/*
 * bind.h: what the files of segx.core (bind_*.c) share. segx.core is the C half of the Lua product:
 * it validates and builds; meaning (losses, sweeps, reports) is in lua/segx.
 *
 * One session per Lua state: one graph, one thread pool, the list of sweep axes. Memory that is not
 * Lua's own is always held by a userdata with __gc before anything can raise, so that an error in
 * the middle of anything leaks nothing.
 *
 * Errors. Failures of the world become error objects {code, message, hint} with the metatable of
 * segx.errors; misuse becomes a string that blames the first line outside of segx.
 */
#ifndef SXL_BIND_H
#define SXL_BIND_H

#include <lauxlib.h>
#include <lua.h>

#include "base/pool.h"
#include "dump/dump.h"
#include "graph/graph.h"
#include "pass/pass.h"

#define SXL_TENSOR "segx.Tensor"
#define SXL_DUMP "segx.Dump"
#define SXL_DIMS 16 /* of a dense tensor */
#define SXL_ALL_IMAGES SIZE_MAX

typedef struct sxl_gpu {
    struct sx_cuda *cuda; /* the one that was used last, or NULL */
    int index;
    bool checked[2];      /* found to have the bits of the CPU, in single and in double precision */
    sx_gpu_choice choice; /* for evaluations that name no device */
    bool off, absent;     /* they get none any more, because of `why`; absent: there is no driver, or it sees no GPU */
    sx_error why;
} sxl_gpu;

typedef struct sxl_session {
    sx_graph *g;
    sx_pool *pool;  /* NULL until first needed */
    int running;    /* evaluations under way: the pool must stay */
    uint32_t slots; /* dump numbers given out */
    sxl_gpu gpu;
} sxl_session;

/* Immutable. User value 1: lazy: the Dump it reads, or nil; dense: list of the names of its
 * dimensions, or nil. */
typedef struct sxl_tensor {
    sx_id id;     /* node; 0 = dense */
    size_t image; /* lazy with an image axis: the only image of it (0-based), or SXL_ALL_IMAGES */
    int n_dims;   /* dense from here */
    size_t dim[SXL_DIMS];
    size_t n;
    double v[];
} sxl_tensor;

/* User value 1: what must live as long as the dump (arrays of memory dumps), or nil. */
typedef struct sxl_dump {
    sx_dump *d;    /* NULL: closed */
    uint32_t slot; /* its number in nodes */
    int busy;      /* evaluations that read it */
} sxl_dump;

/* -- bind_core.c: session, errors, small things ------------------------------------------------ */

sxl_session *sxl_get_session(lua_State *L);
void sxl_push_session(lua_State *L);
sx_pool *sxl_get_pool(lua_State *L, int threads); /* threads 0: as it is; else changed first */
/* Pushes segx.options[name] (table of the program's options), or nil. */
void sxl_push_option(lua_State *L, const char *name);

_Noreturn void sxl_misuse(lua_State *L, const char *hint, const char *fmt, ...) SX_PRINTF(3, 4);
_Noreturn void sxl_raise(lua_State *L, const sx_error *er);
static inline sx_id sxl_made(lua_State *L, sx_id id, const sx_error *er)
{
    if (!id) sxl_raise(L, er);
    return id;
}

/* One more (by = 1) or less (-1) evaluation under way, which reads d; NULL: no dump. */
static inline void sxl_under_way(sxl_session *s, sxl_dump *d, int by)
{
    s->running += by;
    if (d) d->busy += by;
}

/* Pushes a list of numbers. */
void sxl_push_numbers(lua_State *L, const double *v, size_t n);

/* Pushes a userdata that holds one pointer and releases it with `release`; the pointer starts as
 * NULL. */
typedef void (*sxl_release)(void *p);
typedef struct sxl_box {
    void *p;
    sxl_release release;
} sxl_box;
sxl_box *sxl_push_box(lua_State *L, sxl_release release);
void sxl_box_clear(sxl_box *b);
/* Pushes a userdata of count * size bytes; Lua's memory, for scratch arrays. */
void *sxl_push_scratch(lua_State *L, size_t count, size_t size);

/* Integer at idx (a float without fraction is fine) in [lo, hi]; misuse names `what` otherwise. */
int64_t sxl_integer(lua_State *L, int idx, const char *what, int64_t lo, int64_t hi);
/* Field of the table at idx: pushes the value and says whether it is not nil. */
bool sxl_field(lua_State *L, int idx, const char *name);
/* Misuse unless every key of the table at idx is in the NULL-terminated list. */
void sxl_check_keys(lua_State *L, int idx, const char *where, const char *const *known);
/* List of the names of the sweep axes in the set: pushed. */
void sxl_push_sweeps(lua_State *L, sx_axes axes);

/* -- bind_tensor.c: lazy tensors --------------------------------------------------------------- */

void sxl_open_tensor(lua_State *L);                 /* at load: the module table is on top */
sxl_tensor *sxl_test_tensor(lua_State *L, int idx); /* NULL: not a tensor */
/* What a result inherits from its operands. Start with SXL_MIX. */
typedef struct sxl_mix {
    size_t image;
    bool restricted, all;
    int dump;  /* stack index of an operand that knows its dump, or 0 */
    bool firm; /* that operand reads the dump */
} sxl_mix;
#define SXL_MIX ((sxl_mix){.image = SXL_ALL_IMAGES})
/* Node of the number or tensor at idx (absolute); misuse, naming `who`, for anything else. mix may
 * be NULL. */
sx_id sxl_node(lua_State *L, int idx, const char *who, sxl_mix *mix);
/* Pushes a lazy tensor; dump: stack index of its Dump, 0 = none. */
void sxl_push_lazy(lua_State *L, sx_id id, size_t image, int dump);
/* Pushes the Dump of the tensor at idx, or nil; returns it. */
sxl_dump *sxl_push_dump_of(lua_State *L, int idx);

sxl_tensor *sxl_check_tensor(lua_State *L, int idx, const char *who);
/* Pushes the tensor of a node made from the operands of mix; gives 1. */
int sxl_push_mixed(lua_State *L, sx_id id, const sxl_mix *mix);
/* Nodes; raise on failure. */
sx_id sxl_make1(lua_State *L, sx_op op, sx_id a);
sx_id sxl_make2(lua_State *L, sx_op op, sx_id a, sx_id b);
sx_id sxl_make3(lua_State *L, sx_op op, sx_id a, sx_id b, sx_id c);
sx_id sxl_constant(lua_State *L, double v);
sx_id sxl_leaf(lua_State *L, sx_op op, uint32_t slot, uint32_t classes, int64_t attr);
sx_axes sxl_axes_of(lua_State *L, sx_id id);
/* Number of the dump that the operands know, its classes and images (may be NULL); misuse when none
 * does. */
uint32_t sxl_need_dump(lua_State *L, const sxl_mix *mix, const char *who, size_t *classes,
                       size_t *images);
size_t sxl_classes_of(lua_State *L, sx_id id, const sxl_mix *mix, const char *who);
/* The axis of the lazy tensor at 1 that the value at 2 names; 0 when that is nil. */
sx_axes sxl_dim_argument(lua_State *L, const char *who);

/* -- bind_reduce.c: sums, means, labels, gradients --------------------------------------------- */

void sxl_open_reduce(lua_State *L, int methods); /* as sxl_open_dense */

/* -- bind_grad.c ------------------------------------------------------------------------------- */

void sxl_open_grad(lua_State *L); /* functions into the module table on top */
/* precision, threads, mem of the table at idx, else of the program, and the pool. */
struct sx_run_opts;
void sxl_read_run(lua_State *L, int idx, struct sx_run_opts *o);

/* -- bind_fit.c -------------------------------------------------------------------------------- */

void sxl_open_fit(lua_State *L); /* functions into the module table on top */

/* -- bind_cuda.c ------------------------------------------------------------------------------- */

/* Reads the options `device` and `mode` (of the table at idx, 0 = none, else of the program) into o; opens the GPU that is named. */
void sxl_read_device(lua_State *L, int idx, struct sx_run_opts *o);
/* What the GPU has of a dump (or NULL) goes. */
void sxl_forget_dump(lua_State *L, const sx_dump *d);
void sxl_open_cuda(lua_State *L); /* functions into the module table on top */

/* -- bind_stats.c ------------------------------------------------------------------------------ */

void sxl_open_stats(lua_State *L); /* the table `stats` of the module table on top */
/* Options common to all intervals, of the table at 1: groups, resamples, seed, level, bca; n items. */
struct sx_boot;
void sxl_read_boot(lua_State *L, size_t n, struct sx_boot *b);

/* -- bind_draw.c ------------------------------------------------------------------------------- */

void sxl_open_draw(lua_State *L); /* functions into the module table on top */

/* -- bind_graph.c ------------------------------------------------------------------------------ */

void sxl_open_graph(lua_State *L); /* functions into the module table on top */

/* -- bind_dense.c: numbers in memory ----------------------------------------------------------- */

void sxl_open_dense(lua_State *L, int methods); /* functions into the module table on top */
sxl_tensor *sxl_push_dense(lua_State *L, int n_dims, const size_t *dim); /* values zero; axes nil */
/* The dense tensor, number or nested table at idx as a dense tensor, pushed. */
sxl_tensor *sxl_to_dense(lua_State *L, int idx, const char *who);
/* Elementwise op on the dense tensors and numbers at stack positions 1 .. sx_op_args(op). */
void sxl_dense_op(lua_State *L, sx_op op);
/* Methods by dimension for a dense tensor at 1, dim at 2. */
int sxl_dense_reduce(lua_State *L, const char *what);
int sxl_dense_index(lua_State *L); /* t, key */
int sxl_dense_tostring(lua_State *L);
/* Which axes a dense tensor has when it meets lazy ones: SX_AX_C, SX_AX_L and C, or 0 for one
 * number. */
sx_axes sxl_dense_axes(lua_State *L, int idx, const char *who);

/* -- bind_dump.c ------------------------------------------------------------------------------- */

void sxl_open_dump(lua_State *L);
sxl_dump *sxl_check_dump(lua_State *L, int idx); /* misuse unless an open dump */
sxl_dump *sxl_push_dump(lua_State *L);           /* closed, with a number of its own */

/* -- bind_eval.c ------------------------------------------------------------------------------- */

void sxl_open_eval(lua_State *L);

/* -- bind_keep.c: run folders ------------------------------------------------------------------ */

#define SXL_FOLDER "segx.Folder"
#define SXL_FAILED_ROWS "segx.failed_rows" /* registry: rows of sweeps that failed */
typedef struct sxl_folder {
    struct sx_keep *k; /* NULL: closed */
} sxl_folder;
void sxl_open_keep(lua_State *L); /* functions into the module table on top */
struct sx_keep *sxl_folder_of(lua_State *L, int idx);
/* Pushes the dense value of the tensor at idx. */
void sxl_eval_one(lua_State *L, int idx);

int luaopen_segx_core(lua_State *L);

#endif
