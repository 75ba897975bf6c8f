/* kept.c: a pass with a run folder: what is on disk is read, the rest is computed, box by box, and stays there. */
#include <math.h>
#include <string.h>

#include "pass/run_impl.h"

typedef struct kept {
    const plan_step *s;
    uint64_t *key;                   /* of every cell of the pass: [sum][combination] */
    size_t *start, n;                /* first cell of each sum; cells */
    size_t total, left;              /* cells to compute in this run, and those of them that no walk has begun */
    bool *missing;
    sx_segment **seg;                /* where found: the segment, the cell in it, its number in `used` */
    const sx_segment_cell **cell;
    size_t *use;
    size_t *bad;                     /* first image with a number that is not finite, or SIZE_MAX */
    sx_segment **used;               /* distinct segments, a record of each */
    double **rec;
    size_t n_used;
} kept;

static void free_kept(kept *k)
{
    for (size_t i = 0; i < k->n_used; i++) {
        if (k->rec) sx_free(k->rec[i]);
        sx_segment_rest(k->used[i]);
    }
    sx_free(k->key);
    sx_free(k->start);
    sx_free(k->missing);
    sx_free(k->seg);
    sx_free(k->cell);
    sx_free(k->use);
    sx_free(k->bad);
    sx_free(k->used);
    sx_free(k->rec);
}

static sx_err start_kept(sx_runner *r, kept *k, const plan_step *s, sx_error *er)
{
    k->s = s;
    sx_err e = sx_cell_keys(r->p->g, sx_dump_get_info(r->p->d), r->o.use_double, sx_run_is_fast(&r->o), s->id, s->n, &k->key, &k->start, er);
    if (e) return e;
    k->n = k->start[s->n];
    k->missing = sx_calloc(k->n + 1, sizeof *k->missing);
    k->seg = sx_calloc(k->n + 1, sizeof *k->seg);
    k->cell = sx_calloc(k->n + 1, sizeof *k->cell);
    k->use = sx_calloc(k->n + 1, sizeof *k->use);
    k->bad = sx_calloc(k->n + 1, sizeof *k->bad);
    k->used = sx_calloc(k->n + 1, sizeof *k->used);
    k->rec = sx_calloc(k->n + 1, sizeof *k->rec);
    if (!k->missing || !k->seg || !k->cell || !k->use || !k->bad || !k->used || !k->rec) return sx_nomem(er);
    return SX_EOK;
}

/* Looks all cells up; gives how many are missing. */
static size_t find_cells(sx_runner *r, kept *k)
{
    size_t missing = 0;
    for (size_t i = 0; i < k->n; i++) {
        k->missing[i] = !sx_keep_find(r->o.keep, k->key[i], r->p->images, &k->seg[i], &k->cell[i]);
        missing += k->missing[i];
    }
    return missing;
}

static sx_err list_segments(kept *k, sx_error *er)
{
    for (size_t i = 0; i < k->n_used; i++) sx_free(k->rec[i]);
    k->n_used = 0;
    for (size_t i = 0; i < k->n; i++) {
        size_t u = 0;
        if (k->missing[i]) continue;
        if (i && !k->missing[i - 1] && k->seg[i - 1] == k->seg[i]) u = k->use[i - 1];
        while (u < k->n_used && k->used[u] != k->seg[i]) u++;
        k->use[i] = u;
        if (u < k->n_used) continue;
        k->used[u] = k->seg[i];
        if (!(k->rec[u] = sx_malloc((k->seg[i]->len + 1) * sizeof **k->rec))) return sx_nomem(er);
        k->n_used++;
    }
    return SX_EOK;
}

