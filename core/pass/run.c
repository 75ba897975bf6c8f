/*
 * run.c: the steps of a plan. Sums over images and everything after them are computed from kept records, image by image, so memory does
 * not grow with the dump.
 */
#include <string.h>

#include "pass/run_impl.h"

#define MAP_BYTES ((size_t)128 << 20)   /* of mapped values, unless one image needs more */

sx_err sx_run_room(sx_runner *r, sx_frame *f, sx_id id, sx_error *er)
{
    size_t n = sx_value_len(r->p->g, r->p->classes, f->box, id);
    if (f->v[id] && f->cap[id] >= n) return SX_EOK;
    sx_free(f->v[id]);
    f->cap[id] = 0;
    if (!(f->v[id] = sx_calloc(n + 1, sizeof(double)))) return sx_nomem(er);
    f->cap[id] = n;
    return SX_EOK;
}

/* -- Values of image-wise nodes for one image ------------------------------------------------------- */

void sx_run_mark(sx_runner *r, sx_id id)
{
    const sx_node *n = sx_run_node(r, id);
    if (r->mark[id] || !(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) return;
    r->mark[id] = 1;
    sx_class cl = sx_op_class((sx_op)n->op);
    if (cl == SX_CL_PSUM || cl == SX_CL_BYSUM || cl == SX_CL_BSUM) return;
    for (int i = 0; i < n->n_arg; i++)
        if (sx_plan_alive(r->p, id, i)) sx_run_mark(r, n->arg[i]);
}

static batch *find_batch(sx_runner *r, sx_id id)
{
    for (size_t i = 0; i < r->n_batch; i++)
        if (r->batch[i].id == id) return &r->batch[i];
    return NULL;
}

static sx_err batch_value(sx_runner *r, sx_frame *f, sx_id id, size_t image, sx_error *er)
{
    const sx_node *n = sx_run_node(r, id);
    batch *b = find_batch(r, id);
    if (!b) return sx_fail(er, SX_EBUG, "a batch sum is missing");
    if (b->frame == f) return sx_store_get(b->store, image / (size_t)n->attr, f->v[id], er);
    if (!b->whole && !(b->whole = sx_calloc(sx_run_len(r, id) + 1, sizeof(double)))) return sx_nomem(er);
    sx_err e = sx_store_get(b->store, image / (size_t)n->attr, b->whole, er);
    if (!e) sx_box_copy(r->p->g, f->box, n->axes, b->whole, sx_run_len(r, id), f->v[id]);
    return e;
}

static const double *in_record(const sx_runner *r, sx_id id)
{
    size_t i = 0;
    while (r->p->sum[i] != id) i++;
    return r->record[r->p->sum_pass[i]] + r->stat_at[id];
}

static sx_err image_value(sx_runner *r, sx_frame *f, sx_id id, size_t image, sx_error *er)
{
    const sx_node *n = sx_run_node(r, id);
    sx_err e = sx_run_room(r, f, id, er);
    if (e) return e;
    switch (n->op) {
    case SX_OP_psum:
    case SX_OP_bysum: sx_box_copy(r->p->g, f->box, n->axes, in_record(r, id), sx_run_len(r, id), f->v[id]); return SX_EOK;
    case SX_OP_first:
        f->v[id][0] = image % (size_t)n->attr == 0;
        return SX_EOK;
    case SX_OP_bsum: return batch_value(r, f, id, image, er);
    default: return sx_epilogue_node(r->p->g, r->p->classes, f->box, id, f->v, f->v[id], er);
    }
}

sx_err sx_run_image(sx_runner *r, sx_frame *f, size_t image, sx_error *er)
{
    sx_err e;
    for (size_t i = 0; i < r->passes_done; i++)
        if ((e = sx_store_get(r->store[i], image, r->record[i], er))) return e;
    for (size_t i = 0; i < r->p->n_list; i++)
        if (r->mark[r->p->list[i]] && (e = image_value(r, f, r->p->list[i], image, er))) return e;
    return SX_EOK;
}

void sx_run_unmark(sx_runner *r) { memset(r->mark, 0, r->n_ids); }

/* -- Step: sums over images --------------------------------------------------------------------------- */

static void drop_batch(batch *b)
{
    sx_store_free(b->store);
    sx_free(b->whole);
    b->store = NULL;
    b->whole = NULL;
}

static sx_err start_batch(sx_runner *r, sx_frame *f, sx_id id, sx_error *er)
{
    batch *b = find_batch(r, id);
    if (b) {
        drop_batch(b);
    } else {
        if (!(b = sx_realloc(r->batch, (r->n_batch + 1) * sizeof *b))) return sx_nomem(er);
        r->batch = b;
        b += r->n_batch++;
        *b = (batch){.id = id, .frame = f};
    }
    const size_t batches = r->p->images / (size_t)sx_run_node(r, id)->attr + 1;
    return sx_store_new(sx_value_len(r->p->g, r->p->classes, f->box, id), batches, sx_run_mem(r) / 16, &b->store, er);
}

/* Is that an image's number as its record has it? */
static bool as_recorded(const sx_runner *r, const sx_frame *f, sx_id id)
{
    const sx_node *n = sx_run_node(r, id);
    return (n->op == SX_OP_psum || n->op == SX_OP_bysum) && !(f->box && n->axes & SX_SWEEP_MASK);
}

/* One image more: into the sums, and where a batch ends, its sum to its store. x: what is added, or NULL: what the frame has. */
static sx_err add_image(sx_runner *r, sx_frame *f, sx_id id, const double *x, size_t image, sx_error *er)
{
    const sx_node *n = sx_run_node(r, id);
    size_t len = sx_value_len(r->p->g, r->p->classes, f->box, id), B = (size_t)n->attr;
    sx_add_to(f->v[id], x ? x : f->v[n->arg[0]], len);
    if (n->op != SX_OP_bsum || ((image + 1) % B && image + 1 < r->p->images)) return SX_EOK;
    sx_err e = sx_store_append(find_batch(r, id)->store, f->v[id], er);
    memset(f->v[id], 0, len * sizeof(double));
    return e;
}

static sx_err sum_images(sx_runner *r, sx_frame *f, const plan_step *s, sx_error *er)
{
    const double **x = sx_calloc(s->n + 1, sizeof *x);     /* where the record has what is added */
    sx_err e = x ? SX_EOK : sx_nomem(er);
    bool any = false;
    sx_run_unmark(r);
    for (size_t i = 0; !e && i < s->n; i++) {
        sx_id id = s->id[i], arg = sx_run_node(r, id)->arg[0];
        if (sx_frame_has(f, r->p->g, id)) continue;
        any = true;
        if (as_recorded(r, f, arg)) x[i] = in_record(r, arg);
        else sx_run_mark(r, arg);
        if (sx_run_node(r, id)->op == SX_OP_bsum) e = start_batch(r, f, id, er);
        if (!e) e = sx_run_room(r, f, id, er);
        if (!e) memset(f->v[id], 0, f->cap[id] * sizeof(double));
    }
    for (size_t image = 0; any && !e && image < r->p->images; image++) {
        if (sx_interrupted()) e = sx_fail(er, SX_EINTR, "interrupted");
        if (!e) e = sx_run_image(r, f, image, er);
        for (size_t i = 0; !e && i < s->n; i++)
            if (!sx_frame_has(f, r->p->g, s->id[i])) e = add_image(r, f, s->id[i], x[i], image, er);
    }
    sx_free(x);
    return e;
}

/* -- Step: values ------------------------------------------------------------------------------------- */

static sx_err compute_values(sx_runner *r, sx_frame *f, const plan_step *s, sx_error *er)
{
    for (size_t i = 0; i < s->n; i++) {
        if (sx_frame_has(f, r->p->g, s->id[i])) continue;
        sx_err e = sx_run_room(r, f, s->id[i], er);
        if (!e) e = sx_epilogue_node(r->p->g, r->p->classes, f->box, s->id[i], f->v, f->v[s->id[i]], er);
        if (e) return e;
    }
    return SX_EOK;
}

sx_err sx_run_step(sx_runner *r, sx_frame *f, const plan_step *s, sx_error *er)
{
    if (s->kind != STEP_VALUES && s->kind != STEP_IMAGES) return sx_fail(er, SX_EBUG, "a step of pixels out of place");
    sx_err e = s->kind == STEP_VALUES ? compute_values(r, f, s, er) : sum_images(r, f, s, er);
    for (size_t i = 0; !e && i < s->n; i++) f->known[s->id[i]] = 1;
    return e;
}

/* -- Step: a walk over the dump ------------------------------------------------------------------------- */

/* Walks over all images; the sums of the step, if it has any, are the records of the next pass. */
static sx_err walk_all(sx_walk *w, const plan_step *s, size_t wave_max, sx_error *er)
{
    sx_runner *r = w->r;
    const size_t n = r->passes_done, limit = s->n ? sx_run_mem(r) / 4 / r->p->info.passes : 0;
    sx_err e = sx_walk_imports(w, wave_max, er);
    if (e || !s->n) return e ? e : sx_walk_images(w, 0, r->p->images, wave_max, NULL, er);
    for (size_t i = 0; i < s->n; i++) r->stat_at[s->id[i]] = sx_prog_stat_off(w->prog, i);
    r->record[n] = sx_calloc(w->stat_len + 1, sizeof(double));
    if (!r->record[n]) return sx_nomem(er);
    if ((e = sx_store_new(w->stat_len, r->p->images, limit, &r->store[n], er)) ||
        (e = sx_walk_images(w, 0, r->p->images, wave_max, r->store[n], er)))
        return e;
    r->passes_done++;
    return SX_EOK;
}

/* With a GPU what reads field operators has a walk of its own, on the CPU, after that of the others; their records are put together. */
static sx_err do_split(sx_runner *r, const plan_step *s, sx_error *er)
{
    const size_t n = r->passes_done, limit = sx_run_mem(r) / 4 / r->p->info.passes;
    sx_walk w[2] = {{.r = r, .to = 0.5}, {.r = r, .from = 0.5, .to = 1}};
    sx_store *first = NULL;
    sx_id *id = sx_malloc((s->n + 1) * sizeof *id);
    size_t count = 0, len;
    if (!id) return sx_nomem(er);
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < s->n; i++)
            if (r->p->fields[s->id[i]] == kind) id[count++] = s->id[i];
    for (count = 0; !r->p->fields[id[count]];) count++;
    sx_err e = sx_walk_start(&w[0], id, count, NULL, 0, er);
    if (!e) e = sx_walk_imports(&w[0], sx_walk_most(r, w[0].stat_len), er);
    if (!e) e = sx_store_new(w[0].stat_len, r->p->images, limit / 2, &first, er);
    if (!e) e = sx_walk_images(&w[0], 0, r->p->images, sx_walk_most(r, w[0].stat_len), first, er);
    if (e == SX_EDATA) sx_walk_explain(&w[0], er);
    if (e || (e = sx_walk_start(&w[1], id + count, s->n - count, NULL, 0, er))) goto done;
    len = w[0].stat_len + w[1].stat_len;
    for (size_t i = 0; i < s->n; i++)
        r->stat_at[id[i]] = i < count ? sx_prog_stat_off(w[0].prog, i) : w[0].stat_len + sx_prog_stat_off(w[1].prog, i - count);
    w[1].before = first;
    w[1].before_len = w[0].stat_len;
    w[1].whole = sx_malloc((len + 1) * sizeof(double));
    r->record[n] = sx_calloc(len + 1, sizeof(double));
    e = w[1].whole && r->record[n] ? sx_store_new(len, r->p->images, limit / 2, &r->store[n], er) : sx_nomem(er);
    if (!e) e = sx_walk_imports(&w[1], sx_walk_most(r, w[1].stat_len), er);
    if (!e) e = sx_walk_images(&w[1], 0, r->p->images, sx_walk_most(r, w[1].stat_len), r->store[n], er);
    if (e == SX_EDATA) sx_walk_explain(&w[1], er);
    r->passes_done += !e;
done:
    for (int i = 0; i < 2; i++) sx_walk_free(&w[i]);
    sx_store_free(first);
    sx_free(id);
    return e;
}

