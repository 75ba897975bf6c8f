/*
 * bind_grad.c: what gradients need beyond core.grad (bind_reduce.c): numbers to derive by, planes streamed
 * to a file, and a dump in memory whose logits a gradient check may move.
 */
#include <string.h>

#include "bind.h"
#include "pass/pass.h"

/* core.leaf(number or dense {C} or {C,C}, name): the same numbers as a parameter that expressions can
 * be derived by: segx.grad(y, leaf). The name shows in texts. */
static int core_leaf(lua_State *L)
{
    sx_error er;
    lua_settop(L, 2);
    if (lua_type(L, 2) != LUA_TSTRING || !*lua_tostring(L, 2))
        sxl_misuse(L, "core.leaf(2, \"gamma\")", "leaf: the second argument is its name");
    const sxl_tensor *t = sxl_to_dense(L, 1, "leaf"), *given = sxl_test_tensor(L, 1);
    if (given && given->id) sxl_misuse(L, NULL, "leaf: numbers expected, got a lazy tensor");
    sx_axes axes = t->n == 1 ? 0 : sxl_dense_axes(L, -1, "leaf");
    sx_id id = sx_data(sxl_get_session(L)->g, axes, axes ? (uint32_t)t->dim[t->n_dims - 1] : 0,
                       t->v, t->n, lua_tostring(L, 2), &er);
    sxl_push_lazy(L, sxl_made(L, id, &er), SXL_ALL_IMAGES, 0);
    return 1;
}

/* core.image(t, i): image i (1-based) alone, as t[i], but also where sweep axes come first. */
static int core_image(lua_State *L)
{
    lua_settop(L, 2);
    const sxl_tensor *t = sxl_check_tensor(L, 1, "image");
    const sxl_dump *d = sxl_push_dump_of(L, 1);
    if (!t->id || !d || !d->d || !(sxl_axes_of(L, t->id) & SX_AX_N))
        sxl_misuse(L, NULL, "image: a lazy tensor of an open dump with an image axis expected");
    int64_t n = (int64_t)sx_dump_get_info(d->d)->n;
    sxl_push_lazy(L, t->id, (size_t)sxl_integer(L, 2, "image", 1, n) - 1, 3);
    return 1;
}

/* core.dump_of(t): the Dump that a lazy tensor reads, or nil. */
static int core_dump_of(lua_State *L)
{
    lua_settop(L, 1);
    sxl_push_dump_of(L, 1);
    return 1;
}

/* core.poke(d, k, v): logit number k (1-based, in the order of the array) of a dump in memory
 * becomes v; returns what it was. Only for numerical gradients: tensors are values otherwise. */
static int core_poke(lua_State *L)
{
    lua_settop(L, 3);
    const sxl_dump *d = sxl_check_dump(L, 1);
    const sx_dump_info *info = sx_dump_get_info(d->d);
    double v = luaL_checknumber(L, 3);
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE || info->logits_type != SX_F64)
        sxl_misuse(L, NULL, "poke: only for dumps in memory with float64 logits");
    if (lua_rawgeti(L, -1, 1) != LUA_TUSERDATA || d->busy)
        sxl_misuse(L, NULL, "poke: the dump is in use");
    double *x = lua_touserdata(L, -1);
    int64_t k = sxl_integer(L, 2, "poke", 1, (int64_t)(lua_rawlen(L, -1) / sizeof *x));
    lua_pushnumber(L, x[k - 1]);
    x[k - 1] = v;
    sxl_forget_dump(L, d->d);
    sx_dump_changed(d->d);
    return 1;
}

/* -- Streaming to a file ---------------------------------------------------------------------- */

static void free_plan(void *p) { sx_plan_free(p); }
static void free_result(void *p) { sx_result_free(p); }
static void drop_writer(void *p) { (void)sx_dump_finish(p, NULL); }   /* unfinished: the file goes */

static sx_err emit(void *arg, size_t image, size_t out, const void *v, sx_dtype type, size_t n, sx_error *er)
{
    (void)out;
    (void)n;
    return arg ? sx_dump_write_array(arg, image, v, type, er) : SX_EOK;
}

/* Value of an option: of the table at idx, else of the program. Pushed. */
static void push_setting(lua_State *L, int idx, const char *name)
{
    if (sxl_field(L, idx, name)) return;
    lua_pop(L, 1);
    sxl_push_option(L, name);
}

void sxl_read_run(lua_State *L, int idx, sx_run_opts *o)
{
    int threads = 0;
    memset(o, 0, sizeof *o);
    o->isa = sx_isa_best();
    push_setting(L, idx, "precision");
    const char *p = lua_tostring(L, -1);
    if (!lua_isnil(L, -1) && (!p || (strcmp(p, "single") != 0 && strcmp(p, "double") != 0)))
        sxl_misuse(L, NULL, "precision: \"single\" or \"double\"");
    o->use_double = p && p[0] == 'd';
    push_setting(L, idx, "mem");
    if (!lua_isnil(L, -1)) o->mem = (size_t)sxl_integer(L, -1, "mem", 0, INT64_MAX);
    if (sxl_field(L, idx, "threads"))
        threads = (int)sxl_integer(L, -1, "threads", 0, 4096);
    lua_pop(L, 3);
    o->pool = sxl_get_pool(L, threads);
}

