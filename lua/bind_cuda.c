/*
 * bind_cuda.c: graphics processors: the text of kernels (segx kernel, tests), which one evaluations run on, what there is.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "cuda/compile.h"
#include "cuda/cuda.h"
#include "pass/pass.h"

static void free_plan(void *p) { sx_plan_free(p); }
static void free_emitted(void *p) { sx_emitted_free(p); }

/* Pushes {text =} or {why =} for these sums and maps. */
static void push_text(lua_State *L, sx_emit_spec *spec)
{
    sx_error er;
    sx_emitted *e = NULL;
    sxl_box *box = sxl_push_box(L, free_emitted);
    sx_err failed = sx_emit(spec, &e, &er);
    box->p = e;
    if (failed && failed != SX_EARG) sxl_raise(L, &er);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, failed ? er.msg : e->text);
    lua_setfield(L, -2, failed ? "why" : "text");
    sxl_box_clear(box);
    lua_remove(L, -2);
}

/* core.kernels(d, list, {precision =, mode =}): what would be compiled for a GPU to evaluate these tensors: a list, by pass, of
 * {text =}, or {why =} where a pass must stay on the CPU. A tensor with a pixel axis is mapped. */
static int core_kernels(lua_State *L)
{
    static const char *const known[] = {"precision", "mode", NULL};
    sx_error er;
    lua_settop(L, 3);
    sxl_dump *d = sxl_check_dump(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!lua_istable(L, 3)) {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    sxl_check_keys(L, 3, "kernels", known);
    sx_emit_spec spec = {.g = sxl_get_session(L)->g, .info = sx_dump_get_info(d->d)};
    if (sxl_field(L, 3, "precision")) spec.use_double = strcmp(luaL_checkstring(L, -1), "double") == 0;
    if (sxl_field(L, 3, "mode")) spec.fast = strcmp(luaL_checkstring(L, -1), "fast") == 0 && !spec.use_double;
    size_t n = (size_t)luaL_len(L, 2), sums = 0, maps = 0;
    sx_id *id = sxl_push_scratch(L, n + 1, sizeof *id), *map = sxl_push_scratch(L, n + 1, sizeof *map);
    for (size_t i = 0; i < n; i++) {
        lua_geti(L, 2, (lua_Integer)i + 1);
        const sxl_tensor *t = sxl_check_tensor(L, -1, "kernels");
        if (t->id && sxl_axes_of(L, t->id) & SX_AX_P) map[maps++] = t->id;
        if (t->id) id[sums++] = t->id;
        lua_pop(L, 1);
    }
    sxl_box *plan = sxl_push_box(L, free_plan);
    sx_plan *p = NULL;
    if (sx_plan_new(spec.g, d->d, d->slot, id, sums, SX_EACH_IMAGE, &p, &er)) sxl_raise(L, &er);
    plan->p = p;
    const sx_plan_info *info = sx_plan_get_info(p);
    lua_newtable(L);
    lua_Integer at = 0;
    sx_id *part = sxl_push_scratch(L, info->n_sums + 1, sizeof *part);
    lua_insert(L, -2);                                     /* below the list */
    for (size_t pass = 0; pass < info->passes; pass++)
        for (int fields = 0; fields < 2; fields++) {       /* a walk of their own: sx_run_splits */
            spec.sum = part;
            spec.n_sum = 0;
            for (size_t i = 0; i < info->n_sums; i++)
                if (info->sum_pass[i] == pass && info->sum_fields[i] == fields) part[spec.n_sum++] = info->sum[i];
            if (spec.n_sum == 0) continue;
            push_text(L, &spec);
            lua_rawseti(L, -2, ++at);
        }
    if (maps) {
        spec.sum = NULL;
        spec.n_sum = 0;
        spec.map = map;
        spec.n_map = maps;
        push_text(L, &spec);
        lua_rawseti(L, -2, ++at);
    }
    return 1;
}

/* core.compile_kernel(text, target, fast, path): machine code of a kernel for "sm_90" ..., without a GPU, what NVRTC says of
 * registers, and which NVRTC that was ("12.9"). path: of NVRTC; nil: where it is found. nil and why, where there is none. */
static int core_compile_kernel(lua_State *L)
{
    sx_error er;
    sx_nvrtc n = {0};
    sx_cubin code = {0};
    char path[512], *log = NULL;
    const char *text = luaL_checkstring(L, 1), *target = luaL_checkstring(L, 2), *given = luaL_optstring(L, 4, NULL);
    sx_err e = given ? SX_EOK : sx_nvrtc_find(0, path, &er);
    if (!e) e = sx_nvrtc_open(given ? given : path, &n, &er);
    if (e) {
        lua_pushnil(L);
        lua_pushstring(L, er.msg);
        return 2;
    }
    e = sx_cuda_compile(&n, text, target, lua_toboolean(L, 3), &code, &log, &er);
    if (!e) {
        lua_pushlstring(L, code.data, code.n);
        lua_pushstring(L, log ? log : "");
        lua_pushfstring(L, "%d.%d", n.major, n.minor);
    }
    sx_free(log);
    sx_cubin_free(&code);
    if (e) sxl_raise(L, &er);
    return 3;
}

/* -- Which device ----------------------------------------------------------------------------- */

/* Value of an option: of the table at idx (0 = none), else of the program. Pushed; NULL: not given. */
static const char *setting(lua_State *L, int idx, const char *name)
{
    if (idx && sxl_field(L, idx, name)) return lua_tostring(L, -1);
    if (idx) lua_pop(L, 1);
    sxl_push_option(L, name);
    return lua_tostring(L, -1);
}

enum { ON_CPU = -1, BY_ITSELF = -2 };

/* "cuda" 0, "cuda:N" N, ON_CPU, BY_ITSELF; anything else is misuse. */
static int device_number(lua_State *L, const char *s)
{
    if (!s || strcmp(s, "auto") == 0) return BY_ITSELF;
    if (strcmp(s, "cpu") == 0) return ON_CPU;
    if (strcmp(s, "cuda") == 0) return 0;
    const size_t digits = strncmp(s, "cuda:", 5) == 0 ? strspn(s + 5, "0123456789") : 0;
    if (!digits || digits > 3 || s[5 + digits])
        sxl_misuse(L, NULL, "device: \"auto\", \"cpu\", \"cuda\" or \"cuda:N\", not \"%s\"", s);
    return (int)strtol(s + 5, NULL, 10);
}

static void close_gpu(sxl_gpu *g)
{
    sx_cuda_close(g->cuda);
    g->cuda = NULL;
    g->checked[0] = g->checked[1] = false;
}

static sx_err open_gpu(sxl_gpu *g, int index, sx_error *er)
{
    if (g->cuda && g->index == index) return SX_EOK;
    close_gpu(g);
    g->index = index;
    return sx_cuda_open(index, &g->cuda, er);
}

/* GPU number index, for someone who asked for it. */
static sx_err want_gpu(lua_State *L, int index, sx_error *er)
{
    sxl_session *s = sxl_get_session(L);
    if (s->running && !(s->gpu.cuda && s->gpu.index == index)) sxl_misuse(L, NULL, "device: cannot change while an evaluation runs");
    return open_gpu(&s->gpu, index, er);
}

/* -- A GPU that is taken by itself -------------------------------------------------------------- */

/* No GPU for the rest of the process. Another evaluation may yet use the one that is open. */
static void give_up(sxl_session *s, const sx_error *why)
{
    s->gpu.off = true;
    s->gpu.why = *why;
    if (s->running <= 1) close_gpu(&s->gpu);
}

static void on_failed(void *arg, const sx_error *why) { give_up(arg, why); }

/* Is there a GPU, and has it the bits of the CPU? The one that is open, else number 0. */
static sx_err find_gpu(sxl_session *s, bool use_double, sx_error *er)
{
    sxl_gpu *g = &s->gpu;
    sx_err e = SX_EOK;
    if (!g->cuda) {
        sx_driver driver;
        if ((e = sx_driver_open(&driver, er))) g->absent = driver.absent;
        else e = open_gpu(g, 0, er);
    }
    if (!e && !g->checked[use_double]) e = sx_check_gpu(g->cuda, s->pool, use_double, er);
    if (!e) g->checked[use_double] = true;
    return e;
}

static sx_cuda *on_open(void *arg, bool use_double, sx_error *why)
{
    sxl_session *s = arg;
    if (!s->gpu.off && find_gpu(s, use_double, why)) give_up(s, why);
    if (s->gpu.off) *why = s->gpu.why;
    return s->gpu.off ? NULL : s->gpu.cuda;
}

/* The seconds from which a GPU is worth its start: a context and a kernel take about one. SEGX_GPU_SECONDS: others. */
static double gpu_seconds(void)
{
    const char *s = getenv("SEGX_GPU_SECONDS");
    char *end = NULL;
    const double v = s ? strtod(s, &end) : 2;
    return s && (end == s || *end || !(v >= 0)) ? 2 : v;
}

void sxl_read_device(lua_State *L, int idx, sx_run_opts *o)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    const int index = device_number(L, setting(L, idx, "device"));
    lua_pop(L, 1);
    const char *mode = setting(L, idx, "mode");
    if (mode && strcmp(mode, "fast") != 0 && strcmp(mode, "exact") != 0)
        sxl_misuse(L, NULL, "mode: \"fast\" or \"exact\", not \"%s\"", mode);
    o->fast = index >= 0 && mode && mode[0] == 'f';
    lua_pop(L, 1);
    o->cuda = NULL;
    o->choice = NULL;
    if (index >= 0) {
        if (want_gpu(L, index, &er)) sxl_raise(L, &er);
        o->cuda = s->gpu.cuda;
    } else if (index == BY_ITSELF && isfinite(gpu_seconds())) {
        s->gpu.choice = (sx_gpu_choice){.seconds = gpu_seconds(), .open = on_open, .failed = on_failed, .arg = s};
        o->choice = &s->gpu.choice;
    }
}

