/*
 * bind_core.c: the module segx.core: session, errors, sweep axes, help and small services.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lualib.h>

#include "base/cpu.h"
#include "bind.h"
#include "cuda/cuda.h"
#include "segx_version.h"

static const char session_key; /* only its address counts */

enum { SESSION_AXES = 1, SESSION_MISUSE = 2, SESSION_VALUES = 2 };

/* -- Session ----------------------------------------------------------------------------------- */

void sxl_push_session(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, &session_key); }

sxl_session *sxl_get_session(lua_State *L)
{
    sxl_push_session(L);
    sxl_session *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!s || !s->g) luaL_error(L, "segx is closed");
    return s;
}

static int session_gc(lua_State *L)
{
    sxl_session *s = lua_touserdata(L, 1);
    sx_cuda_close(s->gpu.cuda);
    sx_pool_free(s->pool);
    sx_graph_free(s->g);
    *s = (sxl_session){0};
    return 0;
}

void sxl_push_option(lua_State *L, const char *name)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 6, NULL);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, top + 1, "segx.options") != LUA_TTABLE &&
        lua_getfield(L, top + 1, "segx") == LUA_TTABLE)
        lua_getfield(L, -1, "options");
    if (lua_type(L, -1) == LUA_TTABLE)
        lua_getfield(L, -1, name);
    else
        lua_pushnil(L);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

sx_pool *sxl_get_pool(lua_State *L, int threads)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    if (!s->pool && threads <= 0) {
        sxl_push_option(L, "threads");
        threads =
            lua_isnil(L, -1) ? 0 : (int)sxl_integer(L, lua_gettop(L), "option threads", 0, 4096);
        lua_pop(L, 1);
    }
    if (s->pool && (threads <= 0 || threads == sx_pool_threads(s->pool))) return s->pool;
    if (s->running) sxl_misuse(L, NULL, "threads: cannot change while an evaluation runs");
    sx_pool_free(s->pool);
    s->pool = NULL;
    if (sx_pool_new(threads, &s->pool, &er)) sxl_raise(L, &er);
    return s->pool;
}

/* -- Errors ------------------------------------------------------------------------------------ */

/* "file:line: " of the innermost Lua function that is not part of the program itself. */
static void push_blame(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=segx/", 6) != 0) {
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

_Noreturn static void misuse_text(lua_State *L, const char *message, const char *hint)
{
    luaL_checkstack(L, 8, NULL);
    sxl_push_session(L);
    if (lua_isuserdata(L, -1) && lua_getiuservalue(L, -1, SESSION_MISUSE) == LUA_TFUNCTION) {
        lua_pushstring(L, message);
        lua_pushstring(L, hint); /* NULL gives nil */
        lua_call(L, 2, 0);       /* raises */
    }
    push_blame(L);
    if (hint)
        lua_pushfstring(L, "%s\n  hint: %s", message, hint);
    else
        lua_pushstring(L, message);
    lua_concat(L, 2);
    lua_error(L);
    abort(); /* not reached: lua_error does not return */
}

_Noreturn void sxl_misuse(lua_State *L, const char *hint, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    misuse_text(L, text, hint);
}

/* Codes as Lua knows them. */
static const char *code_name(sx_err code, char buf[16])
{
    if (code == SX_EINTR) return "interrupted";
    const char *s = sx_err_name(code);
    size_t i = 0;
    for (; s[i] && i < 15; i++)
        buf[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] - 'A' + 'a' : s[i]);
    buf[i] = '\0';
    return buf;
}

_Noreturn void sxl_raise(lua_State *L, const sx_error *er)
{
    char code[16];
    if (er->code == SX_EARG) misuse_text(L, er->msg, er->hint[0] ? er->hint : NULL);
    luaL_checkstack(L, 6, NULL);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, code_name(er->code, code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, er->msg);
    lua_setfield(L, -2, "message");
    if (er->hint[0]) {
        lua_pushstring(L, er->hint);
        lua_setfield(L, -2, "hint");
    }
    luaL_setmetatable(L, "segx.error");
    lua_error(L);
    abort(); /* not reached */
}

static int error_tostring(lua_State *L)
{
    lua_getfield(L, 1, "message");
    if (lua_getfield(L, 1, "hint") == LUA_TSTRING)
        lua_pushfstring(L, "%s\n  hint: %s", lua_tostring(L, -2), lua_tostring(L, -1));
    else
        lua_pop(L, 1);
    return 1;
}