static void check_shape(lua_State *L, const sxl_tensor *t, const sxl_dump *d)
{
    const sx_axes want = SX_AX_N | SX_AX_C | SX_AX_P;
    if (!t->id || sxl_axes_of(L, t->id) & SX_SWEEP_MASK)
        sxl_misuse(L, "choose one configuration: row.loss, loss:at{gamma = 2}",
                   "write: one tensor without sweep axes expected");
    if (sxl_axes_of(L, t->id) != want || t->image != SXL_ALL_IMAGES)
        sxl_misuse(L, NULL, "write: a tensor {image, class, pixel} of the whole dump expected");
    if (!sx_dump_get_info(d->d)->same_shape)
        sxl_misuse(L, "loss:grad(d, i) gives one image",
                   "write: the images differ in size, they make no array");
}

/* core.write_planes(d, t, path, {name =, dtype = "float16"|"float32"|"float64", gzip =, scale =,
 * source =, precision =, threads =, mem =, value =}): t {image, class, pixel} as an array in a new
 * file, image by image. value: a tensor that is one number, from the same walks over the dump.
 * Returns it (or nil), and how many walks there were. path nil: computed and dropped, for timing. */
static int core_write_planes(lua_State *L)
{
    static const char *const known[] = {"name",      "dtype",   "gzip", "scale", "source",
                                        "precision", "threads", "mem",  "value", "device", "mode", NULL};
    static const char *const types[] = {"float16", "float32", "float64", NULL};
    sx_error er;
    sx_run_opts run;
    lua_settop(L, 4);
    luaL_checkstack(L, 20, NULL);
    sxl_dump *d = sxl_check_dump(L, 1);
    const sxl_tensor *t = sxl_check_tensor(L, 2, "write");
    if (!lua_isnil(L, 3) && lua_type(L, 3) != LUA_TSTRING) sxl_misuse(L, NULL, "write: a path expected");
    luaL_checktype(L, 4, LUA_TTABLE);
    sxl_check_keys(L, 4, "write", known);
    check_shape(L, t, d);
    const sx_dump_info *info = sx_dump_get_info(d->d);
    sx_write_opts o = {.n = info->n, .classes = info->classes, .n_dims = info->n_dims,
                       .class_names = info->class_names, .labels_type = SX_U8, .only = "values"};
    memcpy(o.dims, info->dims, sizeof o.dims);
    if (sxl_field(L, 4, "name")) o.only = luaL_checkstring(L, -1);
    if (sxl_field(L, 4, "source")) o.text = luaL_checkstring(L, -1);
    if (sxl_field(L, 4, "scale")) o.scale = luaL_checknumber(L, -1);
    if (sxl_field(L, 4, "gzip")) o.gzip = (int)sxl_integer(L, -1, "write: gzip", 0, 9);
    o.logits_type = SX_F32;
    if (sxl_field(L, 4, "dtype")) {
        static const sx_dtype dtype[] = {SX_F16, SX_F32, SX_F64};
        o.logits_type = dtype[luaL_checkoption(L, -1, "float32", types)];
    }
    sx_id out[2] = {t->id, 0};
    if (sxl_field(L, 4, "value")) {
        const sxl_tensor *v = sxl_check_tensor(L, -1, "write: value");
        if (!v->id || sxl_axes_of(L, v->id))
            sxl_misuse(L, NULL, "write: value: a lazy tensor that is one number expected");
        out[1] = v->id;
    }
    sxl_read_run(L, 4, &run);
    sxl_read_device(L, 4, &run);

    sxl_session *s = sxl_get_session(L);
    sxl_box *plan = sxl_push_box(L, free_plan), *result = sxl_push_box(L, free_result);
    sxl_box *writer = sxl_push_box(L, drop_writer);
    sx_plan *p = NULL;
    sx_result *r = NULL;
    sx_dump_writer *w = NULL;
    if (sx_plan_new(s->g, d->d, d->slot, out, out[1] ? 2 : 1, SX_EACH_IMAGE, &p, &er)) sxl_raise(L, &er);
    plan->p = p;
    if (lua_isstring(L, 3) && sx_dump_create(lua_tostring(L, 3), &o, &w, &er)) sxl_raise(L, &er);
    writer->p = w;
    run.emit = emit;
    run.emit_arg = w;
    sxl_under_way(s, d, 1);
    sx_err e = sx_plan_run(p, &run, &r, &er);   /* calls no Lua */
    sxl_under_way(s, d, -1);
    result->p = r;
    if (e) {
        sxl_box_clear(writer);
        sxl_raise(L, &er);
    }
    writer->p = NULL;
    if (w && sx_dump_finish(w, &er)) sxl_raise(L, &er);
    if (out[1]) lua_pushnumber(L, r->out[1].v[0]);
    else lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)sx_plan_get_info(p)->walks);
    return 2;
}

void sxl_open_grad(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"leaf",         core_leaf        },
        {"image",        core_image       },
        {"dump_of",      core_dump_of     },
        {"poke",         core_poke        },
        {"write_planes", core_write_planes},
        {NULL,           NULL             }
    };
    luaL_setfuncs(L, functions, 0);
}
