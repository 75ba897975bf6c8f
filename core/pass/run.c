/*
 * run.c: drives a plan: its steps in order, then the outputs. Sums over images and everything after them are computed from kept records,
 * image by image, so memory does not grow with the dump.
 */
#include <string.h>

#include "pass/run_impl.h"

#define MAP_BYTES ((size_t)128 << 20)   /* of mapped values, unless one image needs more */

static sx_err room_for(sx_runner *r, sx_id id, sx_error *er)
{
    if (r->value[id]) return SX_EOK;
    r->value[id] = sx_calloc(sx_run_len(r, id) + 1, sizeof(double));
    return r->value[id] ? SX_EOK : sx_nomem(er);
}

/* -- Values of image-wise nodes for one image ------------------------------------------------------- */

/* Marks the image-wise nodes below id that must be computed for it. */
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

static sx_err image_value(sx_runner *r, sx_id id, size_t image, sx_error *er)
{
    const sx_node *n = sx_run_node(r, id);
    sx_err e = room_for(r, id, er);
    if (e) return e;
    switch (n->op) {
    case SX_OP_psum:
    case SX_OP_bysum: {
        size_t pass = 0;
        while (r->p->sum[pass] != id) pass++;
        memcpy(r->value[id], r->record[r->p->sum_pass[pass]] + r->stat_at[id], sx_run_len(r, id) * sizeof(double));
        return SX_EOK;
    }
    case SX_OP_first:
        r->value[id][0] = image % (size_t)n->attr == 0;
        return SX_EOK;
    case SX_OP_bsum: {
        batch *b = find_batch(r, id);
        if (!b) return sx_fail(er, SX_EBUG, "a batch sum is missing");
        return sx_store_get(b->store, image / (size_t)n->attr, r->value[id], er);
    }
    default: return sx_epilogue_node(r->p->g, r->p->classes, id, r->value, r->value[id], er);
    }
}

/* Computes all marked nodes for one image. */
sx_err sx_run_image(sx_runner *r, size_t image, sx_error *er)
{
    sx_err e;
    size_t n = sx_graph_size(r->p->g);
    for (size_t i = 0; i < r->passes_done; i++)
        if ((e = sx_store_get(r->store[i], image, r->record[i], er))) return e;
    for (sx_id id = 1; id <= n; id++)
        if (r->mark[id] && (e = image_value(r, id, image, er))) return e;
    return SX_EOK;
}

void sx_run_unmark(sx_runner *r) { memset(r->mark, 0, sx_graph_size(r->p->g) + 1); }

/* -- Step: sums over images --------------------------------------------------------------------------- */

static sx_err start_batches(sx_runner *r, const plan_step *s, sx_error *er)
{
    for (size_t i = 0; i < s->n; i++) {
        sx_id id = s->id[i];
        if (sx_run_node(r, id)->op != SX_OP_bsum) continue;
        batch *b = sx_realloc(r->batch, (r->n_batch + 1) * sizeof *b);
        if (!b) return sx_nomem(er);
        r->batch = b;
        b += r->n_batch;
        *b = (batch){.id = id, .len = sx_run_len(r, id)};
        sx_err e = sx_store_new(b->len, sx_run_mem(r) / 16, &b->store, er);
        if (e) return e;
        r->n_batch++;
    }
    return SX_EOK;
}

static sx_err sum_images(sx_runner *r, const plan_step *s, sx_error *er)
{
    sx_err e = start_batches(r, s, er);
    sx_run_unmark(r);
    for (size_t i = 0; !e && i < s->n; i++) {
        sx_run_mark(r, sx_run_node(r, s->id[i])->arg[0]);
        e = room_for(r, s->id[i], er);
        if (!e) memset(r->value[s->id[i]], 0, sx_run_len(r, s->id[i]) * sizeof(double));
    }
    for (size_t image = 0; !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = sx_run_image(r, image, er);
        for (size_t i = 0; !e && i < s->n; i++) {
            sx_id id = s->id[i];
            size_t n = sx_run_len(r, id), B = (size_t)sx_run_node(r, id)->attr;
            sx_add_to(r->value[id], r->value[sx_run_node(r, id)->arg[0]], n);
            if (sx_run_node(r, id)->op != SX_OP_bsum || ((image + 1) % B && image + 1 < r->p->images)) continue;
            e = sx_store_append(find_batch(r, id)->store, r->value[id], er);
            memset(r->value[id], 0, n * sizeof(double));
        }
    }
    return e;
}

