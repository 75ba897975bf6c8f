/* keep.c: see keep.h: folder, lock, index of finished cells, journal. Keys and boxes are in cells.c. */
#include "pass/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_LEN 4096

/* Keys in an open-addressed table; slot.seg is unused in the set of journal lines. */
typedef struct slot {
    uint64_t key;
    size_t seg, cell;         /* seg: number + 1; 0 = empty */
} slot;

typedef struct table {
    slot *s;
    size_t n, size;           /* size: a power of two */
} table;

struct sx_keep {
    char *dir, out_path[PATH_LEN];   /* out: the file that is being written */
    int lock, journal, out;
    bool retry;
    sx_segment **seg;
    size_t n_seg;
    table done, logged;
};

/* -- Table ---------------------------------------------------------------------------------------- */

static slot *look(const table *t, uint64_t key)
{
    size_t i = key & (t->size - 1);
    while (t->s[i].seg && t->s[i].key != key) i = (i + 1) & (t->size - 1);
    return &t->s[i];
}

static sx_err set(table *t, uint64_t key, size_t seg, size_t cell, sx_error *er)
{
    if (2 * (t->n + 1) > t->size) {
        table wide = {.size = t->size ? 2 * t->size : 1024};
        wide.s = sx_calloc(wide.size, sizeof *wide.s);
        if (!wide.s) return sx_nomem(er);
        for (size_t i = 0; i < t->size; i++)
            if (t->s[i].seg) *look(&wide, t->s[i].key) = t->s[i];
        wide.n = t->n;
        sx_free(t->s);
        *t = wide;
    }
    slot *p = look(t, key);
    if (!p->seg) t->n++;
    *p = (slot){key, seg + 1, cell};
    return SX_EOK;
}

static bool has(const table *t, uint64_t key) { return t->size && look(t, key)->seg; }

/* -- Files ---------------------------------------------------------------------------------------- */

static sx_err cannot(const char *path, const char *what, sx_error *er)
{
    int why = errno;
    sx_fail(er, SX_EFILE, "%s: cannot %s: %s", path, what, strerror(why));
    if (why == EACCES || why == EROFS || why == EPERM)
        sx_hint(er, "the run folder must be writable; give another out= (segx show FOLDER only reads)");
    return SX_EFILE;
}

static sx_err path_of(const sx_keep *k, const char *name, char *path, sx_error *er)
{
    if ((size_t)snprintf(path, PATH_LEN, "%s/%s", k->dir, name) >= PATH_LEN)
        return sx_fail(er, SX_EFILE, "%s: too long a path", k->dir);
    return SX_EOK;
}

static sx_err make_dirs(char *path, sx_error *er)
{
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/') continue;
        char c = *p;
        *p = 0;
        if (mkdir(path, 0777) && errno != EEXIST) {
            struct stat st;
            if (c != '/' || stat(path, &st)) return cannot(path, "make the folder", er);
        }
        *p = c;
        if (!c) return SX_EOK;
    }
}

static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

/* Gives up the file that is being written. */
static void drop_file(sx_keep *k)
{
    char temp[PATH_LEN + 8];
    if (k->out < 0) return;
    close(k->out);
    k->out = -1;
    snprintf(temp, sizeof temp, "%s.tmp", k->out_path);
    unlink(temp);
}

sx_err sx_keep_start(sx_keep *k, const char *name, sx_error *er)
{
    char temp[PATH_LEN + 8];
    drop_file(k);
    sx_err e = path_of(k, name, k->out_path, er);
    if (!e && k->lock < 0) e = sx_fail(er, SX_EBUG, "%s: opened to look only", k->dir);
    if (e) return e;
    snprintf(temp, sizeof temp, "%s.tmp", k->out_path);
    k->out = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return k->out < 0 ? cannot(temp, "create", er) : SX_EOK;
}

sx_err sx_keep_add(sx_keep *k, const void *p, size_t n, sx_error *er)
{
    if (k->out < 0) return sx_fail(er, SX_EARG, "%s: no file is being written", k->dir);
    sx_err e = sx_put_bytes(k->out, p, n, k->out_path, er);
    if (e) drop_file(k);
    return e;
}

sx_err sx_keep_replace(sx_keep *k, sx_error *er)
{
    char temp[PATH_LEN + 8];
    sx_err e = SX_EOK;
    if (k->out < 0) return sx_fail(er, SX_EARG, "%s: no file is being written", k->dir);
    snprintf(temp, sizeof temp, "%s.tmp", k->out_path);
    if (fsync(k->out) && errno != EINVAL) e = cannot(k->out_path, "write", er);
    if (!e && rename(temp, k->out_path)) e = cannot(k->out_path, "rename", er);
    if (e) {
        drop_file(k);
        return e;
    }
    if (close(k->out)) e = cannot(k->out_path, "write", er);
    k->out = -1;
    sync_dir(k->dir);
    return e;
}