/* core.gpu_choice(): what is known of the GPU that evaluations get by themselves: {seconds (of the CPU's arithmetic, from which one is
 * looked for), why (none is used any more), absent (because there is no driver or no GPU)}. Opens nothing. */
static int core_gpu_choice(lua_State *L)
{
    const sxl_gpu *g = &sxl_get_session(L)->gpu;
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, gpu_seconds());
    lua_setfield(L, -2, "seconds");
    if (!g->off) return 1;
    lua_pushstring(L, g->why.msg);
    lua_setfield(L, -2, "why");
    lua_pushboolean(L, g->absent);
    lua_setfield(L, -2, "absent");
    return 1;
}

/* core.choose_gpu(precision): the one that evaluations get by themselves where it is worth it, opened and checked: "cuda:0"; or nil, why. */
static int core_choose_gpu(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    sx_error why;
    const char *precision = luaL_optstring(L, 1, "single");
    sxl_get_pool(L, 0);
    if (on_open(s, precision[0] == 'd', &why)) {
        lua_pushfstring(L, "cuda:%d", s->gpu.index);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why.msg);
    return 2;
}

/* core.check_gpu(i): has GPU number i the bits of the CPU, in both precisions? true, or false and why not. */
static int core_check_gpu(lua_State *L)
{
    const int index = (int)sxl_integer(L, 1, "device", 0, 999);
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    sx_pool *pool = sxl_get_pool(L, 0);
    sx_err e = want_gpu(L, index, &er);
    if (!e) e = sx_check_gpu(s->gpu.cuda, pool, false, &er);
    if (!e) e = sx_check_gpu(s->gpu.cuda, pool, true, &er);
    lua_pushboolean(L, !e);
    if (!e) return 1;
    lua_pushstring(L, er.msg);
    return 2;
}

