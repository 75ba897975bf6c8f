/* h5read.c: values that come through the HDF5 library: images, raw chunks, strings, attributes. */
#include "dump/h5.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sx_h5_close(sx_dump *d)
{
    sx_quiet q;
    sx_h5_quiet(&q);
    for (size_t c = 0; c < d->n_columns; c++)
        for (size_t i = 0; i < d->column[c].n_sets; i++)
            if (d->column[c].set[i].kind != SX_SET_MEMORY)
                sx_h5_set_close(&d->column[c].set[i]);
    H5Fclose(d->file);
    d->file = -1;
    sx_h5_loud(&q);
}

/* The set's id, opened for now when it is not kept open (*mine). */
static hid_t borrow(sx_dump *d, const sx_set *s, bool *mine)
{
    *mine = s->id < 0;
    return *mine ? H5Dopen2(d->file, s->path, H5P_DEFAULT) : s->id;
}

sx_err sx_h5_read_images(sx_dump *d, const sx_set *s, size_t first, size_t count, void *dst,
                         sx_error *er)
{
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = SX_EOK;
    bool mine = false;
    hid_t type = -1, mem = -1, space = -1, mem_space = -1, id = borrow(d, s, &mine);
    if (id >= 0) {
        type = H5Dget_type(id);
        space = H5Dget_space(id);
    }
    if (type >= 0)   /* the file's own type but for byte order: HDF5 then never converts floats */
        mem = s->raw && H5Tget_class(type) == H5T_ENUM ? H5Tcopy(type) : sx_h5_memory_type(s->type);
    hsize_t from[SX_RANK] = {0}, size[SX_RANK] = {0};
    unsigned skip = s->image_axis ? 0 : 1;
    for (unsigned k = skip; k < s->rank; k++) {
        from[k - skip] = k ? 0 : first;
        size[k - skip] = k ? s->dims[k] : count;
    }
    if (space >= 0)
        mem_space = H5Screate_simple((int)(s->rank - skip), size, NULL);
    if (mem < 0 || mem_space < 0 ||
        H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, size, NULL) < 0 ||
        H5Dread(id, mem, mem_space, space, H5P_DEFAULT, dst) < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: %s: images %zu to %zu cannot be read", d->path, s->path,
                       first + 1, first + count);
    } else if (s->raw && s->swap && H5Tget_class(type) == H5T_ENUM) {
        sx_swap_bytes(dst, s->image_bytes / sx_dtype_size(s->type) * count, sx_dtype_size(s->type));
    }
    if (mem_space >= 0)
        H5Sclose(mem_space);
    if (space >= 0)
        H5Sclose(space);
    if (mem >= 0)
        H5Tclose(mem);
    if (type >= 0)
        H5Tclose(type);
    if (mine && id >= 0)
        H5Dclose(id);
    sx_h5_loud(&q);
    return e;
}

sx_err sx_h5_read_chunk(sx_dump *d, const sx_set *s, uint64_t chunk, sx_wave_priv *w, sx_chunk *at,
                        sx_error *er)
{
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = SX_EOK;
    bool mine = false;
    hid_t id = borrow(d, s, &mine);
    uint64_t origin[SX_RANK];
    hsize_t offset[SX_RANK] = {0}, size = 0;
    sx_chunk_origin(s, chunk, origin);
    unsigned skip = s->image_axis ? 0 : 1;
    for (unsigned k = skip; k < s->rank; k++)
        offset[k - skip] = origin[k];
    memset(at, 0, sizeof *at);
    if (id < 0 || H5Dget_chunk_storage_size(id, offset, &size) < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: a chunk of %s cannot be found", d->path, s->path);
        goto done;
    }
    if (size == 0)
        goto done;
    if (size > d->file_size) {
        e = sx_fail(er, SX_EFILE, "%s: a chunk of %s is larger than the file", d->path, s->path);
        goto done;
    }
    if (w->raw_cap - w->raw_used < size) {
        size_t cap = w->raw_cap ? w->raw_cap : 1 << 20;
        while (cap - w->raw_used < size)
            cap *= 2;
        unsigned char *grown = sx_realloc(w->raw, cap);
        if (!grown) {
            e = sx_nomem(er);
            goto done;
        }
        w->raw = grown;
        w->raw_cap = cap;
    }
    if (H5Dread_chunk(id, H5P_DEFAULT, offset, &at->mask, w->raw + w->raw_used) < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: a chunk of %s cannot be read", d->path, s->path);
        goto done;
    }
    at->addr = w->raw_used;
    at->size = size;
    w->raw_used += (size_t)size;

done:
    if (mine && id >= 0)
        H5Dclose(id);
    sx_h5_loud(&q);
    return e;
}

/* -- Names of links ------------------------------------------------------------------------- */

typedef struct listing {
    sx_dump *d;
    sx_names *out;
    size_t cap;
    bool no_memory;
} listing;

