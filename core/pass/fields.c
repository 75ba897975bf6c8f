/*
 * fields.c: values of field operators (core/field) for some images at a time. Before a walk comes to images, walks of their own make
 * maps of what the operators read, operators that others read first; then every plane is sorted or measured, in parallel. A sum over
 * batches, or over all images, needs these in memory together.
 */
#include <string.h>

#include "field/field.h"
#include "pass/run_impl.h"

#define SPAN_BYTES ((size_t)128 << 20)   /* of maps and results, unless one batch needs more */
#define IMAGE_BYTES ((size_t)1 << 30)    /* that one image may always have */
#define SORT_BYTES 20                    /* of sx_order, per pixel */

typedef struct op {
    sx_id id;
    size_t level, batch;         /* batch: images that are looked at together */
    size_t slot, arg[3];         /* of its result and its arguments */
    size_t first;                /* number of the first operator with the same order: that one sorts for all */
    sx_axes axes;                /* of what is sorted or measured: there is a task per plane of it */
} op;

typedef struct value {
    sx_id id;
    size_t len;                  /* planes, of one number per pixel */
    size_t at;                   /* in an image's part of the buffer */
} value;

typedef struct level {
    sx_walk walk;
    sx_id *map;
    size_t n_map;
} level;

struct sx_fields {
    sx_walk *outer;
    size_t *depth;               /* by id, one more than it is: of the operators below */
    op *op;
    size_t n_op;
    value *value;                /* results, then arguments */
    size_t n_value;
    level *level;
    size_t n_level;
    size_t unit, most;           /* images: spans begin and end at multiples of it; of a span, at most */
    size_t first, count;         /* the span that is there */
    size_t image_bytes;
    char *buffer;
    bool own_buffer;
    size_t room;                 /* images that the buffer has room for */
    sx_field_work *work;         /* per worker */
    char **gather;               /* per worker: planes of a batch, one image after the other: a, the mask, b, the sum */
    size_t *task_first;          /* by operator: its first task of the level */
};

static const sx_node *node(const sx_fields *f, sx_id id) { return sx_run_node(f->outer->r, id); }
static bool pixel(const sx_fields *f, sx_id id) { return (node(f, id)->axes & SX_AX_P) != 0; }

/* -- What there is to do ------------------------------------------------------------------------------- */

static sx_err find(sx_fields *f, sx_id id, sx_error *er)
{
    if (f->depth[id] || !pixel(f, id)) return SX_EOK;
    const sx_node *n = node(f, id);
    size_t depth = 0;
    for (int i = 0; i < n->n_arg; i++) {
        sx_err e = find(f, n->arg[i], er);
        if (e) return e;
        if (f->depth[n->arg[i]] > depth + 1) depth = f->depth[n->arg[i]] - 1;
    }
    if (sx_op_class((sx_op)n->op) == SX_CL_FIELD) {
        op *list = sx_realloc(f->op, (f->n_op + 1) * sizeof *list);
        if (!list) return sx_nomem(er);
        f->op = list;
        const size_t images = f->outer->r->p->images;
        const size_t group = n->op == SX_OP_edt ? 1 : n->attr ? (size_t)n->attr : images;
        f->op[f->n_op++] = (op){.id = id, .level = depth, .batch = group < images ? group : images};
        if (++depth > f->n_level) f->n_level = depth;
    }
    f->depth[id] = depth + 1;
    return SX_EOK;
}

static sx_err slot_of(sx_fields *f, sx_id id, size_t *slot, sx_error *er)
{
    for (*slot = 0; *slot < f->n_value; ++*slot)
        if (f->value[*slot].id == id) return SX_EOK;
    value *list = sx_realloc(f->value, (f->n_value + 1) * sizeof *list);
    if (!list) return sx_nomem(er);
    f->value = list;
    const sx_runner *r = f->outer->r;
    const size_t len = sx_value_len(r->p->g, r->p->classes, f->outer->box, id);
    f->value[f->n_value++] = (value){.id = id, .len = len, .at = f->image_bytes};
    f->image_bytes += (len * sx_dump_get_info(r->p->d)->max_px * r->k->size + 63) / 64 * 64;
    return SX_EOK;
}

