/*
 * bind_eval.c: from lazy tensors to numbers: core.eval, core.grid (a part of a sweep at a time), core.plan, t:eval().
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bind.h"
#include "pass/pass.h"

/* -- Outputs ----------------------------------------------------------------------------------- */

typedef struct output {
    sx_id id;
    size_t image; /* of a tensor restricted to one */
    bool pixels;  /* to be materialised: has a pixel axis */
    bool done;
} output;

/* Everything of one call. The userdata that holds it is a to-be-closed slot: it releases plan,
 * result and the nameless dump, and counts down what is busy, however the call ends. */
typedef struct job {
    lua_State *L;
    sxl_session *s;
    sxl_dump *d;   /* NULL: the outputs read none */
    sx_dump *dump; /* what the plan gets */
    uint32_t slot;
    sx_dump *own; /* stands in where there is no dump */
    sx_plan *plan;
    sx_result *res;
    int progress; /* stack index of the callback, 0 = none */
    int failure;  /* stack index where its error goes */
    bool failed, counted;
} job;

static void job_end(job *j)
{
    sx_result_free(j->res);
    sx_plan_free(j->plan);
    sx_dump_close(j->own);
    if (j->counted) sxl_under_way(j->s, j->d, -1);
    j->res = NULL;
    j->plan = NULL;
    j->own = NULL;
    j->counted = false;
}

static int job_gc(lua_State *L)
{
    job_end(lua_touserdata(L, 1));
    return 0;
}

static job *push_job(lua_State *L)
{
    job *j = lua_newuserdatauv(L, sizeof *j, 0);
    memset(j, 0, sizeof *j);
    j->L = L;
    j->s = sxl_get_session(L);
    if (luaL_newmetatable(L, "segx.job")) {
        lua_pushcfunction(L, job_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, job_gc);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return j;
}

/* A plan wants a dump, if only to know the number of classes: one pixel that nothing looks at. */
static void stand_in(lua_State *L, job *j, size_t classes)
{
    static const double logits[1] = {0};
    static const uint8_t labels[1] = {0};
    sx_error er;
    const sx_dump_opts o = {.has_ignore = true};
    double *x = classes > 1 ? sxl_push_scratch(L, classes, sizeof *x) : NULL;
    if (x) memset(x, 0, classes * sizeof *x);
    sx_dump_close(j->own);
    j->own = NULL;
    if (sx_dump_memory("(none)", x ? x : logits, SX_F64, labels, SX_U8, 1,
                       classes > 1 ? classes : 1, (size_t[]){1}, 1, &o, &j->own, &er)) {
        j->own = NULL;
        sxl_raise(L, &er);
    }
    j->dump = j->own;
    j->slot = 0;
}

/* The list of tensors at `list` as outputs (scratch, pushed); out[i].id is 0 for dense ones. */
static output *read_outputs(lua_State *L, int list, const sxl_dump *d, const char *who,
                            size_t *count)
{
    sxl_session *s = sxl_get_session(L);
    size_t n = (size_t)luaL_len(L, list);
    output *out = sxl_push_scratch(L, n, sizeof *out);
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        const sxl_tensor *t = sxl_test_tensor(L, -1);
        if (!t && lua_type(L, -1) != LUA_TNUMBER)
            sxl_misuse(L, NULL, "%s: entry %zu: a tensor expected, got %s", who, i + 1,
                       luaL_typename(L, -1));
        if (t && t->id) {
            const sx_node *n_t = sx_node_get(s->g, t->id);
            out[i].id = t->id;
            out[i].image = n_t->axes & SX_AX_N ? t->image : SXL_ALL_IMAGES;
            out[i].pixels = (n_t->axes & SX_AX_P) != 0;
            if (n_t->dump && !d)
                sxl_misuse(L, NULL, "%s: entry %zu reads a dump, but none was given", who, i + 1);
            if (n_t->dump && n_t->dump != d->slot)
                sxl_misuse(L, NULL, "%s: entry %zu reads another dump", who, i + 1);
            if (out[i].pixels && out[i].image == SXL_ALL_IMAGES)
                sxl_misuse(L, "reduce it, t:mean(\"pixel\"), or take one image, t[3]:eval()",
                           "%s: the tensor has a pixel axis", who);
        }
        lua_pop(L, 1);
    }
    *count = n;
    return out;
}