static herr_t on_link(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    (void)group;
    (void)info;
    listing *l = arg;
    if (l->out->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        const char **grown = sx_arena_alloc(l->d->arena, cap * sizeof *grown);
        if (!grown) {
            l->no_memory = true;
            return -1;
        }
        if (l->out->n)
            memcpy(grown, l->out->v, l->out->n * sizeof *grown);
        l->out->v = grown;
        l->cap = cap;
    }
    const char *copy = sx_dump_strdup(l->d, name);
    if (!copy) {
        l->no_memory = true;
        return -1;
    }
    l->out->v[l->out->n++] = copy;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    const char *const x0 = x, *const y0 = y;
    while (*x == '0')
        x++;
    while (*y == '0')
        y++;
    size_t nx = strlen(x), ny = strlen(y);
    if (nx != ny)
        return nx < ny ? -1 : 1;
    int c = strcmp(x, y);
    return c ? c : strcmp(x0, y0);
}

sx_err sx_h5_list(sx_dump *d, hid_t group, const char *what, sx_names *out, sx_error *er)
{
    memset(out, 0, sizeof *out);
    listing l = {d, out, 0, false};
    hsize_t at = 0;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &at, on_link, &l) < 0)
        return l.no_memory ? sx_nomem(er)
                           : sx_h5_fail(er, SX_EFILE, "%s: %s cannot be listed", d->path, what);
    for (size_t i = 0; i < out->n; i++)
        if (!out->v[i][0] || out->v[i][strspn(out->v[i], "0123456789")])
            return SX_EOK;
    if (out->n)   /* "10" goes after "9" */
        qsort(out->v, out->n, sizeof *out->v, by_value);
    return SX_EOK;
}

/* -- Attributes ----------------------------------------------------------------------------- */

typedef struct source {
    hid_t id, type, space;
    bool attr;
    size_t n;
} source;

static void source_close(source *s)
{
    if (s->space >= 0)
        H5Sclose(s->space);
    if (s->type >= 0)
        H5Tclose(s->type);
    if (s->attr && s->id >= 0)
        H5Aclose(s->id);
}

/* s->id < 0 afterwards: no such attribute. */
static bool source_open(hid_t obj, const char *attr, source *s)
{
    *s = (source){.id = -1, .type = -1, .space = -1, .attr = attr != NULL};
    if (attr) {
        htri_t there = H5Aexists(obj, attr);
        if (there <= 0)
            return there == 0;
        s->id = H5Aopen(obj, attr, H5P_DEFAULT);
    } else {
        s->id = obj;
    }
    if (s->id < 0)
        return false;
    s->type = attr ? H5Aget_type(s->id) : H5Dget_type(s->id);
    s->space = attr ? H5Aget_space(s->id) : H5Dget_space(s->id);
    hssize_t n = s->space < 0 ? -1 : H5Sget_simple_extent_npoints(s->space);
    if (s->type < 0 || n < 0 || (uint64_t)n > SIZE_MAX / 64)
        return false;
    s->n = H5Sget_simple_extent_type(s->space) == H5S_NULL ? 0 : (size_t)n;
    return true;
}

static herr_t source_read(const source *s, hid_t mem, void *dst)
{
    return s->attr ? H5Aread(s->id, mem, dst)
                   : H5Dread(s->id, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, dst);
}

sx_err sx_h5_strings(sx_dump *d, hid_t obj, const char *attr, sx_names *out, sx_error *er)
{
    memset(out, 0, sizeof *out);
    sx_err e = SX_EOK;
    char *buf = NULL;
    source s;
    bool ok = source_open(obj, attr, &s), variable = false, filled = false;
    if (!ok)
        goto unreadable;
    if (s.id < 0 || H5Tget_class(s.type) != H5T_STRING || s.n == 0)
        goto done;
    variable = H5Tis_variable_str(s.type) > 0;
    size_t size = variable ? sizeof(char *) : H5Tget_size(s.type);
    bool padded = !variable && H5Tget_strpad(s.type) == H5T_STR_SPACEPAD;
    buf = sx_calloc(s.n, size);
    out->v = sx_arena_alloc(d->arena, s.n * sizeof *out->v);
    char *one = sx_arena_alloc(d->arena, size + 1);
    if (!buf || !out->v || !one) {
        e = sx_nomem(er);
        goto done;
    }
    if (source_read(&s, s.type, buf) < 0)
        goto unreadable;
    filled = true;
    for (size_t i = 0; i < s.n && !e; i++) {
        const char *text = one;
        if (variable) {
            memcpy(&text, buf + i * size, sizeof text);
            if (!text)
                text = "";
        } else {
            memcpy(one, buf + i * size, size);
            one[size] = '\0';
            for (size_t k = strlen(one); padded && k > 0 && one[k - 1] == ' '; k--)
                one[k - 1] = '\0';
        }
        out->v[i] = sx_dump_strdup(d, text);
        if (!out->v[i])
            e = sx_nomem(er);
    }
    out->n = s.n;
    goto done;

unreadable:
    e = sx_h5_fail(er, SX_EFILE, "%s: %s%s cannot be read", d->path, attr ? "attribute " : "strings",
                   attr ? attr : "");
done:
    if (variable && filled)
        H5Dvlen_reclaim(s.type, s.space, H5P_DEFAULT, buf);
    source_close(&s);
    sx_free(buf);
    if (e)
        out->n = 0;
    return e;
}