/* -- Step: values ------------------------------------------------------------------------------------- */

static sx_err compute_values(sx_runner *r, const plan_step *s, sx_error *er)
{
    for (size_t i = 0; i < s->n; i++) {
        sx_err e = room_for(r, s->id[i], er);
        if (!e) e = sx_epilogue_node(r->p->g, r->p->classes, s->id[i], r->value, r->value[s->id[i]], er);
        if (e) return e;
    }
    return SX_EOK;
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
    if ((e = sx_store_new(w->stat_len, limit, &r->store[n], er)) ||
        (e = sx_walk_images(w, 0, r->p->images, wave_max, r->store[n], er)))
        return e;
    r->passes_done++;
    return SX_EOK;
}

static sx_err do_pass(sx_runner *r, const plan_step *s, sx_error *er)
{
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
    char *buffer = sx_pool_buffer(r->o->pool, total);
    if (!buffer) return sx_nomem(er);
    for (size_t i = 0; i < images * n_map; i++) {
        map[i] = buffer + at;
        at += (len[i % n_map] * max_px * r->k->size + 63) / 64 * 64;
    }
    return SX_EOK;
}

/* The mapped outputs of one image, into the results. */
static sx_err do_map(sx_runner *r, const plan_step *s, sx_error *er)
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
            r->k->to_double(r->res->out[i].v, map[k], len[k] * px);
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

/* -- Outputs --------------------------------------------------------------------------------------------- */

static sx_err allocate(sx_runner *r, sx_array *a, sx_id id, sx_error *er)
{
    const sx_node *n = sx_run_node(r, id);
    a->axes = n->axes;
    a->n = sx_run_len(r, id);
    if (n->axes & SX_AX_P && r->p->map_image == SX_EACH_IMAGE) a->n = 0;
    else if (n->axes & SX_AX_P) a->n *= sx_dump_n_px(r->p->d, r->p->map_image);
    else if (n->axes & SX_AX_N) a->n *= r->p->images;
    a->v = sx_calloc(a->n + 1, sizeof *a->v);
    return a->v ? SX_EOK : sx_nomem(er);
}

/* Image-wise outputs: [sweep][n][L][C]. */
static sx_err imagewise_outputs(sx_runner *r, sx_error *er)
{
    sx_err e = SX_EOK;
    bool any = false;
    sx_run_unmark(r);
    for (size_t i = 0; i < r->p->n_out; i++) {
        const sx_node *n = sx_run_node(r, r->p->out[i]);
        if (!(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) continue;
        sx_run_mark(r, r->p->out[i]);
        any = true;
    }
    for (size_t image = 0; any && !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = sx_run_image(r, image, er);
        for (size_t i = 0; !e && i < r->p->n_out; i++) {
            sx_id id = r->p->out[i];
            const sx_node *n = sx_run_node(r, id);
            if (!(n->axes & SX_AX_N) || (n->axes & SX_AX_P)) continue;
            size_t combos = sx_axes_count(r->p->g, n->axes), rec = sx_run_len(r, id) / combos;
            for (size_t k = 0; k < combos; k++)
                memcpy(r->res->out[i].v + (k * r->p->images + image) * rec, r->value[id] + k * rec, rec * sizeof(double));
        }
    }
    return e;
}

static sx_err collect(sx_runner *r, sx_error *er)
{
    sx_plan *p = r->p;
    for (size_t i = 0; i < p->n_out; i++) {
        const sx_node *n = sx_run_node(r, p->out[i]);
        sx_err e = allocate(r, &r->res->out[i], p->out[i], er);
        if (e) return e;
        if (!(n->axes & (SX_AX_P | SX_AX_N))) memcpy(r->res->out[i].v, r->value[p->out[i]], r->res->out[i].n * sizeof(double));
    }
    return imagewise_outputs(r, er);
}

static uint64_t spilled(const sx_runner *r)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->passes_done; i++) bytes += sx_store_spilled(r->store[i]);
    for (size_t i = 0; i < r->n_batch; i++) bytes += sx_store_spilled(r->batch[i].store);
    return bytes;
}

