/*
 * libcuda.c: a stand-in for NVIDIA's driver, for tests on machines without a GPU: its memory is the host's, a module is a shared
 * object that libnvrtc.c has made from the kernel's text, a launch calls that, block by block.
 *
 * Work on a stream is queued. When it runs says FAKE_CUDA_ASYNC: at once (unset), or as late as the driver's documentation allows:
 * when something waits for it, and no more than that (0), or besides a few pieces of work of any stream after every call (another
 * number: which). Copies from and to pinned memory use it when they run; from pageable memory it is read by the call; a copy to
 * pageable memory, too, has ended when the call returns. What queued work needs must stay: freed device memory is a fault to read or
 * write from then on; pinned memory, streams and modules that are freed too early, copies that leave their memory and work that is queued
 * at the end stop the program with a message. A wait that fails (FAKE_CUDA_FAIL) drops what was queued: so does a device
 * that has failed.
 *
 *   FAKE_CUDA_FAIL=N[:CALL[:RC]]   the N-th call (of those named CALL, if given) gives RC (default 999)
 *   FAKE_CUDA_WRONG=1              a low bit of the first number of every copy from the device is another
 *   FAKE_CUDA_MEMORY=BYTES         the device's memory (default 4 GiB)
 *   FAKE_CUDA_CC=75                its compute capability (default 90)
 *   FAKE_CUDA_DEVICES=N            how many (default 1)
 *   FAKE_CUDA_LOG=FILE             at the end: calls, launches, copies to the device while kernels of another stream were queued,
 *                                  bytes that were not freed
 *   FAKE_CUDA_TRACE=FILE           every call's name, as they come
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../core/cuda/abi.h"

typedef unsigned long long dptr;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_BINARY = 209, BAD_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, FAILED = 999 };

static size_t used, calls, launches, overlapped;

static long long number(const char *name, long long otherwise)
{
    const char *s = getenv(name);
    return s && *s ? atoll(s) : otherwise;
}

static size_t memory(void) { return (size_t)number("FAKE_CUDA_MEMORY", 4ll << 30); }
static int wrong_bits(void) { return number("FAKE_CUDA_WRONG", 0) != 0; }

_Noreturn static void wrong(const char *what)
{
    fprintf(stderr, "libcuda.c: %s\n", what);
    abort();
}

static void run_some(void);
static int all_quiet(void);

/* What a call gives before it does anything. */
static int enter(const char *call)
{
    static size_t matching;
    static FILE *trace;
    const char *s = getenv("FAKE_CUDA_FAIL"), *path = getenv("FAKE_CUDA_TRACE");
    calls++;
    if (path && (trace || (trace = fopen(path, "w")))) fprintf(trace, "%s\n", call);
    run_some();
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
    fprintf(f, "calls %zu launches %zu overlapped %zu left %zu\n", calls, launches, overlapped, used);
    fclose(f);
}

/* -- Device ------------------------------------------------------------------------------------------ */

API int cuInit(unsigned flags) { ENTER; (void)flags; return number("FAKE_CUDA_DEVICES", 1) ? OK : 100; }
/* NVIDIA's own NVRTC opens the driver and asks for a table; it looks at what comes back, but not whether there is such a call. */
API int cuGetExportTable(const void **table, const void *id) { (void)id; *table = NULL; return NOT_FOUND; }
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
    *v = attribute == 16 ? 4 : attribute == 38 ? 50 << 20 : attribute == 75 ? cc / 10 : attribute == 76 ? cc % 10 : 0;
    return OK;
}
API int cuDeviceTotalMem_v2(size_t *bytes, int device) { ENTER; (void)device; *bytes = memory(); return OK; }
API int cuDevicePrimaryCtxRetain(void **ctx, int device) { ENTER; (void)device; *ctx = &used; return OK; }
API int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    if (!all_quiet()) wrong("work is queued at the end");
    return enter(__func__);
}
API int cuCtxSetCurrent(void *ctx) { ENTER; (void)ctx; return OK; }

/* -- Memory: pages of its own for each piece, one that must not be touched after it -------------------------- */

typedef struct room {
    char *p, *base;
    size_t n, pages;             /* bytes; of the pages, but the last */
    int freed;
    struct room *next;
} room;
static room *device_rooms, *pinned_rooms;

static char *make_room(room **list, size_t n)
{
    const size_t page = 4096, round = (n + 255) / 256 * 256, pages = (round + page - 1) / page * page;
    room *r = calloc(1, sizeof *r);
    char *base = r ? mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    if (base == MAP_FAILED) {
        free(r);
        return NULL;
    }
    mprotect(base + pages, page, PROT_NONE);
    *r = (room){.p = base + pages - round, .base = base, .n = n, .pages = pages, .next = *list};
    *list = r;
    return r->p;
}

/* The piece that bytes p .. p + n - 1 lie in; NULL: none. */
static room *find(room *list, const void *p, size_t n)
{
    const char *c = p;
    for (; list; list = list->next)
        if (!list->freed && c >= list->p && n <= list->n && (size_t)(c - list->p) <= list->n - n) return list;
    return NULL;
}

