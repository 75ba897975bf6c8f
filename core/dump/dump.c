/* dump.c: the dump object: questions about it, notes, class names, what is ignored. */
#include "dump/dump_impl.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    size_t size;
} dtype_row[SX_DTYPE_COUNT] = {
    [SX_F16] = {"float16", 2}, [SX_F32] = {"float32", 4}, [SX_F64] = {"float64", 8},
    [SX_I8] = {"int8", 1},     [SX_U8] = {"uint8", 1},    [SX_I16] = {"int16", 2},
    [SX_U16] = {"uint16", 2},  [SX_I32] = {"int32", 4},   [SX_U32] = {"uint32", 4},
    [SX_I64] = {"int64", 8},   [SX_U64] = {"uint64", 8},
};

size_t sx_dtype_size(sx_dtype t)
{
    return (unsigned)t < SX_DTYPE_COUNT ? dtype_row[t].size : 0;
}

const char *sx_dtype_name(sx_dtype t)
{
    return (unsigned)t < SX_DTYPE_COUNT ? dtype_row[t].name : "?";
}

bool sx_product(const uint64_t *dims, size_t n, size_t size, size_t *out)
{
    size_t p = size;
    for (size_t i = 0; i < n; i++) {
        size_t v;
        if (dims[i] > SIZE_MAX || __builtin_mul_overflow(p, (size_t)dims[i], &v) ||
            v > SIZE_MAX / 4)
            return false;
        p = v;
    }
    *out = p;
    return true;
}

/* -- Life ----------------------------------------------------------------------------------- */

uint64_t sx_dump_id(const sx_dump *d)
{
    return d->id;
}

void sx_dump_changed(sx_dump *d)
{
    static atomic_uint_fast64_t last;

    d->id = atomic_fetch_add(&last, 1) + 1;
}

sx_err sx_dump_new(const char *path, sx_dump **out, sx_error *er)
{
    sx_dump *d = sx_calloc(1, sizeof *d);
    if (!d)
        return sx_nomem(er);
    d->fd = -1;
    d->file = -1;
    d->arena = sx_arena_new();
    d->lock_made = pthread_mutex_init(&d->lock, NULL) == 0;
    if (d->arena)
        d->path = sx_dump_strdup(d, path);
    if (!d->arena || !d->path || !d->lock_made) {
        sx_dump_close(d);
        return sx_nomem(er);
    }
    d->info.path = d->path;
    sx_dump_changed(d);
    *out = d;
    return SX_EOK;
}

void sx_dump_close(sx_dump *d)
{
    if (!d)
        return;
    sx_dump_forget(d);
    if (d->subsets) {
        d->closing = true;
        return;
    }
    if (d->base) {
        d->base->subsets--;
        if (d->base->closing)
            sx_dump_close(d->base);
    } else {
        if (d->file >= 0)
            sx_h5_close(d);
        if (d->fd >= 0)
            close(d->fd);
    }
    while (d->idle) {
        sx_decoder *next = d->idle->next;
        sx_decoder_free(d->idle);
        d->idle = next;
    }
    if (d->lock_made)
        pthread_mutex_destroy(&d->lock);
    sx_arena_free(d->arena);
    sx_free(d);
}

