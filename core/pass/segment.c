/* segment.c: see segment.h. */
#include "pass/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "SEGXSEG1"
#define MAX_CELLS ((uint64_t)1 << 32)

typedef struct head {
    char magic[8];
    uint64_t version, key, n_cells, images, len;
} head;

/* -- Writing ------------------------------------------------------------------------------------ */

static atomic_long kill_left;   /* 0 = off */

void sx_fault_kill(long n) { atomic_store(&kill_left, n); }

static void kill_point(void)
{
    if (atomic_load(&kill_left) > 0 && atomic_fetch_sub(&kill_left, 1) == 1) raise(SIGKILL);
}

static sx_err write_some(int fd, const char *p, size_t n, const char *name, sx_error *er)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            sx_fail(er, SX_EFILE, "%s: cannot write: %s", name, k < 0 ? strerror(errno) : "no space");
            sx_hint(er, "what was finished is kept; make room and run the same line again");
            return SX_EFILE;
        }
        p += k;
        n -= (size_t)k;
    }
    return SX_EOK;
}

sx_err sx_put_bytes(int fd, const void *p, size_t n, const char *name, sx_error *er)
{
    size_t half = atomic_load(&kill_left) > 0 ? n / 2 : 0;
    kill_point();
    sx_err e = write_some(fd, p, half, name, er);
    if (half) kill_point();
    if (!e) e = write_some(fd, (const char *)p + half, n - half, name, er);
    kill_point();
    return e;
}

