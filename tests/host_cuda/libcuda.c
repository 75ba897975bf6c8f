/*
 * libcuda.c: a stand-in for NVIDIA's driver, for tests on machines without a GPU: its memory is the host's, a module is a shared
 * object that libnvrtc.c has made from the kernel's text, a launch calls that, block by block. Everything is done when a call
 * returns.
 *
 *   FAKE_CUDA_FAIL=N[:CALL[:RC]]   the N-th call (of those named CALL, if given) gives RC (default 999)
 *   FAKE_CUDA_MEMORY=BYTES         the device's memory (default 4 GiB)
 *   FAKE_CUDA_CC=75                its compute capability (default 90)
 *   FAKE_CUDA_DEVICES=N            how many (default 1)
 *   FAKE_CUDA_LOG=FILE             at the end: calls, launches, bytes that were not freed
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long dptr;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_BINARY = 209, NOT_FOUND = 500, FAILED = 999 };

static size_t used, calls, launches;

static long long number(const char *name, long long otherwise)
{
    const char *s = getenv(name);
    return s && *s ? atoll(s) : otherwise;
}

static size_t memory(void) { return (size_t)number("FAKE_CUDA_MEMORY", 4ll << 30); }

/* What a call gives before it does anything. */
static int enter(const char *call)
{
    static size_t matching;
    const char *s = getenv("FAKE_CUDA_FAIL");
    calls++;
    if (!s || !*s) return OK;
    char *end;
    const unsigned long n = strtoul(s, &end, 10);
    const char *name = *end == ':' ? end + 1 : "";
    const size_t len = strcspn(name, ":");
    if (len && (strlen(call) != len || strncmp(call, name, len) != 0)) return OK;
    if (++matching != n) return OK;
    return name[len] == ':' ? atoi(name + len + 1) : FAILED;
}
#define ENTER                         \
    do {                              \
        int rc_ = enter(__func__);    \
        if (rc_) return rc_;          \
    } while (0)

#define API __attribute__((visibility("default")))

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    fprintf(f, "calls %zu launches %zu left %zu\n", calls, launches, used);
    fclose(f);
}

/* -- Device ------------------------------------------------------------------------------------------ */

API int cuInit(unsigned flags) { ENTER; (void)flags; return number("FAKE_CUDA_DEVICES", 1) ? OK : 100; }
API int cuDriverGetVersion(int *v) { ENTER; *v = 12090; return OK; }
API int cuGetErrorName(int rc, const char **s)
{
    *s = rc == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : rc == 100 ? "CUDA_ERROR_NO_DEVICE" : rc == NO_BINARY ? "CUDA_ERROR_NO_BINARY_FOR_GPU" :
         "CUDA_ERROR_UNKNOWN";
    return OK;
}
API int cuGetErrorString(int rc, const char **s) { (void)rc; *s = "said by the stand-in"; return OK; }
API int cuDeviceGetCount(int *n) { ENTER; *n = (int)number("FAKE_CUDA_DEVICES", 1); return OK; }
API int cuDeviceGet(int *device, int index) { ENTER; *device = index; return OK; }
API int cuDeviceGetName(char *name, int len, int device) { ENTER; snprintf(name, (size_t)len, "Stand-in %d", device); return OK; }
API int cuDeviceGetAttribute(int *v, int attribute, int device)
{
    ENTER;
    (void)device;
    const int cc = (int)number("FAKE_CUDA_CC", 90);
    *v = attribute == 16 ? 4 : attribute == 75 ? cc / 10 : attribute == 76 ? cc % 10 : 0;
    return OK;
}
API int cuDeviceTotalMem_v2(size_t *bytes, int device) { ENTER; (void)device; *bytes = memory(); return OK; }
API int cuDevicePrimaryCtxRetain(void **ctx, int device) { ENTER; (void)device; *ctx = &used; return OK; }
API int cuDevicePrimaryCtxRelease_v2(int device) { ENTER; (void)device; return OK; }
API int cuCtxSetCurrent(void *ctx) { ENTER; (void)ctx; return OK; }

/* -- Memory ------------------------------------------------------------------------------------------ */

API int cuMemGetInfo_v2(size_t *available, size_t *total)
{
    ENTER;
    *total = memory();
    *available = *total > used ? *total - used : 0;
    return OK;
}

API int cuMemAlloc_v2(dptr *p, size_t n)
{
    ENTER;
    if (n == 0) return INVALID;
    if (used + n > memory()) return NO_MEMORY;
    char *all = aligned_alloc(256, (n + 511) / 256 * 256);
    if (!all) return NO_MEMORY;
    memcpy(all, &n, sizeof n);
    memset(all + 256, 0xcd, n);         /* nobody may count on zeros */
    used += n;
    *p = (dptr)(size_t)(all + 256);
    return OK;
}