/* Gives freed pieces back, which stay as long as something is queued that may touch them. */
static void sweep(room **list)
{
    while (*list) {
        room *r = *list;
        if (!r->freed) {
            list = &r->next;
            continue;
        }
        *list = r->next;
        munmap(r->base, r->pages + 4096);
        free(r);
    }
}

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
    char *r = make_room(&device_rooms, n);
    if (!r) return NO_MEMORY;
    memset(r, 0xcd, n);                 /* nobody may count on zeros */
    used += n;
    *p = (dptr)(size_t)r;
    return OK;
}

/* -- Streams and events: numbered work, in order ---------------------------------------------------------------- */

typedef struct stream stream;
typedef struct event event;
typedef struct work {
    enum { COPY, SET, LAUNCH, RECORD, WAIT } what;
    char *to;
    const char *from;
    size_t n;                    /* bytes; SET: words; LAUNCH: blocks; WAIT: number of the work that is waited for */
    unsigned word;
    void (*kernel)(const void *, unsigned, unsigned);
    event *event;
    stream *on;                  /* WAIT */
    int unknown;                 /* COPY: to pageable memory */
    int back;                    /* COPY: from the device to the host */
    struct work *next;
    char own[];                  /* LAUNCH: arguments; COPY from pageable memory: the bytes */
} work;

struct stream {
    work *first, *last;
    size_t queued, ran;          /* numbers of the last one */
    stream *next;
};

struct event {
    unsigned flags;
    stream *on;                  /* of the last record; NULL: none yet */
    size_t number;
    struct timespec time;
};

static stream *streams;          /* they stay */

static int all_quiet(void)
{
    for (const stream *s = streams; s; s = s->next)
        if (s->first) return 0;
    return 1;
}

static void touch(const char *p, size_t n, const char *what)
{
    if (!find(device_rooms, p, n) && !find(pinned_rooms, p, n)) wrong(what);
}

static void run_until(stream *s, size_t number)
{
    while (s->ran < number) {
        work *w = s->first;
        if (w->what == WAIT) run_until(w->on, w->n);
        if (w->what == COPY) {
            if (w->from != w->own) touch(w->from, w->n, "a copy reads memory that is not there");
            if (!w->unknown) touch(w->to, w->n, "a copy writes memory that is not there");
            memcpy(w->to, w->from, w->n);
            if (w->n > 2 && w->back && wrong_bits()) w->to[2] ^= 1;
        } else if (w->what == SET) {
            touch(w->to, 4 * w->n, "memory is set that is not there");
            for (size_t i = 0; i < w->n; i++) memcpy(w->to + 4 * i, &w->word, 4);
        } else if (w->what == LAUNCH) {
            for (unsigned b = (unsigned)w->n; b-- > 0;) w->kernel(w->own, b, (unsigned)w->n);   /* their order must not matter */
        } else if (w->what == RECORD && w->event) {
            clock_gettime(CLOCK_MONOTONIC, &w->event->time);
        }
        s->first = w->next;
        s->ran++;
        free(w);
    }
}

static void drop(stream *s)
{
    while (s->first) {
        work *w = s->first;
        s->first = w->next;
        free(w);
    }
    s->ran = s->queued;
}

static work *queue(stream *s, int what, size_t own)
{
    work *w = calloc(1, sizeof *w + own);
    if (!w) return NULL;
    w->what = what;
    if (s->first) s->last->next = w;
    else s->first = w;
    s->last = w;
    s->queued++;
    return w;
}

/* What follows a call that has queued something. */
static int queued(stream *s)
{
    if (!getenv("FAKE_CUDA_ASYNC")) run_until(s, s->queued);
    return OK;
}

/* Work that happens to run now. */
static void run_some(void)
{
    static unsigned long long state;
    const unsigned long long seed = (unsigned long long)number("FAKE_CUDA_ASYNC", 0);
    if (!seed) return;
    if (!state) state = seed;
    for (stream *s = streams; s; s = s->next) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        for (unsigned k = state >> 62; k-- && s->first;) run_until(s, s->ran + 1);
    }
}

static int copy(void *to, const void *from, size_t n, stream *s, int host_to, int host_from)
{
    if (!s) return BAD_HANDLE;
    const int pageable_to = host_to && !find(pinned_rooms, to, n), pageable_from = host_from && !find(pinned_rooms, from, n);
    work *w = queue(s, COPY, pageable_from ? n : 0);
    if (!w) return NO_MEMORY;
    w->to = to;
    w->from = pageable_from ? memcpy(w->own, from, n) : from;
    w->n = n;
    w->unknown = pageable_to;
    w->back = host_to;
    for (const stream *o = streams; host_from && o; o = o->next)
        for (const work *x = o == s ? NULL : o->first; x; x = x->next)
            if (x->what == LAUNCH) {
                overlapped++;
                break;
            }
    if (pageable_to) run_until(s, s->queued);
    return queued(s);
}