/* -- What there is -------------------------------------------------------------------------------- */

static void set_text(lua_State *L, const char *key, const char *v)
{
    lua_pushstring(L, v);
    lua_setfield(L, -2, key);
}

static void set_whole(lua_State *L, const char *key, lua_Integer v)
{
    lua_pushinteger(L, v);
    lua_setfield(L, -2, key);
}

/* core.device(i): GPU number i (0 ..): {name, count, cc, sms, driver, memory, driver_path, nvrtc, nvrtc_why, cache}, or {why} when
 * it cannot be used. */
static int core_device(lua_State *L)
{
    const int index = (int)sxl_integer(L, 1, "device", 0, 999);
    sx_error er;
    lua_createtable(L, 0, 10);
    if (want_gpu(L, index, &er)) {
        set_text(L, "why", er.msg);
        return 1;
    }
    const sx_cuda_info *i = sx_cuda_get_info(sxl_get_session(L)->gpu.cuda);
    set_text(L, "name", i->name);
    set_whole(L, "count", i->count);
    set_whole(L, "cc", i->cc);
    set_whole(L, "sms", i->sms);
    set_whole(L, "driver", i->driver);
    set_whole(L, "memory", (lua_Integer)i->memory);
    set_text(L, "driver_path", i->driver_path);
    set_text(L, "nvrtc", i->nvrtc);
    set_text(L, "nvrtc_why", i->nvrtc_why);
    set_text(L, "cache", i->cache);
    return 1;
}