static size_t gcd(size_t a, size_t b) { return b ? gcd(b, a % b) : a; }

/* Slots of the operators; then of their arguments, each mapped at the level where it is read first. */
static sx_err lay_out(sx_fields *f, sx_error *er)
{
    const size_t images = f->outer->r->p->images;
    sx_err e = SX_EOK;
    f->unit = 1;
    f->level = sx_calloc(f->n_level + 1, sizeof *f->level);
    f->task_first = sx_calloc(f->n_op + 1, sizeof *f->task_first);
    if (!f->level || !f->task_first) return sx_nomem(er);
    for (size_t i = 0; !e && i < f->n_op; i++) {
        e = slot_of(f, f->op[i].id, &f->op[i].slot, er);
        f->unit = f->unit / gcd(f->unit, f->op[i].batch) * f->op[i].batch;
        if (f->unit > images) f->unit = images;
    }
    for (size_t l = 0; !e && l < f->n_level; l++) {
        level *lv = &f->level[l];
        lv->map = sx_calloc(3 * f->n_op, sizeof *lv->map);
        if (!lv->map) return sx_nomem(er);
        for (size_t i = 0; !e && i < f->n_op; i++) {
            const sx_node *n = node(f, f->op[i].id);
            for (int a = 0; !e && f->op[i].level == l && a < n->n_arg; a++) {
                const size_t had = f->n_value;
                e = slot_of(f, n->arg[a], &f->op[i].arg[a], er);
                if (!e && f->n_value > had) lv->map[lv->n_map++] = n->arg[a];
            }
        }
    }
    for (size_t i = 0; !e && i < f->n_op; i++) {
        op *o = &f->op[i];
        const sx_node *n = node(f, o->id);
        o->axes = n->op == SX_OP_edt ? n->axes : node(f, n->arg[0])->axes | node(f, n->arg[2])->axes;
        for (o->first = 0; o->first < i; o->first++) {
            const op *u = &f->op[o->first];
            if (n->op != SX_OP_edt && node(f, u->id)->op != SX_OP_edt && u->level == o->level && u->batch == o->batch &&
                u->arg[0] == o->arg[0] && u->arg[2] == o->arg[2])
                break;
        }
    }
    return e;
}

/* -- Memory ---------------------------------------------------------------------------------------------- */

static char *place(const sx_fields *f, size_t slot, size_t image)
{
    return f->buffer + image * f->image_bytes + f->value[slot].at;
}

/* [image of the span][value]: where some values are. */
static sx_err places(const sx_fields *f, const sx_id *id, size_t n, void ***out, sx_error *er)
{
    void **list = *out = sx_malloc((f->room * n + 1) * sizeof *list);
    if (!list) return sx_nomem(er);
    for (size_t i = 0; i < n; i++) {
        size_t slot = 0;
        while (f->value[slot].id != id[i]) slot++;
        for (size_t image = 0; image < f->room; image++) list[image * n + i] = place(f, slot, image);
    }
    return SX_EOK;
}

static sx_err no_room(const sx_fields *f, size_t images, size_t bytes, sx_error *er)
{
    const double mib = 1.0 / (1 << 20);
    sx_fail(er, SX_EMEMORY, "sorting, or distances, of %zu image%s at once need%s %.3g MiB, more than the memory that may be used (%.3g MiB)",
            images, images == 1 ? "" : "s", images == 1 ? "s" : "", (double)bytes * mib, (double)sx_run_mem(f->outer->r) * mib);
    sx_hint(er, "%s, or allow more with --mem", f->unit > 1 ? "take unit = \"image\", or a smaller batch" : "fewer settings in one sweep");
    return SX_EMEMORY;
}

