/*
 * device.h: an opened GPU, for core/cuda: device.c (driver calls, memory, kernels), resident.c (images in its memory), run.c.
 *
 * Three streams: uploads; work (tables, kernels), which waits for the uploads that it reads; results, which wait for work. Work goes
 * in batches with ascending numbers, two of which may be under way. Functions of cuda.h leave nothing under way when they return.
 */
#ifndef SX_CUDA_DEVICE_H
#define SX_CUDA_DEVICE_H

#include "cuda/compile.h"
#include "cuda/cuda.h"

/* A run of device memory that parts of images of one dump lie in, one after the other; it goes as a whole. */
typedef struct sx_slab sx_slab;
typedef struct sx_part_of {
    sx_dptr p;                   /* 0: not there */
    sx_slab *slab;
    struct sx_part_of *next;     /* in the slab */
} sx_part_of;

struct sx_slab {
    sx_dptr p;
    size_t size, used;
    uint64_t dump;
    uint64_t stamp;              /* the batch that reads it last */
    sx_part_of *parts;
    sx_slab *next;
};

/* A run of whole blocks of an image. */
typedef struct sx_gpu_piece {
    size_t image, first, count, stride;
    sx_part_of logits, labels, *field;         /* field: [n_fields][double?] */
    size_t head, table;          /* of labels: where the tiles' heads and the table begin */
    uint32_t *masked, *valid, *counts;   /* per block: pixels left out for their logits; those that count, [classes] by label. Known
                                          * when the labels are there */
} sx_gpu_piece;

typedef struct sx_resident {
    uint64_t dump;
    size_t images, n_fields, bytes;   /* bytes: of all its pieces, about */
    size_t *start;               /* [images + 1] first piece of each image */
    size_t most;                 /* pixels of a piece; of the last one of an image the rest */
    sx_gpu_piece *piece;
    size_t n_piece;
    struct sx_resident *next;
} sx_resident;

typedef struct sx_module {
    sx_cache_key key;
    void *module, *pass, *fold;
    int resident[2];             /* blocks per multiprocessor: pass, fold */
    struct sx_module *next;
} sx_module;

/* Memory that stays for the next use: the GPU's, and the host's that copies come from and go to (pinned where it can be had). */
typedef struct sx_room {
    sx_dptr p;
    size_t n;
} sx_room;
typedef struct sx_pin {
    char *p;
    size_t n;
    bool pinned;
} sx_pin;

/* What uploads go through, two of them in turn. */
typedef struct sx_stage {
    sx_pin pin;
    bool busy;
    void *copied;                /* event: the pin may be filled again */
} sx_stage;

/* What one of the two batches has that may be under way. */
typedef struct sx_slot {
    sx_room found;               /* cells and maps, */
    sx_pin results;              /*   and there they go */
    void *begun, *computed, *done;   /* events: before and after the kernels (timed); the results are there */
} sx_slot;

struct sx_cuda {
    sx_driver cu;
    sx_nvrtc nvrtc;
    bool nvrtc_open, retained, oom;
    int device;
    void *ctx, *stream, *copy, *back, *copied; /* streams: work, uploads, results; an event after uploads */
    bool uploading;              /* there are uploads that work does not wait for yet */
    sx_cuda_info info;
    sx_cuda_counts counts;
    char name[128], nvrtc_path[512], nvrtc_why[600], cache[512];
    sx_module *modules;
    sx_stage stage[2];
    int turn;                    /* of the stages */
    sx_slot slot[2];
    sx_pin sent;                 /* tables and imports of a wave, */
    sx_room tables, records;     /*   and there; sums of tiles */
    sx_slab *slabs;
    sx_resident *residents;
    size_t in_slabs, limit;      /* bytes; limit 0: not known yet */
    uint64_t batch, done;        /* the batch in the making; what it and those after `done` read must stay */
};

/* -- device.c -- */

/* rc of a driver call as an error; what: "cuMemAlloc". Out of memory sets d->oom. */
sx_err sx_cu_check(sx_cuda *d, int rc, const char *what, sx_error *er);
#define SX_CU(d, er, field, ...) sx_cu_check(d, (d)->cu.field(__VA_ARGS__), #field, er)

/* Device memory. Makes room by letting images go (dump: as sx_resident_evict has it; 0: none is being read); SX_EDEVICE with d->oom set
 * when that does not help. */
sx_err sx_cu_alloc(sx_cuda *d, uint64_t dump, sx_dptr *p, size_t n, sx_error *er);
void sx_cu_free(sx_cuda *d, sx_dptr *p);
/* At least n bytes. What was there is lost; the work that is under way is waited for before it goes. */
sx_err sx_cu_room(sx_cuda *d, sx_room *r, size_t n, sx_error *er);
void sx_cu_drop(sx_cuda *d, sx_room *r);
/* The same on the host; nothing under way may use it. */
sx_err sx_cu_pin(sx_cuda *d, sx_pin *p, size_t n, sx_error *er);
/* n bytes, but at most an eighth of what images may take. */
size_t sx_cu_share(const sx_cuda *d, size_t n);
/* Waits for all that is under way. */
sx_err sx_cu_quiet(sx_cuda *d, sx_error *er);

/* The kernels of a text: of this process, from the cache, or compiled. */
sx_err sx_cu_module(sx_cuda *d, const char *text, bool fast, const sx_module **out, sx_error *er);

/* n bytes to the device at `to`, made piece by piece: fill writes bytes off .. off + n - 1 (off a multiple of 64 KiB), on any
 * worker. sx_cu_uploaded makes the work that is queued from then on wait for it. */
typedef struct sx_fill {
    void (*fill)(struct sx_fill *f, char *to, size_t off, size_t n);
} sx_fill;
sx_err sx_cu_upload(sx_cuda *d, sx_dptr to, size_t n, sx_fill *f, sx_pool *pool, sx_error *er);
sx_err sx_cu_uploaded(sx_cuda *d, sx_error *er);

/* -- resident.c -- */

/* Lets a slab go that no batch under way reads, waiting for those if it must. dump: the one that is being read, whose images that were
 * used last go first (a walk that does not fit would otherwise never find anything). *gone false: there is none. */
sx_err sx_resident_evict(sx_cuda *d, uint64_t dump, bool *gone, sx_error *er);
void sx_resident_forget(sx_cuda *d, uint64_t dump);   /* 0: all */
sx_err sx_resident_of(sx_cuda *d, const sx_dump *dump, sx_resident **out, sx_error *er);

/* What a program reads. */
typedef struct sx_wants {
    bool logits, use_double;
    const int64_t *field;
    size_t n_field;
} sx_wants;
bool sx_resident_has(const sx_resident *r, const sx_gpu_piece *p, const sx_wants *w);
/* Uploads what is missing of a piece (im: the decoded image). SX_EDATA: labels or logits refused. */
sx_err sx_resident_load(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, const sx_wants *w, sx_dump *dump, const sx_image *im, sx_pool *pool,
                        sx_error *er);
/* Notes that the batch in the making reads the piece. */
void sx_resident_use(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, const sx_wants *w);

#endif