static void free_runner(sx_runner *r)
{
    size_t n = sx_graph_size(r->p->g);
    for (size_t i = 0; r->value && i <= n; i++) sx_free(r->value[i]);
    for (size_t i = 0; i < r->p->info.passes; i++) {
        if (r->store) sx_store_free(r->store[i]);
        if (r->record) sx_free(r->record[i]);
    }
    for (size_t i = 0; i < r->n_batch; i++) sx_store_free(r->batch[i].store);
    sx_free(r->batch);
    sx_free(r->value);
    sx_free(r->stat_at);
    sx_free(r->store);
    sx_free(r->record);
    sx_free(r->mark);
}

sx_err sx_plan_run(sx_plan *p, const sx_run_opts *o, sx_result **out, sx_error *er)
{
    size_t n = sx_graph_size(p->g) + 1;
    sx_runner r = {.p = p, .o = o, .k = sx_kernels_get(o->isa, o->use_double)};
    const plan_step *map = NULL;
    sx_err e = SX_EOK;
    *out = NULL;
    if (p->map_image == SX_EACH_IMAGE && !o->emit) return sx_fail(er, SX_EARG, "images to be handed out, but no one to take them");
    if (!r.k) return sx_fail(er, SX_EARG, "this build has no kernels for ISA level '%s'", sx_isa_name(o->isa));
    r.value = sx_calloc(n, sizeof *r.value);
    r.stat_at = sx_calloc(n, sizeof *r.stat_at);
    r.mark = sx_calloc(n, 1);
    r.store = sx_calloc(p->info.passes + 1, sizeof *r.store);
    r.record = sx_calloc(p->info.passes + 1, sizeof *r.record);
    r.res = sx_calloc(1, sizeof *r.res);
    if (r.res) r.res->out = sx_calloc(p->n_out + 1, sizeof *r.res->out);
    if (!r.value || !r.stat_at || !r.mark || !r.store || !r.record || !r.res || !r.res->out) {
        e = sx_nomem(er);
        goto done;
    }
    r.res->n_out = p->n_out;
    r.res->passes = o->keep ? 0 : p->info.passes;
    for (size_t i = 0; !e && i < p->n_step; i++) {
        const plan_step *s = &p->step[i];
        switch (s->kind) {
        case STEP_VALUES: e = compute_values(&r, s, er); break;
        case STEP_IMAGES: e = sum_images(&r, s, er); break;
        case STEP_PASS: e = o->keep ? sx_run_kept(&r, s, er) : do_pass(&r, s, er); break;
        case STEP_MAP:
            if (p->map_image == SX_EACH_IMAGE) e = do_map_each(&r, s, er);
            else map = s;
            break;
        }
    }
    if (!e) e = collect(&r, er);
    if (!e && map) e = do_map(&r, map, er);
    if (!e) r.res->spilled = spilled(&r);
done:
    free_runner(&r);
    if (e) {
        sx_result_free(r.res);
        r.res = NULL;
    }
    *out = r.res;
    return e;
}

void sx_result_free(sx_result *r)
{
    if (!r) return;
    for (size_t i = 0; r->out && i < r->n_out; i++) sx_free(r->out[i].v);
    sx_free(r->out);
    sx_free(r->bad);
    sx_free(r);
}