/* -- Results ----------------------------------------------------------------------------------- */

static void add_name(lua_State *L, const char *name, int *n)
{
    lua_pushstring(L, name);
    lua_rawseti(L, -2, ++*n);
}

/* Pushes the value of output o, array a, as a dense tensor with named dimensions. */
static void push_result(lua_State *L, const job *j, const output *o, const sx_array *a)
{
    const sx_dump_info *info = sx_dump_get_info(j->dump);
    size_t dim[SX_MAX_SWEEP + 8], before = 1, after = 1;
    int n = 0, names = 0;
    bool images = (a->axes & SX_AX_N) && !o->pixels;
    lua_newtable(L);
    for (int i = 0; i < sx_graph_axes(j->s->g); i++)
        if (a->axes & SX_AX_SWEEP(i)) {
            dim[n] = sx_graph_axis_get(j->s->g, i)->count;
            before *= dim[n++];
            add_name(L, sx_graph_axis_get(j->s->g, i)->name, &names);
        }
    if (images && o->image == SXL_ALL_IMAGES) {
        dim[n++] = info->n;
        add_name(L, "image", &names);
    }
    int tail = n;
    if (a->axes & SX_AX_L) dim[n++] = info->classes, add_name(L, "label", &names);
    if (a->axes & SX_AX_C) dim[n++] = info->classes, add_name(L, "class", &names);
    if (a->axes & SX_AX_P) {
        static const char *const space[3][3] = {
            {"x"},
            {"y", "x"},
            {"z", "y", "x"}
        };
        size_t d[3];
        sx_dump_dims(j->dump, o->image, d);
        for (size_t k = 0; k < info->n_dims; k++) {
            dim[n++] = d[k];
            add_name(L, space[info->n_dims - 1][k], &names);
        }
    }
    for (int i = tail; i < n; i++) after *= dim[i];
    sxl_tensor *t = sxl_push_dense(L, n, dim);
    if (images && o->image != SXL_ALL_IMAGES) { /* one of the images */
        for (size_t b = 0; b < before && a->n == before * info->n * after; b++)
            memcpy(t->v + b * after, a->v + (b * info->n + o->image) * after, after * sizeof *t->v);
    } else if (a->n == t->n) {
        memcpy(t->v, a->v, t->n * sizeof *t->v);
    }
    if (a->n != (images && o->image != SXL_ALL_IMAGES ? t->n * info->n : t->n))
        luaL_error(L, "internal error: a result of %I numbers, expected %I", (LUAI_UACINT)a->n,
                   (LUAI_UACINT)t->n);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
}

/* -- Running ----------------------------------------------------------------------------------- */

/* progress(pass, passes, done, total, gpu): pass from 1; pixels of the pass; are they on a GPU? false stops. */
static bool on_progress(void *arg, size_t pass, size_t passes, uint64_t done, uint64_t total, bool gpu)
{
    job *j = arg;
    lua_State *L = j->L;
    lua_pushvalue(L, j->progress);
    lua_pushinteger(L, (lua_Integer)(pass < passes ? pass + 1
                                     : passes      ? passes
                                                   : 1)); /* one image alone: 1 of 1 */
    lua_pushinteger(L, (lua_Integer)(passes ? passes : 1));
    lua_pushinteger(L, (lua_Integer)done);
    lua_pushinteger(L, (lua_Integer)total);
    lua_pushboolean(L, gpu);
    bool go = true;
    if (lua_pcall(L, 5, 1, 0) != LUA_OK) {
        j->failed = true;
        lua_pushvalue(L, -1);
        lua_replace(L, j->failure);
        go = false;
    } else if (lua_isboolean(L, -1)) {
        go = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);
    return go;
}

typedef struct settings {
    sx_run_opts run;
    int threads;
} settings;

/* Value of an option: of the table at idx (0 = none), else of the program. Pushed. */
static bool option(lua_State *L, int idx, const char *name)
{
    if (idx && sxl_field(L, idx, name)) return true;
    if (idx) lua_pop(L, 1);
    sxl_push_option(L, name);
    return !lua_isnil(L, -1);
}

