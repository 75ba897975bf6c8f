/*
 * grid.c: the outputs of a plan whose passes are done, a page of the sweep at a time: the tail of the plan is computed inside a box of
 * the sweep. What does not depend on the axes along which the box has moved is kept from the page before, so that going through all
 * pages costs what one big page would.
 */
#include <string.h>

#include "pass/run_impl.h"

#define PAGE_DOUBLES ((size_t)1 << 18)   /* of the tail's values: what caches hold */
#define PAGE_ROWS ((size_t)1 << 14)

struct sx_grid {
    sx_runner r;
    sx_grid_info info;
    sx_array *out;
    bool *moved;               /* by output: has it other values than on the page before? */
    bool there;                /* the frame's values are those of one page */
    sx_box box;
    sx_id *late;               /* what a page computes, but for sums over images; image-wise nodes included */
    size_t n_late;
    sx_id *import;             /* what the tail reads of what passes needed */
    size_t n_import;
    int cut;                   /* pages are ranges of `step` values of this axis; axes before it are fixed, those after it whole. -1: one page */
    size_t step, per, inner;   /* ranges of the axis; rows that one of its values has */
};

static sx_plan *plan_of(sx_grid *g) { return g->r.p; }
static bool imagewise(const sx_node *n) { return (n->axes & SX_AX_N) != 0; }
static bool has_pixels(const sx_node *n) { return (n->axes & SX_AX_P) != 0; }

static bool is_stored(const sx_node *n)
{
    sx_class cl = sx_op_class((sx_op)n->op);
    return cl == SX_CL_PSUM || cl == SX_CL_BYSUM || cl == SX_CL_BSUM;
}

/* -- What the tail is made of --------------------------------------------------------------------- */

static sx_err list_tail(sx_grid *g, sx_error *er)
{
    sx_plan *p = plan_of(g);
    uint8_t *state = sx_calloc(g->r.n_ids, 1);   /* 1: late, 2: an import */
    g->late = sx_malloc((p->n_list + 1) * sizeof *g->late);
    g->import = sx_malloc((p->n_list + 1) * sizeof *g->import);
    if (!state || !g->late || !g->import) {
        sx_free(state);
        return sx_nomem(er);
    }
    for (size_t i = 0; i < p->n_tail; i++)
        for (size_t j = 0; j < p->tail[i].n; j++) state[p->tail[i].id[j]] = 1;
    for (size_t i = 0; i < p->n_list; i++) {
        const sx_node *n = sx_run_node(&g->r, p->list[i]);
        if (imagewise(n) && !has_pixels(n)) state[p->list[i]] = 1;
    }
    for (size_t i = 0; i < p->n_list; i++) {
        const sx_node *n = sx_run_node(&g->r, p->list[i]);
        if (state[p->list[i]] != 1) continue;
        g->late[g->n_late++] = p->list[i];
        for (int a = 0; a < n->n_arg && !is_stored(n); a++)
            if (sx_plan_alive(p, p->list[i], a) && !state[n->arg[a]]) state[n->arg[a]] = 2;
    }
    for (size_t i = 0; i < p->n_out; i++)
        if (!state[p->out[i]] && !has_pixels(sx_run_node(&g->r, p->out[i]))) state[p->out[i]] = 2;
    for (size_t i = 0; i < p->n_list; i++)
        if (state[p->list[i]] == 2) g->import[g->n_import++] = p->list[i];
    sx_free(state);
    return SX_EOK;
}

/* -- Pages ---------------------------------------------------------------------------------------- */

static bool of_rows(const sx_grid *g, int a) { return (g->info.axes & SX_AX_SWEEP(a)) != 0; }

static void set_range(sx_grid *g, int a, size_t first, size_t n)
{
    if (g->box.count[a] != n || g->box.index[a][0] != first) g->r.part.changed |= SX_AX_SWEEP(a);
    g->box.count[a] = n;
    for (size_t i = 0; i < n; i++) g->box.index[a][i] = first + i;
}

/* Numbers that a page of this size has to compute and hold. */
static size_t page_cost(sx_grid *g)
{
    sx_plan *p = plan_of(g);
    size_t total = 0;
    for (size_t i = 0; i < g->n_late; i++) total += sx_value_len(p->g, p->classes, &g->box, g->late[i]);
    for (size_t i = 0; i < p->n_out; i++)
        if (imagewise(sx_run_node(&g->r, p->out[i])) && !has_pixels(sx_run_node(&g->r, p->out[i])))
            total += sx_value_len(p->g, p->classes, &g->box, p->out[i]) * p->images;
    return total;
}

