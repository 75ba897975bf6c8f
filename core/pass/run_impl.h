/* run_impl.h: one run of a plan, for core/pass: run.c (steps), walk.c (a walk over the dump), fields.c (what
 * field operators need before it), kept.c (a walk whose sums stay in a run folder), grid.c (the outputs, a part of the sweep at a time). */
#ifndef SX_RUN_IMPL_H
#define SX_RUN_IMPL_H

#include "cpu/tile.h"
#include "cuda/cuda.h"
#include "pass/keep.h"
#include "pass/plan_impl.h"
#include "pass/store.h"

#define SX_DEFAULT_MEM ((size_t)2 << 30)   /* a quarter each for decoded images, cells, and kept statistics */

/* Values of nodes without pixel axis, by id, inside a part of the sweep; of image-wise nodes those of the current image. */
typedef struct sx_frame {
    const sx_box *box;         /* NULL: the whole sweep */
    double **v;
    size_t *cap;               /* doubles that v has room for */
    uint8_t *known;            /* is v[id] that of the box as it was, */
    sx_axes changed;           /*   and on which axes has the box moved since? */
} sx_frame;

typedef struct batch {
    sx_id id;
    const sx_frame *frame;
    double *whole;             /* scratch for readers of another frame: a record of all of the sweep */
    sx_store *store;           /* one record per batch: the finished sums of a bsum node */
} batch;

typedef struct sx_runner {
    sx_plan *p;
    sx_run_opts o;
    const sx_kernels *k;
    sx_cuda *gpu;              /* that walks run on, where they can: the options', or a chosen one; NULL: none yet */
    sx_counts n;               /* what passes did */
    sx_frame all, part;        /* what passes need; the tail */
    size_t *stat_at;           /* by id: where a pixel sum lies in its pass's record */
    sx_store **store;          /* per pass */
    double **record;           /* per pass: the current image's record */
    size_t passes_done;
    batch *batch;
    size_t n_batch;
    uint8_t *mark;             /* by id, scratch */
    size_t n_ids, n_pass;      /* of the graph when it started: it may grow */
} sx_runner;

static inline size_t sx_run_mem(const sx_runner *r) { return r->o.mem ? r->o.mem : SX_DEFAULT_MEM; }
static inline const sx_node *sx_run_node(const sx_runner *r, sx_id id) { return sx_node_get(r->p->g, id); }
static inline size_t sx_run_len(const sx_runner *r, sx_id id) { return sx_value_len(r->p->g, r->p->classes, NULL, id); }

/* -- run.c -- */

/* The plan's passes and what they need, into r->all; r is zero. sx_run_free in any case; it leaves the plan alone. */
sx_err sx_run_passes(sx_runner *r, sx_plan *p, const sx_run_opts *o, sx_error *er);
void sx_run_free(sx_runner *r);

/* A step without pixels. What the frame knows already is left as it is. */
sx_err sx_run_step(sx_runner *r, sx_frame *f, const plan_step *s, sx_error *er);
sx_err sx_run_room(sx_runner *r, sx_frame *f, sx_id id, sx_error *er);
static inline bool sx_frame_has(const sx_frame *f, const sx_graph *g, sx_id id)
{
    return f->known[id] && !(sx_node_get(g, id)->axes & f->changed);
}

/* Marks the image-wise nodes below id that must be computed for an image; sx_run_image computes all marked ones. */
void sx_run_mark(sx_runner *r, sx_id id);
void sx_run_unmark(sx_runner *r);
sx_err sx_run_image(sx_runner *r, sx_frame *f, size_t image, sx_error *er);

/* A GPU is wanted (not only a choice), and some of the sums, not all of them, read field operators, which the CPU has. */
bool sx_run_splits(const sx_runner *r, const sx_id *id, size_t n);

/* The plan's pixel outputs of one image, output i to out[i].v. With SX_EACH_IMAGE there is nothing left to do. */
sx_err sx_run_map(sx_runner *r, sx_array *out, sx_error *er);

static inline void sx_add_to(double *restrict sum, const double *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) sum[i] += x[i];
}

/* -- walk.c -- */

typedef sx_cuda_task task;           /* a block of an image inside the wave */

typedef struct walk_pace {
    double seconds;                  /* of arithmetic, */
    uint64_t px;                     /*   over so many pixels */
} walk_pace;