static void read_settings(lua_State *L, int idx, settings *o, int *progress)
{
    static const char *const known[] = {"precision", "threads", "mem", "progress", "isa", "folder", "device", "mode", NULL};
    memset(o, 0, sizeof *o);
    o->run.isa = sx_isa_best();
    *progress = 0;
    if (idx && lua_isnoneornil(L, idx)) idx = 0;
    if (idx && !lua_istable(L, idx))
        sxl_misuse(L, NULL, "eval: options: a table expected, got %s", luaL_typename(L, idx));
    if (idx) sxl_check_keys(L, idx, "eval", known);
    if (option(L, idx, "precision")) {
        const char *s = lua_tostring(L, -1);
        if (!s || (strcmp(s, "single") != 0 && strcmp(s, "double") != 0))
            sxl_misuse(L, NULL, "eval: precision: \"single\" or \"double\", not %s",
                       s ? s : luaL_typename(L, -1));
        o->run.use_double = s[0] == 'd';
    }
    lua_pop(L, 1);
    if (idx && sxl_field(L, idx, "threads"))
        o->threads = (int)sxl_integer(L, -1, "eval: threads", 0, 4096);
    if (idx) lua_pop(L, 1);
    if (option(L, idx, "mem")) o->run.mem = (size_t)sxl_integer(L, -1, "eval: mem", 0, INT64_MAX);
    lua_pop(L, 1);
    if (idx && sxl_field(L, idx, "isa")) {
        const char *s = lua_tostring(L, -1);
        int isa = 0;
        while (isa < SX_ISA_COUNT && (!s || strcmp(sx_isa_name((sx_isa)isa), s) != 0)) isa++;
        if (isa > (int)sx_isa_best())
            sxl_misuse(L, NULL, "eval: isa: this machine has no '%s'", s ? s : "?");
        o->run.isa = (sx_isa)isa;
    }
    if (idx) lua_pop(L, 1);
    if (idx && sxl_field(L, idx, "folder")) o->run.keep = sxl_folder_of(L, -1);
    if (idx) lua_pop(L, 1);
    sxl_read_device(L, idx, &o->run);
    if (idx && sxl_field(L, idx, "progress")) {
        if (lua_type(L, -1) != LUA_TFUNCTION)
            sxl_misuse(L, NULL, "eval: progress: a function expected, got %s",
                       luaL_typename(L, -1));
        *progress = lua_gettop(L); /* stays */
        return;
    }
    if (idx) lua_pop(L, 1);
}

/* What went wrong in a run: an error of the progress function, or the engine's. */
_Noreturn static void raise_failure(lua_State *L, const job *j, sx_err e, sx_error *er)
{
    if (j->failed) {
        lua_pushvalue(L, j->failure);
        lua_error(L);
    }
    er->code = e;
    sxl_raise(L, er);
}

/* Outputs out[pick[0 .. n-1]] as one plan, run; results into the table at `results`. */
static void run_some(lua_State *L, job *j, const settings *o, output *out, const size_t *pick,
                     size_t n, int results)
{
    sx_error er;
    size_t map = out[pick[0]].pixels ? out[pick[0]].image : SIZE_MAX;
    sx_id *id = sxl_push_scratch(L, n, sizeof *id);
    for (size_t k = 0; k < n; k++) id[k] = out[pick[k]].id;
    if (sx_plan_new(j->s->g, j->dump, j->slot, id, n, map, &j->plan, &er)) {
        j->plan = NULL;
        sxl_raise(L, &er);
    }
    sx_err e = sx_plan_run(j->plan, &o->run, &j->res, &er);
    if (e) raise_failure(L, j, e, &er);
    for (size_t k = 0; k < n; k++) {
        push_result(L, j, &out[pick[k]], &j->res->out[k]);
        lua_rawseti(L, results, (lua_Integer)pick[k] + 1);
        out[pick[k]].done = true;
    }
    lua_pop(L, 1);
}

static size_t classes_of(const job *j, const output *o)
{
    return sx_node_get(j->s->g, o->id)->classes;
}