static sx_err pointers(const sx_fields *f, const sx_walk *w, void ***out, sx_error *er)
{
    const sx_id *id;
    const size_t n = sx_prog_made(w->prog, &id);
    return places(f, id, n, out, er);
}

/* How many images a span has, and memory for them. images: of the walk. */
static sx_err take_room(sx_fields *f, size_t images, sx_error *er)
{
    const size_t mem = sx_run_mem(f->outer->r), budget = mem / 4 < SPAN_BYTES ? mem / 4 : SPAN_BYTES;
    const size_t threads = (size_t)sx_pool_threads(f->outer->r->o.pool), max_px = sx_dump_get_info(f->outer->r->p->d)->max_px;
    size_t want = (images + f->unit - 1) / f->unit * f->unit, fit = budget / f->image_bytes / f->unit * f->unit;
    f->most = want < fit ? want : fit;
    if (f->most < f->unit) f->most = f->unit;
    const size_t per_worker = f->unit > 1 ? f->unit * max_px * (4 * f->outer->r->k->size + SORT_BYTES) : 0;
    const size_t bytes = f->most * f->image_bytes + threads * per_worker;
    if (bytes > mem && (f->most > 1 || bytes > IMAGE_BYTES)) return no_room(f, f->most, bytes, er);
    f->room = f->most;
    /* fresh pages cost as much as sorting: the pool's buffer, unless maps are there */
    f->own_buffer = f->outer->n_map_id > 0;
    f->buffer = f->own_buffer ? sx_malloc_aligned(f->room * f->image_bytes) : sx_pool_buffer(f->outer->r->o.pool, f->room * f->image_bytes);
    if (!f->buffer) return no_room(f, f->room, bytes, er);
    sx_err e = pointers(f, f->outer, &f->outer->made, er);
    for (size_t l = 0; !e && l < f->n_level; l++) {
        sx_walk *w = &f->level[l].walk;
        void **map = NULL;
        if (!(e = pointers(f, w, &w->made, er))) e = places(f, f->level[l].map, f->level[l].n_map, &map, er);
        w->map = map;
    }
    if (e) return e;
    for (size_t i = 0; i < threads && f->unit > 1; i++)
        if (!(f->gather[i] = sx_malloc_aligned(4 * f->unit * max_px * f->outer->r->k->size))) return sx_nomem(er);
    return SX_EOK;
}

/* -- One plane ------------------------------------------------------------------------------------------- */

/* Which plane of a value with the axes `part` belongs to plane `plane` of one with the axes `whole`. */
static size_t plane_of(const sx_fields *f, sx_axes part, sx_axes whole, size_t plane)
{
    const sx_graph *g = f->outer->r->p->g;
    const size_t classes = f->outer->r->p->classes;
    size_t c = whole & SX_AX_C ? plane % classes : 0, k = whole & SX_AX_C ? plane / classes : plane, at = 0, mul = 1;
    for (int x = sx_graph_axes(g) - 1; x >= 0; x--) {
        if (!(whole & SX_AX_SWEEP(x))) continue;
        const size_t count = sx_box_count(g, f->outer->box, SX_AX_SWEEP(x));
        if (part & SX_AX_SWEEP(x)) {
            at += k % count * mul;
            mul *= count;
        }
        k /= count;
    }
    return part & SX_AX_C ? at * classes + c : at;
}

static size_t planes(const sx_fields *f, sx_axes axes)
{
    return sx_box_count(f->outer->r->p->g, f->outer->box, axes) * (axes & SX_AX_C ? f->outer->r->p->classes : 1);
}

static size_t px_of(const sx_fields *f, size_t image) { return sx_dump_n_px(f->outer->r->p->d, f->first + image); }

static char *plane_at(const sx_fields *f, size_t slot, size_t image, size_t plane)
{
    return place(f, slot, image) + plane * px_of(f, image) * f->outer->r->k->size;
}

