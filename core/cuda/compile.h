/*
 * compile.h: from the text of a kernel to what the driver loads, through NVRTC or from the cache on disk.
 *
 * A cache entry is found by everything it depends on: text, options (so the target), which NVRTC file compiled it, and
 * SX_CODEGEN. Entries are checked when they are read, written under another name and renamed. A bad one is no error, it is
 * compiled again; a cache that cannot be written is none. The folder: SEGX_CUDA_CACHE ("off": none), else
 * XDG_CACHE_HOME/segx/cuda, else ~/.cache/segx/cuda. The text lies beside each entry, for reading.
 */
#ifndef SX_CUDA_COMPILE_H
#define SX_CUDA_COMPILE_H

#include "cuda/loader.h"

#define SX_CODEGEN 3             /* raise when host and kernels of this version no longer understand each other */

/* A compiled kernel: machine code (ELF), or PTX where the GPU is newer than NVRTC knows. */
typedef struct sx_cubin {
    char *data;                  /* from sx_malloc */
    size_t n;
} sx_cubin;

/* What to compile for on a GPU of compute capability cc (90): "sm_90", the nearest older one of the same major version, whose code
 * runs too, or "compute_120": PTX for a GPU that is newer than this NVRTC. */
void sx_cuda_target(const sx_nvrtc *n, int cc, char target[16]);

/* With as many blocks at a time as registers allow without spilling. NVRTC's program log (warnings, the use of registers) goes to *log,
 * if that is not NULL: sx_free it. */
sx_err sx_cuda_compile(const sx_nvrtc *n, const char *text, const char *target, bool fast, sx_cubin *out, char **log, sx_error *er);
void sx_cubin_free(sx_cubin *c);

/* -- Cache ------------------------------------------------------------------------------------------ */

/* The folder, or "" when there is none. */
void sx_cache_folder(char folder[512]);
typedef struct sx_cache_key {
    uint64_t a, b;
} sx_cache_key;
sx_cache_key sx_cache_key_of(const char *text, const char *gpu, bool fast, const char *nvrtc_path);
bool sx_cache_get(const char *folder, sx_cache_key k, sx_cubin *out);
void sx_cache_put(const char *folder, sx_cache_key k, const sx_cubin *c, const char *text);

#endif