/* Which of the outputs can share a plan with the first that is left; 0: all are done. */
static size_t next_group(const job *j, const output *out, size_t n, size_t *pick)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        const output *first = k ? &out[pick[0]] : NULL;
        if (!out[i].id || out[i].done) continue;
        if (first &&
            (first->pixels != out[i].pixels || (first->pixels && first->image != out[i].image)))
            continue;
        if (first && !j->d && classes_of(j, first) != classes_of(j, &out[i])) continue;
        pick[k++] = i;
    }
    return k;
}

/* What the passes of several plans did, added up. */
static void add_counts(sx_counts *c, const sx_counts *r)
{
    c->cells_found += r->cells_found;
    c->cells_new += r->cells_new;
    c->images_found += r->images_found;
    c->images_new += r->images_new;
    c->passes += r->passes;
    c->spilled += r->spilled;
    c->on_gpu += r->on_gpu;
    c->on_cpu += r->on_cpu;
    if (r->why_cpu[0]) memcpy(c->why_cpu, r->why_cpu, sizeof c->why_cpu);
    if (r->pixels_valid > c->pixels_valid) c->pixels_valid = r->pixels_valid;
    if (r->pixels_masked > c->pixels_masked) c->pixels_masked = r->pixels_masked;
}

/* Appends to the list on top of the stack: {image =, at = {name of the axis = position}} of sums that are not finite. */
static void add_bad(lua_State *L, const sx_graph *g, const sx_counts *n)
{
    for (size_t i = 0; i < n->n_bad; i++) {
        sx_axes axes = sx_node_get(g, n->bad[i].sum)->axes & SX_SWEEP_MASK;
        size_t rest = sx_axes_count(g, axes);
        lua_createtable(L, 0, 2);
        lua_pushinteger(L, (lua_Integer)n->bad[i].image + 1);
        lua_setfield(L, -2, "image");
        lua_newtable(L);
        for (int a = 0; a < sx_graph_axes(g); a++) {
            const sx_sweep_axis *ax = sx_graph_axis_get(g, a);
            if (!(axes & SX_AX_SWEEP(a))) continue;
            rest /= ax->count;
            lua_pushinteger(L, (lua_Integer)(n->bad[i].combo / rest % ax->count) + 1);
            lua_setfield(L, -2, ax->name);
        }
        lua_setfield(L, -2, "at");
        lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    }
}

static void set_number(lua_State *L, const char *key, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, key);
}

/* Pushes the table `stats`; bad: stack index of the list of add_bad, 0 without a run folder. */
static void push_stats(lua_State *L, const sx_counts *n, int bad, double seconds)
{
    lua_createtable(L, 0, 10);
    if (bad) {
        set_integer(L, "cells_found", n->cells_found);
        set_integer(L, "cells_new", n->cells_new);
        set_integer(L, "images_found", n->images_found);
        set_integer(L, "images_new", n->images_new);
        lua_pushvalue(L, bad);
        lua_setfield(L, -2, "bad");
    }
    set_integer(L, "passes", n->passes);
    set_integer(L, "spilled", n->spilled);
    set_number(L, "seconds", seconds);
    set_integer(L, "pixels", n->pixels_valid);
    set_integer(L, "masked", n->pixels_masked);
    if (!n->on_gpu && !n->on_cpu) return;
    set_integer(L, "on_gpu", n->on_gpu);
    set_integer(L, "on_cpu", n->on_cpu);
    if (n->why_cpu[0]) {
        lua_pushstring(L, n->why_cpu);
        lua_setfield(L, -2, "why_cpu");
    }
}

/* Settings, the dump and the outputs of a call (d or nil, list, opts); pushes the job and what else it needs. */
static job *start_job(lua_State *L, const char *who, settings *o, output **out, size_t *n)
{
    luaL_checkstack(L, 40, NULL);
    if (!lua_istable(L, 2))
        sxl_misuse(L, NULL, "%s: a list of tensors expected, got %s", who, luaL_typename(L, 2));
    job *j = push_job(L);
    read_settings(L, 3, o, &j->progress);
    if (!lua_isnil(L, 1)) {
        j->d = sxl_check_dump(L, 1);
        j->dump = j->d->d;
        j->slot = j->d->slot;
    }
    *out = read_outputs(L, 2, j->d, who, n);
    o->run.pool = sxl_get_pool(L, o->threads);
    if (j->progress) {
        o->run.progress = on_progress;
        o->run.progress_arg = j;
    }
    lua_pushnil(L);
    j->failure = lua_gettop(L);
    return j;
}