bool sx_run_splits(const sx_runner *r, const sx_id *id, size_t n)
{
    size_t fields = 0;
    for (size_t i = 0; i < n; i++) fields += r->p->fields[id[i]];
    const bool gpu = r->o.cuda || r->gpu || (r->o.choice && r->o.choice->seconds <= 0);
    return gpu && fields > 0 && fields < n;
}

static sx_err do_pass(sx_runner *r, const plan_step *s, sx_error *er)
{
    if (sx_run_splits(r, s->id, s->n)) return do_split(r, s, er);
    sx_walk w = {.r = r};
    sx_err e = sx_walk_start(&w, s->id, s->n, NULL, 0, er);
    if (!e) e = walk_all(&w, s, sx_walk_most(r, w.stat_len), er);
    if (e == SX_EDATA) sx_walk_explain(&w, er);
    sx_walk_free(&w);
    return e;
}

/* -- Step: maps ------------------------------------------------------------------------------------------- */

/* Places for the mapped outputs of `images` images: [image][map], len[map] numbers per pixel. The list is the caller's. */
static sx_err new_maps(const sx_runner *r, const size_t *len, size_t n_map, size_t images, size_t max_px, void ***out, sx_error *er)
{
    void **map = *out = sx_calloc(images * n_map + 1, sizeof *map);
    size_t total = 0, at = 0;
    if (!map) return sx_nomem(er);
    for (size_t i = 0; i < n_map; i++) total += (len[i] * max_px * r->k->size + 63) / 64 * 64 * images;
    char *buffer = sx_pool_buffer(r->o.pool, total);
    if (!buffer) return sx_nomem(er);
    for (size_t i = 0; i < images * n_map; i++) {
        map[i] = buffer + at;
        at += (len[i % n_map] * max_px * r->k->size + 63) / 64 * 64;
    }
    return SX_EOK;
}

