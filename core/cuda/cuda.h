/*
 * cuda.h: the pixel part of a pass on an NVIDIA GPU: the same program as the CPU's (cpu/tile.h), the same cells.
 *
 * Two modes. Exact: the bits of the CPU. Fast (single precision only): one sweep over the classes with the hardware's exp2; the
 * order of sums is as fixed as in exact mode, so bits do not depend on the run, on other columns or on how many configurations
 * share the pass (docs/gpu.md has the errors).
 *
 * Images stay in the GPU's memory, in the dump's own type, as long as they fit; the least useful go first. When memory runs out,
 * configurations and images go in smaller batches; only when not even one block of one configuration fits does a run fail, with
 * sx_cuda_no_memory true, and the caller takes the CPU.
 *
 * All calls for one sx_cuda from one thread. Failures of the GPU, its driver or compiler are SX_EDEVICE.
 */
#ifndef SX_CUDA_H
#define SX_CUDA_H

#include "base/pool.h"
#include "cpu/tile.h"
#include "cuda/emit.h"

typedef struct sx_cuda sx_cuda;

typedef struct sx_cuda_info {
    const char *name;            /* of the GPU */
    int index, count;            /* which of how many */
    int cc;                      /* compute capability, 90 = 9.0 */
    int sms;                     /* multiprocessors */
    int l2;                      /* bytes of the cache that they share; 0: unknown */
    int driver;                  /* CUDA version of the driver, 12090 = 12.9 */
    size_t memory;               /* bytes */
    const char *driver_path, *nvrtc;   /* opened; NVRTC to be opened when a kernel must be compiled, "" when there is none */
    const char *nvrtc_why;       /* why there is none */
    const char *cache;           /* folder of compiled kernels, "" when there is none */
} sx_cuda_info;

/* What has happened since it was opened; for tests, segx doctor and the one note per session about memory. */
typedef struct sx_cuda_counts {
    size_t compiled, from_cache, launches;
    uint64_t uploaded;           /* bytes of dumps */
    size_t evicted;              /* times that images had to go */
    size_t split;                /* batches of configurations beyond one */
    double kernel_ms;            /* of kernels, as the GPU measures it */
} sx_cuda_counts;

sx_err sx_cuda_open(int index, sx_cuda **out, sx_error *er);
void sx_cuda_close(sx_cuda *d);            /* NULL is fine */
const sx_cuda_info *sx_cuda_get_info(const sx_cuda *d);
const sx_cuda_counts *sx_cuda_get_counts(const sx_cuda *d);
void sx_cuda_forget(sx_cuda *d, uint64_t dump);   /* a dump is closed */
/* Was the last failure a lack of the GPU's memory? */
bool sx_cuda_no_memory(const sx_cuda *d);
/* Bytes per second (read and written) of copying inside the GPU's memory, measured now. */
sx_err sx_cuda_copy_speed(sx_cuda *d, double *bytes_per_second, sx_error *er);

/* -- A program ----------------------------------------------------------------------------------------- */

typedef struct sx_cuda_work sx_cuda_work;

/* spec and prog are of the same sums and maps; both, and the graph, must outlive it. SX_EARG: it cannot run on a GPU, the message
 * says why. */
sx_err sx_cuda_work_new(sx_cuda *d, const sx_emit_spec *spec, const sx_prog *prog, sx_cuda_work **out, sx_error *er);
void sx_cuda_work_free(sx_cuda_work *w);
/* Is everything that the program reads of an image in the GPU's memory? */
bool sx_cuda_resident(const sx_cuda_work *w, const sx_dump *dump, size_t image);

typedef struct sx_cuda_task {
    size_t image, first, count;  /* image of the wave; pixels: first is a multiple of SX_BLOCK, count at most that */
} sx_cuda_task;

typedef struct sx_cuda_wave {
    sx_dump *dump;
    size_t first;                /* dump image number of the wave's image 0 */
    const sx_cuda_task *task;    /* by image, then in order: all blocks of each image */
    size_t n_task;
    const double *imports;       /* sets of them: one, or one per image of the wave */
    const void *imports_t;       /* the same in the arithmetic's type */
    size_t sets;
    uint64_t *valid, *masked;    /* per task: written */
    /* Cells of tasks first .. first + n - 1, [task][sx_prog_stat_len], gone after the call. In order, each task once, while the GPU
     * computes the next ones. */
    void (*take)(void *arg, size_t first, size_t n, const double *cells);
    void *const *map;            /* place of map m of image i: map[i * map_step + m], as in sx_block */
    size_t map_step;
    sx_pool *pool;
    /* Gives the decoded image (number in the dump) until the next call; asked for images that are not in the GPU's memory. */
    sx_err (*fetch)(void *arg, size_t image, const sx_image **out, sx_error *er);
    void *arg;
} sx_cuda_wave;

/* Labels that are no class, logits that are not finite: SX_EDATA, as sx_prog_run has it. */
sx_err sx_cuda_run(sx_cuda_work *w, const sx_cuda_wave *v, sx_error *er);

#endif