static void count_in(job *j)
{
    sxl_under_way(j->s, j->d, 1);
    j->counted = true;
}

/* core.eval(d or nil, list, opts) -> list of dense tensors, stats */
static int core_eval(lua_State *L)
{
    settings o;
    size_t n;
    output *out;
    sx_counts counts = {0};
    double begin = sx_seconds();
    lua_settop(L, 3);
    job *j = start_job(L, "eval", &o, &out, &n);
    size_t *pick = sxl_push_scratch(L, n, sizeof *pick);
    lua_createtable(L, (int)n, 0);
    int results = lua_gettop(L);
    lua_newtable(L);
    int bad = lua_gettop(L);
    for (size_t i = 0; i < n; i++) {
        if (out[i].id) continue;
        lua_geti(L, 2, (lua_Integer)i + 1);
        sxl_to_dense(L, -1, "eval");
        lua_rawseti(L, results, (lua_Integer)i + 1);
        lua_pop(L, 1);
    }
    count_in(j);
    for (size_t k; (k = next_group(j, out, n, pick)) > 0;) {
        if (!j->d) stand_in(L, j, classes_of(j, &out[pick[0]]));
        run_some(L, j, &o, out, pick, k, results);
        add_counts(&counts, &j->res->n);
        lua_pushvalue(L, bad);
        add_bad(L, j->s->g, &j->res->n);
        sx_result_free(j->res);
        sx_plan_free(j->plan);
        j->res = NULL;
        j->plan = NULL;
        lua_settop(L, bad);
    }
    lua_pushvalue(L, results);
    push_stats(L, &counts, o.run.keep ? bad : 0, sx_seconds() - begin);
    return 2;
}

/* -- Grids ------------------------------------------------------------------------------------- */

#define GRID "segx.Grid"

typedef struct grid {
    sx_grid *g;
    size_t *at; /* places of the rows of a page, for one output */
} grid;

static grid *check_grid(lua_State *L) { return luaL_checkudata(L, 1, GRID); }

static int grid_gc(lua_State *L)
{
    grid *g = check_grid(L);
    sx_grid_free(g->g);
    sx_free(g->at);
    *g = (grid){0};
    return 0;
}

/* core.grid(d, list, opts) -> Grid, stats: the passes that the tensors of the list need, none of which has a pixel axis. Their
 * values are then computed page by page; rows are the combinations of their sweep axes. */
static int core_grid(lua_State *L)
{
    settings o;
    size_t n;
    output *out;
    sx_error er;
    double begin = sx_seconds();
    lua_settop(L, 3);
    sxl_check_dump(L, 1);
    job *j = start_job(L, "grid", &o, &out, &n);
    sx_id *id = sxl_push_scratch(L, n, sizeof *id);
    for (size_t i = 0; i < n; i++) {
        if (!out[i].id || out[i].pixels || out[i].image != SXL_ALL_IMAGES)
            sxl_misuse(L, NULL, "grid: entry %zu is no lazy tensor over images and classes", i + 1);
        id[i] = out[i].id;
    }
    grid *g = lua_newuserdatauv(L, sizeof *g, 0);
    *g = (grid){0};
    luaL_setmetatable(L, GRID);
    int self = lua_gettop(L);
    count_in(j);
    if (sx_plan_new(j->s->g, j->dump, j->slot, id, n, SIZE_MAX, &j->plan, &er)) {
        j->plan = NULL;
        sxl_raise(L, &er);
    }
    sx_plan *plan = j->plan;
    j->plan = NULL; /* the grid's */
    sx_err e = sx_grid_new(plan, &o.run, &g->g, &er);
    if (e) raise_failure(L, j, e, &er);
    const sx_grid_info *info = sx_grid_get_info(g->g);
    if (!(g->at = sx_malloc((info->page_rows + 1) * sizeof *g->at))) {
        sx_nomem(&er);
        sxl_raise(L, &er);
    }
    lua_newtable(L);
    add_bad(L, j->s->g, info->n);
    lua_pushvalue(L, self);
    push_stats(L, info->n, o.run.keep ? self + 1 : 0, sx_seconds() - begin);
    return 2;
}

