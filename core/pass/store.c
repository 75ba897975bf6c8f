/* store.c: see store.h. */
#include "pass/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sx_store {
    size_t len, n, expected;
    size_t mem_max, mem_cap;   /* records that may be, and are, in memory */
    double *mem;
    int fd;                    /* -1 while nothing has spilled */
};

sx_err sx_store_new(size_t len, size_t n, size_t limit, sx_store **out, sx_error *er)
{
    sx_store *s = sx_calloc(1, sizeof *s);
    *out = s;
    if (!s) return sx_nomem(er);
    s->len = len;
    s->expected = n ? n : 1;
    s->mem_max = len ? limit / (len * sizeof *s->mem) : SIZE_MAX;
    s->fd = -1;
    return SX_EOK;
}

void sx_store_free(sx_store *s)
{
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    sx_free(s->mem);
    sx_free(s);
}

static sx_err open_spill(sx_store *s, sx_error *er)
{
    const char *dir = getenv("TMPDIR");
    char path[512];
    if (!dir || !*dir) dir = "/tmp";
    if ((size_t)snprintf(path, sizeof path, "%s/segx-XXXXXX", dir) >= sizeof path)
        return sx_fail(er, SX_EFILE, "TMPDIR is too long a path");
    s->fd = mkstemp(path);
    if (s->fd < 0) {
        sx_fail(er, SX_EFILE, "%s: cannot create a temporary file: %s", path, strerror(errno));
        sx_hint(er, "statistics of many images are kept there; set TMPDIR, or give more memory with --mem");
        return SX_EFILE;
    }
    unlink(path);
    return SX_EOK;
}

static sx_err spill(sx_store *s, const double *rec, sx_error *er)
{
    sx_err e;
    size_t bytes = s->len * sizeof *rec, done = 0;
    if (s->fd < 0 && (e = open_spill(s, er))) return e;
    off_t at = (off_t)((s->n - s->mem_max) * bytes);
    while (done < bytes) {
        ssize_t k = pwrite(s->fd, (const char *)rec + done, bytes - done, at + (off_t)done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            sx_fail(er, SX_EFILE, "temporary file: cannot write: %s", k < 0 ? strerror(errno) : "no space");
            sx_hint(er, "set TMPDIR to a place with more room, or give more memory with --mem");
            return SX_EFILE;
        }
        done += (size_t)k;
    }
    return SX_EOK;
}

sx_err sx_store_append(sx_store *s, const double *rec, sx_error *er)
{
    if (s->n >= s->mem_max) {
        sx_err e = spill(s, rec, er);
        if (e) return e;
    } else {
        if (s->n == s->mem_cap) {
            size_t cap = s->mem_cap ? 2 * s->mem_cap : s->expected;
            if (cap > s->mem_max) cap = s->mem_max;
            double *p = sx_realloc(s->mem, (cap * s->len + 1) * sizeof *p);
            if (!p) return sx_nomem(er);
            s->mem = p;
            s->mem_cap = cap;
        }
        memcpy(s->mem + s->n * s->len, rec, s->len * sizeof *rec);
    }
    s->n++;
    return SX_EOK;
}

sx_err sx_store_get(sx_store *s, size_t i, double *rec, sx_error *er)
{
    size_t bytes = s->len * sizeof *rec;
    if (i >= s->n) return sx_fail(er, SX_EBUG, "record %zu of %zu", i, s->n);
    if (i < s->mem_max) {
        memcpy(rec, s->mem + i * s->len, bytes);
        return SX_EOK;
    }
    return sx_pread(s->fd, rec, bytes, (uint64_t)(i - s->mem_max) * bytes, "temporary file", er);
}

uint64_t sx_store_spilled(const sx_store *s)
{
    return s && s->n > s->mem_max ? (uint64_t)(s->n - s->mem_max) * s->len * sizeof *s->mem : 0;
}
