/* cache.c: compiled kernels on disk. Nothing here is an error: what cannot be read or written is as if it were not there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/compile.h"

enum { MOST = 256 << 20 };       /* bytes of an entry that is believed */

typedef struct head {
    char magic[8];
    uint64_t key;                /* the part of the key that the name does not hold */
    uint64_t n, hash;            /* of what follows */
} head;

static const char magic[8] = {'S', 'E', 'G', 'X', 'C', 'U', 'B', '1'};

void sx_cache_folder(char folder[512])
{
    const char *own = getenv("SEGX_CUDA_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    folder[0] = '\0';
    if (own && (!*own || strcmp(own, "off") == 0)) return;
    if (own) snprintf(folder, 512, "%s", own);
    else if (xdg && xdg[0] == '/') snprintf(folder, 512, "%s/segx/cuda", xdg);
    else if (home && home[0] == '/') snprintf(folder, 512, "%s/.cache/segx/cuda", home);
}

static void name_of(const char *folder, sx_cache_key k, const char *tail, char path[640])
{
    snprintf(path, 640, "%s/%016llx%s", folder, (unsigned long long)k.a, tail);
}

bool sx_cache_get(const char *folder, sx_cache_key k, sx_cubin *out)
{
    char path[640];
    head h;
    struct stat st;
    bool ok = false;
    *out = (sx_cubin){0};
    if (!folder[0]) return false;
    name_of(folder, k, ".cubin", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof h || st.st_size > MOST) goto done;
    if (sx_pread(fd, &h, sizeof h, 0, path, NULL)) goto done;
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.key != k.b || h.n == 0 || h.n != (uint64_t)st.st_size - sizeof h) goto done;
    if (!(out->data = sx_malloc((size_t)h.n)) || sx_pread(fd, out->data, (size_t)h.n, sizeof h, path, NULL)) goto done;
    out->n = (size_t)h.n;
    ok = sx_hash64(out->data, out->n, k.b) == h.hash;
done:
    close(fd);
    if (!ok) sx_cubin_free(out);
    return ok;
}

/* A folder and those above it; private, since code is loaded from there. */
static bool make_folder(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s", folder);
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/') continue;
        const char was = *p;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
        if (!was) return true;
        *p = was;
    }
}

static bool write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return false;
        at += w;
        n -= (size_t)w;
    }
    return true;
}

/* The file under a name of its own, then renamed: readers and other writers see all of it or nothing. */
static void put_file(const char *path, const void *head_bytes, size_t head_n, const void *p, size_t n)
{
    char own[680];
    snprintf(own, sizeof own, "%s.%ld.tmp", path, (long)getpid());
    int fd = open(own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    bool ok = write_all(fd, head_bytes, head_n) && write_all(fd, p, n);
    ok = close(fd) == 0 && ok;
    if (!ok || rename(own, path) != 0) unlink(own);
}

void sx_cache_put(const char *folder, sx_cache_key k, const sx_cubin *c, const char *text)
{
    char path[640];
    head h = {.key = k.b, .n = c->n, .hash = sx_hash64(c->data, c->n, k.b)};
    if (!folder[0] || !make_folder(folder)) return;
    memcpy(h.magic, magic, sizeof magic);
    name_of(folder, k, ".cu", path);
    put_file(path, "", 0, text, strlen(text));
    name_of(folder, k, ".cubin", path);
    put_file(path, &h, sizeof h, c->data, c->n);
}
