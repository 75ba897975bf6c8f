/* subset.c: a dump with some images of another one, in an order of its own. Nothing is copied or opened again. */
#include "dump/dump_impl.h"

#include <string.h>

/* Every number below n, none twice. */
static sx_err check_order(const sx_dump *d, const size_t *order, size_t n, sx_error *er)
{
    bool *seen = sx_calloc(d->info.n, sizeof *seen);
    sx_err e = seen ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; i < n && !e; i++) {
        if (order[i] >= d->info.n)
            e = sx_fail(er, SX_EARG, "%s: subset: image %zu of %zu", d->path, order[i] + 1, d->info.n);
        else if (seen[order[i]])
            e = sx_fail(er, SX_EARG, "%s: subset: image %zu is named twice", d->path, order[i] + 1);
        else
            seen[order[i]] = true;
    }
    sx_free(seen);
    return e;
}

/* What there is per image, in the new order. */
static sx_err take_images(sx_dump *v, const sx_dump *from, const size_t *order, size_t n, sx_error *er)
{
    size_t *pick = sx_arena_alloc(v->arena, n * sizeof *pick);
    if (!pick)
        return sx_nomem(er);
    for (size_t i = 0; i < n; i++)
        pick[i] = sx_dump_at(from, order[i]);
    v->pick = pick;
    if (from->image_dims && !(v->image_dims = sx_arena_alloc(v->arena, n * sizeof *v->image_dims)))
        return sx_nomem(er);
    if (from->image_name && !(v->image_name = sx_arena_alloc(v->arena, n * sizeof *v->image_name)))
        return sx_nomem(er);
    for (size_t i = 0; i < n; i++) {
        if (from->image_dims)
            memcpy(v->image_dims[i], from->image_dims[order[i]], sizeof v->image_dims[i]);
        if (from->image_name)
            v->image_name[i] = from->image_name[order[i]];
    }
    v->info.bytes = v->grouped ? 0 : from->info.bytes / from->info.n * n;
    for (size_t c = 0; v->grouped && c < v->n_columns; c++) {
        sx_set *set = sx_arena_alloc(v->arena, n * sizeof *set);
        if (!set)
            return sx_nomem(er);
        for (size_t i = 0; i < n; i++) {
            set[i] = from->column[c].set[order[i]];
            if (c < SX_FIELD_COL)
                v->info.bytes += set[i].stored;
        }
        v->column[c].set = set;
        v->column[c].n_sets = n;
    }
    v->info.n = n;
    v->info.max_px = 0;
    for (size_t i = 0; i < n; i++) {
        size_t px = sx_dump_n_px(v, i);
        v->info.max_px = px > v->info.max_px ? px : v->info.max_px;
    }
    return SX_EOK;
}

static sx_err take_notes(sx_dump *v, const sx_dump *from, sx_error *er)
{
    v->info.n_notes = v->note_cap = 0;
    v->info.notes = v->note = NULL;
    for (size_t i = 0; i < from->info.n_notes; i++) {
        sx_err e = sx_dump_note(v, er, "%s", from->note[i]);
        if (e)
            return e;
    }
    return sx_dump_note(v, er, "a subset: %zu of %zu images", v->info.n, from->info.n);
}

sx_err sx_dump_subset(sx_dump *from, const size_t *order, size_t n, sx_dump **out, sx_error *er)
{
    *out = NULL;
    if (n == 0)
        return sx_fail(er, SX_EARG, "%s: subset: no image is named", from->path);
    sx_err e = check_order(from, order, n, er);
    if (e)
        return e;
    sx_dump *v = sx_malloc(sizeof *v);
    if (!v)
        return sx_nomem(er);
    *v = *from;
    sx_dump_changed(v);
    v->arena = sx_arena_new();
    v->idle = NULL;
    v->kept = NULL;
    v->subsets = 0;
    v->closing = false;
    v->base = from->base ? from->base : from;
    v->base->subsets++;
    v->lock_made = pthread_mutex_init(&v->lock, NULL) == 0;
    e = v->arena && v->lock_made ? SX_EOK : sx_nomem(er);
    if (!e)
        e = take_images(v, from, order, n, er);
    if (!e)
        e = take_notes(v, from, er);
    if (e) {
        sx_dump_close(v);
        return e;
    }
    v->info.fingerprint = sx_hash64(v->pick, n * sizeof *v->pick, v->base->info.fingerprint);
    *out = v;
    return SX_EOK;
}