static bool finite_cell(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

/* Goes through the images of the cells that are there; their records go to the store if there is one. */
static sx_err load_cells(sx_runner *r, kept *k, sx_store *st, double *record, sx_error *er)
{
    sx_segment_record head = {0};
    sx_err e = list_segments(k, er);
    for (size_t i = 0; i < k->n; i++) k->bad[i] = SIZE_MAX;
    for (size_t image = 0; !e && image < r->p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        for (size_t u = 0; !e && u < k->n_used; u++) {
            e = sx_segment_read(k->used[u], image, k->rec[u], &head, er);
            if (k->n_used > 100) sx_segment_rest(k->used[u]);
        }
        if (!e && st && r->passes_done == 0) {
            r->n.pixels_valid += head.valid;
            r->n.pixels_masked += head.masked;
        }
        size_t at = 0;
        for (size_t i = 0; !e && i < k->n; i++) {
            if (k->missing[i]) continue;
            const double *v = k->rec[k->use[i]] + k->cell[i]->off;
            if (st) memcpy(record + at, v, k->cell[i]->len * sizeof *v);
            if (k->bad[i] == SIZE_MAX && !finite_cell(v, k->cell[i]->len)) k->bad[i] = image;
            at += k->cell[i]->len;
        }
        if (!e && st) e = sx_store_append(st, record, er);
    }
    return e;
}

static sx_err forget_bad(sx_runner *r, kept *k, sx_error *er)
{
    sx_err e = load_cells(r, k, NULL, NULL, er);
    for (size_t i = 0; !e && i < k->n; i++)
        if (!k->missing[i] && k->bad[i] != SIZE_MAX) sx_keep_forget(r->o.keep, k->key[i]);
    return e;
}

/* The cells that sums id[0 .. n-1] (number[i] in the step) have inside the box, in the order of the program's sums. */
static size_t box_cells(const sx_runner *r, const kept *k, const sx_walk *w, const size_t *number, size_t n,
                        sx_segment_cell *cell, sx_id *sum, size_t *combo)
{
    size_t c = 0;
    for (size_t i = 0; i < n; i++) {
        sx_id id = k->s->id[number[i]];
        sx_axes axes = sx_run_node(r, id)->axes & SX_SWEEP_MASK;
        size_t count = sx_box_count(r->p->g, w->box, axes), len = sx_run_len(r, id) / sx_axes_count(r->p->g, axes);
        for (size_t j = 0; j < count; j++, c++) {
            combo[c] = sx_box_full(r->p->g, w->box, axes, j);
            sum[c] = id;
            cell[c] = (sx_segment_cell){k->key[k->start[number[i]] + combo[c]], sx_prog_stat_off(w->prog, i) + j * len, len};
        }
    }
    return c;
}

/* One walk over the dump for as many missing cells as form a box. */
static sx_err fill_box(sx_runner *r, kept *k, sx_error *er)
{
    const sx_graph *g = r->p->g;
    sx_box box = {0};
    sx_walk w = {.r = r, .box = &box};
    size_t n = 0, *number = sx_calloc(k->s->n + 1, sizeof *number), *combo = sx_calloc(k->n + 1, sizeof *combo);
    sx_id *id = sx_calloc(k->s->n + 1, sizeof *id), *sum = sx_calloc(k->n + 1, sizeof *sum);
    sx_segment_cell *cell = sx_calloc(k->n + 1, sizeof *cell);
    sx_err e = number && combo && id && sum && cell ? SX_EOK : sx_nomem(er);
    const bool splits = sx_run_splits(r, k->s->id, k->s->n);
    for (size_t i = 0; !e && i < k->s->n; i++) {
        bool taken;
        if (splits && n && r->p->fields[k->s->id[i]] != r->p->fields[id[0]]) continue;
        e = sx_box_take(g, &box, sx_run_node(r, k->s->id[i])->axes & SX_SWEEP_MASK, k->missing + k->start[i], &taken, er);
        if (e || !taken) continue;
        number[n] = i;
        id[n++] = k->s->id[i];
    }
    for (int a = 0; a < sx_graph_axes(g); a++)
        if (!box.index[a]) box.count[a] = sx_graph_axis_get(g, a)->count;
    if (e || (e = sx_walk_start(&w, id, n, NULL, 0, er))) goto done;
    size_t cells = box_cells(r, k, &w, number, n, cell, sum, combo), wave_max = sx_walk_most(r, w.stat_len);
    if ((e = sx_keep_begin(r->o.keep, cell, cells, r->p->images, w.stat_len, &w.seg, er))) goto done;
    size_t found = w.seg->done;
    r->n.images_found += found;
    w.from = (double)(k->total - k->left) / (double)k->total;
    k->left -= cells;
    w.to = (double)(k->total - k->left) / (double)k->total;
    if (!(e = sx_walk_imports(&w, wave_max, er))) e = sx_walk_images(&w, found, r->p->images, wave_max, NULL, er);
    r->n.images_new += w.seg->done - found;
    if (!e) e = sx_keep_finish(r->o.keep, w.seg, g, sum, combo, er);
    r->n.cells_new += cells;
    r->n.passes++;
done:
    if (e == SX_EDATA) sx_walk_explain(&w, er);
    sx_walk_free(&w);
    sx_box_clear(&box);
    sx_free(number);
    sx_free(combo);
    sx_free(id);
    sx_free(sum);
    sx_free(cell);
    return e;
}

static sx_err note_bad(sx_runner *r, const kept *k, sx_error *er)
{
    for (size_t i = 0, s = 0; i < k->n; i++) {
        while (i >= k->start[s + 1]) s++;
        if (k->bad[i] == SIZE_MAX) continue;
        struct sx_bad *b = sx_realloc(r->n.bad, (r->n.n_bad + 1) * sizeof *b);
        if (!b) return sx_nomem(er);
        r->n.bad = b;
        b[r->n.n_bad++] = (struct sx_bad){sx_graph_origin(r->p->g, k->s->id[s]), i - k->start[s], k->bad[i]};
    }
    return SX_EOK;
}

sx_err sx_run_kept(sx_runner *r, const plan_step *s, sx_error *er)
{
    kept k = {0};
    size_t pass = r->passes_done, len = 0, missing, limit = sx_run_mem(r) / 4 / r->p->info.passes;
    sx_err e = start_kept(r, &k, s, er);
    if (e) goto done;
    for (size_t i = 0; i < s->n; i++) {
        r->stat_at[s->id[i]] = len;
        len += sx_run_len(r, s->id[i]);
    }
    missing = find_cells(r, &k);
    if (sx_keep_retries(r->o.keep)) {
        if ((e = forget_bad(r, &k, er))) goto done;
        missing = find_cells(r, &k);
    }
    r->n.cells_found += k.n - missing;
    k.total = k.left = missing;
    while (missing) {
        if ((e = fill_box(r, &k, er))) goto done;
        size_t left = find_cells(r, &k);
        if (left >= missing) {
            e = sx_fail(er, SX_EBUG, "a pass has made nothing ready");
            goto done;
        }
        missing = left;
    }
    r->record[pass] = sx_calloc(len + 1, sizeof(double));
    if (!r->record[pass]) {
        e = sx_nomem(er);
        goto done;
    }
    if ((e = sx_store_new(len, r->p->images, limit, &r->store[pass], er)) ||
        (e = load_cells(r, &k, r->store[pass], r->record[pass], er)) || (e = note_bad(r, &k, er)))
        goto done;
    r->passes_done++;
done:
    free_kept(&k);
    return e;
}

sx_err sx_plan_find(const sx_plan *p, const sx_run_opts *o, sx_plan_found *out, sx_error *er)
{
    *out = (sx_plan_found){0};
    for (size_t i = 0; i < p->n_step; i++) {
        const plan_step *s = &p->step[i];
        uint64_t *key;
        size_t *start, missing = 0;
        sx_segment *seg;
        const sx_segment_cell *cell;
        if (s->kind != STEP_PASS) continue;
        sx_err e = sx_cell_keys(p->g, sx_dump_get_info(p->d), o->use_double, sx_run_is_fast(o), s->id, s->n, &key, &start, er);
        if (e) return e;
        for (size_t c = 0; c < start[s->n]; c++) {
            if (sx_keep_find(o->keep, key[c], p->images, &seg, &cell)) continue;
            if (!missing++ && !out->passes) out->begun = sx_keep_begun(o->keep, key[c], p->images);
        }
        out->cells += start[s->n];
        out->found += start[s->n] - missing;
        out->passes += missing > 0;
        sx_free(key);
        sx_free(start);
    }
    return SX_EOK;
}