/* The metatable of error objects is that of segx.errors; without the product layer, our own. */
static void find_errors(lua_State *L, int session)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "segx.errors");
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_istable(L, -1)) {
        if (lua_getfield(L, -1, "misuse") == LUA_TFUNCTION)
            lua_setiuservalue(L, session, SESSION_MISUSE);
        else
            lua_pop(L, 1);
        if (lua_getfield(L, -1, "Error") == LUA_TTABLE) {
            lua_setfield(L, LUA_REGISTRYINDEX, "segx.error");
            lua_pop(L, 1);
            return;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (luaL_newmetatable(L, "segx.error")) {
        lua_pushcfunction(L, error_tostring);
        lua_setfield(L, -2, "__tostring");
    }
    lua_pop(L, 1);
}

/* -- Holders ----------------------------------------------------------------------------------- */

void sxl_box_clear(sxl_box *b)
{
    void *p = b->p;
    b->p = NULL;
    if (p) b->release(p);
}

static int box_gc(lua_State *L)
{
    sxl_box_clear(lua_touserdata(L, 1));
    return 0;
}

sxl_box *sxl_push_box(lua_State *L, sxl_release release)
{
    sxl_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    *b = (sxl_box){NULL, release};
    if (luaL_newmetatable(L, "segx.box")) {
        lua_pushcfunction(L, box_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}

void sxl_push_numbers(lua_State *L, const double *v, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushnumber(L, v[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

void *sxl_push_scratch(lua_State *L, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / 2 / size) luaL_error(L, "not enough memory");
    size_t bytes = count * size;
    return lua_newuserdatauv(L, bytes ? bytes : 1, 0);
}

/* -- Arguments --------------------------------------------------------------------------------- */

int64_t sxl_integer(lua_State *L, int idx, const char *what, int64_t lo, int64_t hi)
{
    int ok = 0;
    lua_Integer v = lua_type(L, idx) == LUA_TNUMBER ? lua_tointegerx(L, idx, &ok) : 0;
    if (!ok && lua_type(L, idx) == LUA_TNUMBER)
        sxl_misuse(L, NULL, "%s: expected an integer, got %g", what, lua_tonumber(L, idx));
    if (!ok) sxl_misuse(L, NULL, "%s: expected an integer, got %s", what, luaL_typename(L, idx));
    if (v < lo || v > hi) {
        if (hi == INT64_MAX)
            sxl_misuse(L, NULL, "%s: %" PRId64 " is less than %" PRId64, what, (int64_t)v, lo);
        sxl_misuse(L, NULL, "%s: %" PRId64 " is not in %" PRId64 " .. %" PRId64, what, (int64_t)v,
                   lo, hi);
    }
    return v;
}

bool sxl_field(lua_State *L, int idx, const char *name)
{
    return lua_getfield(L, idx, name) != LUA_TNIL;
}

void sxl_check_keys(lua_State *L, int idx, const char *where, const char *const *known)
{
    idx = lua_absindex(L, idx);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        bool found = false;
        for (int i = 0; key && known[i]; i++) found |= strcmp(known[i], key) == 0;
        if (found) continue;
        luaL_Buffer b;
        luaL_buffinit(L, &b);
        for (int i = 0; known[i]; i++) {
            if (i) luaL_addstring(&b, ", ");
            luaL_addstring(&b, known[i]);
        }
        luaL_pushresult(&b);
        sxl_misuse(L, NULL, "%s: unknown option '%s'\n  known: %s", where,
                   key ? key : "(not a name)", lua_tostring(L, -1));
    }
}

/* -- Sweep axes -------------------------------------------------------------------------------- */

void sxl_push_sweeps(lua_State *L, sx_axes axes)
{
    sxl_session *s = sxl_get_session(L);
    lua_newtable(L);
    int k = 0;
    for (int i = 0; i < sx_graph_axes(s->g); i++)
        if (axes & SX_AX_SWEEP(i)) {
            lua_pushstring(L, sx_graph_axis_get(s->g, i)->name);
            lua_rawseti(L, -2, ++k);
        }
}

/* Values of one parameter at stack index `values` as doubles: pushed (scratch); *axes: what each
 * value has. */
static double *param_values(lua_State *L, const char *name, int values, size_t count, sx_axes *axes,
                            uint32_t *classes)
{
    size_t each = 1;
    double *v = NULL;
    for (size_t i = 0; i < count; i++) {
        lua_geti(L, values, (lua_Integer)i + 1);
        int at = lua_gettop(L);
        sxl_tensor *t = sxl_test_tensor(L, at);
        sx_axes ax = 0;
        size_t n = 1;
        uint32_t c = 0;
        if (t && !t->id) {
            ax = sxl_dense_axes(L, at, name);
            n = t->n;
            c = ax ? (uint32_t)t->dim[t->n_dims - 1] : 0;
        } else if (lua_type(L, at) != LUA_TNUMBER) {
            sxl_misuse(L, NULL, "axis '%s': value %zu is a %s, not a number or a dense tensor",
                       name, i + 1, t ? "lazy tensor" : luaL_typename(L, at));
        }
        if (i == 0) {
            *axes = ax, *classes = c, each = n;
            v = sxl_push_scratch(L, count, each * sizeof *v);
            lua_insert(L, -2); /* below the value */
        } else if (ax != *axes || n != each) {
            sxl_misuse(L, NULL, "axis '%s': value %zu has another shape than the first", name,
                       i + 1);
        }
        if (t)
            memcpy(v + i * each, t->v, n * sizeof *v);
        else
            v[i] = lua_tonumber(L, -1);
        for (size_t k = 0; k < each; k++)
            if (v[i * each + k] - v[i * each + k] != 0)
                sxl_misuse(L, NULL, "axis '%s': value %zu is not finite", name, i + 1);
        lua_pop(L, 1);
    }
    return v;
}

/* Shortest text, of 14 digits or more, that reads back as v. What more digits cannot do, fewer cannot: 16 first. */
static void push_number(lua_State *L, double v)
{
    char buf[40], less[40];
    snprintf(buf, sizeof buf, "%.16g", v);
    if (strtod(buf, NULL) != v) snprintf(buf, sizeof buf, "%.17g", v);
    for (int digits = 15; digits >= 14 && strlen(buf) >= 15; digits--) {
        snprintf(less, sizeof less, "%.*g", digits, v);
        if (strtod(less, NULL) != v) break;
        strcpy(buf, less);
    }
    lua_pushstring(L, buf);
}

static void push_value_text(lua_State *L, const double *v, size_t each)
{
    char buf[24];
    if (each == 1) {
        push_number(L, v[0]);
        return;
    }
    snprintf(buf, sizeof buf, "#%016" PRIx64, sx_hash64(v, each * sizeof *v, 0));
    lua_pushstring(L, buf);
}

/* What Lua knows about the axis: {name, count, labels, params = {{name, values} ...}}. */
static void remember_axis(lua_State *L, int axis, const char *axis_name, size_t count, int labels,
                          int names, int lists, int m)
{
    int top = lua_gettop(L);
    sxl_push_session(L);
    lua_getiuservalue(L, -1, SESSION_AXES);
    if (lua_rawgeti(L, -1, axis + 1) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 4);
        lua_pushstring(L, axis_name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, (lua_Integer)count);
        lua_setfield(L, -2, "count");
        lua_pushvalue(L, labels);
        lua_setfield(L, -2, "labels");
        lua_createtable(L, m, 0);
        for (int k = 0; k < m; k++) {
            lua_createtable(L, 0, 2);
            lua_geti(L, names, k + 1);
            lua_setfield(L, -2, "name");
            lua_createtable(L, (int)count, 0);
            lua_geti(L, lists, k + 1);
            for (lua_Integer i = 1; i <= (lua_Integer)count; i++) {
                lua_geti(L, -1, i);
                lua_rawseti(L, -3, i);
            }
            lua_pop(L, 1);
            lua_setfield(L, -2, "values");
            lua_rawseti(L, -2, k + 1);
        }
        lua_setfield(L, -2, "params");
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, axis + 1);
    }
    lua_settop(L, top);
}

/* New axis or the one that says the same. m parameters: names at stack index names, value lists at
 * lists, labels at labels (0 = none); pushes m tensors. What makes two axes one is name, labels and
 * all values of all parameters; by_place: name and number of values alone. */
static int make_axis(lua_State *L, int names, int lists, int m, int labels, bool by_place)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    luaL_checkstack(L, 3 * m + 20, NULL);
    double **v = sxl_push_scratch(L, (size_t)m, sizeof *v);
    sx_axes *axes = sxl_push_scratch(L, (size_t)m, sizeof *axes);
    uint32_t *classes = sxl_push_scratch(L, (size_t)m, sizeof *classes);
    size_t count = 0;
    for (int k = 0; k < m; k++) {
        if (lua_geti(L, names, k + 1) != LUA_TSTRING)
            sxl_misuse(L, NULL, "axis: a name is a string");
        const char *name = lua_tostring(L, -1);
        if (lua_geti(L, lists, k + 1) != LUA_TTABLE)
            sxl_misuse(L, NULL, "axis '%s': values: a list expected, got %s", name,
                       luaL_typename(L, -1));
        size_t n = (size_t)luaL_len(L, -1);
        if (n == 0) sxl_misuse(L, NULL, "axis '%s' has no values", name);
        if (k && n != count)
            sxl_misuse(L, NULL, "axis '%s' has %zu values, the first parameter has %zu", name, n,
                       count);
        count = n;
        v[k] = param_values(L, name, lua_gettop(L), n, &axes[k], &classes[k]);
        lua_remove(L, -2); /* the list; name and scratch stay, anchored */
    }

    /* Texts shown in tables, and the longer ones that tell axes apart. */
    lua_createtable(L, (int)count, 0);
    int shown = lua_gettop(L);
    lua_createtable(L, (int)count, 0);
    int keys = lua_gettop(L);
    const char **key = sxl_push_scratch(L, count, sizeof *key);
    for (size_t i = 0; i < count; i++) {
        if (labels) {
            lua_geti(L, labels, (lua_Integer)i + 1);
            if (!lua_isstring(L, -1)) sxl_misuse(L, NULL, "axis: label %zu is missing", i + 1);
            lua_tostring(L, -1);
        } else if (axes[0] || by_place) {
            lua_pushfstring(L, "%I", (LUAI_UACINT)i + 1);
        } else {
            push_number(L, v[0][i]);
        }
        lua_pushvalue(L, -1);
        lua_rawseti(L, shown, (lua_Integer)i + 1);
        if (by_place || (!labels && m == 1 && !axes[0])) {
            lua_pushvalue(L, -1);
        } else {
            lua_pushvalue(L, -1);
            for (int k = 0; k < m; k++) {
                size_t each = axes[k] ? classes[k] : 1;
                if (axes[k] & SX_AX_L) each *= classes[k];
                lua_pushliteral(L, "|");
                push_value_text(L, v[k] + i * each, each);
                lua_concat(L, 3);
            }
        }
        key[i] = lua_tostring(L, -1);
        lua_rawseti(L, keys, (lua_Integer)i + 1);
        lua_pop(L, 1);
    }

    lua_geti(L, names, 1);
    for (int k = 1; k < m; k++) {
        lua_pushliteral(L, ",");
        lua_geti(L, names, k + 1);
        lua_concat(L, 3);
    }
    const char *axis_name = lua_tostring(L, -1);
    int axis;
    if (sx_graph_axis(s->g, axis_name, count, key, &axis, &er)) sxl_raise(L, &er);

    remember_axis(L, axis, axis_name, count, shown, names, lists, m);
    for (int k = 0; k < m; k++) {
        size_t n = count * (axes[k] ? classes[k] : 1);
        if (axes[k] & SX_AX_L) n *= classes[k];
        lua_geti(L, names, k + 1);
        sx_id id = sx_data(s->g, axes[k] | SX_AX_SWEEP(axis), classes[k], v[k], n,
                           lua_tostring(L, -1), &er);
        lua_pop(L, 1);
        sxl_push_lazy(L, sxl_made(L, id, &er), SXL_ALL_IMAGES, 0);
    }
    return m;
}

/* core.axis(name, values [, labels]) */
static int core_axis(lua_State *L)
{
    lua_settop(L, 3);
    if (lua_type(L, 1) != LUA_TSTRING) sxl_misuse(L, NULL, "axis: the first argument is its name");
    if (!lua_isnil(L, 3) && !lua_istable(L, 3))
        sxl_misuse(L, NULL, "axis: labels: a list of texts expected");
    for (int i = 1; i <= 2; i++) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, 1);
    }
    return make_axis(L, 4, 5, 1, lua_isnil(L, 3) ? 0 : 3, false);
}