/* The mapped outputs of one image, to out[i].v. */
static sx_err do_map(sx_runner *r, const plan_step *s, sx_array *out, sx_error *er)
{
    const size_t image = r->p->map_image, px = sx_dump_n_px(r->p->d, image), n = s->n_map;
    sx_walk w = {.r = r};
    void **map = NULL;
    size_t *len = sx_calloc(n + 1, sizeof *len), k = 0;
    sx_err e = len ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; !e && i < n; i++) len[i] = sx_run_len(r, s->id[i]);
    if (e || (e = new_maps(r, len, n, 1, px, &map, er)) || (e = sx_walk_start(&w, NULL, 0, s->id, n, er))) goto done;
    w.map = map;
    if ((e = sx_walk_imports(&w, 1, er)) || (e = sx_walk_images(&w, image, image + 1, 1, NULL, er))) goto done;
    for (size_t i = 0; i < r->p->n_out; i++)
        if (sx_run_node(r, r->p->out[i])->axes & SX_AX_P) {
            r->k->to_double(out[i].v, map[k], len[k] * px);
            k++;
        }
done:
    sx_walk_free(&w);
    sx_free(map);
    sx_free(len);
    return e;
}

/* Of every image: as many at once as fit. */
static sx_err do_map_each(sx_runner *r, const plan_step *s, sx_error *er)
{
    size_t n = s->n_map, per_px = 0, max_px = sx_dump_get_info(r->p->d)->max_px, k = 0, wave_max = 0, most;
    size_t *out = sx_calloc(n + 1, sizeof *out), *len = sx_calloc(n + 1, sizeof *len);
    void **map = NULL;
    sx_walk w = {.r = r, .each = true, .n_map = n, .map_out = out, .map_per_px = len};
    sx_err e = out && len ? SX_EOK : sx_nomem(er);
    for (size_t i = 0; !e && i < r->p->n_out; i++)
        if (sx_run_node(r, r->p->out[i])->axes & SX_AX_P) {
            len[k] = sx_run_len(r, r->p->out[i]);
            per_px += len[k];
            out[k++] = i;
        }
    if (e || (e = sx_walk_start(&w, s->id, s->n, s->id + s->n, n, er))) goto done;
    most = MAP_BYTES / (per_px * max_px * r->k->size + 1);
    wave_max = sx_walk_most(r, w.stat_len);
    if (wave_max > most) wave_max = most ? most : 1;
    if (wave_max > 64) wave_max = 64;
    if (wave_max > r->p->images) wave_max = r->p->images;
    if ((e = new_maps(r, len, n, wave_max, max_px, &map, er))) goto done;
    w.map = map;
    e = walk_all(&w, s, wave_max, er);
    if (e == SX_EDATA) sx_walk_explain(&w, er);
done:
    sx_walk_free(&w);
    sx_free(map);
    sx_free(out);
    sx_free(len);
    return e;
}

