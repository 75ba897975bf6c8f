/*
 * wave.c: plans the reading of some images: lays out their buffers and makes a list of tasks, each one
 * chunk or one piece of a contiguous set. What only HDF5 can read is read here.
 *
 * Images are dense, in the file's axis order, and those of one set lie back to back, so that a
 * contiguous set is one run of memory and HDF5 can read a wave in one call.
 */
#include "dump/dump_impl.h"

#include <stdio.h>
#include <string.h>

enum { PIECE = 4 << 20, ALIGN = 64 };

static sx_wave_priv *priv_of(sx_wave *w, sx_error *er)
{
    if (!w->priv) {
        w->priv = sx_calloc(1, sizeof(sx_wave_priv));
        if (!w->priv)
            sx_nomem(er);
    }
    return w->priv;
}

void sx_wave_free(sx_wave *w)
{
    sx_wave_priv *v = w->priv;
    if (v) {
        sx_free(v->buf);
        sx_free(v->raw);
        sx_free(v->task);
        sx_free(v->tables);
        sx_free(v);
    }
    memset(w, 0, sizeof *w);
}

static const sx_set *set_of(const sx_column *c, size_t image)
{
    return &c->set[c->n_sets > 1 ? image : 0];
}

static size_t image_bytes(const sx_column *c, size_t image)
{
    return set_of(c, image)->image_bytes;
}

size_t sx_dump_wave_size(const sx_dump *d, size_t first, size_t budget)
{
    if (first >= d->info.n)
        return 0;
    const size_t left = d->info.n - first;
    const sx_column *logits = &d->column[SX_LOGITS_COL];
    if (logits->set[0].kind == SX_SET_MEMORY)
        return left;
    size_t count = 0, bytes = 0;
    for (; count < left; count++) {
        for (size_t c = 0; c < d->n_columns; c++)
            bytes += image_bytes(&d->column[c], first + count);
        if (bytes > budget)
            break;
    }
    /* Chunks that hold several images: end where a chunk ends, so that none is unpacked twice. */
    uint64_t deep = d->grouped ? 1 : logits->set[0].chunk_dims[0];
    if (deep > 1 && count < left && !d->pick) {
        size_t end = (size_t)((first + count) / deep * deep);
        if (end > first)
            count = end - first;
    }
    return count ? count : 1;
}

/* -- Buffers -------------------------------------------------------------------------------- */

static sx_err lay_out(sx_dump *d, sx_wave *w, sx_wave_priv *v, uint64_t columns, sx_error *er)
{
    const size_t n_fields = d->info.n_fields, count = w->count;
    size_t need = count * (sizeof(sx_image) + d->n_columns * sizeof(void *) +
                           n_fields * sizeof(void *));
    if (v->tables_cap < need) {
        sx_free(v->tables);
        v->tables_cap = 0;
        v->tables = sx_malloc(need);
        if (!v->tables)
            return sx_nomem(er);
        v->tables_cap = need;
    }
    memset(v->tables, 0, need);
    v->image = v->tables;
    v->ptr = (unsigned char **)(v->image + count);
    v->field = (const void **)(void *)(v->ptr + d->n_columns * count);

    size_t total = 0;
    for (size_t c = 0; c < d->n_columns; c++)
        for (size_t i = 0; i < count && columns >> c & 1; i++) {
            const sx_set *s = set_of(&d->column[c], w->first + i);
            if (s->kind == SX_SET_MEMORY)
                continue;
            if (d->grouped || i == 0)
                total = (total + ALIGN - 1) / ALIGN * ALIGN;
            if (total > SIZE_MAX / 2 - s->image_bytes)
                return sx_nomem(er);
            total += s->image_bytes;
        }
    if (v->buf_cap < total) {
        sx_free(v->buf);
        v->buf_cap = 0;
        v->buf = sx_malloc_aligned(total);
        if (!v->buf)
            return sx_nomem(er);
        v->buf_cap = total;
    }
    size_t at = 0;
    for (size_t c = 0; c < d->n_columns; c++)
        for (size_t i = 0; i < count && columns >> c & 1; i++) {
            const sx_set *s = set_of(&d->column[c], w->first + i);
            if (s->kind == SX_SET_MEMORY)
                continue;
            if (d->grouped || i == 0)
                at = (at + ALIGN - 1) / ALIGN * ALIGN;
            v->ptr[c * count + i] = v->buf + at;
            at += s->image_bytes;
        }
    return SX_EOK;
}