/* core.zip(names, lists [, by_place]). by_place: axes of equal names and lengths are one axis, so that
 * searches, which make many, do not use them up. Its values are then in its tensors, not in axis_info. */
static int core_zip(lua_State *L)
{
    lua_settop(L, 3);
    if (!lua_istable(L, 1) || !lua_istable(L, 2))
        sxl_misuse(L, NULL, "zip: two lists expected, names and values");
    int m = (int)luaL_len(L, 1);
    if (m < 1 || m > 1000) sxl_misuse(L, NULL, "zip: no parameter given");
    return make_axis(L, 1, 2, m, 0, lua_toboolean(L, 3));
}

/* core.axis_info(name): the newest axis of that name, or nil. */
static int core_axis_info(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    const char *name = luaL_checkstring(L, 1);
    for (int i = sx_graph_axes(s->g) - 1; i >= 0; i--)
        if (strcmp(sx_graph_axis_get(s->g, i)->name, name) == 0) {
            sxl_push_session(L);
            lua_getiuservalue(L, -1, SESSION_AXES);
            lua_rawgeti(L, -1, i + 1);
            return 1;
        }
    lua_pushnil(L);
    return 1;
}

/* t:sweep_axes(): what axis_info gives, for every sweep axis of the tensor. */
static int tensor_sweep_axes(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    lua_settop(L, 1);
    sx_axes axes = 0;
    sxl_tensor *t = sxl_test_tensor(L, 1);
    if (t && t->id)
        axes = sx_node_get(s->g, t->id)->axes;
    else if (!t && lua_type(L, 1) != LUA_TNUMBER)
        sxl_misuse(L, NULL, "sweep_axes: a tensor expected, got %s", luaL_typename(L, 1));
    sxl_push_session(L);
    lua_getiuservalue(L, -1, SESSION_AXES);
    lua_newtable(L);
    int k = 0;
    for (int i = 0; i < sx_graph_axes(s->g); i++)
        if (axes & SX_AX_SWEEP(i)) {
            lua_rawgeti(L, -2, i + 1);
            lua_rawseti(L, -2, ++k);
        }
    return 1;
}