/* g:size() -> rows, pages, rows of the largest page */
static int grid_size(lua_State *L)
{
    const sx_grid_info *info = sx_grid_get_info(check_grid(L)->g);
    lua_pushinteger(L, (lua_Integer)info->rows);
    lua_pushinteger(L, (lua_Integer)info->pages);
    lua_pushinteger(L, (lua_Integer)info->page_rows);
    return 3;
}

/* g:find(row) -> the page that has it */
static int grid_find(lua_State *L)
{
    grid *g = check_grid(L);
    int64_t rows = (int64_t)sx_grid_get_info(g->g)->rows;
    lua_pushinteger(L, (lua_Integer)sx_grid_find(g->g, (uint64_t)sxl_integer(L, 2, "row", 1, rows) - 1) + 1);
    return 1;
}

/* g:page(k) -> its first row, how many. Computes the page; the methods below are about it. */
static int grid_page(lua_State *L)
{
    sx_error er;
    grid *g = check_grid(L);
    const sx_grid_info *info = sx_grid_get_info(g->g);
    size_t k = (size_t)sxl_integer(L, 2, "page", 1, (int64_t)info->pages) - 1;
    sxl_get_session(L); /* the graph is there */
    if (sx_grid_page(g->g, k, &er)) sxl_raise(L, &er);
    lua_pushinteger(L, (lua_Integer)info->first + 1);
    lua_pushinteger(L, (lua_Integer)info->count);
    return 2;
}

/* Output at 2 on the page; places of its rows into g->at. */
static const sx_array *page_output(lua_State *L, grid *g, size_t *len)
{
    const sx_grid_info *info = sx_grid_get_info(g->g);
    size_t i = (size_t)sxl_integer(L, 2, "output", 1, (int64_t)info->n_out) - 1, combos = 0;
    if (info->page == SIZE_MAX) luaL_error(L, "the grid is at no page");
    sx_grid_places(g->g, i, g->at);
    for (size_t r = 0; r < info->count; r++)
        if (g->at[r] >= combos) combos = g->at[r] + 1;
    *len = info->out[i].n / combos;
    return &info->out[i];
}