/* As many rows as are worth it: axes from the last (fastest) one on are taken whole, then a range of the next. */
static sx_err lay_out_pages(sx_grid *g, sx_error *er)
{
    sx_plan *p = plan_of(g);
    uint64_t rows = 1;
    int n_axes = sx_graph_axes(p->g);
    for (size_t i = 0; i < p->n_out; i++) {
        const sx_node *n = sx_run_node(&g->r, p->out[i]);
        if (!has_pixels(n)) g->info.axes |= n->axes & SX_SWEEP_MASK;
    }
    for (int a = 0; a < n_axes; a++) {
        if (!of_rows(g, a)) continue;
        size_t count = sx_graph_axis_get(p->g, a)->count;
        if (rows > ((uint64_t)1 << 53) / count) {
            sx_fail(er, SX_EARG, "the sweep has more configurations than can be counted");
            sx_hint(er, "fewer values per axis, or segx.search");
            return SX_EARG;
        }
        rows *= count;
        if (!(g->box.index[a] = sx_malloc(count * sizeof *g->box.index[a]))) return sx_nomem(er);
        set_range(g, a, 0, 1);
    }
    size_t page_rows = 1;
    g->info.rows = rows;
    g->cut = -1;
    g->inner = 1;
    for (int a = n_axes - 1; a >= 0 && g->cut < 0; a--) {
        if (!of_rows(g, a)) continue;
        size_t count = sx_graph_axis_get(p->g, a)->count, n = count;
        for (set_range(g, a, 0, n); n > 1 && (n * g->inner > PAGE_ROWS || page_cost(g) > PAGE_DOUBLES); set_range(g, a, 0, n))
            n = (n + 1) / 2;
        page_rows = n * g->inner;
        if (n < count) {
            g->cut = a;
            g->step = n;
            g->per = (count + n - 1) / n;
        } else {
            g->inner *= count;
        }
    }
    g->info.page_rows = page_rows;
    g->info.pages = 1;
    if (g->cut >= 0) g->info.pages = (size_t)(rows / (g->inner * sx_graph_axis_get(p->g, g->cut)->count)) * g->per;
    g->info.page = SIZE_MAX;
    return SX_EOK;
}

size_t sx_grid_find(const sx_grid *g, uint64_t row)
{
    if (g->cut < 0) return 0;
    uint64_t span = (uint64_t)g->inner * sx_graph_axis_get(g->r.p->g, g->cut)->count;
    return (size_t)(row / span) * g->per + (size_t)(row % span / ((uint64_t)g->inner * g->step));
}

static void move_box(sx_grid *g, size_t page)
{
    const sx_graph *graph = plan_of(g)->g;
    if (g->cut < 0) {
        g->info.first = 0;
        g->info.count = (size_t)g->info.rows;
        return;
    }
    size_t count = sx_graph_axis_get(graph, g->cut)->count, first = page % g->per * g->step, block = page / g->per;
    size_t n = count - first < g->step ? count - first : g->step;
    set_range(g, g->cut, first, n);
    g->info.first = (uint64_t)block * count * g->inner + (uint64_t)first * g->inner;
    g->info.count = n * g->inner;
    for (int a = g->cut - 1; a >= 0; a--) {
        if (!of_rows(g, a)) continue;
        set_range(g, a, block % sx_graph_axis_get(graph, a)->count, 1);
        block /= sx_graph_axis_get(graph, a)->count;
    }
}

/* -- Values --------------------------------------------------------------------------------------- */

static sx_err take_imports(sx_grid *g, sx_error *er)
{
    sx_frame *f = &g->r.part;
    for (size_t i = 0; i < g->n_import; i++) {
        sx_id id = g->import[i];
        if (sx_frame_has(f, plan_of(g)->g, id)) continue;
        sx_err e = sx_run_room(&g->r, f, id, er);
        if (e) return e;
        sx_box_copy(plan_of(g)->g, f->box, sx_run_node(&g->r, id)->axes, g->r.all.v[id], sx_run_len(&g->r, id), f->v[id]);
        f->known[id] = 1;
    }
    return SX_EOK;
}