/* -- Help -------------------------------------------------------------------------------------- */

/* core.help(name): "pow(a, b): a to the b; 0^0 = 1", or nil. */
static int core_help(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *op_name = strcmp(name, "maximum") == 0   ? "max"
                          : strcmp(name, "minimum") == 0 ? "min"
                                                         : name;
    sx_op op = sx_op_find(op_name);
    if (op == SX_OP_NONE) {
        lua_pushnil(L);
        return 1;
    }
    static const char *const args[] = {"", "(a)", "(a, b)", "(a, b, c)"};
    const int given = sx_op_args(op) - (sx_op_class(op) == SX_CL_FIELD);   /* which pixels take part is the unit's matter */
    lua_pushfstring(L, "%s%s: %s", name, args[given], sx_op_doc(op));
    return 1;
}

static int core_ops(lua_State *L)
{
    lua_newtable(L);
    for (int i = 1; i < SX_OP_COUNT; i++) {
        const char *name = sx_op_name((sx_op)i);
        lua_pushstring(L, strcmp(name, "max") == 0   ? "maximum"
                          : strcmp(name, "min") == 0 ? "minimum"
                                                     : name);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* -- Services ---------------------------------------------------------------------------------- */

/* core.hash(text or tensor) -> 16 hex digits; a tensor's hash is that of its expression, the same
 * in every process. */
static int core_hash(lua_State *L)
{
    char buf[24];
    uint64_t h;
    sxl_tensor *t = sxl_test_tensor(L, 1);
    if (t && t->id) {
        h = sx_node_get(sxl_get_session(L)->g, t->id)->hash;
    } else if (t) {
        h = sx_hash64(t->v, t->n * sizeof *t->v,
                      sx_hash64(t->dim, (size_t)t->n_dims * sizeof *t->dim, 0));
    } else {
        size_t n;
        const char *s = luaL_checklstring(L, 1, &n);
        h = sx_hash64(s, n, 0);
    }
    snprintf(buf, sizeof buf, "%016" PRIx64, h);
    lua_pushstring(L, buf);
    return 1;
}

static int core_isa(lua_State *L)
{
    lua_pushstring(L, sx_isa_name(sx_isa_best()));
    return 1;
}

/* core.threads([n]): number of threads; n changes it (0: one per core). */
static int core_threads(lua_State *L)
{
    int n = 0;
    if (!lua_isnoneornil(L, 1)) {
        sxl_session *s = sxl_get_session(L);
        n = (int)sxl_integer(L, 1, "threads", 0, 4096);
        if (n == 0 && s->running == 0) {
            sx_error er;
            sx_pool_free(s->pool);
            s->pool = NULL;
            if (sx_pool_new(0, &s->pool, &er)) sxl_raise(L, &er);
        }
    }
    lua_pushinteger(L, sx_pool_threads(sxl_get_pool(L, n)));
    return 1;
}

static int core_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_optinteger(L, 1, 1)));
    return 1;
}