/* g:column(output, k): list of number k (default 1) of the output in every row of the page */
static int grid_column(lua_State *L)
{
    size_t len;
    grid *g = check_grid(L);
    const sx_array *a = page_output(L, g, &len);
    size_t k = lua_isnoneornil(L, 3) ? 0 : (size_t)sxl_integer(L, 3, "number", 1, (int64_t)len) - 1;
    size_t n = sx_grid_get_info(g->g)->count;
    lua_createtable(L, (int)n, 0);
    for (size_t r = 0; r < n; r++) {
        lua_pushnumber(L, a->v[g->at[r] * len + k]);
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
    return 1;
}

/* g:values(output) -> dense {combinations, numbers of each}, list of the combination (from 1) of every row */
static int grid_values(lua_State *L)
{
    size_t len;
    grid *g = check_grid(L);
    const sx_array *a = page_output(L, g, &len);
    size_t n = sx_grid_get_info(g->g)->count, dim[2] = {a->n / len, len};
    sxl_tensor *t = sxl_push_dense(L, 2, dim);
    memcpy(t->v, a->v, a->n * sizeof *t->v);
    lua_createtable(L, (int)n, 0);
    for (size_t r = 0; r < n; r++) {
        lua_pushinteger(L, (lua_Integer)g->at[r] + 1);
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
    return 2;
}

/* Pushes {cells, found, passes, begun}: what the folder has of the plan. */
static void push_found(lua_State *L, const sx_plan *p, const settings *o)
{
    sx_error er;
    sx_plan_found found;
    if (sx_plan_find(p, &o->run, &found, &er)) sxl_raise(L, &er);
    lua_createtable(L, 0, 4);
    set_integer(L, "cells", found.cells);
    set_integer(L, "found", found.found);
    set_integer(L, "passes", found.passes);
    set_integer(L, "begun", found.begun);
}

/* core.plan(d, list, opts): what an evaluation would do; with the option folder also what is there of it. */
static int core_plan(lua_State *L)
{
    sx_error er;
    settings o;
    output *out;
    size_t n, ids = 0;
    lua_settop(L, 3);
    sxl_check_dump(L, 1);
    job *j = start_job(L, "plan", &o, &out, &n);
    sx_id *id = sxl_push_scratch(L, n, sizeof *id);
    for (size_t i = 0; i < n; i++)
        if (out[i].id && !out[i].pixels) id[ids++] = out[i].id;
    if (sx_plan_new(j->s->g, j->d->d, j->d->slot, id, ids, SIZE_MAX, &j->plan, &er)) {
        j->plan = NULL;
        sxl_raise(L, &er);
    }
    const sx_plan_info *info = sx_plan_get_info(j->plan);
    lua_getfield(L, lua_upvalueindex(1), "text");
    int text = lua_gettop(L);
    lua_createtable(L, 0, 6);
    set_integer(L, "passes", info->passes);
    set_number(L, "bytes", (double)info->bytes);
    set_number(L, "memory", (double)info->stat_doubles * 8 * (double)sx_dump_get_info(j->d->d)->n);
    lua_createtable(L, (int)info->n_sums, 0);
    for (size_t i = 0; i < info->n_sums; i++) {
        lua_createtable(L, 0, 3);
        lua_pushvalue(L, text);
        sxl_push_lazy(L, info->sum[i], SXL_ALL_IMAGES, 1);
        lua_pushinteger(L, 400);
        lua_call(L, 2, 1);
        lua_setfield(L, -2, "text");
        sxl_push_sweeps(L, sx_node_get(j->s->g, info->sum[i])->axes);
        lua_setfield(L, -2, "sweep");
        set_integer(L, "pass", info->sum_pass[i] + 1);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "reductions");
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0, k = 0; i < n; i++) {
        bool known = out[i].id && !out[i].pixels;
        sx_axes pass = known ? info->pass_axes[k++] : 0;
        sx_axes all = out[i].id ? sx_node_get(j->s->g, out[i].id)->axes & SX_SWEEP_MASK : 0;
        lua_createtable(L, 0, 2);
        sxl_push_sweeps(L, pass);
        lua_setfield(L, -2, "pass");
        sxl_push_sweeps(L, all & ~pass);
        lua_setfield(L, -2, "free");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "per_output");
    if (o.run.keep) {
        push_found(L, j->plan, &o);
        lua_setfield(L, -2, "folder");
    }
    return 1;
}

/* Seconds of the passes over the first `images` images, and of a page of the rest; *pages: how many there are. */
static double time_images(lua_State *L, job *j, const settings *o, const sx_id *id, size_t n, size_t images, double *page,
                          size_t *pages)
{
    sx_error er;
    sx_grid *g;
    if (sx_plan_new(j->s->g, j->dump, j->slot, id, n, SIZE_MAX, &j->plan, &er)) {
        j->plan = NULL;
        sxl_raise(L, &er);
    }
    sx_plan_limit(j->plan, images);
    sx_plan *plan = j->plan;
    j->plan = NULL;
    double begin = sx_seconds();
    sx_err e = sx_grid_new(plan, &o->run, &g, &er);
    if (e) raise_failure(L, j, e, &er);
    double passes = sx_seconds() - begin;
    e = sx_grid_page(g, 0, &er);
    *page = sx_seconds() - begin - passes;
    *pages = sx_grid_get_info(g)->pages;
    sx_grid_free(g);
    if (e) raise_failure(L, j, e, &er);
    return passes;
}

/* core.sample(d, list, opts) -> seconds that core.grid and all its pages would take, about: measured on the first few images;
 * how many those were. */
static int core_sample(lua_State *L)
{
    static const double enough = 0.05;
    settings o;
    size_t n, images = 1, pages;
    output *out;
    double page;
    uint64_t some = 0, all = 0;
    lua_settop(L, 3);
    sxl_check_dump(L, 1);
    job *j = start_job(L, "sample", &o, &out, &n);
    sx_id *id = sxl_push_scratch(L, n, sizeof *id);
    for (size_t i = 0; i < n; i++)
        if (!(id[i] = out[i].id) || out[i].pixels) sxl_misuse(L, NULL, "sample: entry %zu is no lazy tensor", i + 1);
    const size_t most = sx_dump_get_info(j->dump)->n;
    count_in(j);
    double t = time_images(L, j, &o, id, n, images, &page, &pages);
    if (t < 0.5) t = time_images(L, j, &o, id, n, images, &page, &pages); /* now files are open, threads there */
    while (t < enough) {
        size_t more = (size_t)((double)images * fmin(64, 1.5 * enough / fmax(t, 1e-6))) + 1;
        bool last = images == most;
        images = more < most ? more : most;
        t = time_images(L, j, &o, id, n, images, &page, &pages);
        if (last || images == most) break;
    }
    for (size_t i = 0; i < most; i++) {
        all += sx_dump_n_px(j->dump, i);
        some += i < images ? sx_dump_n_px(j->dump, i) : 0;
    }
    lua_pushnumber(L, t * (double)all / (double)some + page * (double)pages);
    lua_pushinteger(L, (lua_Integer)images);
    return 2;
}

/* t:eval([opts]): the numbers of a lazy tensor; a dense one is itself. Upvalue 1: the module. */
static int tensor_eval(lua_State *L)
{
    lua_settop(L, 2);
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    if (!t) sxl_misuse(L, NULL, "eval: a tensor expected, got %s", luaL_typename(L, 1));
    if (!t->id) {
        lua_settop(L, 1);
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, core_eval, 1);
    const sxl_dump *d = sxl_push_dump_of(L, 1);
    if (d && !d->d &&
        !sx_node_get(sxl_get_session(L)->g, t->id)->dump) { /* closed, but not needed */
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 3, 1);
    lua_rawgeti(L, -1, 1);
    return 1;
}

void sxl_eval_one(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, NULL);
    lua_getfield(L, LUA_REGISTRYINDEX, "segx.eval");
    lua_pushvalue(L, idx);
    lua_call(L, 1, 1);
}

