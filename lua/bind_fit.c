/* bind_fit.c: samples of pixels in memory, and fits of a temperature and biases on them. */
#include <string.h>

#include "bind.h"
#include "fit/fit.h"
#include "fit/sample.h"
#include "fit/score.h"
#include "fit/tune.h"

/* -- Samples ----------------------------------------------------------------------------------- */

/* Image numbers (from 0) of the list at idx, or all; pushed. Ascending, each once. */
static size_t *push_images(lua_State *L, int idx, size_t images, size_t *n)
{
    const bool given = lua_istable(L, idx);
    *n = given ? (size_t)luaL_len(L, idx) : images;
    size_t *list = sxl_push_scratch(L, *n + 1, sizeof *list);
    for (size_t i = 0; i < *n; i++) {
        list[i] = i;
        if (!given) continue;
        lua_geti(L, idx, (lua_Integer)i + 1);
        list[i] = (size_t)sxl_integer(L, -1, "pixels: images", 1, (int64_t)images) - 1;
        lua_pop(L, 1);
        if (i && list[i] <= list[i - 1]) sxl_misuse(L, NULL, "pixels: images: ascending numbers expected, each once");
    }
    if (*n == 0) sxl_misuse(L, NULL, "pixels: images: an empty list");
    return list;
}

static void push_counts(lua_State *L, const uint64_t *v, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)v[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* The arrays of a sample become a dump with the names and fields of d; anchor: what keeps them alive. Pushed. */
static sxl_dump *push_sample(lua_State *L, const sxl_dump *d, const sx_sample *s, int anchor)
{
    const sx_dump_info *info = sx_dump_get_info(d->d);
    const int64_t none = -1;
    const sx_dump_opts o = {.class_names = info->class_names, .n_class_names = info->classes, .has_ignore = true, .ignore = &none,
                            .n_ignore = 1};
    sx_error er;
    sxl_dump *out = sxl_push_dump(L);
    lua_pushvalue(L, anchor);
    lua_setiuservalue(L, -2, 1);
    sx_err e = sx_dump_memory("sample", s->logits, s->use_double ? SX_F64 : SX_F32, s->labels, SX_I16, s->n, info->classes, &s->px, 1,
                              &o, &out->d, &er);
    if (e) out->d = NULL;
    for (size_t f = 0; !e && f < info->n_fields; f++)
        e = sx_dump_memory_field(out->d, info->field_names[f], s->field[f], SX_F64, &er);
    if (e) sxl_raise(L, &er);
    return out;
}

/* core.pixels(d, {pixels = 1e6, seed = 0, images = all, precision =, threads =}): a dump in memory of about so many valid pixels,
 * balanced over the images (list of numbers from 1, ascending): {images, class, pixel}. Returns it, and per image how many
 * pixels were taken and how many there were. */
static int core_pixels(lua_State *L)
{
    static const char *const known[] = {"pixels", "seed", "images", "precision", "threads", "mem", NULL};
    sx_run_opts run;
    sx_error er;
    lua_settop(L, 2);
    luaL_checkstack(L, 40, NULL);
    sxl_dump *d = sxl_check_dump(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    sxl_check_keys(L, 2, "pixels", known);
    const sx_dump_info *info = sx_dump_get_info(d->d);
    int64_t pixels = 1000000, seed = 0;
    if (sxl_field(L, 2, "pixels")) pixels = sxl_integer(L, -1, "pixels: pixels", 1, (int64_t)1 << 40);
    if (sxl_field(L, 2, "seed")) seed = sxl_integer(L, -1, "pixels: seed", 0, INT64_MAX);
    sxl_read_run(L, 2, &run);
    if (info->classes > INT16_MAX) sxl_misuse(L, NULL, "pixels: at most %d classes", INT16_MAX);
    sx_sample s = {.seed = (uint64_t)seed, .use_double = run.use_double};
    sxl_field(L, 2, "images");
    s.image = push_images(L, lua_gettop(L), info->n, &s.n);
    s.px = (size_t)pixels / s.n;
    if (s.px > info->max_px) s.px = info->max_px;
    if (s.px < 1) s.px = 1;
    lua_newtable(L);
    const int anchor = lua_gettop(L);
    s.logits = sxl_push_scratch(L, s.n * info->classes * s.px, run.use_double ? 8 : 4);
    lua_rawseti(L, anchor, 1);
    s.labels = sxl_push_scratch(L, s.n * s.px, sizeof *s.labels);
    lua_rawseti(L, anchor, 2);
    double **field = sxl_push_scratch(L, info->n_fields + 1, sizeof *field);
    for (size_t f = 0; f < info->n_fields; f++) {
        field[f] = sxl_push_scratch(L, s.n * s.px, sizeof(double));
        lua_rawseti(L, anchor, (lua_Integer)f + 3);
    }
    s.field = field;
    s.taken = sxl_push_scratch(L, s.n, sizeof *s.taken);
    s.valid = sxl_push_scratch(L, s.n, sizeof *s.valid);
    sxl_session *session = sxl_get_session(L);
    sxl_under_way(session, d, 1);
    sx_err e = sx_sample_fill(d->d, &s, run.pool, &er);   /* calls no Lua */
    sxl_under_way(session, d, -1);
    if (e) sxl_raise(L, &er);
    push_sample(L, d, &s, anchor);
    push_counts(L, s.taken, s.n);
    push_counts(L, s.valid, s.n);
    return 3;
}

/* -- Fits -------------------------------------------------------------------------------------- */

typedef struct watch {
    lua_State *L;
    int progress, failure;   /* stack indices */
    bool failed;
} watch;

static bool on_progress(void *arg, size_t stage, size_t round, size_t running)
{
    watch *w = arg;
    lua_State *L = w->L;
    if (!w->progress) return true;
    lua_pushvalue(L, w->progress);
    lua_pushinteger(L, (lua_Integer)stage + 1);
    lua_pushinteger(L, (lua_Integer)round + 1);
    lua_pushinteger(L, (lua_Integer)running);
    if (lua_pcall(L, 3, 1, 0) != LUA_OK) {
        w->failed = true;
        lua_replace(L, w->failure);
        return false;
    }
    const bool stop = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    return !stop;
}

static void set_number(lua_State *L, const char *key, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, key);
}

static void push_fitted(lua_State *L, const sx_fitted *f, size_t classes)
{
    static const char *const states[] = {"running", "converged", "converged", "stuck", "not converged", "not finite"};
    lua_createtable(L, 0, 8);
    set_number(L, "log_t", f->log_t);
    set_number(L, "value", f->value);
    set_number(L, "start", f->start);
    set_number(L, "slope", f->slope);
    lua_pushinteger(L, (lua_Integer)f->iterations);
    lua_setfield(L, -2, "iterations");
    lua_pushinteger(L, (lua_Integer)f->evaluations);
    lua_setfield(L, -2, "evaluations");
    lua_pushstring(L, states[f->state]);
    lua_setfield(L, -2, "state");
    sxl_push_numbers(L, f->b, classes);
    lua_setfield(L, -2, "b");
}

/* Stages from the list at 1: {value = tensor, dump = Dump, tolerance =}. Pushed scratch. */
static sx_fit_stage *push_stages(lua_State *L, size_t *n, sx_axes *axes)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    *n = (size_t)luaL_len(L, 1);
    *axes = 0;
    if (!*n) sxl_misuse(L, NULL, "fit: an empty list of stages");
    sx_fit_stage *stage = sxl_push_scratch(L, *n, sizeof *stage);
    for (size_t i = 0; i < *n; i++) {
        lua_geti(L, 1, (lua_Integer)i + 1);
        const int at = lua_gettop(L);
        lua_getfield(L, at, "value");
        const sxl_tensor *t = sxl_check_tensor(L, -1, "fit");
        lua_getfield(L, at, "dump");
        const sxl_dump *d = sxl_check_dump(L, -1);
        lua_getfield(L, at, "tolerance");
        stage[i] = (sx_fit_stage){t->id, d->d, luaL_checknumber(L, -1)};
        if (!t->id || sxl_axes_of(L, t->id) & ~SX_SWEEP_MASK)
            sxl_misuse(L, NULL, "fit: one lazy number per configuration expected");
        *axes |= sxl_axes_of(L, t->id);
        lua_settop(L, at - 1);
    }
    return stage;
}

