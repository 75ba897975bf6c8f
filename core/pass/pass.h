/*
 * pass.h: from expressions to numbers. sx_plan_new cuts the graph below some outputs at its pixel sums
 * and image sums; sx_plan_run walks the dump as often as the plan says (once, unless a sum is used
 * inside another sum's pixels) and evaluates the rest, the epilogue, in double on the sums it kept.
 *
 * The bits of a result depend on the dump and the expression alone: not on threads, ISA level, other
 * outputs of the plan, or how many configurations share it (decisions 9-14).
 */
#ifndef SX_PASS_H
#define SX_PASS_H

#include "base/cpu.h"
#include "base/pool.h"
#include "dump/dump.h"
#include "graph/graph.h"

typedef struct sx_plan sx_plan;
struct sx_keep;                  /* a run folder: pass/keep.h */

#define SX_EACH_IMAGE (SIZE_MAX - 1)

/* Outputs: nodes over subsets of {sweep, N, L, C}, or pixel nodes (axis P) if map_image is an image
 * index (0-based) and not SIZE_MAX: those are then materialised for that one image. With map_image =
 * SX_EACH_IMAGE they are made for every image, handed to the run's emit and not kept, in one walk that also takes the
 * sums which only other outputs need.
 * dump_slot: the dump number in the nodes. The graph and dump must outlive the plan. */
sx_err sx_plan_new(const sx_graph *g, sx_dump *d, uint32_t dump_slot, const sx_id *out, size_t n_out,
                   size_t map_image, sx_plan **plan, sx_error *er);
void sx_plan_free(sx_plan *p);

typedef struct sx_plan_info {
    size_t passes;
    size_t walks;                /* over the dump: passes, and one more where maps of each image share no pass */
    size_t n_sums;               /* pixel sums over all passes */
    const sx_id *sum;            /* the nodes, in pass order */
    const size_t *sum_pass;      /* 0-based pass of each */
    const bool *sum_fields;      /* does it read field operators? Then it runs on the CPU */
    const sx_axes *pass_axes;    /* per output: sweep axes inside its pixel sums; its others are free */
    size_t stat_doubles;         /* kept per image and pass, largest pass */
    uint64_t bytes;              /* read from the dump, all passes */
} sx_plan_info;
const sx_plan_info *sx_plan_get_info(const sx_plan *p);

/* The plan as if the dump ended after so many images: for a quick look at how long a run would take. */
void sx_plan_limit(sx_plan *p, size_t images);

/* What a run folder has of a plan's sums. */
typedef struct sx_plan_found {
    size_t cells, found;         /* sums at one value of each of their axes: all, those that are there */
    size_t passes;               /* with something missing */
    size_t begun;                /* images that an attempt before got through in the pass that comes next */
} sx_plan_found;

/* A GPU that is taken by itself where that is worth it; the bits are the same. A walk over the dump begins on the CPU. When what is left
 * of it is, at the pace so far, `seconds` or more of arithmetic (reading and decoding, which a GPU does not take over, left out),
 * `open` is asked for a GPU. What the GPU cannot do, or does more slowly than the CPU did, the CPU does; a GPU that fails, too. */
typedef struct sx_gpu_choice {
    double seconds;              /* 0: from the beginning; infinite: never */
    /* A GPU that is fit for use in this precision, or NULL and why not. On the calling thread, at most once per walk. */
    struct sx_cuda *(*open)(void *arg, bool use_double, sx_error *why);
    /* It has failed, and is not used by the run any more. */
    void (*failed)(void *arg, const sx_error *why);
    void *arg;
} sx_gpu_choice;

typedef struct sx_run_opts {
    sx_pool *pool;               /* required */
    sx_isa isa;                  /* sx_isa_best() normally */
    bool use_double;             /* precision = "double" */
    size_t mem;                  /* bytes for buffers and kept statistics; 0 = a default; beyond a quarter of it statistics spill */
    /* Called on the calling thread between waves; returning false interrupts. done, total: pixels; gpu: that is where they are. */
    bool (*progress)(void *arg, size_t pass, size_t passes, uint64_t done, uint64_t total, bool gpu);
    void *progress_arg;
    /* For SX_EACH_IMAGE, required then: the n numbers of pixel output `out` at `image`, [sweep][C][pixels], of the
     * arithmetic's type (SX_F32 or SX_F64), gone after the call. On the calling thread, images in order, outputs in
     * order; an error ends the run. */
    sx_err (*emit)(void *arg, size_t image, size_t out, const void *v, sx_dtype type, size_t n, sx_error *er);
    void *emit_arg;
    struct sx_keep *keep;        /* sums are taken from there, new ones go there; NULL = no folder */
    struct sx_cuda *cuda;        /* cuda/cuda.h: the GPU that passes run on, where they can; NULL: the CPU, */
    const sx_gpu_choice *choice; /*   or, if given, a GPU where that is worth it */
    bool fast;                   /* there: not the bits of the CPU; only in single precision */
} sx_run_opts;