/* g:row(output, row): list of the output's numbers in that row; its page is computed if need be */
static int grid_row(lua_State *L)
{
    size_t len;
    sx_error er;
    grid *g = check_grid(L);
    const sx_grid_info *info = sx_grid_get_info(g->g);
    uint64_t row = (uint64_t)sxl_integer(L, 3, "row", 1, (int64_t)info->rows) - 1;
    if (sx_grid_page(g->g, sx_grid_find(g->g, row), &er)) sxl_raise(L, &er);
    const sx_array *a = page_output(L, g, &len);
    sxl_push_numbers(L, a->v + g->at[row - info->first] * len, len);
    return 1;
}

void sxl_open_eval(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"size",   grid_size  },
        {"find",   grid_find  },
        {"page",   grid_page  },
        {"column", grid_column},
        {"values", grid_values},
        {"row",    grid_row   },
        {NULL,     NULL       }
    };
    int core = lua_gettop(L);
    luaL_newmetatable(L, GRID);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, grid_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushvalue(L, core);
    lua_pushcclosure(L, core_grid, 1);
    lua_setfield(L, core, "grid");
    lua_pushvalue(L, core);
    lua_pushcclosure(L, core_eval, 1);
    lua_setfield(L, core, "eval");
    lua_pushvalue(L, core);
    lua_pushcclosure(L, core_plan, 1);
    lua_setfield(L, core, "plan");
    lua_pushcfunction(L, core_sample);
    lua_setfield(L, core, "sample");
    lua_pushvalue(L, core);
    lua_pushcclosure(L, tensor_eval, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "segx.eval");
    lua_getfield(L, core, "Tensor");
    lua_insert(L, -2);
    lua_setfield(L, -2, "eval");
    lua_pop(L, 1);
}