sx_err sx_keep_put(sx_keep *k, const char *name, const void *p, size_t n, sx_error *er)
{
    sx_err e = sx_keep_start(k, name, er);
    if (!e) e = sx_keep_add(k, p, n, er);
    return e ? e : sx_keep_replace(k, er);
}

static sx_err lock_folder(sx_keep *k, sx_error *er)
{
    char path[PATH_LEN], text[32] = "";
    sx_err e = path_of(k, "lock", path, er);
    if (e) return e;
    k->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (k->lock < 0) return cannot(path, "create", er);
    if (flock(k->lock, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK) return cannot(path, "lock", er);
        ssize_t n = pread(k->lock, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\n")] = 0;
        sx_fail(er, SX_EFILE, "%s: another process%s%s is writing there", k->dir, text[0] ? ", number " : "", text);
        sx_hint(er, "wait for it, or give another out=; nothing was changed");
        return SX_EFILE;
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(k->lock, 0) || pwrite(k->lock, text, (size_t)n, 0) != n) return cannot(path, "write", er);
    return SX_EOK;
}

/* -- Segments ------------------------------------------------------------------------------------- */

static sx_err add_segment(sx_keep *k, sx_segment *s, sx_error *er)
{
    sx_segment **list = sx_realloc(k->seg, (k->n_seg + 1) * sizeof *list);
    if (!list) return sx_nomem(er);
    k->seg = list;
    list[k->n_seg++] = s;
    return SX_EOK;
}

static sx_err index_segment(sx_keep *k, size_t number, sx_error *er)
{
    const sx_segment *s = k->seg[number];
    sx_err e = SX_EOK;
    for (size_t i = 0; !e && s->done == s->images && i < s->n_cells; i++)
        e = set(&k->done, s->cell[i].key, number, i, er);
    return e;
}

static int segment_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".seg") == 0;
}

static sx_err make_stats(const sx_keep *k, sx_error *er)
{
    char stats[PATH_LEN];
    sx_err e = path_of(k, "stats", stats, er);
    if (!e && mkdir(stats, 0777) && errno != EEXIST) e = cannot(stats, "make the folder", er);
    return e;
}

static sx_err read_segments(sx_keep *k, bool fresh, sx_error *er)
{
    char stats[PATH_LEN], path[PATH_LEN + 300];
    struct dirent **list = NULL;
    sx_err e = path_of(k, "stats", stats, er);
    if (e) return e;
    int n = scandir(stats, &list, segment_file, alphasort);
    if (n < 0 && errno == ENOENT) return SX_EOK;
    if (n < 0) return cannot(stats, "read", er);
    for (int i = 0; i < n; i++) {
        sx_segment *s = NULL;
        snprintf(path, sizeof path, "%s/%s", stats, list[i]->d_name);
        if (fresh) {
            if (!e && unlink(path)) e = cannot(path, "remove", er);
        } else if (!e && !(e = sx_segment_open(path, &s, er)) && (e = add_segment(k, s, er))) {
            sx_segment_free(s);
        } else if (e == SX_EFILE) {
            sx_hint(er, "remove that file and run the same line again: only what it held is computed anew");
        }
        if (!e && s) e = index_segment(k, k->n_seg - 1, er);
        free(list[i]);
    }
    free(list);
    return e;
}

/* -- Journal -------------------------------------------------------------------------------------- */

#define LINE_START "{\"cell\":\""

/* Notes the cells that have a line; cuts off a last line that was not finished. */
static sx_err read_journal(sx_keep *k, sx_error *er)
{
    char path[PATH_LEN], *text = NULL;
    struct stat st;
    sx_err e = path_of(k, "journal.jsonl", path, er);
    if (e) return e;
    k->journal = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (k->journal < 0 || fstat(k->journal, &st)) return cannot(path, "open", er);
    size_t n = (size_t)st.st_size, end = 0;
    if (!(text = sx_malloc(n + 1))) return sx_nomem(er);
    if ((e = sx_pread(k->journal, text, n, 0, path, er))) goto done;
    text[n] = 0;
    for (size_t at = 0; at < n; at = end) {
        const char *stop = memchr(text + at, '\n', n - at);
        if (!stop) break;
        end = (size_t)(stop - text) + 1;
        if (end - at > sizeof LINE_START + 16 && memcmp(text + at, LINE_START, sizeof LINE_START - 1) == 0 &&
            (e = set(&k->logged, strtoull(text + at + sizeof LINE_START - 1, NULL, 16), 0, 0, er)))
            goto done;
    }
    if (ftruncate(k->journal, (off_t)end) || lseek(k->journal, 0, SEEK_END) < 0) e = cannot(path, "write", er);
done:
    sx_free(text);
    return e;
}