API int cuMemFree_v2(dptr p)
{
    if (p) {
        char *all = (char *)(size_t)p - 256;
        size_t n;
        memcpy(&n, all, sizeof n);
        used -= n;
        free(all);
    }
    return enter(__func__);
}

API int cuMemHostAlloc(void **p, size_t n, unsigned flags)
{
    ENTER;
    (void)flags;
    *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
    return *p ? OK : NO_MEMORY;
}
API int cuMemFreeHost(void *p) { free(p); return enter(__func__); }
API int cuMemcpyHtoDAsync_v2(dptr to, const void *from, size_t n, void *s) { ENTER; (void)s; memcpy((void *)(size_t)to, from, n); return OK; }
API int cuMemcpyDtoHAsync_v2(void *to, dptr from, size_t n, void *s) { ENTER; (void)s; memcpy(to, (void *)(size_t)from, n); return OK; }
API int cuMemcpyDtoDAsync_v2(dptr to, dptr from, size_t n, void *s)
{
    ENTER;
    (void)s;
    memcpy((void *)(size_t)to, (void *)(size_t)from, n);
    return OK;
}
API int cuMemsetD32Async(dptr p, unsigned word, size_t n, void *s)
{
    ENTER;
    (void)s;
    for (size_t i = 0; i < n; i++) ((unsigned *)(size_t)p)[i] = word;
    return OK;
}

/* -- Modules ------------------------------------------------------------------------------------------ */

/* The length of an ELF file, as its header has it; the driver, too, is told no length. */
static size_t elf_size(const void *image)
{
    Elf64_Ehdr h;
    memcpy(&h, image, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) return 0;
    return (size_t)h.e_shoff + (size_t)h.e_shnum * h.e_shentsize;
}

API int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *option, void **value)
{
    ENTER;
    (void)n, (void)option, (void)value;
    const char *dir = getenv("TMPDIR");
    char path[400];
    const size_t size = elf_size(image);
    if (!size) return NO_BINARY;
    snprintf(path, sizeof path, "%s/segx-module-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!f) return FAILED;
    const size_t written = fwrite(image, 1, size, f);
    void *lib = fclose(f) == 0 && written == size ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    unlink(path);
    const int *cc = lib ? dlsym(lib, "segx_made_for") : NULL;
    if (!cc || *cc / 10 != number("FAKE_CUDA_CC", 90) / 10 || *cc > number("FAKE_CUDA_CC", 90)) {
        if (lib) dlclose(lib);
        return NO_BINARY;
    }
    *module = lib;
    return OK;
}
API int cuModuleUnload(void *module) { dlclose(module); return enter(__func__); }
API int cuModuleGetFunction(void **f, void *module, const char *name)
{
    ENTER;
    *f = dlsym(module, name);
    return *f ? OK : NOT_FOUND;
}
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int threads, size_t shared)
{
    ENTER;
    (void)f, (void)threads, (void)shared;
    *n = 2;
    return OK;
}

API int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                       void **arguments, void **extra)
{
    ENTER;
    void (*kernel)(const void *, unsigned, unsigned);
    (void)shared, (void)stream, (void)extra;
    if (gy != 1 || gz != 1 || bx != 256 || by != 1 || bz != 1 || gx == 0) return INVALID;
    memcpy(&kernel, &f, sizeof kernel);
    launches++;
    for (unsigned b = gx; b-- > 0;) kernel(arguments[0], b, gx);     /* the last block first: their order must not matter */
    return OK;
}

/* -- Streams and events ---------------------------------------------------------------------------------- */

API int cuStreamCreate(void **s, unsigned flags) { ENTER; (void)flags; *s = malloc(1); return *s ? OK : NO_MEMORY; }
API int cuStreamDestroy_v2(void *s) { free(s); return enter(__func__); }
API int cuStreamSynchronize(void *s) { ENTER; (void)s; return OK; }
API int cuStreamWaitEvent(void *s, void *e, unsigned flags) { ENTER; (void)s, (void)e, (void)flags; return OK; }
API int cuEventCreate(void **e, unsigned flags) { ENTER; (void)flags; *e = calloc(1, sizeof(struct timespec)); return *e ? OK : NO_MEMORY; }
API int cuEventDestroy_v2(void *e) { free(e); return enter(__func__); }
API int cuEventRecord(void *e, void *s) { ENTER; (void)s; clock_gettime(CLOCK_MONOTONIC, e); return OK; }
API int cuEventSynchronize(void *e) { ENTER; (void)e; return OK; }
API int cuEventElapsedTime(float *ms, void *from, void *to)
{
    ENTER;
    const struct timespec *a = from, *b = to;
    *ms = (float)((double)(b->tv_sec - a->tv_sec) * 1e3 + (double)(b->tv_nsec - a->tv_nsec) * 1e-6);
    return OK;
}