/* core.width(): columns of the terminal; COLUMNS wins; 80 when there is none. */
static int core_width(lua_State *L)
{
    const char *env = getenv("COLUMNS");
    long n = env ? strtol(env, NULL, 10) : 0;
    struct winsize w;
    for (int fd = 0; n <= 0 && fd < 3; fd++)
        if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &w) == 0) n = w.ws_col;
    lua_pushinteger(L, n > 0 ? n : 80);
    return 1;
}

/* core.exact(number): the shortest text, of 14 digits or more, that reads back as the same number. */
static int core_exact(lua_State *L)
{
    push_number(L, luaL_checknumber(L, 1));
    return 1;
}

/* core.clock(): seconds that only ever grow. */
static int core_clock(lua_State *L)
{
    lua_pushnumber(L, sx_seconds());
    return 1;
}

/* Stands before Lua's allocator while a fault is due there. Lua answers a failure with a full
 * collection and a second try, which has to fail too. */
typedef struct lua_fault {
    lua_Alloc alloc;
    void *ud;
    lua_Integer left;
    int fired;
} lua_fault;

static void *failing_alloc(void *ud, void *p, size_t old, size_t want)
{
    lua_fault *f = ud;
    if (want > (p ? old : 0) && f->fired < 2 && --f->left <= 0) {
        f->fired++;
        return NULL;
    }
    return f->alloc(f->ud, p, old, want);
}