/* Grows with malloc's own doubling; plain text is put in JSON's quotes. */
typedef struct text {
    char *s;
    size_t n, cap;
    bool failed;
} text;

static void add(text *t, const char *s, size_t n)
{
    if (t->n + n + 1 > t->cap) {
        size_t cap = 2 * (t->n + n + 128);
        char *p = t->failed ? NULL : sx_realloc(t->s, cap);
        if (!p) {
            t->failed = true;
            return;
        }
        t->s = p;
        t->cap = cap;
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
}

static void add_text(text *t, const char *s) { add(t, s, strlen(s)); }

static void add_quoted(text *t, const char *s)
{
    add(t, "\"", 1);
    for (; *s; s++) {
        char code[8];
        if (*s == '"' || *s == '\\' || (unsigned char)*s < 32) {
            snprintf(code, sizeof code, "\\u%04x", (unsigned)(unsigned char)*s);
            add_text(t, code);
        } else {
            add(t, s, 1);
        }
    }
    add(t, "\"", 1);
}

static void add_place(text *t, const sx_graph *g, sx_axes axes, size_t combo)
{
    int last = sx_graph_axes(g), n = 0;
    size_t rest = sx_axes_count(g, axes & SX_SWEEP_MASK);
    add_text(t, "{");
    for (int a = 0; a < last; a++) {
        if (!(axes & SX_AX_SWEEP(a))) continue;
        const sx_sweep_axis *ax = sx_graph_axis_get(g, a);
        rest /= ax->count;
        if (n++) add_text(t, ",");
        add_quoted(t, ax->name);
        add_text(t, ":");
        add_quoted(t, ax->label[combo / rest % ax->count]);
    }
    add_text(t, "}");
}

/* Lines of the cells of a segment that have none yet; at: what only the process that computes them knows, or NULL. */
static sx_err log_cells(sx_keep *k, const sx_segment *s, const sx_graph *g, const sx_id *sum, const size_t *combo,
                        sx_error *er)
{
    text t = {0};
    sx_err e = SX_EOK;
    const char *name = strrchr(s->path, '/') + 1;
    for (size_t i = 0; !e && i < s->n_cells; i++) {
        char head[160];
        if (has(&k->logged, s->cell[i].key)) continue;
        snprintf(head, sizeof head, LINE_START "%016" PRIx64 "\",\"state\":\"done\",\"segment\":\"stats/", s->cell[i].key);
        add_text(&t, head);
        add_text(&t, name);
        snprintf(head, sizeof head, "\",\"number\":%zu,\"images\":%zu", i, s->images);
        add_text(&t, head);
        if (g) {
            char *expression = sx_text(g, sum[i], 160);
            if (!expression) t.failed = true;
            add_text(&t, ",\"at\":");
            add_place(&t, g, sx_node_get(g, sum[i])->axes, combo[i]);
            add_text(&t, ",\"sum\":");
            if (expression) add_quoted(&t, expression);
            sx_free(expression);
        }
        add_text(&t, "}\n");
        e = t.failed ? sx_nomem(er) : set(&k->logged, s->cell[i].key, 0, 0, er);
    }
    if (!e && t.n) e = sx_put_bytes(k->journal, t.s, t.n, "journal.jsonl", er);
    if (!e && t.n && fdatasync(k->journal) && errno != EINVAL) e = cannot("journal.jsonl", "write", er);
    sx_free(t.s);
    return e;
}

/* -- The folder ----------------------------------------------------------------------------------- */

static sx_err new_keep(const char *dir, sx_keep **out, sx_error *er)
{
    sx_keep *k = *out = sx_calloc(1, sizeof *k);
    if (!k) return sx_nomem(er);
    k->lock = k->journal = k->out = -1;
    if (!dir[0]) return sx_fail(er, SX_EFILE, "the run folder has no name");
    return (k->dir = sx_strdup(dir)) ? SX_EOK : sx_nomem(er);
}

sx_err sx_keep_open(const char *dir, bool fresh, sx_keep **out, sx_error *er)
{
    sx_err e = new_keep(dir, out, er);
    sx_keep *k = *out;
    if (e || (e = make_dirs(k->dir, er)) || (e = lock_folder(k, er)) || (e = make_stats(k, er)) ||
        (e = read_segments(k, fresh, er)) || (e = read_journal(k, er)))
        goto done;
    if (fresh) {
        sx_free(k->logged.s);
        k->logged = (table){0};
        if (ftruncate(k->journal, 0) || lseek(k->journal, 0, SEEK_SET) < 0) e = cannot(k->dir, "start over in", er);
    }
    for (size_t i = 0; !e && i < k->n_seg; i++)
        if (k->seg[i]->done == k->seg[i]->images) e = log_cells(k, k->seg[i], NULL, NULL, NULL, er);
done:
    if (e) {
        sx_keep_close(k);
        *out = NULL;
    }
    return e;
}

sx_err sx_keep_look(const char *dir, sx_keep **out, sx_error *er)
{
    sx_err e = new_keep(dir, out, er);
    if (!e) e = read_segments(*out, false, er);
    if (e) {
        sx_keep_close(*out);
        *out = NULL;
    }
    return e;
}

void sx_keep_close(sx_keep *k)
{
    if (!k) return;
    drop_file(k);
    for (size_t i = 0; i < k->n_seg; i++) {
        (void)sx_segment_sync(k->seg[i], true, NULL);
        sx_segment_free(k->seg[i]);
    }
    if (k->journal >= 0) close(k->journal);
    if (k->lock >= 0) close(k->lock);     /* the file stays: removing it would race with the next one to lock it */
    sx_free(k->seg);
    sx_free(k->done.s);
    sx_free(k->logged.s);
    sx_free(k->dir);
    sx_free(k);
}

void sx_keep_retry(sx_keep *k, bool on) { k->retry = on; }
bool sx_keep_retries(const sx_keep *k) { return k->retry; }
const char *sx_keep_dir(const sx_keep *k) { return k->dir; }

bool sx_keep_find(const sx_keep *k, uint64_t key, size_t images, sx_segment **seg, const sx_segment_cell **cell)
{
    if (!has(&k->done, key)) return false;
    const slot *p = look(&k->done, key);
    sx_segment *s = p->seg - 1 < k->n_seg ? k->seg[p->seg - 1] : NULL;
    if (!s || s->images != images) return false;
    *seg = s;
    *cell = &s->cell[p->cell];
    return true;
}

size_t sx_keep_begun(const sx_keep *k, uint64_t key, size_t images)
{
    size_t most = 0;
    for (size_t i = 0; i < k->n_seg; i++) {
        const sx_segment *s = k->seg[i];
        if (s->images != images || s->done == images || s->done <= most) continue;
        for (size_t c = 0; c < s->n_cells; c++)
            if (s->cell[c].key == key) most = s->done;
    }
    return most;
}

/* The slot stays, its segment does not exist: cells that hash near it are still found. */
void sx_keep_forget(sx_keep *k, uint64_t key)
{
    if (has(&k->done, key)) look(&k->done, key)->seg = SIZE_MAX;
}

sx_err sx_keep_begin(sx_keep *k, const sx_segment_cell *cell, size_t n, size_t images, size_t len, sx_segment **seg,
                     sx_error *er)
{
    char name[64], path[PATH_LEN];
    uint64_t key = sx_segment_key(cell, n);
    sx_segment *s = NULL;
    sx_err e = k->lock < 0 ? sx_fail(er, SX_EBUG, "%s: opened to look only", k->dir) : SX_EOK;
    if (e) return e;
    for (size_t i = 0; !s && i < k->n_seg; i++)
        if (k->seg[i]->key == key && k->seg[i]->images == images && k->seg[i]->done < images) s = k->seg[i];
    *seg = s;
    if (s) return sx_segment_mend(s, er);
    snprintf(name, sizeof name, "stats/%016" PRIx64 ".seg", key);
    if ((e = path_of(k, name, path, er)) || (e = sx_segment_create(path, cell, n, images, len, &s, er))) return e;
    if ((e = add_segment(k, s, er))) {
        sx_segment_free(s);
        return e;
    }
    *seg = s;
    return SX_EOK;
}

sx_err sx_keep_finish(sx_keep *k, sx_segment *seg, const sx_graph *g, const sx_id *sum, const size_t *combo, sx_error *er)
{
    size_t number = 0;
    while (k->seg[number] != seg) number++;
    sx_err e = sx_segment_sync(seg, true, er);
    if (!e) e = index_segment(k, number, er);
    if (!e) e = log_cells(k, seg, g, sum, combo, er);
    sx_segment_rest(seg);
    return e;
}
