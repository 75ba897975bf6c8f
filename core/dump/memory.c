/* memory.c: a dump of arrays that the caller owns. */
#include "dump/dump_impl.h"

#include <string.h>

static sx_err set_array(sx_dump *d, size_t col, const char *name, const void *p, sx_dtype type,
                        size_t n, const uint64_t *dims, unsigned rank, sx_error *er)
{
    sx_column *c = &d->column[col];
    c->name = sx_dump_strdup(d, name);
    c->set = sx_arena_alloc(d->arena, sizeof *c->set);
    if (!c->name || !c->set)
        return sx_nomem(er);
    sx_set *s = &c->set[0];
    s->kind = SX_SET_MEMORY;
    s->id = -1;
    s->path = c->name;
    s->memory = p;
    s->type = type;
    s->readable = s->raw = s->image_axis = true;
    s->rank = rank + 1;
    s->dims[0] = n;
    memcpy(s->dims + 1, dims, rank * sizeof *dims);
    size_t all;
    if (!sx_product(dims, rank, sx_dtype_size(type), &s->image_bytes) ||
        !sx_product(s->dims, 1, s->image_bytes, &all))
        return sx_fail(er, SX_EARG, "%s: %s are too large", d->path, name);
    s->stored = all;
    c->n_sets = 1;
    d->n_columns = col + 1;
    d->info.bytes += all;
    d->info.fingerprint = sx_hash64(s->dims, s->rank * sizeof s->dims[0], d->info.fingerprint);
    d->info.fingerprint = sx_hash64(p, all, d->info.fingerprint + (uint64_t)type);
    return SX_EOK;
}

static sx_err check_arguments(const char *name, sx_dtype logits_type, sx_dtype labels_type, size_t n,
                              size_t classes, const size_t *dims, size_t n_dims, sx_error *er)
{
    if ((unsigned)logits_type > SX_F64)
        return sx_fail(er, SX_EARG, "%s: logits must be float16, float32 or float64", name);
    if (labels_type < SX_I8 || labels_type >= SX_DTYPE_COUNT)
        return sx_fail(er, SX_EARG, "%s: labels must be integers", name);
    if (n_dims < 1 || n_dims > 3)
        return sx_fail(er, SX_EARG, "%s: %zu spatial axes; 1 to 3 are known", name, n_dims);
    if (n == 0 || classes == 0)
        return sx_fail(er, SX_EARG, "%s: %zu images of %zu classes", name, n, classes);
    for (size_t k = 0; k < n_dims; k++)
        if (dims[k] == 0)
            return sx_fail(er, SX_EARG, "%s: images without pixels", name);
    return SX_EOK;
}

sx_err sx_dump_memory(const char *name, const void *logits, sx_dtype logits_type, const void *labels,
                      sx_dtype labels_type, size_t n, size_t classes, const size_t *dims,
                      size_t n_dims, const sx_dump_opts *opts, sx_dump **out, sx_error *er)
{
    static const sx_dump_opts nothing = {0};
    static const char *const layout[4] = {"", "NCW", "NCHW", "NCDHW"};
    const sx_dump_opts *o = opts ? opts : &nothing;
    *out = NULL;
    sx_err e = check_arguments(name, logits_type, labels_type, n, classes, dims, n_dims, er);
    if (e)
        return e;
    sx_dump *d = NULL;
    e = sx_dump_new(name, &d, er);
    if (e)
        return e;
    sx_dump_info *i = &d->info;
    uint64_t shape[4] = {classes};
    for (size_t k = 0; k < n_dims; k++)
        shape[k + 1] = dims[k];
    i->n = n;
    i->classes = classes == 1 ? 2 : classes;
    i->logits_type = logits_type;
    i->labels_type = labels_type;
    i->activation = classes == 1 ? SX_SIGMOID1 : SX_LOGITS;
    if (o->activation && strcmp(o->activation, "logits") != 0) {
        if (strcmp(o->activation, "probs") == 0)
            i->activation = SX_PROBS;
        else if (strcmp(o->activation, "log_probs") == 0)
            i->activation = SX_LOG_PROBS;
        else
            e = sx_fail(er, SX_EARG, "%s: unknown activation \"%s\"", name, o->activation);
        if (!e && classes == 1)
            e = sx_fail(er, SX_EARG, "%s: one channel must hold logits", name);
    }
    i->layout = layout[n_dims];
    i->logits_path = "logits";
    i->labels_path = "labels";
    i->storage = "in memory";
    i->n_dims = n_dims;
    i->same_shape = true;
    i->max_px = 1;
    for (size_t k = 0; k < n_dims; k++) {
        i->dims[k] = dims[k];
        i->max_px *= dims[k];
    }
    if (!e)
        e = set_array(d, SX_LOGITS_COL, "logits", logits, logits_type, n, shape,
                      (unsigned)n_dims + 1, er);
    if (!e)
        e = set_array(d, SX_LABELS_COL, "labels", labels, labels_type, n, shape + 1,
                      (unsigned)n_dims, er);
    const sx_stated stated = {0};
    if (!e)
        e = sx_dump_settle(d, o, &stated, er);
    if (e) {
        sx_dump_close(d);
        return e;
    }
    *out = d;
    return SX_EOK;
}

sx_err sx_dump_memory_field(sx_dump *d, const char *name, const void *values, sx_dtype type, sx_error *er)
{
    sx_dump_info *i = &d->info;
    uint64_t shape[3] = {0, 0, 0};
    if (i->n_fields == SX_MAX_FIELDS)
        return sx_fail(er, SX_EARG, "%s: at most %d fields are possible", d->path, SX_MAX_FIELDS);
    for (size_t k = 0; k < i->n_dims; k++)
        shape[k] = i->dims[k];
    size_t col = SX_FIELD_COL + i->n_fields;
    sx_err e = set_array(d, col, name, values, type, i->n, shape, (unsigned)i->n_dims, er);
    if (e)
        return e;
    const char **names = sx_arena_alloc(d->arena, (i->n_fields + 1) * sizeof *names);
    if (!names)
        return sx_nomem(er);
    for (size_t k = 0; k < i->n_fields; k++)
        names[k] = i->field_names[k];
    d->field_type[i->n_fields] = type;
    names[i->n_fields++] = d->column[col].name;
    i->field_names = names;
    return SX_EOK;
}