API int cuMemcpyHtoDAsync_v2(dptr to, const void *from, size_t n, void *s) { ENTER; return copy((void *)(size_t)to, from, n, s, 0, 1); }
API int cuMemcpyDtoHAsync_v2(void *to, dptr from, size_t n, void *s) { ENTER; return copy(to, (void *)(size_t)from, n, s, 1, 0); }
API int cuMemcpyDtoDAsync_v2(dptr to, dptr from, size_t n, void *s)
{
    ENTER;
    return copy((void *)(size_t)to, (void *)(size_t)from, n, s, 0, 0);
}
API int cuMemsetD32Async(dptr p, unsigned word, size_t n, void *s)
{
    ENTER;
    work *w = s ? queue(s, SET, 0) : NULL;
    if (!w) return BAD_HANDLE;
    w->to = (char *)(size_t)p;
    w->word = word;
    w->n = n;
    return queued(s);
}

API int cuMemFree_v2(dptr p)
{
    room *r = find(device_rooms, (void *)(size_t)p, 1);
    if (!r || r->p != (char *)(size_t)p) wrong("device memory is freed that is not there");
    used -= r->n;
    r->freed = 1;
    mprotect(r->base, r->pages, PROT_NONE);
    if (all_quiet()) sweep(&device_rooms);
    return enter(__func__);
}

API int cuMemHostAlloc(void **p, size_t n, unsigned flags)
{
    ENTER;
    (void)flags;
    *p = make_room(&pinned_rooms, n);
    return *p ? OK : NO_MEMORY;
}

API int cuMemFreeHost(void *p)
{
    room *r = find(pinned_rooms, p, 1);
    if (!r || r->p != p) wrong("pinned memory is freed that is not there");
    for (const stream *s = streams; s; s = s->next)
        for (const work *w = s->first; w; w = w->next)
            if (w->what == COPY && (find(pinned_rooms, w->to, 1) == r || find(pinned_rooms, w->from, 1) == r))
                wrong("pinned memory is freed that a queued copy needs");
    r->freed = 1;
    sweep(&pinned_rooms);
    return enter(__func__);
}

API int cuStreamCreate(void **out, unsigned flags)
{
    ENTER;
    (void)flags;
    stream *s = calloc(1, sizeof *s);
    if (!s) return NO_MEMORY;
    s->next = streams;
    *out = streams = s;
    return OK;
}
API int cuStreamDestroy_v2(void *on)
{
    const stream *s = on;
    if (s->first) wrong("a stream is destroyed that has work queued");
    return enter(__func__);
}

/* The end of a wait: until then everything has run; a failed one drops the work. */
static int waited(int rc, stream *s, size_t number)
{
    if (rc) drop(s);
    else run_until(s, number);
    return rc;
}
API int cuStreamSynchronize(void *on)
{
    stream *s = on;
    return waited(enter(__func__), s, s->queued);
}
API int cuStreamWaitEvent(void *on, void *of, unsigned flags)
{
    ENTER;
    (void)flags;
    const event *e = of;
    if (!e->on) return OK;
    work *w = queue(on, WAIT, 0);
    if (!w) return NO_MEMORY;
    w->on = e->on;
    w->n = e->number;
    return queued(on);
}
API int cuEventCreate(void **out, unsigned flags)
{
    ENTER;
    event *e = calloc(1, sizeof *e);
    *out = e;
    if (e) e->flags = flags;
    return e ? OK : NO_MEMORY;
}
API int cuEventDestroy_v2(void *e)
{
    for (stream *s = streams; s; s = s->next)
        for (work *w = s->first; w; w = w->next)
            if (w->event == e) w->event = NULL;
    free(e);
    return enter(__func__);
}
API int cuEventRecord(void *of, void *on)
{
    ENTER;
    event *e = of;
    stream *s = on;
    work *w = queue(s, RECORD, 0);
    if (!w) return NO_MEMORY;
    w->event = e;
    e->on = s;
    e->number = s->queued;
    return queued(s);
}
API int cuEventSynchronize(void *of)
{
    const event *e = of;
    const int rc = enter(__func__);
    return e->on ? waited(rc, e->on, e->number) : rc;
}
API int cuEventElapsedTime(float *ms, void *from, void *to)
{
    ENTER;
    const event *a = from, *b = to;
    if (!a->on || !b->on || (a->flags | b->flags) & 2) return BAD_HANDLE;
    if (a->on->ran < a->number || b->on->ran < b->number) return NOT_READY;
    *ms = (float)((double)(b->time.tv_sec - a->time.tv_sec) * 1e3 + (double)(b->time.tv_nsec - a->time.tv_nsec) * 1e-6);
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
API int cuModuleUnload(void *module)
{
    if (!all_quiet()) wrong("a module is unloaded while work is queued");
    dlclose(module);
    return enter(__func__);
}
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
    (void)shared, (void)extra;
    if (!stream || gy != 1 || gz != 1 || bx != 256 || by != 1 || bz != 1 || gx == 0) return INVALID;
    work *w = queue(stream, LAUNCH, sizeof(sx_gpu_args));
    if (!w) return NO_MEMORY;
    memcpy(&w->kernel, &f, sizeof f);
    memcpy(w->own, arguments[0], sizeof(sx_gpu_args));
    w->n = gx;
    launches++;
    return queued(stream);
}