static void fill_images(sx_dump *d, sx_wave *w, sx_wave_priv *v)
{
    const size_t count = w->count, n_fields = d->info.n_fields;
    const size_t channels = d->info.activation == SX_SIGMOID1 ? 1 : d->info.classes;
    const size_t layout_len = strlen(d->info.layout);
    const bool last = layout_len && d->info.layout[layout_len - 1] == 'C';
    for (size_t i = 0; i < count; i++) {
        sx_image *im = &v->image[i];
        const void *col[2];
        for (size_t c = 0; c < 2; c++) {
            const sx_set *s = set_of(&d->column[c], w->first + i);
            size_t in_set = d->grouped ? 0 : sx_dump_at(d, w->first + i);
            col[c] = s->kind == SX_SET_MEMORY ? s->memory + in_set * s->image_bytes
                                              : v->ptr[c * count + i];
        }
        im->n_px = sx_dump_n_px(d, w->first + i);
        im->logits = col[SX_LOGITS_COL];
        im->labels = col[SX_LABELS_COL];
        im->c_stride = last ? 1 : im->n_px;
        im->p_stride = last ? channels : 1;
        im->field_type = d->field_type;
        if (n_fields) {
            im->field = v->field + i * n_fields;
            for (size_t f = 0; f < n_fields; f++) {
                const sx_set *s = set_of(&d->column[SX_FIELD_COL + f], w->first + i);
                v->field[i * n_fields + f] = s->kind == SX_SET_MEMORY
                    ? s->memory + sx_dump_at(d, w->first + i) * s->image_bytes
                    : v->ptr[(SX_FIELD_COL + f) * count + i];
            }
        }
    }
    w->image = v->image;
}

/* -- Tasks ---------------------------------------------------------------------------------- */

static sx_wave_task *add_task(sx_wave *w, sx_wave_priv *v, sx_error *er)
{
    if (w->tasks == v->task_cap) {
        size_t cap = v->task_cap ? 2 * v->task_cap : 64;
        sx_wave_task *grown = sx_realloc(v->task, cap * sizeof *grown);
        if (!grown) {
            sx_nomem(er);
            return NULL;
        }
        v->task = grown;
        v->task_cap = cap;
    }
    sx_wave_task *t = &v->task[w->tasks++];
    memset(t, 0, sizeof *t);
    return t;
}

/* Images first .. first+count-1 of the set (its own numbers); base: dump image of the set's image 0, modulo 2^64. */
static sx_err plan_contiguous(sx_wave *w, sx_wave_priv *v, const sx_set *s, size_t col, size_t base,
                              size_t first, size_t count, sx_error *er)
{
    unsigned char *dst = v->ptr[col * w->count + (base + first - w->first)];
    size_t left = s->image_bytes * count;
    uint64_t from = s->addr + (uint64_t)first * s->image_bytes;
    for (size_t done = 0; done < left;) {
        sx_wave_task *t = add_task(w, v, er);
        if (!t)
            return SX_EMEMORY;
        size_t n = left - done < PIECE ? left - done : PIECE;
        t->set = s;
        t->column = col;
        t->image = base + first + done / s->image_bytes;
        t->at.addr = from + done;
        t->at.size = n;
        t->dst = dst + done;
        done += n;
    }
    return SX_EOK;
}

static sx_err plan_chunks(sx_dump *d, sx_wave *w, sx_wave_priv *v, const sx_set *s, size_t col,
                          size_t base, size_t first, size_t count, sx_error *er)
{
    const uint64_t per_row = s->n_chunks / s->grid[0];
    const uint64_t lo = first / s->chunk_dims[0] * per_row;
    const uint64_t hi = ((first + count - 1) / s->chunk_dims[0] + 1) * per_row;
    for (uint64_t k = lo; k < hi; k++) {
        sx_chunk at = {0};
        if (s->kind == SX_SET_CHUNKS) {
            at = s->chunk[k];
        } else {
            sx_err e = sx_h5_read_chunk(d, s, k, v, &at, er);
            if (e)
                return e;
        }
        sx_wave_task *t = add_task(w, v, er);
        if (!t)
            return SX_EMEMORY;
        t->set = s;
        t->column = col;
        size_t begin = (size_t)(k / per_row * s->chunk_dims[0]);
        t->image = base + (begin > first ? begin : first);
        t->base = base;
        t->first = first;
        t->count = count;
        t->chunk = k;
        t->at = at;
    }
    return SX_EOK;
}