/* For tests: core._fault(n, kind) makes the n-th of kind from now fail, once: "memory" (allocations of
 * the engine; default), "read" (of files), "lua" (growth of Lua's memory). core._fault() -> did it? */
static int core_fault(lua_State *L)
{
    static const char *const kinds[] = {"memory", "read", "lua", NULL};
    void *ud;
    lua_fault *f = lua_getallocf(L, &ud) == failing_alloc ? ud : NULL;
    if (lua_isnoneornil(L, 1)) {
        bool fired = sx_fault_fired();
        sx_fault_memory(0);
        sx_fault_read(0);
        if (f) {
            fired = f->fired > 0;
            lua_setallocf(L, f->alloc, f->ud);
            free(f);
        }
        lua_pushboolean(L, fired);
        return 1;
    }
    lua_Integer n = luaL_checkinteger(L, 1);
    switch (luaL_checkoption(L, 2, "memory", kinds)) {
    case 0: sx_fault_memory((long)n); break;
    case 1: sx_fault_read((long)n); break;
    default:
        if (f || !(f = malloc(sizeof *f))) return luaL_error(L, "already failing");
        *f = (lua_fault){.left = n};
        f->alloc = lua_getallocf(L, &f->ud);
        lua_setallocf(L, failing_alloc, f);
    }
    return 0;
}

int luaopen_segx_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"axis",      core_axis     },
        {"zip",       core_zip      },
        {"axis_info", core_axis_info},
        {"help",      core_help     },
        {"ops",       core_ops      },
        {"hash",      core_hash     },
        {"isa",       core_isa      },
        {"threads",   core_threads  },
        {"isatty",    core_isatty   },
        {"width",     core_width    },
        {"clock",     core_clock    },
        {"exact",     core_exact    },
        {"_fault",    core_fault    },
        {NULL,        NULL          }
    };
    sx_error er;
    lua_settop(L, 0);
    sxl_session *s = lua_newuserdatauv(L, sizeof *s, SESSION_VALUES);
    *s = (sxl_session){0};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, session_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, 1);
    lua_newtable(L);
    lua_setiuservalue(L, 1, SESSION_AXES);
    find_errors(L, 1);
    if (!(s->g = sx_graph_new())) {
        sx_nomem(&er);
        sxl_raise(L, &er);
    }
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &session_key);

    luaL_newlib(L, functions);
    lua_pushliteral(L, SEGX_VERSION);
    lua_setfield(L, -2, "version");
    sxl_open_tensor(L);
    sxl_open_dump(L);
    sxl_open_eval(L);
    sxl_open_keep(L);
    sxl_open_grad(L);
    sxl_open_fit(L);
    sxl_open_cuda(L);
    sxl_open_stats(L);
    sxl_open_graph(L);
    sxl_open_draw(L);
    lua_getfield(L, -1, "Tensor");
    lua_pushcfunction(L, tensor_sweep_axes);
    lua_setfield(L, -2, "sweep_axes");
    lua_pop(L, 1);
    return 1;
}