/* Plane `plane` (of `whole`) of a value, over count images from `image` on, in one piece: where it is, or copied to `to`. */
static const void *gathered(const sx_fields *f, size_t slot, sx_axes whole, size_t plane, size_t image, size_t count, char *to)
{
    plane = plane_of(f, node(f, f->value[slot].id)->axes, whole, plane);
    if (count == 1) return plane_at(f, slot, image, plane);
    char *at = to;
    for (size_t i = image; i < image + count; i++) {
        const size_t bytes = px_of(f, i) * f->outer->r->k->size;
        memcpy(at, plane_at(f, slot, i, plane), bytes);
        at += bytes;
    }
    return to;
}

static sx_err measure(sx_fields *f, const op *o, size_t plane, size_t image, int worker, sx_error *er)
{
    const sx_runner *r = f->outer->r;
    const sx_dump_info *info = sx_dump_get_info(r->p->d);
    size_t dims[3];
    sx_dump_dims(r->p->d, f->first + image, dims);
    return sx_edt(&f->work[worker], gathered(f, o->arg[0], o->axes, plane, image, 1, NULL), gathered(f, o->arg[1], o->axes, plane, image, 1, NULL),
                  dims, info->spacing, info->n_dims, r->o.use_double, plane_at(f, o->slot, image, plane), er);
}

/* One plane of a batch (count images) is sorted, then summed for every operator that wants it in this order. */
static sx_err sort(sx_fields *f, const op *o, size_t plane, size_t image, size_t count, int worker, sx_error *er)
{
    const sx_runner *r = f->outer->r;
    const bool dbl = r->o.use_double;
    sx_field_work *w = &f->work[worker];
    size_t n = 0, in_order;
    for (size_t i = image; i < image + count; i++) n += px_of(f, i);
    if (n > UINT32_MAX) return sx_fail(er, SX_EARG, "%zu pixels are too many to sort together", n);
    const size_t step = n * r->k->size;
    char *room[4] = {0};
    for (size_t i = 0; count > 1 && i < 4; i++) room[i] = f->gather[worker] + i * step;
    const void *a = gathered(f, o->arg[0], o->axes, plane, image, count, room[0]);
    const void *part = gathered(f, o->arg[2], o->axes, plane, image, count, room[1]);
    sx_err e = sx_order(w, a, part, n, dbl, &in_order, er);
    for (const op *u = o; !e && u < f->op + f->n_op; u++) {
        if (u->first != o->first || u->level != o->level) continue;
        const sx_axes axes = node(f, u->id)->axes;
        for (size_t k = 0; k < f->value[u->slot].len; k++) {
            if (plane_of(f, o->axes, axes, k) != plane) continue;
            char *out = count == 1 ? plane_at(f, u->slot, image, k) : room[3];
            sx_sum_ordered(w, in_order, gathered(f, u->arg[1], axes, k, image, count, room[2]), node(f, u->id)->op == SX_OP_sum_below, n,
                           dbl, out);
            for (size_t i = image; count > 1 && i < image + count; i++) {
                const size_t bytes = px_of(f, i) * r->k->size;
                memcpy(plane_at(f, u->slot, i, k), out, bytes);
                out += bytes;
            }
        }
    }
    return e;
}

static sx_err plane_task(void *arg, size_t number, int worker, sx_error *er)
{
    sx_fields *f = arg;
    size_t i = 0;
    while (number >= f->task_first[i + 1]) i++;
    const op *o = &f->op[i];
    number -= f->task_first[i];
    const size_t len = planes(f, o->axes), image = number / len * o->batch, left = f->count - image;
    if (node(f, o->id)->op == SX_OP_edt) return measure(f, o, number % len, image, worker, er);
    return sort(f, o, number % len, image, left < o->batch ? left : o->batch, worker, er);
}

/* -- A span ------------------------------------------------------------------------------------------------- */