static sx_err plan_set(sx_dump *d, sx_wave *w, sx_wave_priv *v, const sx_set *s, size_t col,
                       size_t base, size_t first, size_t count, sx_error *er)
{
    switch (s->kind) {
    case SX_SET_MEMORY:
        return SX_EOK;
    case SX_SET_CONTIGUOUS:
        return plan_contiguous(w, v, s, col, base, first, count, er);
    case SX_SET_CHUNKS:
    case SX_SET_CHUNKS_H5:
        return plan_chunks(d, w, v, s, col, base, first, count, er);
    default:
        return sx_h5_read_images(d, s, first, count,
                                 v->ptr[col * w->count + (base + first - w->first)], er);
    }
}

sx_err sx_wave_prepare(sx_dump *d, size_t first, size_t count, uint64_t columns, sx_wave *w,
                       sx_error *er)
{
    w->count = w->tasks = 0;
    if (first >= d->info.n || count == 0 || count > d->info.n - first)
        return sx_fail(er, SX_EBUG, "%s: images %zu..%zu asked for, there are %zu", d->path,
                       first + 1, first + count, d->info.n);
    sx_wave_priv *v = priv_of(w, er);
    if (!v)
        return SX_EMEMORY;
    w->first = first;
    w->count = count;
    v->raw_used = 0;
    sx_err e = lay_out(d, w, v, columns, er);
    for (size_t c = 0; c < d->n_columns && !e; c++) {
        if (!(columns >> c & 1))
            continue;
        for (size_t i = 0, run; i < count && !e; i += run) {
            const size_t at = sx_dump_at(d, first + i);
            run = 1;
            if (d->grouped) {
                e = plan_set(d, w, v, set_of(&d->column[c], first + i), c, first + i, 0, 1, er);
                continue;
            }
            while (i + run < count && sx_dump_at(d, first + i + run) == at + run)
                run++;
            e = plan_set(d, w, v, &d->column[c].set[0], c, first + i - at, at, run, er);
        }
    }
    if (e) {
        w->count = w->tasks = 0;
        return e;
    }
    fill_images(d, w, v);
    return SX_EOK;
}

sx_err sx_dump_prepare(sx_dump *d, size_t first, size_t count, uint32_t fields_wanted, sx_wave *w,
                       sx_error *er)
{
    uint64_t columns = 1u << SX_LOGITS_COL | 1u << SX_LABELS_COL;
    columns |= (uint64_t)fields_wanted << SX_FIELD_COL;
    if (d->n_columns < 64)
        columns &= ((uint64_t)1 << d->n_columns) - 1;
    return sx_wave_prepare(d, first, count, columns, w, er);
}

sx_err sx_dump_decode(sx_dump *d, sx_wave *w, size_t task, int worker, sx_error *er)
{
    (void)worker;   /* decoders are handed out by the dump */
    if (task >= w->tasks)
        return sx_fail(er, SX_EBUG, "%s: task %zu of %zu", d->path, task, w->tasks);
    const sx_wave_priv *v = w->priv;
    const sx_wave_task *t = &v->task[task];
    sx_err e;
    if (t->set->kind == SX_SET_CONTIGUOUS) {
        e = sx_pread(d->fd, t->dst, (size_t)t->at.size, t->at.addr, d->path, er);
        if (!e && t->set->swap) {
            size_t size = sx_dtype_size(t->set->type);
            sx_swap_bytes(t->dst, (size_t)t->at.size / size, size);
        }
    } else {
        e = sx_decode_chunk(d, w, t, er);
    }
    if (e == SX_EFILE && er && !strstr(er->msg, t->set->path)) {   /* sx_pread knows only the file */
        size_t used = strlen(er->msg);
        char where[256];
        sx_dump_where(d, t->image, SIZE_MAX, where, sizeof where);
        snprintf(er->msg + used, sizeof er->msg - used, " (%s, %s)", t->set->path, where);
    }
    return e;
}