typedef struct sx_walk {
    sx_runner *r;
    sx_prog *prog;
    const sx_id *sum, *map_id;       /* what it is a program of */
    size_t n_sum, n_map_id;
    sx_cuda_work *gpu;               /* the same program there; NULL: the CPU runs it */
    bool decided;                    /* whether to look for a GPU is no question any more */
    walk_pace on_cpu, on_gpu;
    uint64_t left;                   /* pixels from the beginning of the wave on */
    sx_wave own;                     /* what is decoded here, unless the dump keeps it */
    bool keep;                       /* the dump may have decoded images afterwards */
    const sx_image *image;           /* of this wave, count images from number first; not on a GPU */
    size_t first, count;
    size_t stat_len, import_len;
    bool per_image;                  /* some import has an image axis: one set of imports per image of the wave */
    double *imports;
    char *imports_t;
    double *cells;                   /* of tasks or, by_image, records of the wave's images */
    size_t cells_cap;
    bool by_image;
    task *task;
    size_t n_task, task_cap, task_at;   /* task_at: the first that is under way */
    uint64_t px;                     /* of all of them */
    char **scratch;                  /* per worker */
    uint64_t *valid, *masked;        /* per task; one piece of memory */
    void *const *map;                /* per map node; with each: the same per image of the wave */
    size_t n_map;
    bool each;                       /* map every image and hand it out */
    const size_t *map_out, *map_per_px;   /* each: per map node, its output number and its numbers per pixel */
    double *sums;                    /* stat_len: one image's record */
    sx_store *before;                /* what it begins with, of a walk before: before_len numbers; or NULL */
    size_t before_len;
    double *whole;                   /* room for both */
    struct sx_fields *fields;        /* field operators that the program reads, or NULL; */
    struct sx_walk *outer;           /*   a walk for what they read: the walk that they are made for */
    void **made;                     /* [image of their span][operator] */
    uint32_t columns;                /* fields of the dump that this and these walks read */
    const sx_box *box;               /* the part of the sweep that is computed; NULL: all of it */
    sx_segment *seg;                 /* records go there, or NULL */
    uint64_t done, total;            /* pixels, for progress; */
    double from, to;                 /* which part of the pass the walk is, for progress; both 0: all of it */
} sx_walk;

/* A program for these sums and maps (box may be set before); buffers. Then imports, images; free in any case. */
sx_err sx_walk_start(sx_walk *w, const sx_id *sum, size_t n_sum, const sx_id *map, size_t n_map, sx_error *er);
sx_err sx_walk_imports(sx_walk *w, size_t wave_max, sx_error *er);
/* Images from .. to - 1, at most wave_max at once; records go to the segment if there is one, else to st if there is one. */
sx_err sx_walk_images(sx_walk *w, size_t from, size_t to, size_t wave_max, sx_store *st, sx_error *er);
/* The same without field operators: a part of it. */
sx_err sx_walk_range(sx_walk *w, size_t from, size_t to, size_t wave_max, sx_store *st, sx_error *er);
/* How many images share a wave at most: so that their cells fit, and progress is told now and then. */
size_t sx_walk_most(const sx_runner *r, size_t stat_len);
/* A refused pass: the whole dump again, for the count and the first place in order. What refused stays when this fails. */
void sx_walk_explain(sx_walk *w, sx_error *er);
void sx_walk_free(sx_walk *w);

/* -- kept.c -- */

/* A pass with a run folder: what is on disk is read, the rest is computed, box by box, and stays there. */
sx_err sx_run_kept(sx_runner *r, const plan_step *s, sx_error *er);

/* -- fields.c -- */

typedef struct sx_fields sx_fields;
/* For a started walk: its fields, NULL where its program reads none. */
sx_err sx_fields_new(sx_walk *outer, sx_error *er);
void sx_fields_free(sx_fields *f);
/* Values for images from `image` on, up to *end, at most `to`. */
sx_err sx_fields_make(sx_fields *f, size_t image, size_t to, size_t wave_max, size_t *end, sx_error *er);
size_t sx_fields_first(const sx_fields *f);      /* image of the dump that the span begins with */
/* The walks that it makes: how many, and number i. */
size_t sx_fields_walks(const sx_fields *f);
sx_walk *sx_fields_walk(sx_fields *f, size_t i);

#endif