/* [combinations][n][L][C] */
static sx_err imagewise_outputs(sx_grid *g, sx_error *er)
{
    sx_plan *p = plan_of(g);
    sx_frame *f = &g->r.part;
    sx_err e = SX_EOK;
    bool any = false;
    sx_run_unmark(&g->r);
    for (size_t i = 0; i < p->n_out; i++) {
        const sx_node *n = sx_run_node(&g->r, p->out[i]);
        if (!imagewise(n) || has_pixels(n) || !g->moved[i]) continue;
        size_t len = sx_value_len(p->g, p->classes, f->box, p->out[i]) * p->images;
        if (g->out[i].n < len || !g->out[i].v) {
            sx_free(g->out[i].v);
            if (!(g->out[i].v = sx_malloc((len + 1) * sizeof(double)))) return sx_nomem(er);
        }
        g->out[i].n = len;
        sx_run_mark(&g->r, p->out[i]);
        any = true;
    }
    for (size_t image = 0; any && !e && image < p->images; image++) {
        if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
        e = sx_run_image(&g->r, f, image, er);
        for (size_t i = 0; !e && i < p->n_out; i++) {
            sx_id id = p->out[i];
            if (!g->moved[i] || !g->r.mark[id]) continue;
            size_t combos = sx_box_count(p->g, f->box, sx_run_node(&g->r, id)->axes);
            size_t rec = sx_value_len(p->g, p->classes, f->box, id) / combos;
            for (size_t k = 0; k < combos; k++)
                memcpy(g->out[i].v + (k * p->images + image) * rec, f->v[id] + k * rec, rec * sizeof(double));
        }
    }
    return e;
}

sx_err sx_grid_page(sx_grid *g, size_t page, sx_error *er)
{
    sx_plan *p = plan_of(g);
    sx_frame *f = &g->r.part;
    if (page == g->info.page) return SX_EOK;
    if (page >= g->info.pages) return sx_fail(er, SX_EBUG, "page %zu of %zu", page + 1, g->info.pages);
    if (sx_interrupted()) return sx_fail(er, SX_EINTR, "interrupted");
    g->info.page = SIZE_MAX;
    f->box = &g->box;
    move_box(g, page);
    for (size_t i = 0; i < p->n_out; i++) g->moved[i] = !g->there || (g->out[i].axes & f->changed);
    g->there = false;
    sx_err e = take_imports(g, er);
    for (size_t i = 0; !e && i < p->n_tail; i++) e = sx_run_step(&g->r, f, &p->tail[i], er);
    if (!e) e = imagewise_outputs(g, er);
    if (e) {                                     /* half of the frame has moved: next time everything is computed */
        memset(f->known, 0, g->r.n_ids);
        return e;
    }
    g->there = true;
    for (size_t i = 0; i < p->n_out; i++) {
        const sx_node *n = sx_run_node(&g->r, p->out[i]);
        if (imagewise(n) || has_pixels(n)) continue;
        g->out[i].v = f->v[p->out[i]];
        g->out[i].n = sx_value_len(p->g, p->classes, f->box, p->out[i]);
    }
    f->changed = 0;
    g->info.page = page;
    return SX_EOK;
}

void sx_grid_places(const sx_grid *g, size_t out, size_t *at)
{
    const sx_graph *graph = g->r.p->g;
    size_t n = 1;
    sx_axes axes = g->out[out].axes;
    at[0] = 0;
    for (int a = 0; a < sx_graph_axes(graph); a++) {        /* from the slowest axis: each one multiplies what is there */
        if (!of_rows(g, a)) continue;
        size_t c = g->box.count[a];
        bool own = (axes & SX_AX_SWEEP(a)) != 0;
        for (size_t i = n; i-- > 0;)
            for (size_t k = c; k-- > 0;) at[i * c + k] = own ? at[i] * c + k : at[i];
        n *= c;
    }
}

/* -- Life ----------------------------------------------------------------------------------------- */

static sx_err start(sx_grid *g, sx_plan *p, const sx_run_opts *o, sx_error *er)
{
    sx_err e = sx_run_passes(&g->r, p, o, er);
    g->out = sx_calloc(p->n_out + 1, sizeof *g->out);
    g->moved = sx_calloc(p->n_out + 1, sizeof *g->moved);
    if (!e && (!g->out || !g->moved)) e = sx_nomem(er);
    if (e || (e = list_tail(g, er)) || (e = lay_out_pages(g, er))) return e;
    for (size_t i = 0; i < p->n_out; i++) g->out[i].axes = sx_run_node(&g->r, p->out[i])->axes;
    g->info.n_out = p->n_out;
    g->info.out = g->out;
    g->info.n = &g->r.n;
    return SX_EOK;
}