/* core.device_counts(): of the GPU that was used last: {compiled, from_cache, launches, uploaded, evicted, split, kernel_ms}, or
 * nil; with `measure` also copy_speed, bytes per second read and written inside its memory. */
static int core_device_counts(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    double speed;
    lua_settop(L, 1);
    if (!s->gpu.cuda) return 0;
    const sx_cuda_counts *c = sx_cuda_get_counts(s->gpu.cuda);
    lua_createtable(L, 0, 8);
    set_whole(L, "compiled", (lua_Integer)c->compiled);
    set_whole(L, "from_cache", (lua_Integer)c->from_cache);
    set_whole(L, "launches", (lua_Integer)c->launches);
    set_whole(L, "uploaded", (lua_Integer)c->uploaded);
    set_whole(L, "evicted", (lua_Integer)c->evicted);
    set_whole(L, "split", (lua_Integer)c->split);
    lua_pushnumber(L, c->kernel_ms);
    lua_setfield(L, -2, "kernel_ms");
    if (lua_toboolean(L, 1)) {
        if (sx_cuda_copy_speed(s->gpu.cuda, &speed, &er)) sxl_raise(L, &er);
        lua_pushnumber(L, speed);
        lua_setfield(L, -2, "copy_speed");
    }
    return 1;
}

void sxl_forget_dump(lua_State *L, const sx_dump *d)
{
    sxl_push_session(L); /* no sxl_get_session: when the state ends it may be gone already */
    const sxl_session *s = lua_touserdata(L, -1);
    if (d && s && s->gpu.cuda) sx_cuda_forget(s->gpu.cuda, sx_dump_id(d));
    lua_pop(L, 1);
}

void sxl_open_cuda(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"kernels",       core_kernels      },
        {"compile_kernel", core_compile_kernel},
        {"device",        core_device       },
        {"device_counts", core_device_counts},
        {"gpu_choice",    core_gpu_choice   },
        {"choose_gpu",    core_choose_gpu   },
        {"check_gpu",     core_check_gpu    },
        {NULL,            NULL              }
    };
    luaL_setfuncs(L, functions, 0);
}