sx_err sx_plan_find(const sx_plan *p, const sx_run_opts *o, sx_plan_found *out, sx_error *er);

/* Does the arithmetic of these options give other bits than its precision alone? */
static inline bool sx_run_is_fast(const sx_run_opts *o) { return o->cuda && o->fast && !o->use_double; }

typedef struct sx_array {
    double *v;
    size_t n;
    sx_axes axes;                /* order of the dimensions: sweep axes ascending, N, L, C, (P of the mapped image) */
} sx_array;

/* What the passes of a run did. */
typedef struct sx_counts {
    uint64_t pixels_valid;       /* of the dump, when a pass counted them; else 0 */
    uint64_t pixels_masked;      /* non-finite pixels left out (skip_nonfinite) */
    size_t passes;
    uint64_t spilled;            /* bytes of kept statistics that went to a temporary file */
    size_t cells_found, cells_new;   /* run folder: sums at one value of their axes: from disk, computed */
    size_t images_found, images_new; /* run folder: image records of new cells: from an earlier attempt, computed */
    struct sx_bad {                  /* run folder: cells with a number that is not finite, and the first image */
        sx_id sum;
        size_t combo, image;
    } *bad;
    size_t n_bad;
    size_t on_gpu, on_cpu;           /* walks for which a GPU was wanted: there, and on the CPU all the same (all of it or some), */
    char why_cpu[200];               /*   the last one because of this */
} sx_counts;

typedef struct sx_result {
    size_t n_out;
    sx_array *out;
    sx_counts n;
} sx_result;

sx_err sx_plan_run(sx_plan *p, const sx_run_opts *o, sx_result **out, sx_error *er);
void sx_result_free(sx_result *r);

/* Computes sums of every kind over a small dump on a GPU and on the CPU: SX_EDEVICE where their bits differ, or the GPU cannot. The first
 * time on a machine it compiles a kernel (about a second). */
sx_err sx_check_gpu(struct sx_cuda *gpu, sx_pool *pool, bool use_double, sx_error *er);

/* -- A part of the sweep at a time ---------------------------------------------------------------
 * A grid is a plan whose passes are done: its outputs, none of them with a pixel axis, as functions over the sweep. Rows are the
 * combinations of all axes of the outputs (ascending, the last one fastest); a page is as many consecutive rows as are worth
 * computing together. However many rows there are, memory is that of one page. One thread at a time. */
typedef struct sx_grid sx_grid;

/* Runs the passes. The plan is the grid's from now on, whatever is returned; the dump is not needed any more, the graph is. */
sx_err sx_grid_new(sx_plan *p, const sx_run_opts *o, sx_grid **out, sx_error *er);
void sx_grid_free(sx_grid *g);

typedef struct sx_grid_info {
    sx_axes axes;                /* of the rows */
    uint64_t rows;
    size_t pages, page_rows;     /* page_rows: of the largest */
    size_t page;                 /* the one that is there, SIZE_MAX: none */
    uint64_t first;              /* its rows: the first one, */
    size_t count;                /*   how many */
    size_t n_out;
    const sx_array *out;         /* values on that page: [combinations of the output's axes inside it][N][L][C] */
    const sx_counts *n;
} sx_grid_info;
const sx_grid_info *sx_grid_get_info(const sx_grid *g);
size_t sx_grid_find(const sx_grid *g, uint64_t row);     /* its page */
/* Computes a page. An interrupt (SX_EINTR) and a failure leave none there. */
sx_err sx_grid_page(sx_grid *g, size_t page, sx_error *er);
/* Which combination of output out's axes row first + i of the page has: at[i]. */
void sx_grid_places(const sx_grid *g, size_t out, size_t *at);

#endif