sx_err sx_run_map(sx_runner *r, sx_array *out, sx_error *er)
{
    const plan_step *s = r->p->n_step ? &r->p->step[r->p->n_step - 1] : NULL;
    if (!s || s->kind != STEP_MAP || r->p->map_image == SX_EACH_IMAGE) return SX_EOK;
    return do_map(r, s, out, er);
}

/* -- A run ---------------------------------------------------------------------------------------------- */

static void free_frame(sx_frame *f, size_t n_ids)
{
    for (size_t i = 0; f->v && i < n_ids; i++) sx_free(f->v[i]);
    sx_free(f->v);
    sx_free(f->cap);
    sx_free(f->known);
    *f = (sx_frame){0};
}

static sx_err start_frame(sx_frame *f, size_t n_ids, sx_error *er)
{
    f->v = sx_calloc(n_ids, sizeof *f->v);
    f->cap = sx_calloc(n_ids, sizeof *f->cap);
    f->known = sx_calloc(n_ids, 1);
    return f->v && f->cap && f->known ? SX_EOK : sx_nomem(er);
}

static uint64_t spilled(const sx_runner *r)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->passes_done; i++) bytes += sx_store_spilled(r->store[i]);
    for (size_t i = 0; i < r->n_batch; i++) bytes += sx_store_spilled(r->batch[i].store);
    return bytes;
}