char *sx_dump_strdup(sx_dump *d, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = sx_arena_alloc(d->arena, n);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

static char *format(sx_dump *d, const char *fmt, va_list ap)
{
    char text[1024];
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    return sx_dump_strdup(d, text);
}

char *sx_dump_format(sx_dump *d, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = format(d, fmt, ap);
    va_end(ap);
    return s;
}

sx_err sx_dump_note(sx_dump *d, sx_error *er, const char *fmt, ...)
{
    if (d->info.n_notes == d->note_cap) {
        size_t cap = d->note_cap ? 2 * d->note_cap : 8;
        const char **grown = sx_arena_alloc(d->arena, cap * sizeof *grown);
        if (!grown)
            return sx_nomem(er);
        if (d->info.n_notes)
            memcpy(grown, d->note, d->info.n_notes * sizeof *grown);
        d->note = grown;
        d->note_cap = cap;
    }
    va_list ap;
    va_start(ap, fmt);
    const char *text = format(d, fmt, ap);
    va_end(ap);
    if (!text)
        return sx_nomem(er);
    d->note[d->info.n_notes++] = text;
    d->info.notes = d->note;
    return SX_EOK;
}

/* -- Questions ------------------------------------------------------------------------------ */

const sx_dump_info *sx_dump_get_info(const sx_dump *d)
{
    return &d->info;
}

void sx_dump_dims(const sx_dump *d, size_t image, size_t dims[3])
{
    const size_t *from = d->image_dims ? d->image_dims[image] : d->info.dims;
    for (size_t i = 0; i < 3; i++)
        dims[i] = i < d->info.n_dims ? from[i] : 1;
}

size_t sx_dump_n_px(const sx_dump *d, size_t image)
{
    size_t dims[3];
    sx_dump_dims(d, image, dims);
    return dims[0] * dims[1] * dims[2];
}

const char *sx_dump_image_name(const sx_dump *d, size_t image)
{
    return d->image_name && image < d->info.n ? d->image_name[image] : NULL;
}

char *sx_dump_where(const sx_dump *d, size_t image, size_t px, char *buf, size_t n)
{
    const char *name = sx_dump_image_name(d, image);
    const size_t number = sx_dump_at(d, image) + 1;
    int got = name ? snprintf(buf, n, "image %zu \"%.120s\"", number, name) : snprintf(buf, n, "image %zu", number);
    if (px == SIZE_MAX || got < 0 || (size_t)got >= n)
        return buf;
    size_t dims[3];
    sx_dump_dims(d, image, dims);
    size_t used = (size_t)got;
    if (d->info.n_dims == 3)
        snprintf(buf + used, n - used, " z=%zu y=%zu x=%zu", px / dims[2] / dims[1],
                 px / dims[2] % dims[1], px % dims[2]);
    else if (d->info.n_dims == 2)
        snprintf(buf + used, n - used, " y=%zu x=%zu", px / dims[1], px % dims[1]);
    else
        snprintf(buf + used, n - used, " x=%zu", px);
    return buf;
}

/* -- Names and ignored values --------------------------------------------------------------- */

static sx_err settle_names(sx_dump *d, const sx_dump_opts *o, const sx_stated *file, sx_error *er)
{
    const size_t C = d->info.classes;
    const char *const *from = NULL;
    bool binary = false;   /* one name for the one channel */
    if (o->class_names) {
        if (o->n_class_names != C) {
            sx_fail(er, SX_EARG, "class_names: %zu names, but %s has %zu classes", o->n_class_names,
                    d->path, C);
            if (d->info.activation == SX_SIGMOID1)
                sx_hint(er, "one channel means two classes: name class 0 (background) too");
            return SX_EARG;
        }
        from = o->class_names;
    } else if (file->n_names == C) {
        from = file->names;
    } else if (file->n_names == C + 1) {
        /* The usual case of a name for the void label too. */
        from = file->names;
        sx_err e = sx_dump_note(d, er, "class_names holds %zu names for %zu classes: the last, "
                                "\"%s\", is taken as the name of what is left out",
                                file->n_names, C, file->names[C]);
        if (e)
            return e;
    } else if (file->n_names == 1 && d->info.activation == SX_SIGMOID1) {
        from = file->names;
        binary = true;
    } else if (file->n_names) {
        sx_err e = sx_dump_note(d, er, "class_names holds %zu names for %zu classes: not used",
                                file->n_names, C);
        if (e)
            return e;
    }
    const char **names = sx_arena_alloc(d->arena, C * sizeof *names);
    if (!names)
        return sx_nomem(er);
    for (size_t c = 0; c < C; c++) {
        names[c] = binary ? (c ? from[0] : "background") : from ? from[c] : NULL;
        names[c] = names[c] ? sx_dump_strdup(d, names[c]) : sx_dump_format(d, "%zu", c);
        if (!names[c])
            return sx_nomem(er);
    }
    d->info.class_names = names;
    d->info.named = from != NULL;
    return SX_EOK;
}

static sx_err note_ignored(sx_dump *d, sx_error *er)
{
    for (size_t i = 0; i < d->info.n_ignore; i++) {
        int64_t v = d->info.ignore[i];
        sx_err e = SX_EOK;
        if (!sx_label_fits(d->info.labels_type, v))
            e = sx_dump_note(d, er, "ignore_index %" PRId64 " cannot occur: the labels are %s", v,
                             sx_dtype_name(d->info.labels_type));
        else if (v >= 0 && (uint64_t)v < d->info.classes)
            e = sx_dump_note(d, er, "ignore_index %" PRId64 " is also class \"%s\": the pixels of "
                             "that class are left out", v, d->info.class_names[v]);
        if (e)
            return e;
    }
    return SX_EOK;
}

static sx_err settle_spacing(sx_dump *d, const double *v, size_t n, sx_error *er)
{
    for (size_t i = 0; i < 3; i++)
        d->info.spacing[i] = 1;
    if (n == 0)
        return SX_EOK;
    bool good = n == d->info.n_dims;
    for (size_t i = 0; i < n && good; i++)
        good = v[i] > 0 && v[i] < 1e30;
    if (!good) {
        sx_fail(er, SX_EARG, "%s: spacing is not %zu positive numbers, one for each spatial axis", d->path, d->info.n_dims);
        sx_hint(er, "the order is that of the file's axes, e.g. spacing = {5, 0.7, 0.7} for slices of 5 mm");
        return SX_EARG;
    }
    memcpy(d->info.spacing, v, n * sizeof *v);
    d->info.spaced = true;
    return SX_EOK;
}

sx_err sx_dump_settle(sx_dump *d, const sx_dump_opts *o, const sx_stated *file, sx_error *er)
{
    sx_err e = settle_names(d, o, file, er);
    if (!e)
        e = settle_spacing(d, o->n_spacing ? o->spacing : file->spacing, o->n_spacing ? o->n_spacing : file->n_spacing, er);
    if (e)
        return e;
    d->info.skip_nonfinite = o->skip_nonfinite;
    const int64_t *from = o->has_ignore ? o->ignore : file->ignore;
    size_t n = o->has_ignore ? o->n_ignore : file->n_ignore;
    if (n) {
        int64_t *copy = sx_arena_alloc(d->arena, n * sizeof *copy);
        if (!copy)
            return sx_nomem(er);
        memcpy(copy, from, n * sizeof *copy);
        d->info.ignore = copy;
        d->info.n_ignore = n;
    }
    if (!o->has_ignore && !file->has_ignore) {
        e = sx_dump_scan_labels(d, er);
        if (e)
            return e;
    }
    return note_ignored(d, er);
}