/* As `native` numbers, 8 bytes each. */
static sx_err numbers(sx_dump *d, hid_t obj, const char *attr, hid_t native, bool *there, const void **v, size_t *n, sx_error *er)
{
    *there = false;
    *v = NULL;
    *n = 0;
    sx_err e = SX_EOK;
    source s;
    if (!source_open(obj, attr, &s)) {
        e = sx_h5_fail(er, SX_EFILE, "%s: attribute %s cannot be read", d->path, attr);
        goto done;
    }
    if (s.id < 0)
        goto done;
    H5T_class_t cls = H5Tget_class(s.type);
    if (s.n == 0) {
        *there = true;
        goto done;
    }
    if (cls != H5T_INTEGER && cls != H5T_FLOAT)
        goto done;
    void *to = sx_arena_alloc(d->arena, s.n * sizeof(int64_t));
    if (!to) {
        e = sx_nomem(er);
        goto done;
    }
    if (source_read(&s, native, to) < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: attribute %s cannot be read", d->path, attr);
        goto done;
    }
    *there = true;
    *v = to;
    *n = s.n;

done:
    source_close(&s);
    return e;
}

sx_err sx_h5_ints(sx_dump *d, hid_t obj, const char *attr, bool *there, const int64_t **v, size_t *n, sx_error *er)
{
    const void *list;
    sx_err e = numbers(d, obj, attr, H5T_NATIVE_INT64, there, &list, n, er);
    *v = list;
    return e;
}

sx_err sx_h5_doubles(sx_dump *d, hid_t obj, const char *attr, const double **v, size_t *n, sx_error *er)
{
    const void *list;
    bool there;
    sx_err e = numbers(d, obj, attr, H5T_NATIVE_DOUBLE, &there, &list, n, er);
    *v = list;
    return e;
}

/* -- One value per image ------------------------------------------------------------------------ */

static sx_err per_image(sx_dump *d, hid_t id, const char *name, double *v, const char *const **text, bool *there, sx_error *er)
{
    hid_t type = H5Dget_type(id), space = H5Dget_space(id);
    const H5T_class_t cls = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    sx_err e = SX_EOK;
    if (space < 0 || H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_npoints(space) != (hssize_t)d->info.n)
        goto done;
    if (cls == H5T_STRING) {
        sx_names s = {NULL, 0};
        e = sx_h5_strings(d, id, NULL, &s, er);
        if (e || s.n != d->info.n)
            goto done;
        *text = s.v;
        for (size_t i = 0; i < d->info.n; i++)
            v[i] = (double)NAN;
        *there = true;
    } else if (cls == H5T_INTEGER || cls == H5T_FLOAT) {
        if (H5Dread(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) < 0)
            e = sx_h5_fail(er, SX_EFILE, "%s: /%s cannot be read", d->path, name);
        *there = !e;
    }
done:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return e;
}

static sx_err per_image_of_base(sx_dump *d, const char *name, double *v, const char *const **text, bool *there, sx_error *er)
{
    const size_t n = d->info.n;
    double *all = sx_malloc(d->base->info.n * sizeof *all);
    const char **mine = sx_arena_alloc(d->arena, n * sizeof *mine), *const *texts = NULL;
    sx_err e = all && mine ? sx_dump_per_image(d->base, name, all, &texts, there, er) : sx_nomem(er);
    for (size_t i = 0; i < n && !e && *there; i++) {
        v[i] = all[d->pick[i]];
        mine[i] = texts ? texts[d->pick[i]] : NULL;
    }
    if (!e && texts)
        *text = mine;
    sx_free(all);
    return e;
}

sx_err sx_dump_per_image(sx_dump *d, const char *name, double *v, const char *const **text, bool *there, sx_error *er)
{
    *there = false;
    *text = NULL;
    if (d->fd < 0 || d->grouped)
        return SX_EOK;
    if (d->base)
        return per_image_of_base(d, name, v, text, there, er);
    sx_quiet q;
    sx_h5_quiet(&q);
    hid_t id = H5Dopen2(d->file, name, H5P_DEFAULT);
    sx_err e = id < 0 ? SX_EOK : per_image(d, id, name, v, text, there, er);
    if (id >= 0)
        H5Dclose(id);
    sx_h5_loud(&q);
    return e;
}