static sx_err file_error(const char *path, const char *what, sx_error *er)
{
    return sx_fail(er, SX_EFILE, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* -- Header ------------------------------------------------------------------------------------- */

uint64_t sx_segment_key(const sx_segment_cell *cell, size_t n_cells)
{
    return sx_hash64(cell, n_cells * sizeof *cell, n_cells);
}

static uint64_t head_bytes(const sx_segment *s) { return sizeof(head) + s->n_cells * sizeof *s->cell + 8; }
static uint64_t record_bytes(const sx_segment *s) { return sizeof(sx_segment_record) + s->len * sizeof(double); }

static sx_segment *make(const char *path, size_t n_cells)
{
    sx_segment *s = sx_calloc(1, sizeof *s);
    if (!s) return NULL;
    s->fd = -1;
    s->n_cells = n_cells;
    s->path = sx_strdup(path);
    s->cell = sx_calloc(n_cells + 1, sizeof *s->cell);
    if (s->path && s->cell) return s;
    sx_segment_free(s);
    return NULL;
}

static uint64_t head_hash(const head *h, const sx_segment *s)
{
    return sx_hash64(s->cell, s->n_cells * sizeof *s->cell, sx_hash64(h, sizeof *h, 0));
}

sx_err sx_segment_create(const char *path, const sx_segment_cell *cell, size_t n_cells, size_t images, size_t len,
                         sx_segment **out, sx_error *er)
{
    char temp[4200];
    sx_err e = SX_EOK;
    sx_segment *s = *out = make(path, n_cells);
    if (!s) return sx_nomem(er);
    memcpy(s->cell, cell, n_cells * sizeof *cell);
    s->images = images;
    s->len = len;
    s->key = sx_segment_key(cell, n_cells);
    head h = {.version = 1, .key = s->key, .n_cells = n_cells, .images = images, .len = len};
    memcpy(h.magic, MAGIC, 8);
    uint64_t hash = head_hash(&h, s);
    if ((size_t)snprintf(temp, sizeof temp, "%s.tmp", path) >= sizeof temp) {
        e = sx_fail(er, SX_EFILE, "%s: too long a path", path);
        goto done;
    }
    s->fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (s->fd < 0) {
        e = file_error(temp, "create", er);
        goto done;
    }
    if ((e = sx_put_bytes(s->fd, &h, sizeof h, path, er)) ||
        (e = sx_put_bytes(s->fd, s->cell, n_cells * sizeof *s->cell, path, er)) ||
        (e = sx_put_bytes(s->fd, &hash, 8, path, er)) || (e = sx_segment_sync(s, true, er)))
        goto done;
    if (rename(temp, path)) e = file_error(path, "rename", er);
done:
    if (e) {
        if (s->fd >= 0) unlink(temp);
        sx_segment_free(s);
        *out = NULL;
    }
    return e;
}

static sx_err need_file(sx_segment *s, sx_error *er)
{
    if (s->fd >= 0) return SX_EOK;
    s->fd = open(s->path, O_RDWR | O_CLOEXEC);
    if (s->fd < 0 && (errno == EACCES || errno == EROFS)) s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    return s->fd < 0 ? file_error(s->path, "open", er) : SX_EOK;
}

sx_err sx_segment_open(const char *path, sx_segment **out, sx_error *er)
{
    head h;
    uint64_t hash = 0;
    struct stat st;
    sx_segment *s = NULL;
    sx_err e = SX_EOK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *out = NULL;
    if (fd < 0) return file_error(path, "open", er);
    if (fstat(fd, &st)) {
        e = file_error(path, "look at", er);
        goto done;
    }
    if ((size_t)st.st_size < sizeof h || (e = sx_pread(fd, &h, sizeof h, 0, path, er))) {
        if (!e) e = sx_fail(er, SX_EFILE, "%s: damaged: no header", path);
        goto done;
    }
    if (memcmp(h.magic, MAGIC, 8) != 0 || h.version != 1 || h.n_cells > MAX_CELLS ||
        (uint64_t)st.st_size < sizeof h + h.n_cells * sizeof(sx_segment_cell) + 8) {
        e = sx_fail(er, SX_EFILE, "%s: damaged, or of another version or kind of machine", path);
        goto done;
    }
    if (!(s = make(path, (size_t)h.n_cells))) {
        e = sx_nomem(er);
        goto done;
    }
    s->key = h.key;
    s->images = (size_t)h.images;
    s->len = (size_t)h.len;
    if ((e = sx_pread(fd, s->cell, s->n_cells * sizeof *s->cell, sizeof h, path, er)) ||
        (e = sx_pread(fd, &hash, 8, head_bytes(s) - 8, path, er)))
        goto done;
    if (hash != head_hash(&h, s)) {
        e = sx_fail(er, SX_EFILE, "%s: damaged: its header does not fit its hash", path);
        goto done;
    }
    s->done = (size_t)(((uint64_t)st.st_size - head_bytes(s)) / record_bytes(s));
    if (s->done > s->images) s->done = s->images;
done:
    close(fd);
    if (e) sx_segment_free(s);
    else *out = s;
    return e;
}

/* -- Records ------------------------------------------------------------------------------------ */

static uint64_t record_hash(const sx_segment *s, const sx_segment_record *r, const double *v)
{
    return sx_hash64(v, s->len * sizeof *v, sx_hash64(r, offsetof(sx_segment_record, hash), s->key));
}

static sx_err read_record(sx_segment *s, size_t image, double *v, sx_segment_record *r, bool *good, sx_error *er)
{
    uint64_t at = head_bytes(s) + image * record_bytes(s);
    sx_err e = need_file(s, er);
    if (!e) e = sx_pread(s->fd, r, sizeof *r, at, s->path, er);
    if (!e) e = sx_pread(s->fd, v, s->len * sizeof *v, at + sizeof *r, s->path, er);
    *good = !e && r->image == image && r->hash == record_hash(s, r, v);
    return e;
}

sx_err sx_segment_read(sx_segment *s, size_t image, double *v, sx_segment_record *rec, sx_error *er)
{
    bool good = false;
    sx_err e = image < s->done ? read_record(s, image, v, rec, &good, er)
                               : sx_fail(er, SX_EBUG, "%s: image %zu of %zu", s->path, image, s->done);
    if (e || good) return e;
    sx_fail(er, SX_EFILE, "%s: damaged at image %zu: the record does not fit its hash", s->path, image + 1);
    sx_hint(er, "remove that file and run the same line again: only what it held is computed anew");
    return SX_EFILE;
}

sx_err sx_segment_mend(sx_segment *s, sx_error *er)
{
    sx_segment_record rec;
    size_t good = 0;
    bool ok = true;
    double *v = sx_malloc((s->len + 1) * sizeof *v);
    sx_err e = v ? need_file(s, er) : sx_nomem(er);
    while (!e && ok && good < s->done)
        if (!(e = read_record(s, good, v, &rec, &ok, er)) && ok) good++;
    sx_free(v);
    if (e) return e;
    s->done = good;
    off_t end = (off_t)(head_bytes(s) + good * record_bytes(s));
    if (ftruncate(s->fd, end) || lseek(s->fd, end, SEEK_SET) != end) return file_error(s->path, "write", er);
    return SX_EOK;
}

sx_err sx_segment_append(sx_segment *s, const double *v, uint64_t valid, uint64_t masked, sx_error *er)
{
    sx_segment_record r = {.image = s->done, .valid = valid, .masked = masked};
    r.hash = record_hash(s, &r, v);
    sx_err e = sx_put_bytes(s->fd, &r, sizeof r, s->path, er);
    if (!e) e = sx_put_bytes(s->fd, v, s->len * sizeof *v, s->path, er);
    if (!e) s->done++;
    return e;
}

sx_err sx_segment_sync(sx_segment *s, bool at_once, sx_error *er)
{
    if (s->fd < 0 || (!at_once && sx_seconds() - s->last_sync < 1)) return SX_EOK;
    if (fdatasync(s->fd) && errno != EINVAL && errno != ENOSYS) return file_error(s->path, "write", er);
    s->last_sync = sx_seconds();
    return SX_EOK;
}

void sx_segment_rest(sx_segment *s)
{
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}

void sx_segment_free(sx_segment *s)
{
    if (!s) return;
    sx_segment_rest(s);
    sx_free(s->path);
    sx_free(s->cell);
    sx_free(s);
}
