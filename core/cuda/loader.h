/*
 * loader.h: NVIDIA's driver (libcuda) and run-time compiler (NVRTC), opened when they are first wanted. Neither is needed to
 * build; no header of theirs is included: opaque pointers, int results and the few constants that are used stand here.
 *
 * Functions that cannot be opened or miss something fail with SX_EDEVICE and say what was tried.
 */
#ifndef SX_CUDA_LOADER_H
#define SX_CUDA_LOADER_H

#include "base/base.h"

typedef unsigned long long sx_dptr;    /* CUdeviceptr */

/* F(field, symbol, arguments); all give a CUresult. Suffixes as driver 11.0 and later have them. */
#define SX_CU_FUNCTIONS(F)                                                                          \
    F(init, "cuInit", (unsigned flags))                                                             \
    F(driver_version, "cuDriverGetVersion", (int *v))                                               \
    F(error_name, "cuGetErrorName", (int rc, const char **s))                                       \
    F(error_text, "cuGetErrorString", (int rc, const char **s))                                     \
    F(device_count, "cuDeviceGetCount", (int *n))                                                   \
    F(device_get, "cuDeviceGet", (int *device, int index))                                          \
    F(device_name, "cuDeviceGetName", (char *name, int len, int device))                            \
    F(device_attribute, "cuDeviceGetAttribute", (int *v, int attribute, int device))                \
    F(device_memory, "cuDeviceTotalMem_v2", (size_t *bytes, int device))                            \
    F(primary_retain, "cuDevicePrimaryCtxRetain", (void **ctx, int device))                         \
    F(primary_release, "cuDevicePrimaryCtxRelease_v2", (int device))                                \
    F(set_current, "cuCtxSetCurrent", (void *ctx))                                                  \
    F(mem_info, "cuMemGetInfo_v2", (size_t *free, size_t *total))                                   \
    F(mem_alloc, "cuMemAlloc_v2", (sx_dptr *p, size_t n))                                           \
    F(mem_free, "cuMemFree_v2", (sx_dptr p))                                                        \
    F(host_alloc, "cuMemHostAlloc", (void **p, size_t n, unsigned flags))                           \
    F(host_free, "cuMemFreeHost", (void *p))                                                        \
    F(to_device, "cuMemcpyHtoDAsync_v2", (sx_dptr to, const void *from, size_t n, void *stream))    \
    F(to_host, "cuMemcpyDtoHAsync_v2", (void *to, sx_dptr from, size_t n, void *stream))            \
    F(copy, "cuMemcpyDtoDAsync_v2", (sx_dptr to, sx_dptr from, size_t n, void *stream))             \
    F(set_words, "cuMemsetD32Async", (sx_dptr p, unsigned word, size_t n, void *stream))            \
    F(module_load, "cuModuleLoadDataEx",                                                            \
      (void **module, const void *image, unsigned n, int *option, void **value))                    \
    F(module_unload, "cuModuleUnload", (void *module))                                              \
    F(module_function, "cuModuleGetFunction", (void **f, void *module, const char *name))           \
    F(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor", (int *n, void *f, int threads, size_t shared)) \
    F(launch, "cuLaunchKernel",                                                                     \
      (void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, \
       void *stream, void **arguments, void **extra))                                               \
    F(stream_new, "cuStreamCreate", (void **stream, unsigned flags))                                \
    F(stream_free, "cuStreamDestroy_v2", (void *stream))                                            \
    F(stream_sync, "cuStreamSynchronize", (void *stream))                                           \
    F(stream_wait, "cuStreamWaitEvent", (void *stream, void *event, unsigned flags))                \
    F(event_new, "cuEventCreate", (void **event, unsigned flags))                                   \
    F(event_free, "cuEventDestroy_v2", (void *event))                                               \
    F(event_record, "cuEventRecord", (void *event, void *stream))                                   \
    F(event_sync, "cuEventSynchronize", (void *event))                                              \
    F(event_time, "cuEventElapsedTime", (float *ms, void *from, void *to))

enum {
    SX_CU_OUT_OF_MEMORY = 2, SX_CU_STUB = 34, SX_CU_NO_DEVICE = 100, SX_CU_NO_BINARY = 209,
    SX_CU_ATTR_SMS = 16, SX_CU_ATTR_MAJOR = 75, SX_CU_ATTR_MINOR = 76, SX_CU_ATTR_L2 = 38,
    SX_CU_STREAM_NON_BLOCKING = 1, SX_CU_EVENT_DISABLE_TIMING = 2
};

typedef struct sx_driver {
    void *lib;
#define SX_CU_FIELD(field, symbol, arguments) int (*field) arguments;
    SX_CU_FUNCTIONS(SX_CU_FIELD)
#undef SX_CU_FIELD
    int version;                 /* 12090 = 12.9 */
    char path[256];              /* what was opened */
    bool absent;                 /* why opening failed: there is no driver, or it sees no GPU */
} sx_driver;

/* Opens libcuda.so.1 and initialises it. It stays open. */
sx_err sx_driver_open(sx_driver *d, sx_error *er);
/* Text of a CUresult: "CUDA_ERROR_X (what it means)". Returns buf. */
char *sx_driver_text(const sx_driver *d, int rc, char *buf, size_t n);

/* -- NVRTC ---------------------------------------------------------------------------------------- */

#define SX_NVRTC_FUNCTIONS(F)                                                                       \
    F(version, "nvrtcVersion", (int *major, int *minor))                                            \
    F(create, "nvrtcCreateProgram", (void **program, const char *text, const char *name, int headers, \
                                     const char *const *header, const char *const *include))        \
    F(compile, "nvrtcCompileProgram", (void *program, int n, const char *const *option))            \
    F(destroy, "nvrtcDestroyProgram", (void **program))                                             \
    F(log_size, "nvrtcGetProgramLogSize", (void *program, size_t *n))                               \
    F(log, "nvrtcGetProgramLog", (void *program, char *log))                                        \
    F(cubin_size, "nvrtcGetCUBINSize", (void *program, size_t *n))                                  \
    F(cubin, "nvrtcGetCUBIN", (void *program, char *cubin))                                         \
    F(ptx_size, "nvrtcGetPTXSize", (void *program, size_t *n))                                      \
    F(ptx, "nvrtcGetPTX", (void *program, char *ptx))                                               \
    F(arch_count, "nvrtcGetNumSupportedArchs", (int *n))                                            \
    F(archs, "nvrtcGetSupportedArchs", (int *arch))

typedef struct sx_nvrtc {
    void *lib;
#define SX_NVRTC_FIELD(field, symbol, arguments) int (*field) arguments;
    SX_NVRTC_FUNCTIONS(SX_NVRTC_FIELD)
#undef SX_NVRTC_FIELD
    int major, minor;
    int arch[64], n_arch;        /* compute capabilities it knows, ascending: 75, 80, 90 ... */
} sx_nvrtc;

/* Where NVRTC is: the newest whose major version is at most max_major (0: any), in the first of these places that has one:
 * SEGX_NVRTC (a file), the process, CUDA_HOME and CUDA_PATH, Python wheels and conda, the system's libraries, /usr/local/cuda*.
 * Nothing is opened unless only the system's linker knows the place. */
sx_err sx_nvrtc_find(int max_major, char path[512], sx_error *er);
sx_err sx_nvrtc_open(const char *path, sx_nvrtc *n, sx_error *er);

#endif