static sx_err do_level(sx_fields *f, size_t l, size_t wave_max, sx_error *er)
{
    sx_err e = sx_walk_range(&f->level[l].walk, f->first, f->first + f->count, wave_max, NULL, er);
    for (size_t i = 0; i < f->n_op; i++) {
        const op *o = &f->op[i];
        const size_t batches = (f->count + o->batch - 1) / o->batch;
        f->task_first[i + 1] = f->task_first[i] + (o->level == l && o->first == i ? batches * planes(f, o->axes) : 0);
    }
    return e ? e : sx_pool_for(f->outer->r->o.pool, f->task_first[f->n_op], plane_task, f, er);
}

sx_err sx_fields_make(sx_fields *f, size_t image, size_t to, size_t wave_max, size_t *end, sx_error *er)
{
    const size_t images = f->outer->r->p->images;
    sx_err e = f->buffer ? SX_EOK : take_room(f, to - image / f->unit * f->unit, er);
    if (e) return e;
    f->first = image / f->unit * f->unit;
    f->count = images - f->first < f->most ? images - f->first : f->most;
    if (to < f->first + f->count) f->count = ((to - f->first + f->unit - 1) / f->unit) * f->unit;
    if (f->count > images - f->first) f->count = images - f->first;
    *end = f->first + f->count < to ? f->first + f->count : to;
    for (size_t l = 0; !e && l < f->n_level; l++) e = do_level(f, l, wave_max, er);
    return e;
}

/* -- The door ------------------------------------------------------------------------------------------------- */

size_t sx_fields_first(const sx_fields *f) { return f->first; }

size_t sx_fields_walks(const sx_fields *f) { return f->n_level; }
sx_walk *sx_fields_walk(sx_fields *f, size_t i) { return &f->level[i].walk; }

sx_err sx_fields_new(sx_walk *outer, sx_error *er)
{
    sx_runner *r = outer->r;
    const size_t threads = (size_t)sx_pool_threads(r->o.pool);
    const sx_id *list;
    const size_t n = sx_prog_made(outer->prog, &list);
    if (!n || outer->outer) return SX_EOK;
    sx_fields *f = outer->fields = sx_calloc(1, sizeof *f);
    if (!f) return sx_nomem(er);
    f->outer = outer;
    f->depth = sx_calloc(r->n_ids, sizeof *f->depth);
    f->work = sx_calloc(threads, sizeof *f->work);
    f->gather = sx_calloc(threads, sizeof *f->gather);
    sx_err e = f->depth && f->work && f->gather ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; !e && i < n; i++) e = find(f, list[i], er);
    if (!e) e = lay_out(f, er);
    for (size_t l = 0; !e && l < f->n_level; l++) {
        sx_walk *w = &f->level[l].walk;
        *w = (sx_walk){.r = r, .box = outer->box, .outer = outer, .n_map = f->level[l].n_map};
        e = sx_walk_start(w, NULL, 0, f->level[l].map, f->level[l].n_map, er);
        if (!e) outer->columns |= sx_prog_fields(w->prog);
    }
    return e;
}

void sx_fields_free(sx_fields *f)
{
    if (!f) return;
    const size_t threads = (size_t)sx_pool_threads(f->outer->r->o.pool);
    for (size_t i = 0; i < threads; i++) {
        if (f->work) sx_field_work_free(&f->work[i]);
        if (f->gather) sx_free(f->gather[i]);
    }
    for (size_t l = 0; f->level && l < f->n_level; l++) {
        sx_walk *w = &f->level[l].walk;
        sx_free((void *)(uintptr_t)w->map);
        if (w->r) sx_walk_free(w);
        sx_free(f->level[l].map);
    }
    sx_free(f->depth);
    sx_free(f->op);
    sx_free(f->value);
    sx_free(f->level);
    sx_free(f->task_first);
    if (f->own_buffer) sx_free(f->buffer);
    sx_free(f->work);
    sx_free(f->gather);
    sx_free(f);
}