/* Positions from opts.places, one list per configuration in the order of the axes in the set; pushed scratch [count][all axes]. */
static size_t *push_places(lua_State *L, sx_axes axes, size_t *count)
{
    const sx_graph *g = sxl_get_session(L)->g;
    const size_t all = (size_t)sx_graph_axes(g);
    const bool given = sxl_field(L, 2, "places");
    const int list = lua_gettop(L);
    *count = given ? (size_t)luaL_len(L, list) : 1;
    if (!given && axes) sxl_misuse(L, NULL, "fit: the loss has sweep axes, but no places are given");
    size_t *place = sxl_push_scratch(L, *count * all + 1, sizeof *place);
    memset(place, 0, (*count * all + 1) * sizeof *place);
    for (size_t k = 0; given && k < *count; k++) {
        lua_Integer n = 0;
        lua_geti(L, list, (lua_Integer)k + 1);
        for (size_t a = 0; a < all; a++) {
            if (!(axes & SX_AX_SWEEP(a))) continue;
            lua_geti(L, -1, ++n);
            place[k * all + a] = (size_t)sxl_integer(L, -1, "fit: places", 1, (int64_t)sx_graph_axis_get(g, (int)a)->count) - 1;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    return place;
}

static void free_block(void *p) { sx_free(p); }

/* core.fit(stages, {places =, l2 =, most =, precision =, threads =, mem =, progress = function(stage, round, running)}) -> list by
 * configuration of {log_t, b, value, start, slope, iterations, evaluations, state}. See fit/fit.h. */
static int core_fit(lua_State *L)
{
    static const char *const known[] = {"places", "l2", "most", "precision", "threads", "mem", "progress", NULL};
    sx_error er;
    lua_settop(L, 2);
    luaL_checkstack(L, 40, NULL);
    luaL_checktype(L, 2, LUA_TTABLE);
    sxl_check_keys(L, 2, "fit", known);
    size_t n;
    sx_axes axes;
    sxl_session *s = sxl_get_session(L);
    sx_fit_stage *stage = push_stages(L, &n, &axes);
    sx_fit_opts o = {.graph = s->g, .l2 = 1e-4, .most = 200};
    watch w = {.L = L};
    o.place = push_places(L, axes, &o.count);
    if (sxl_field(L, 2, "l2")) o.l2 = luaL_checknumber(L, -1);
    if (sxl_field(L, 2, "most")) o.most = (size_t)sxl_integer(L, -1, "fit: most", 1, 1000000);
    sxl_read_run(L, 2, &o.run);
    lua_pushnil(L);
    w.failure = lua_gettop(L);
    if (sxl_field(L, 2, "progress")) w.progress = lua_gettop(L);
    o.progress = on_progress;
    o.progress_arg = &w;
    sxl_box *box = sxl_push_box(L, free_block);
    sx_fitted *fitted = NULL;
    sxl_under_way(s, NULL, 1);
    sx_err e = sx_fit(&o, stage, n, &fitted, &er);
    sxl_under_way(s, NULL, -1);
    box->p = fitted;
    if (w.failed) {
        lua_pushvalue(L, w.failure);
        lua_error(L);
    }
    if (e) sxl_raise(L, &er);
    lua_createtable(L, (int)o.count, 0);
    for (size_t k = 0; k < o.count; k++) {
        push_fitted(L, &fitted[k], sx_dump_get_info(stage[0].dump)->classes);
        lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    return 1;
}

/* -- Scores ------------------------------------------------------------------------------------ */

#define SCORES "segx.Scores"

typedef struct scores {
    size_t configurations, images, classes;
    uint32_t counts[];
} scores;

static const char *const metric_names[] = {"iou", "dice", "precision", "recall", "accuracy", NULL};

/* theta: list by fold of a list by configuration of {t, b...}; pushed scratch. */
static double *push_theta(lua_State *L, int idx, size_t folds, size_t count, size_t classes)
{
    double *theta = sxl_push_scratch(L, folds * count * (1 + classes), sizeof *theta), *to = theta;
    for (size_t f = 0; f < folds; f++) {
        lua_geti(L, idx, (lua_Integer)f + 1);
        for (size_t k = 0; k < count; k++) {
            lua_geti(L, -1, (lua_Integer)k + 1);
            for (size_t c = 0; c <= classes; c++, to++) {
                lua_geti(L, -1, (lua_Integer)c + 1);
                *to = luaL_checknumber(L, -1);
                lua_pop(L, 1);
            }
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    return theta;
}

/* core.score(d, {images =, folds = {number by image of the list}, theta = {[fold] = {[configuration] = {t, b1, b2 ...}}}, precision =,
 * threads =}) -> Scores: what the arg-max of t * logits + b of the image's fold gets right. */
static int core_score(lua_State *L)
{
    static const char *const known[] = {"images", "folds", "theta", "precision", "threads", "mem", NULL};
    sx_run_opts run;
    sx_error er;
    lua_settop(L, 2);
    luaL_checkstack(L, 40, NULL);
    sxl_dump *d = sxl_check_dump(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    sxl_check_keys(L, 2, "score", known);
    sxl_read_run(L, 2, &run);
    const sx_dump_info *info = sx_dump_get_info(d->d);
    sx_score s = {.isa = run.isa, .use_double = run.use_double};
    sxl_field(L, 2, "images");
    s.image = push_images(L, lua_gettop(L), info->n, &s.n);
    sxl_field(L, 2, "theta");
    const int theta = lua_gettop(L);
    luaL_checktype(L, theta, LUA_TTABLE);
    s.folds = (size_t)luaL_len(L, theta);
    lua_geti(L, theta, 1);
    s.count = lua_istable(L, -1) ? (size_t)luaL_len(L, -1) : 0;
    if (!s.count) sxl_misuse(L, NULL, "score: theta: parameters of at least one configuration expected");
    s.theta = push_theta(L, theta, s.folds, s.count, info->classes);
    uint32_t *fold = sxl_push_scratch(L, s.n, sizeof *fold);
    sxl_field(L, 2, "folds");
    for (size_t i = 0; i < s.n; i++) {
        lua_geti(L, -1, (lua_Integer)i + 1);
        fold[i] = (uint32_t)sxl_integer(L, -1, "score: folds", 1, (int64_t)s.folds) - 1;
        lua_pop(L, 1);
    }
    s.fold = fold;
    scores *out = lua_newuserdatauv(L, sizeof *out + s.count * s.n * SX_COUNTS * info->classes * sizeof *out->counts, 0);
    *out = (scores){s.count, s.n, info->classes};
    luaL_setmetatable(L, SCORES);
    s.counts = out->counts;
    sxl_session *session = sxl_get_session(L);
    sxl_under_way(session, d, 1);
    sx_err e = sx_score_run(d->d, &s, run.pool, &er);   /* calls no Lua */
    sxl_under_way(session, d, -1);
    if (e) sxl_raise(L, &er);
    return 1;
}

/* Metric and class (from 1; nil: the mean over classes) at these stack positions. */
static sx_overlap overlap_of(lua_State *L, const scores *s, int metric, int class)
{
    sx_overlap o = {s->counts, s->configurations, s->images, s->classes, SX_IOU, SX_MEAN};
    o.metric = (sx_metric)luaL_checkoption(L, metric, NULL, metric_names);
    if (!lua_isnoneornil(L, class)) o.of = (size_t)sxl_integer(L, class, "class", 1, (int64_t)s->classes) - 1;
    return o;
}

/* s:values(metric, class) -> list by configuration. */
static int scores_values(lua_State *L)
{
    const scores *s = luaL_checkudata(L, 1, SCORES);
    const sx_overlap o = overlap_of(L, s, 2, 3);
    lua_createtable(L, (int)s->configurations, 0);
    for (size_t k = 0; k < s->configurations; k++) {
        lua_pushnumber(L, sx_overlap_value(&o, k, NULL));
        lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    return 1;
}

/* The options of an interval as table at 1, the scores at 2; metric and class of it. */
static const scores *boot_options(lua_State *L, sx_overlap *o, sx_boot *b)
{
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    const scores *s = luaL_checkudata(L, 1, SCORES);
    lua_insert(L, 1);
    luaL_checkstack(L, 30, NULL);
    sxl_read_boot(L, s->images, b);
    sxl_field(L, 1, "metric");
    const int metric = lua_gettop(L);
    sxl_field(L, 1, "class");
    *o = overlap_of(L, s, metric, metric + 1);
    return s;
}

/* s:interval{metric =, class =, k =, minus =, groups =, resamples =, seed =, level =} -> value, lo, hi of configuration k, less that of
 * configuration minus under the same draws. */
static int scores_interval(lua_State *L)
{
    sx_overlap o;
    sx_boot b;
    sx_error er;
    double value, lo, hi;
    const scores *s = boot_options(L, &o, &b);
    sxl_field(L, 1, "k");
    const size_t k = (size_t)sxl_integer(L, -1, "k", 1, (int64_t)s->configurations) - 1;
    size_t minus = SIZE_MAX;
    if (sxl_field(L, 1, "minus")) minus = (size_t)sxl_integer(L, -1, "minus", 1, (int64_t)s->configurations) - 1;
    if (sx_overlap_interval(&o, k, minus, &b, &value, &lo, &hi, &er)) sxl_raise(L, &er);
    lua_pushnumber(L, value);
    lua_pushnumber(L, lo);
    lua_pushnumber(L, hi);
    return 3;
}

/* s:ranks{metric =, class =, first = n, groups = ...} -> lists lo, hi: which rank each of the first n configurations has among them. */
static int scores_ranks(lua_State *L)
{
    sx_overlap o;
    sx_boot b;
    sx_error er;
    const scores *s = boot_options(L, &o, &b);
    size_t n = s->configurations;
    if (sxl_field(L, 1, "first")) n = (size_t)sxl_integer(L, -1, "first", 1, (int64_t)n);
    double *lo = sxl_push_scratch(L, n, sizeof *lo), *hi = sxl_push_scratch(L, n, sizeof *hi);
    if (sx_overlap_ranks(&o, n, &b, lo, hi, &er)) sxl_raise(L, &er);
    sxl_push_numbers(L, lo, n);
    sxl_push_numbers(L, hi, n);
    return 2;
}

/* s:counts(k) -> list by image of {true positives, predicted, labelled}, lists by class. */
static int scores_counts(lua_State *L)
{
    const scores *s = luaL_checkudata(L, 1, SCORES);
    const size_t k = (size_t)sxl_integer(L, 2, "k", 1, (int64_t)s->configurations) - 1;
    lua_createtable(L, (int)s->images, 0);
    for (size_t i = 0; i < s->images; i++) {
        lua_createtable(L, SX_COUNTS, 0);
        for (size_t j = 0; j < SX_COUNTS; j++) {
            const uint32_t *v = s->counts + ((k * s->images + i) * SX_COUNTS + j) * s->classes;
            lua_createtable(L, (int)s->classes, 0);
            for (size_t c = 0; c < s->classes; c++) {
                lua_pushinteger(L, v[c]);
                lua_rawseti(L, -2, (lua_Integer)c + 1);
            }
            lua_rawseti(L, -2, (lua_Integer)j + 1);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.tune(sample, metric, start) -> list of biases that are best for the metric itself on these pixels, looked for from the list
 * `start` on (nil: 0); the metric before and after. */
static int core_tune(lua_State *L)
{
    sx_error er;
    double before, after;
    lua_settop(L, 3);
    sxl_dump *d = sxl_check_dump(L, 1);
    const sx_metric metric = (sx_metric)luaL_checkoption(L, 2, "iou", metric_names);
    const size_t C = sx_dump_get_info(d->d)->classes;
    if (metric == SX_PRECISION || metric == SX_RECALL) sxl_misuse(L, NULL, "tune: metric: iou, dice or accuracy");
    double *b = sxl_push_scratch(L, C, sizeof *b);
    for (size_t c = 0; c < C; c++) {
        b[c] = 0;
        if (lua_isnil(L, 3)) continue;
        lua_geti(L, 3, (lua_Integer)c + 1);
        b[c] = luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    if (sx_tune(d->d, metric, b, &before, &after, &er)) sxl_raise(L, &er);
    sxl_push_numbers(L, b, C);
    lua_pushnumber(L, before);
    lua_pushnumber(L, after);
    return 3;
}

void sxl_open_fit(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pixels", core_pixels},
        {"fit",    core_fit   },
        {"score",  core_score },
        {"tune",   core_tune  },
        {NULL,     NULL       }
    };
    static const luaL_Reg methods[] = {
        {"values",   scores_values  },
        {"interval", scores_interval},
        {"ranks",    scores_ranks   },
        {"counts",   scores_counts  },
        {NULL,       NULL           }
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, SCORES);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
