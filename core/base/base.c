/* base.c: error records, memory with fault injection, reading, hashing. */
#include "base/base.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* -- Errors ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
    int exit_code;
} err_row[] = {
#define SX_ERR(name, exit_code, text) {#name, text, exit_code},
#include "base/err.def"
#undef SX_ERR
};

#define N_ERR (sizeof err_row / sizeof err_row[0])

sx_err sx_fail(sx_error *er, sx_err code, const char *fmt, ...)
{
    if (!er)
        return code;
    er->code = code;
    er->hint[0] = '\0';
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(er->msg, sizeof er->msg, fmt, ap) < 0)
        snprintf(er->msg, sizeof er->msg, "%s", err_row[(size_t)code < N_ERR ? code : SX_EBUG].text);
    va_end(ap);
    return code;
}

void sx_hint(sx_error *er, const char *fmt, ...)
{
    if (!er)
        return;
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(er->hint, sizeof er->hint, fmt, ap) < 0)
        er->hint[0] = '\0';
    va_end(ap);
}

sx_err sx_nomem(sx_error *er)
{
    return sx_fail(er, SX_EMEMORY, "%s", err_row[SX_EMEMORY].text);
}

const char *sx_err_name(sx_err code)
{
    return (size_t)code < N_ERR ? err_row[code].name : "BUG";
}

int sx_err_exit(sx_err code)
{
    return (size_t)code < N_ERR ? err_row[code].exit_code : err_row[SX_EBUG].exit_code;
}

/* -- Faults ------------------------------------------------------------------------------- */

static atomic_long fault_memory_left;   /* 0 = off; 1 = the next allocation fails */
static atomic_long fault_read_left;
static atomic_bool fault_happened;

static bool fault_due(atomic_long *left)
{
    if (atomic_load_explicit(left, memory_order_relaxed) <= 0)
        return false;
    if (atomic_fetch_sub(left, 1) != 1)
        return false;
    atomic_store(&fault_happened, true);
    return true;
}

void sx_fault_memory(long n)
{
    atomic_store(&fault_happened, false);
    atomic_store(&fault_memory_left, n);
}

void sx_fault_read(long n)
{
    atomic_store(&fault_happened, false);
    atomic_store(&fault_read_left, n);
}

bool sx_fault_fired(void)
{
    return atomic_load(&fault_happened);
}

/* -- Memory ------------------------------------------------------------------------------- */

void *sx_malloc(size_t n)
{
    return fault_due(&fault_memory_left) ? NULL : malloc(n ? n : 1);
}

void *sx_calloc(size_t count, size_t size)
{
    if (fault_due(&fault_memory_left))
        return NULL;
    if (!count || !size)
        count = size = 1;
    return calloc(count, size);   /* the C library checks the product */
}

void *sx_realloc(void *p, size_t n)
{
    return fault_due(&fault_memory_left) ? NULL : realloc(p, n ? n : 1);
}

enum { HUGE_PAGE = 2 << 20, HUGE_BYTES = 4 << 20 };

void *sx_malloc_aligned(size_t n)
{
    if (fault_due(&fault_memory_left) || n > SIZE_MAX - 64)
        return NULL;
    const size_t align = n >= HUGE_BYTES ? HUGE_PAGE : 64, rounded = n ? (n + align - 1) / align * align : align;
    void *p = rounded < n ? NULL : aligned_alloc(align, rounded);
#ifdef MADV_HUGEPAGE
    if (p && align == HUGE_PAGE)
        (void)madvise(p, rounded, MADV_HUGEPAGE);   /* one fault for 2 MiB instead of 512 */
#endif
    return p;
}

char *sx_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = sx_malloc(n);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

void sx_free(void *p)
{
    free(p);
}

/* -- Arena -------------------------------------------------------------------------------- */

enum { ARENA_ALIGN = 16, ARENA_BLOCK = 16 * 1024 };

typedef struct block {
    struct block *next;
    size_t used, size;
    _Alignas(ARENA_ALIGN) unsigned char data[];
} block;

struct sx_arena {
    block *head;   /* the block that is being filled; full ones follow */
};

sx_arena *sx_arena_new(void)
{
    return sx_calloc(1, sizeof(sx_arena));
}

void *sx_arena_alloc(sx_arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (!n)
        n = ARENA_ALIGN;
    block *b = a->head;
    if (!b || b->size - b->used < n) {
        size_t size = n > ARENA_BLOCK / 4 ? n : ARENA_BLOCK;
        block *fresh = sx_calloc(1, sizeof *fresh + size);
        if (!fresh)
            return NULL;
        fresh->size = size;
        if (b && size == n) {   /* a large one of its own: go on filling the present block */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->head = fresh;
        }
        b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

void sx_arena_free(sx_arena *a)
{
    if (!a)
        return;
    for (block *b = a->head; b;) {
        block *next = b->next;
        sx_free(b);
        b = next;
    }
    sx_free(a);
}

/* -- Time --------------------------------------------------------------------------------- */

double sx_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- Reading ------------------------------------------------------------------------------ */

sx_err sx_pread(int fd, void *dst, size_t n, uint64_t off, const char *path, sx_error *er)
{
    const char *name = path ? path : "(file)";
    if (fault_due(&fault_read_left))
        return sx_fail(er, SX_EFILE, "%s: reading %zu bytes at offset %llu: %s", name, n,
                       (unsigned long long)off, "injected fault");
    unsigned char *to = dst;
    size_t left = n;
    while (left) {
        if (off > INT64_MAX)
            return sx_fail(er, SX_EFILE, "%s: offset %llu is out of range", name,
                           (unsigned long long)off);
        size_t ask = left < SSIZE_MAX ? left : SSIZE_MAX;
        ssize_t got = pread(fd, to, ask, (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sx_fail(er, SX_EFILE, "%s: reading %zu bytes at offset %llu: %s", name, left,
                           (unsigned long long)off, strerror(errno));
        if (got == 0) {
            sx_fail(er, SX_EFILE, "%s: the file ends at offset %llu, %zu bytes too early", name,
                    (unsigned long long)off, left);
            sx_hint(er, "it was cut off or is still being written; copy or make it again");
            return SX_EFILE;
        }
        to += got;
        left -= (size_t)got;
        off += (uint64_t)got;
    }
    return SX_EOK;
}

/* -- Hash --------------------------------------------------------------------------------- */

uint64_t sx_hash64(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}