static void finish(sx_grid *g)
{
    for (size_t i = 0; g->out && i < plan_of(g)->n_out; i++)
        if (g->out[i].axes & SX_AX_N) sx_free(g->out[i].v);      /* the others are the frame's */
    sx_box_clear(&g->box);
    sx_run_free(&g->r);
    sx_free(g->out);
    sx_free(g->moved);
    sx_free(g->late);
    sx_free(g->import);
}

sx_err sx_grid_new(sx_plan *p, const sx_run_opts *o, sx_grid **out, sx_error *er)
{
    sx_grid *g = *out = sx_calloc(1, sizeof *g);
    sx_err e = SX_EOK;
    if (!g) {
        sx_plan_free(p);
        return sx_nomem(er);
    }
    g->r.p = p;
    for (size_t i = 0; !e && i < p->n_out; i++)
        if (has_pixels(sx_node_get(p->g, p->out[i]))) e = sx_fail(er, SX_EARG, "a value with a pixel axis has no place in a sweep");
    if (!e) e = start(g, p, o, er);
    if (e) {
        sx_grid_free(g);
        *out = NULL;
    }
    return e;
}

void sx_grid_free(sx_grid *g)
{
    if (!g) return;
    finish(g);
    sx_plan_free(g->r.p);
    sx_free(g);
}

const sx_grid_info *sx_grid_get_info(const sx_grid *g) { return &g->info; }

/* -- All at once ---------------------------------------------------------------------------------- */

static sx_err allocate(sx_grid *g, sx_array *a, sx_id id, sx_error *er)
{
    sx_plan *p = plan_of(g);
    const sx_node *n = sx_run_node(&g->r, id);
    a->axes = n->axes;
    a->n = sx_run_len(&g->r, id);
    if (has_pixels(n) && p->map_image == SX_EACH_IMAGE) a->n = 0;
    else if (has_pixels(n)) a->n *= sx_dump_n_px(p->d, p->map_image);
    else if (imagewise(n)) a->n *= p->images;
    a->v = sx_calloc(a->n + 1, sizeof *a->v);
    return a->v ? SX_EOK : sx_nomem(er);
}

/* What the page has of an output, to its place in the whole. */
static void put_part(const sx_grid *g, size_t i, sx_array *whole)
{
    const sx_graph *graph = g->r.p->g;
    sx_axes axes = g->out[i].axes;
    size_t combos = sx_box_count(graph, &g->box, axes), len = g->out[i].n / combos;
    if (!g->moved[i]) return;
    if (g->out[i].n == whole->n) {
        memcpy(whole->v, g->out[i].v, whole->n * sizeof(double));
        return;
    }
    for (size_t k = 0; k < combos; k++)
        memcpy(whole->v + sx_box_full(graph, &g->box, axes, k) * len, g->out[i].v + k * len, len * sizeof(double));
}

static sx_err collect(sx_grid *g, sx_result *res, sx_error *er)
{
    sx_plan *p = plan_of(g);
    size_t values = 0;
    sx_err e = SX_EOK;
    for (size_t i = 0; !e && i < p->n_out; i++) {
        e = allocate(g, &res->out[i], p->out[i], er);
        values += !has_pixels(sx_run_node(&g->r, p->out[i]));
    }
    for (size_t k = 0; values && !e && k < g->info.pages; k++) {
        e = sx_grid_page(g, k, er);
        for (size_t i = 0; !e && i < p->n_out; i++)
            if (!has_pixels(sx_run_node(&g->r, p->out[i]))) put_part(g, i, &res->out[i]);
    }
    return e ? e : sx_run_map(&g->r, res->out, er);
}

sx_err sx_plan_run(sx_plan *p, const sx_run_opts *o, sx_result **out, sx_error *er)
{
    sx_grid g = {.r.p = p};
    sx_result *res = *out = sx_calloc(1, sizeof *res);
    sx_err e = res && (res->out = sx_calloc(p->n_out + 1, sizeof *res->out)) ? SX_EOK : sx_nomem(er);
    if (!e) {
        res->n_out = p->n_out;
        e = start(&g, p, o, er);
        if (!e) e = collect(&g, res, er);
        res->n = g.r.n;
        g.r.n.bad = NULL;
        finish(&g);
    }
    if (e) {
        sx_result_free(res);
        *out = NULL;
    }
    return e;
}

void sx_result_free(sx_result *r)
{
    if (!r) return;
    for (size_t i = 0; r->out && i < r->n_out; i++) sx_free(r->out[i].v);
    sx_free(r->out);
    sx_free(r->n.bad);
    sx_free(r);
}
