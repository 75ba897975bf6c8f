/*
 * bind_cuda.c: graphics processors: the text of kernels (segx kernel, tests).
 */
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
    for (size_t i = 0; i < info->n_sums; i += spec.n_sum) {
        spec.sum = info->sum + i;
        spec.n_sum = 0;
        while (i + spec.n_sum < info->n_sums && info->sum_pass[i + spec.n_sum] == info->sum_pass[i]) spec.n_sum++;
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

/* core.compile_kernel(text, target, fast, path): machine code of a kernel for "sm_90" ..., without a GPU: its size, what NVRTC says of
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

/* "cpu" -1, "cuda" 0, "cuda:N" N; anything else is misuse. */
static int device_number(lua_State *L, const char *s)
{
    if (!s || strcmp(s, "cpu") == 0) return -1;
    if (strcmp(s, "cuda") == 0) return 0;
    const size_t digits = strncmp(s, "cuda:", 5) == 0 ? strspn(s + 5, "0123456789") : 0;
    if (!digits || digits > 3 || s[5 + digits])
        sxl_misuse(L, NULL, "device: \"cpu\", \"cuda\" or \"cuda:N\", not \"%s\"", s);
    return (int)strtol(s + 5, NULL, 10);
}

static sx_cuda *open_device(lua_State *L, int index)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    if (s->cuda && s->cuda_index == index) return s->cuda;
    if (s->running) sxl_misuse(L, NULL, "device: cannot change while an evaluation runs");
    sx_cuda_close(s->cuda);
    s->cuda = NULL;
    if (sx_cuda_open(index, &s->cuda, &er)) sxl_raise(L, &er);
    s->cuda_index = index;
    return s->cuda;
}

void sxl_read_device(lua_State *L, int idx, sx_run_opts *o)
{
    const int index = device_number(L, setting(L, idx, "device"));
    lua_pop(L, 1);
    const char *mode = setting(L, idx, "mode");
    if (mode && strcmp(mode, "fast") != 0 && strcmp(mode, "exact") != 0)
        sxl_misuse(L, NULL, "mode: \"fast\" or \"exact\", not \"%s\"", mode);
    o->fast = index >= 0 && mode && mode[0] == 'f';
    lua_pop(L, 1);
    o->cuda = index >= 0 ? open_device(L, index) : NULL;
}

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
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    lua_createtable(L, 0, 10);
    if (!s->cuda || s->cuda_index != index) {
        if (s->running) sxl_misuse(L, NULL, "device: cannot change while an evaluation runs");
        sx_cuda_close(s->cuda);
        s->cuda = NULL;
        if (sx_cuda_open(index, &s->cuda, &er)) {
            set_text(L, "why", er.msg);
            return 1;
        }
        s->cuda_index = index;
    }
    const sx_cuda_info *i = sx_cuda_get_info(s->cuda);
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
    if (!s->cuda) return 0;
    const sx_cuda_counts *c = sx_cuda_get_counts(s->cuda);
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
        if (sx_cuda_copy_speed(s->cuda, &speed, &er)) sxl_raise(L, &er);
        lua_pushnumber(L, speed);
        lua_setfield(L, -2, "copy_speed");
    }
    return 1;
}

void sxl_forget_dump(lua_State *L, const sx_dump *d)
{
    sxl_push_session(L); /* no sxl_get_session: when the state ends it may be gone already */
    const sxl_session *s = lua_touserdata(L, -1);
    if (d && s && s->cuda) sx_cuda_forget(s->cuda, sx_dump_id(d));
    lua_pop(L, 1);
}

void sxl_open_cuda(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"kernels",       core_kernels      },
        {"compile_kernel", core_compile_kernel},
        {"device",        core_device       },
        {"device_counts", core_device_counts},
        {NULL,            NULL              }
    };
    luaL_setfuncs(L, functions, 0);
}