void sx_run_free(sx_runner *r)
{
    free_frame(&r->all, r->n_ids);
    free_frame(&r->part, r->n_ids);
    for (size_t i = 0; i < r->n_pass; i++) {
        if (r->store) sx_store_free(r->store[i]);
        if (r->record) sx_free(r->record[i]);
    }
    for (size_t i = 0; i < r->n_batch; i++) drop_batch(&r->batch[i]);
    sx_free(r->batch);
    sx_free(r->stat_at);
    sx_free(r->store);
    sx_free(r->record);
    sx_free(r->mark);
    sx_free(r->n.bad);
}

sx_err sx_run_passes(sx_runner *r, sx_plan *p, const sx_run_opts *o, sx_error *er)
{
    *r = (sx_runner){.p = p, .o = *o, .k = sx_kernels_get(o->isa, o->use_double), .n_ids = sx_graph_size(p->g) + 1,
                     .n_pass = p->info.passes};
    if (p->map_image == SX_EACH_IMAGE && !o->emit) return sx_fail(er, SX_EARG, "images to be handed out, but no one to take them");
    r->gpu = o->cuda;
    if (!r->k) return sx_fail(er, SX_EARG, "this build has no kernels for ISA level '%s'", sx_isa_name(o->isa));
    r->stat_at = sx_calloc(r->n_ids, sizeof *r->stat_at);
    r->mark = sx_calloc(r->n_ids, 1);
    r->store = sx_calloc(r->n_pass + 1, sizeof *r->store);
    r->record = sx_calloc(r->n_pass + 1, sizeof *r->record);
    if (!r->stat_at || !r->mark || !r->store || !r->record) return sx_nomem(er);
    sx_err e = start_frame(&r->all, r->n_ids, er);
    if (!e) e = start_frame(&r->part, r->n_ids, er);
    r->n.passes = o->keep ? 0 : p->info.passes;
    for (size_t i = 0; !e && i < p->n_step; i++) {
        const plan_step *s = &p->step[i];
        if (s->kind == STEP_PASS) e = o->keep ? sx_run_kept(r, s, er) : do_pass(r, s, er);
        else if (s->kind != STEP_MAP) e = sx_run_step(r, &r->all, s, er);
        else if (p->map_image == SX_EACH_IMAGE) e = do_map_each(r, s, er);
    }
    r->n.spilled = spilled(r);
    return e;
}
