/*
 * bind_dump.c: dumps for Lua: opening files, dumps of numbers in memory, what a dump says about
 * itself, its lazy tensors, and writing dumps.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bind.h"
#include "cpu/math.h"

#define WRITER "segx.Writer"

/* -- The userdata ------------------------------------------------------------------------------ */

/* A closed dump with a number of its own: pushed. */
sxl_dump *sxl_push_dump(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    sxl_dump *d = lua_newuserdatauv(L, sizeof *d, 1);
    *d = (sxl_dump){0};
    luaL_setmetatable(L, SXL_DUMP);
    d->slot = ++s->slots;
    return d;
}

static sxl_dump *any_dump(lua_State *L, int idx)
{
    sxl_dump *d = luaL_testudata(L, idx, SXL_DUMP);
    if (!d)
        sxl_misuse(L, "segx.open(path) gives one", "a dump expected, got %s",
                   luaL_typename(L, idx));
    return d;
}

sxl_dump *sxl_check_dump(lua_State *L, int idx)
{
    sxl_dump *d = any_dump(L, idx);
    if (!d->d) sxl_misuse(L, NULL, "the dump is closed");
    return d;
}

static int dump_gc(lua_State *L)
{
    sxl_dump *d = lua_touserdata(L, 1);
    sxl_forget_dump(L, d->d);
    sx_dump_close(d->d);
    d->d = NULL;
    return 0;
}

static int dump_close(lua_State *L)
{
    sxl_dump *d = any_dump(L, 1);
    if (d->busy) sxl_misuse(L, NULL, "the dump is being read and cannot be closed");
    sxl_forget_dump(L, d->d);
    sx_dump_close(d->d);
    d->d = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

/* -- Options ----------------------------------------------------------------------------------- */

static const char *string_field(lua_State *L, int idx, const char *name, const char *where)
{
    if (!sxl_field(L, idx, name)) return NULL;
    if (lua_type(L, -1) != LUA_TSTRING)
        sxl_misuse(L, NULL, "%s: %s: a string expected, got %s", where, name, luaL_typename(L, -1));
    return lua_tostring(L, -1); /* stays on the stack, anchored */
}

static const char *const *strings_field(lua_State *L, int idx, const char *name, const char *where,
                                        size_t *n)
{
    *n = 0;
    if (!sxl_field(L, idx, name)) return NULL;
    int list = lua_gettop(L);
    if (!lua_istable(L, list))
        sxl_misuse(L, NULL, "%s: %s: a list of strings expected, got %s", where, name,
                   luaL_typename(L, list));
    lua_Integer count = luaL_len(L, list);
    const char **v = sxl_push_scratch(L, (size_t)count, sizeof *v);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_geti(L, list, i) != LUA_TSTRING)
            sxl_misuse(L, NULL, "%s: %s: entry %d is a %s, not a string", where, name, (int)i,
                       luaL_typename(L, -1));
        v[i - 1] = lua_tostring(L, -1);
        lua_pop(L, 1); /* the list keeps it */
    }
    *n = (size_t)count;
    return v;
}

/* The list of numbers `spacing`, whose scratch stays on the stack, or NULL. */
static const double *spacing_field(lua_State *L, int idx, const char *where, size_t *n)
{
    *n = 0;
    if (!sxl_field(L, idx, "spacing")) return NULL;
    const int at = lua_gettop(L);
    if (!lua_istable(L, at) || luaL_len(L, at) < 1 || luaL_len(L, at) > 3)
        sxl_misuse(L, NULL, "%s: spacing: a list of one number for each spatial axis expected", where);
    *n = (size_t)luaL_len(L, at);
    double *v = sxl_push_scratch(L, 3, sizeof *v);
    for (size_t i = 0; i < *n; i++) {
        if (lua_geti(L, at, (lua_Integer)i + 1) != LUA_TNUMBER)
            sxl_misuse(L, NULL, "%s: spacing: entry %zu is a %s, not a number", where, i + 1, luaL_typename(L, -1));
        v[i] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    return v;
}

/* Options of files and arrays, from the table at idx. What they point to stays on the stack. */
static void read_options(lua_State *L, int idx, const char *where, sx_dump_opts *o)
{
    luaL_checkstack(L, 40, NULL);
    o->logits = o->labels = NULL;
    o->layout = string_field(L, idx, "layout", where);
    o->activation = string_field(L, idx, "activation", where);
    o->class_names = strings_field(L, idx, "class_names", where, &o->n_class_names);
    const char *nonfinite = string_field(L, idx, "nonfinite", where);
    if (nonfinite && strcmp(nonfinite, "skip") != 0 && strcmp(nonfinite, "error") != 0)
        sxl_misuse(L, NULL, "%s: nonfinite: \"skip\" or \"error\", not \"%s\"", where, nonfinite);
    o->skip_nonfinite = nonfinite && nonfinite[0] == 's';
    o->spacing = spacing_field(L, idx, where, &o->n_spacing);
    if (!sxl_field(L, idx, "ignore_index")) return;
    int at = lua_gettop(L);
    bool list = lua_istable(L, at);
    size_t n = list ? (size_t)luaL_len(L, at) : 1;
    int64_t *v = sxl_push_scratch(L, n, sizeof *v);
    for (size_t i = 0; i < n; i++) {
        if (list)
            lua_geti(L, at, (lua_Integer)i + 1);
        else
            lua_pushvalue(L, at);
        v[i] = sxl_integer(L, lua_gettop(L), "ignore_index", INT64_MIN, INT64_MAX);
        lua_pop(L, 1);
    }
    o->has_ignore = true;
    o->ignore = v;
    o->n_ignore = n;
}

static sx_dtype dtype_field(lua_State *L, int idx, const char *name, const char *where,
                            sx_dtype def)
{
    const char *s = string_field(L, idx, name, where);
    if (!s) return def;
    for (int t = 0; t < SX_DTYPE_COUNT; t++)
        if (strcmp(sx_dtype_name((sx_dtype)t), s) == 0) return (sx_dtype)t;
    sxl_misuse(L, NULL, "%s: %s: unknown number type '%s'", where, name, s);
}

/* -- Opening ----------------------------------------------------------------------------------- */

/* core.open(path [, opts]) */
static int core_open(lua_State *L)
{
    static const char *const known[] = {"logits",      "labels",       "layout",    "activation",
                                        "class_names", "ignore_index", "nonfinite", "spacing", NULL};
    sx_dump_opts o = {0};
    sx_error er;
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TSTRING)
        sxl_misuse(L, NULL, "open: a path expected, got %s", luaL_typename(L, 1));
    if (lua_istable(L, 2)) {
        sxl_check_keys(L, 2, "open", known);
        read_options(L, 2, "open", &o);
        o.logits = string_field(L, 2, "logits", "open");
        o.labels = string_field(L, 2, "labels", "open");
    } else if (!lua_isnil(L, 2)) {
        sxl_misuse(L, NULL, "open: options: a table expected, got %s", luaL_typename(L, 2));
    }
    sxl_dump *d = sxl_push_dump(L);
    if (sx_dump_open(lua_tostring(L, 1), &o, &d->d, &er)) {
        d->d = NULL;
        sxl_raise(L, &er);
    }
    return 1;
}

/* d:take(list): the images of these numbers as a dump of their own. */
static int dump_take(lua_State *L)
{
    sx_error er;
    lua_settop(L, 2);
    sxl_dump *d = sxl_check_dump(L, 1);
    const int64_t images = (int64_t)sx_dump_get_info(d->d)->n;
    if (!lua_istable(L, 2)) sxl_misuse(L, NULL, "subset: a list of image numbers expected, got %s", luaL_typename(L, 2));
    size_t n = (size_t)luaL_len(L, 2), *order = sxl_push_scratch(L, n, sizeof *order);
    for (size_t i = 0; i < n; i++) {
        lua_geti(L, 2, (lua_Integer)i + 1);
        order[i] = (size_t)sxl_integer(L, lua_gettop(L), "subset: number of an image", 1, images) - 1;
        lua_pop(L, 1);
    }
    sxl_dump *v = sxl_push_dump(L);
    lua_getiuservalue(L, 1, 1);
    lua_setiuservalue(L, -2, 1);
    if (sx_dump_subset(d->d, order, n, &v->d, &er)) {
        v->d = NULL;
        sxl_raise(L, &er);
    }
    return 1;
}

/* The numbers of t in type `type`, in Lua's memory: pushed. Whole numbers where the type asks for
 * them. */
static void *push_typed(lua_State *L, const sxl_tensor *t, sx_dtype type, const char *what)
{
    static const double least[SX_DTYPE_COUNT] = {
        [SX_I8] = INT8_MIN, [SX_I16] = INT16_MIN, [SX_I32] = INT32_MIN, [SX_I64] = -0x1p63};
    static const double most[SX_DTYPE_COUNT] = {
        [SX_I8] = INT8_MAX,   [SX_U8] = UINT8_MAX,   [SX_I16] = INT16_MAX, [SX_U16] = UINT16_MAX,
        [SX_I32] = INT32_MAX, [SX_U32] = UINT32_MAX, [SX_I64] = 0x1p62,    [SX_U64] = 0x1p62};
    char *out = sxl_push_scratch(L, t->n, sx_dtype_size(type));
    for (size_t i = 0; i < t->n; i++) {
        double v = t->v[i];
        if (type > SX_F64 && !(v >= least[type] && v <= most[type] && v == floor(v)))
            sxl_misuse(L, NULL, "%s: %g at place %zu is no %s", what, v, i + 1,
                       sx_dtype_name(type));
        switch (type) {
        case SX_F16: ((uint16_t *)(void *)out)[i] = sx_float_to_half((float)v); break;
        case SX_F32: ((float *)(void *)out)[i] = (float)v; break;
        case SX_I8: ((int8_t *)(void *)out)[i] = (int8_t)v; break;
        case SX_U8: ((uint8_t *)(void *)out)[i] = (uint8_t)v; break;
        case SX_I16: ((int16_t *)(void *)out)[i] = (int16_t)v; break;
        case SX_U16: ((uint16_t *)(void *)out)[i] = (uint16_t)v; break;
        case SX_I32: ((int32_t *)(void *)out)[i] = (int32_t)v; break;
        case SX_U32: ((uint32_t *)(void *)out)[i] = (uint32_t)v; break;
        case SX_I64: ((int64_t *)(void *)out)[i] = (int64_t)v; break;
        case SX_U64: ((uint64_t *)(void *)out)[i] = (uint64_t)v; break;
        default: ((double *)(void *)out)[i] = v; break;
        }
    }
    return out;
}

static void add_fields(lua_State *L, int opts, sxl_dump *d, int anchor, const sxl_tensor *labels)
{
    sx_error er;
    if (!sxl_field(L, opts, "fields")) return;
    int fields = lua_gettop(L), names = fields + 1, n = 0;
    if (!lua_istable(L, fields)) sxl_misuse(L, NULL, "memory: fields: a table by name expected");
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, fields); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            sxl_misuse(L, NULL, "memory: fields: a name is a string");
        lua_pushvalue(L, -2);
        lua_rawseti(L, names, ++n);
    }
    lua_getglobal(L, "table"); /* in order of the names: never in that of pairs */
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, names);
    lua_call(L, 1, 0);
    for (int i = 1; i <= n; i++) {
        lua_settop(L, names);
        lua_rawgeti(L, names, i);
        const char *name = lua_tostring(L, -1);
        lua_getfield(L, fields, name);
        const sxl_tensor *t = sxl_to_dense(L, -1, name);
        if (t->n_dims != labels->n_dims ||
            memcmp(t->dim, labels->dim, (size_t)t->n_dims * sizeof *t->dim) != 0)
            sxl_misuse(L, NULL, "memory: fields: '%s' has another shape than the labels", name);
        const void *v = push_typed(L, t, SX_F64, name);
        lua_rawseti(L, anchor, 2 + i);
        if (sx_dump_memory_field(d->d, name, v, SX_F64, &er)) sxl_raise(L, &er);
    }
}

/* core.memory{logits = {N,C,...}, labels = {N,...}, name =, ...} */
static int core_memory(lua_State *L)
{
    static const char *const known[] = {"name",        "logits",       "labels",    "activation",
                                        "class_names", "ignore_index", "nonfinite", "spacing", "logits_type",
                                        "labels_type", "fields",       NULL};
    sx_dump_opts o = {0};
    sx_error er;
    lua_settop(L, 1);
    if (!lua_istable(L, 1))
        sxl_misuse(L, NULL, "memory: a table expected, got %s", luaL_typename(L, 1));
    sxl_check_keys(L, 1, "memory", known);
    read_options(L, 1, "memory", &o);
    const char *name = string_field(L, 1, "name", "memory");
    sx_dtype lt = dtype_field(L, 1, "logits_type", "memory", SX_F32);
    sx_dtype yt = dtype_field(L, 1, "labels_type", "memory", SX_I64);
    if (!name) name = "memory";
    if (lt > SX_F64) sxl_misuse(L, NULL, "memory: logits_type: float16, float32 or float64");
    if (yt <= SX_F64) sxl_misuse(L, NULL, "memory: labels_type: an integer type");
    lua_getfield(L, 1, "logits");
    const sxl_tensor *x = sxl_to_dense(L, -1, "memory: logits");
    lua_getfield(L, 1, "labels");
    const sxl_tensor *y = sxl_to_dense(L, -1, "memory: labels");
    if (x->n_dims < 3 || x->n == 0)
        sxl_misuse(L, NULL,
                   "memory: logits: expected numbers of shape {images, classes, space...}");
    if (y->n_dims != x->n_dims - 1 || y->dim[0] != x->dim[0] ||
        memcmp(y->dim + 1, x->dim + 2, (size_t)(x->n_dims - 2) * sizeof *x->dim) != 0) {
        sx_fail(&er, SX_EDATA, "%s: logits and labels differ in shape", name);
        sx_hint(&er, "logits {images, classes, space...}, labels {images, space...}");
        sxl_raise(L, &er);
    }
    lua_newtable(L); /* keeps the arrays */
    int anchor = lua_gettop(L);
    const void *logits = push_typed(L, x, lt, "memory: logits");
    lua_rawseti(L, anchor, 1);
    const void *labels = push_typed(L, y, yt, "memory: labels");
    lua_rawseti(L, anchor, 2);
    sxl_dump *d = sxl_push_dump(L);
    int self = lua_gettop(L);
    lua_pushvalue(L, anchor);
    lua_setiuservalue(L, self, 1);
    if (sx_dump_memory(name, logits, lt, labels, yt, x->dim[0], x->dim[1], x->dim + 2,
                       (size_t)x->n_dims - 2, &o, &d->d, &er)) {
        d->d = NULL;
        sxl_raise(L, &er);
    }
    add_fields(L, 1, d, anchor, y);
    lua_pushvalue(L, self);
    return 1;
}

/* Counter-based random number in (0, 1): the same in every order of asking. */
static double uniform(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

/* core.synthetic{n =, classes =, height =, width =, block = 16, seed = 0, logits_type = "float32", distinct = n}: a dump in memory
 * for timing: labels in squares of block x block, logits roughly normal with deviation 2, the label's raised by 3. Images beyond
 * the first `distinct` are copies of these: a large dump is made in the time of a small one. */
static int core_synthetic(lua_State *L)
{
    static const char *const known[] = {"n", "classes", "height", "width", "block", "seed", "distinct", "logits_type", NULL};
    enum { COUNT, CLASSES, HEIGHT, WIDTH, BLOCK, SEED, DISTINCT, SIZES };
    static const int64_t standard[SIZES] = {0, 0, 0, 0, 16, 0, 1 << 20};
    int64_t size[SIZES];
    sx_dump_opts o = {0};
    sx_error er;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    sxl_check_keys(L, 1, "synthetic", known);
    for (int i = 0; i < SIZES; i++) {
        size[i] = standard[i];
        if (sxl_field(L, 1, known[i]) || i < BLOCK)
            size[i] = sxl_integer(L, -1, known[i], i == SEED ? 0 : i == CLASSES ? 2 : 1, 1 << 20);
        lua_settop(L, 1);
    }
    sx_dtype type = dtype_field(L, 1, "logits_type", "synthetic", SX_F32);
    if (type != SX_F16 && type != SX_F32) sxl_misuse(L, NULL, "synthetic: logits_type: float16 or float32");
    const size_t n = (size_t)size[COUNT], C = (size_t)size[CLASSES], H = (size_t)size[HEIGHT], W = (size_t)size[WIDTH];
    const size_t px = H * W, B = (size_t)size[BLOCK], dims[2] = {H, W};
    const size_t made = size[DISTINCT] < size[COUNT] ? (size_t)size[DISTINCT] : n;
    const uint64_t seed = (uint64_t)size[SEED];
    lua_settop(L, 1);
    lua_newtable(L);
    uint8_t *y = sxl_push_scratch(L, n * px, 1);
    lua_rawseti(L, 2, 1);
    const size_t image = C * px * sx_dtype_size(type);
    char *x = sxl_push_scratch(L, n, image);
    lua_rawseti(L, 2, 2);
    if (C > 255) sxl_misuse(L, NULL, "synthetic: at most 255 classes");
    for (size_t i = 0; i < made * px; i++) {
        size_t tile = (i / px * H + i % px / W / B) * W + i % W / B;
        y[i] = (uint8_t)(uniform(seed ^ 77, tile) * (double)C);
    }
    for (size_t i = 0; i < made * C * px; i++) {
        double v = -2;
        for (uint64_t k = 0; k < 4; k++) v += uniform(seed, 4 * i + k);
        v = 2 * 1.7320508 * v + (y[i / (C * px) * px + i % px] == i / px % C ? 3 : 0);
        if (type == SX_F32) ((float *)(void *)x)[i] = (float)v;
        else ((uint16_t *)(void *)x)[i] = sx_float_to_half((float)v);
    }
    for (size_t i = made; i < n; i++) {
        memcpy(y + i * px, y + i % made * px, px);
        memcpy(x + i * image, x + i % made * image, image);
    }
    sxl_dump *d = sxl_push_dump(L);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    if (sx_dump_memory("synthetic", x, type, y, SX_U8, n, C, dims, 2, &o, &d->d, &er)) {
        d->d = NULL;
        sxl_raise(L, &er);
    }
    return 1;
}

/* -- Information ------------------------------------------------------------------------------- */

static void set_string(lua_State *L, const char *key, const char *s)
{
    lua_pushstring(L, s);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool v)
{
    lua_pushboolean(L, v);
    lua_setfield(L, -2, key);
}

static void set_strings(lua_State *L, const char *key, const char *const *v, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushstring(L, v[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, key);
}

static void push_sizes(lua_State *L, const size_t *dim, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)dim[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static int dump_info(lua_State *L)
{
    static const char *const activation[] = {"logits", "probs", "log_probs", "sigmoid"};
    const sx_dump_info *i = sx_dump_get_info(sxl_check_dump(L, 1)->d);
    char hex[24];
    lua_createtable(L, 0, 24);
    set_string(L, "path", i->path);
    set_integer(L, "n", i->n);
    set_integer(L, "classes", i->classes);
    set_strings(L, "class_names", i->class_names, i->classes);
    set_bool(L, "named", i->named);
    lua_createtable(L, (int)i->n_ignore, 0);
    for (size_t k = 0; k < i->n_ignore; k++) {
        lua_pushinteger(L, i->ignore[k]);
        lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    lua_setfield(L, -2, "ignore");
    set_bool(L, "ignore_guessed", i->ignore_guessed);
    lua_createtable(L, (int)i->n_dims, 0);
    for (size_t k = 0; k < i->n_dims; k++) {
        lua_pushnumber(L, i->spacing[k]);
        lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    lua_setfield(L, -2, "spacing");
    set_bool(L, "spaced", i->spaced);
    push_sizes(L, i->dims, i->n_dims);
    lua_setfield(L, -2, "dims");
    set_bool(L, "same_shape", i->same_shape);
    set_integer(L, "max_px", i->max_px);
    set_integer(L, "bytes", i->bytes);
    set_strings(L, "notes", i->notes, i->n_notes);
    set_string(L, "logits_type", sx_dtype_name(i->logits_type));
    set_string(L, "labels_type", sx_dtype_name(i->labels_type));
    set_string(L, "logits_path", i->logits_path);
    set_string(L, "labels_path", i->labels_path);
    set_string(L, "layout", i->layout);
    set_string(L, "storage", i->storage);
    set_string(L, "activation", activation[i->activation]);
    snprintf(hex, sizeof hex, "%016" PRIx64, i->fingerprint);
    set_string(L, "fingerprint", hex);
    set_strings(L, "field_names", i->field_names, i->n_fields);
    return 1;
}

static size_t image_argument(lua_State *L, const sxl_dump *d, const char *who)
{
    return (size_t)sxl_integer(L, 2, who, 1, (int64_t)sx_dump_get_info(d->d)->n) - 1;
}

/* d:per_image(name): the values of a further data set of the file with one number or text per image, a list; nil where the file has
 * none of that name. */
static int dump_per_image(lua_State *L)
{
    sx_error er;
    lua_settop(L, 2);
    sx_dump *d = sxl_check_dump(L, 1)->d;
    const char *name = luaL_checkstring(L, 2), *const *text;
    const size_t n = sx_dump_get_info(d)->n;
    double *v = sxl_push_scratch(L, n, sizeof *v);
    bool there;
    if (sx_dump_per_image(d, name, v, &text, &there, &er)) sxl_raise(L, &er);
    if (!there) return 0;
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        if (text) lua_pushstring(L, text[i]);
        else lua_pushnumber(L, v[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* d:dims([i]): sizes of image i; without i, those that all images share, or nil. */
static int dump_dims(lua_State *L)
{
    const sxl_dump *d = sxl_check_dump(L, 1);
    const sx_dump_info *info = sx_dump_get_info(d->d);
    size_t dim[3] = {0, 0, 0};
    if (lua_isnoneornil(L, 2)) {
        if (!info->same_shape) return 0;
        memcpy(dim, info->dims, sizeof dim);
    } else {
        sx_dump_dims(d->d, image_argument(L, d, "dims"), dim);
    }
    push_sizes(L, dim, info->n_dims);
    return 1;
}

/* d:image_name(i), or nil. */
static int dump_image_name(lua_State *L)
{
    const sxl_dump *d = sxl_check_dump(L, 1);
    lua_pushstring(L, sx_dump_image_name(d->d, image_argument(L, d, "image_name")));
    return 1;
}

static int dump_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sx_dump_get_info(sxl_check_dump(L, 1)->d)->n);
    return 1;
}

static int dump_tostring(lua_State *L)
{
    const sxl_dump *d = any_dump(L, 1);
    if (luaL_getmetafield(L, 1, "class") == LUA_TTABLE &&
        lua_getfield(L, -1, "__tostring") == LUA_TFUNCTION && d->d) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    if (!d->d) {
        lua_pushliteral(L, "dump (closed)");
        return 1;
    }
    const sx_dump_info *i = sx_dump_get_info(d->d);
    lua_pushfstring(L, "dump %s: %I images, %I classes", i->path, (LUAI_UACINT)i->n,
                    (LUAI_UACINT)i->classes);
    return 1;
}

/* -- Lazy tensors ------------------------------------------------------------------------------ */

/* d[key]: a method, logits, labels, valid, or a field by name. Upvalue 1: the table of methods. */
static int dump_index(lua_State *L)
{
    sx_error er;
    lua_pushvalue(L, 2);
    if (lua_gettable(L, lua_upvalueindex(1)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING) return 1;
    const char *key = lua_tostring(L, 2);
    sx_op op = strcmp(key, "logits") == 0   ? SX_OP_logits
               : strcmp(key, "labels") == 0 ? SX_OP_labels
               : strcmp(key, "valid") == 0  ? SX_OP_valid
                                            : SX_OP_NONE;
    const sxl_dump *d = luaL_testudata(L, 1, SXL_DUMP);
    sxl_session *s = sxl_get_session(L);
    int64_t field = -1;
    if (!d) return 1;
    if (!d->d) {
        if (op == SX_OP_NONE) return 1;
        sxl_misuse(L, NULL, "the dump is closed");
    }
    const sx_dump_info *info = sx_dump_get_info(d->d);
    for (size_t i = 0; op == SX_OP_NONE && i < info->n_fields; i++)
        if (strcmp(info->field_names[i], key) == 0) op = SX_OP_field, field = (int64_t)i;
    if (op == SX_OP_NONE) return 1;
    uint32_t classes = op == SX_OP_logits || op == SX_OP_labels ? (uint32_t)info->classes : 0;
    sx_id id =
        sx_leaf(s->g, op, d->slot, classes, field < 0 ? 0 : field, field < 0 ? NULL : key, &er);
    sxl_push_lazy(L, sxl_made(L, id, &er), SXL_ALL_IMAGES, 1);
    return 1;
}

static void set_tensor(lua_State *L, const char *name, sx_id id, const sx_error *er)
{
    sxl_push_lazy(L, sxl_made(L, id, er), SXL_ALL_IMAGES, 1);
    lua_setfield(L, 2, name);
}

/* core.fields(d): what losses are made of. */
static int core_fields(lua_State *L)
{
    sx_error er;
    const sxl_dump *d = sxl_check_dump(L, 1);
    sx_graph *g = sxl_get_session(L)->g;
    uint32_t c = (uint32_t)sx_dump_get_info(d->d)->classes;
    static const struct {
        const char *name;
        sx_op op;
    } rows[] = {
        {"p",    SX_OP_p   },
        {"pt",   SX_OP_pt  },
        {"u",    SX_OP_u   },
        {"logu", SX_OP_logu},
        {"ce",   SX_OP_ce  }
    };
    lua_settop(L, 1);
    lua_createtable(L, 0, 14);
    sx_id x = sxl_made(L, sx_leaf(g, SX_OP_logits, d->slot, c, 0, NULL, &er), &er);
    sx_id y = sxl_made(L, sx_leaf(g, SX_OP_labels, d->slot, c, 0, NULL, &er), &er);
    sx_id t = sxl_made(L, sx_make2(g, SX_OP_tgt, x, y, &er), &er);
    set_tensor(L, "logits", x, &er);
    set_tensor(L, "labels", y, &er);
    set_tensor(L, "valid", sx_leaf(g, SX_OP_valid, d->slot, 0, 0, NULL, &er), &er);
    set_tensor(L, "classes", sx_leaf(g, SX_OP_classes, 0, c, 0, NULL, &er), &er);
    set_tensor(L, "onehot", sx_make1(g, SX_OP_onehot, y, &er), &er);
    set_tensor(L, "logp", sx_make1(g, SX_OP_log_softmax, x, &er), &er);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        set_tensor(L, rows[i].name, sx_make1(g, rows[i].op, t, &er), &er);
    set_tensor(L, "logpt", sx_make1(g, SX_OP_neg, sx_make1(g, SX_OP_ce, t, &er), &er), &er);
    return 1;
}

/* core.first(d, B): 1 at the first image of each batch. */
static int core_first(lua_State *L)
{
    sx_error er;
    const sxl_dump *d = sxl_check_dump(L, 1);
    int64_t batch = sxl_integer(L, 2, "first: images of a batch", 1, INT32_MAX);
    sx_id id = sx_leaf(sxl_get_session(L)->g, SX_OP_first, d->slot, 0, batch, NULL, &er);
    sxl_push_lazy(L, sxl_made(L, id, &er), SXL_ALL_IMAGES, 1);
    return 1;
}

static int core_nimages(lua_State *L)
{
    lua_pushnumber(L, (double)sx_dump_get_info(sxl_check_dump(L, 1)->d)->n);
    return 1;
}

/* -- Writing ----------------------------------------------------------------------------------- */

typedef struct writer {
    sx_dump_writer *w; /* NULL: finished */
    size_t n, classes, px;
} writer;

static writer *check_writer(lua_State *L)
{
    writer *w = luaL_testudata(L, 1, WRITER);
    if (!w) sxl_misuse(L, NULL, "a writer expected, got %s", luaL_typename(L, 1));
    if (!w->w) sxl_misuse(L, NULL, "the writer is finished");
    return w;
}

/* core.write_dump(path, opts) */
static int core_write_dump(lua_State *L)
{
    static const char *const known[] = {"n",           "classes", "dims",        "logits_type",
                                        "labels_type", "gzip",    "class_names", "ignore_index",
                                        "split",       "spacing", NULL};
    sx_write_opts o = {0};
    sx_error er;
    size_t names, px = 1;
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TSTRING)
        sxl_misuse(L, NULL, "write_dump: a path expected, got %s", luaL_typename(L, 1));
    if (!lua_istable(L, 2))
        sxl_misuse(L, NULL, "write_dump: a table expected, got %s", luaL_typename(L, 2));
    sxl_check_keys(L, 2, "write_dump", known);
    lua_getfield(L, 2, "n");
    o.n = (size_t)sxl_integer(L, -1, "write_dump: n", 1, INT32_MAX);
    lua_getfield(L, 2, "classes");
    o.classes = (size_t)sxl_integer(L, -1, "write_dump: classes", 1, INT32_MAX);
    if (lua_getfield(L, 2, "dims") != LUA_TTABLE || luaL_len(L, -1) < 1 || luaL_len(L, -1) > 3)
        sxl_misuse(L, NULL, "write_dump: dims: a list of 1 to 3 sizes expected");
    o.n_dims = (size_t)luaL_len(L, -1);
    for (size_t i = 0; i < o.n_dims; i++) {
        lua_geti(L, -1, (lua_Integer)i + 1);
        o.dims[i] = (size_t)sxl_integer(L, -1, "write_dump: dims", 1, INT32_MAX);
        lua_pop(L, 1);
        if (px > SIZE_MAX / 64 / o.classes / o.dims[i])
            sxl_misuse(L, NULL, "write_dump: dims: too large");
        px *= o.dims[i];
    }
    o.logits_type = dtype_field(L, 2, "logits_type", "write_dump", SX_F32);
    o.labels_type = dtype_field(L, 2, "labels_type", "write_dump", SX_U8);
    if (sxl_field(L, 2, "gzip")) o.gzip = (int)sxl_integer(L, -1, "write_dump: gzip", 0, 9);
    o.class_names = strings_field(L, 2, "class_names", "write_dump", &names);
    if (o.class_names && names != o.classes)
        sxl_misuse(L, NULL, "write_dump: %zu class_names for %zu classes", names, o.classes);
    if (sxl_field(L, 2, "ignore_index")) {
        o.has_ignore = true;
        o.ignore = sxl_integer(L, -1, "write_dump: ignore_index", INT64_MIN, INT64_MAX);
    }
    o.split = string_field(L, 2, "split", "write_dump");
    size_t spaced;
    o.spacing = spacing_field(L, 2, "write_dump", &spaced);
    if (o.spacing && spaced != o.n_dims)
        sxl_misuse(L, NULL, "write_dump: spacing: %zu numbers for %zu axes", spaced, o.n_dims);
    writer *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (writer){NULL, o.n, o.classes, px};
    luaL_setmetatable(L, WRITER);
    if (sx_dump_create(lua_tostring(L, 1), &o, &w->w, &er)) {
        w->w = NULL;
        sxl_raise(L, &er);
    }
    return 1;
}

/* n numbers at idx, a flat list or a dense tensor, as floats (labels: as integers): pushed. */
static void *push_flat(lua_State *L, int idx, size_t n, bool integers, const char *what)
{
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    union {
        float *f;
        int32_t *i;
        void *p;
    } out;
    out.p = sxl_push_scratch(L, n, 4);
    if (!lua_istable(L, idx) && !(t && !t->id))
        sxl_misuse(L, NULL, "write: %s: a flat list or a dense tensor expected, got %s", what,
                   luaL_typename(L, idx));
    size_t have = t ? t->n : (size_t)luaL_len(L, idx);
    if (have != n) sxl_misuse(L, NULL, "write: %s: %zu numbers, expected %zu", what, have, n);
    for (size_t k = 0; k < n; k++) {
        double v;
        if (t) {
            v = t->v[k];
        } else {
            if (lua_geti(L, idx, (lua_Integer)k + 1) != LUA_TNUMBER)
                sxl_misuse(L, NULL, "write: %s: entry %zu is a %s, not a number", what, k + 1,
                           luaL_typename(L, -1));
            v = lua_tonumber(L, -1);
            lua_pop(L, 1);
        }
        if (!integers) {
            out.f[k] = (float)v;
        } else {
            if (!(v >= INT32_MIN && v <= INT32_MAX && v == floor(v)))
                sxl_misuse(L, NULL, "write: %s: entry %zu is %g, not a label", what, k + 1, v);
            out.i[k] = (int32_t)v;
        }
    }
    return out.p;
}

/* w:write(i, logits, labels) */
static int writer_write(lua_State *L)
{
    sx_error er;
    lua_settop(L, 4);
    writer *w = check_writer(L);
    size_t image = (size_t)sxl_integer(L, 2, "write: image", 1, (int64_t)w->n) - 1;
    const float *x = push_flat(L, 3, w->classes * w->px, false, "logits");
    const int32_t *y = push_flat(L, 4, w->px, true, "labels");
    if (sx_dump_write(w->w, image, x, y, &er)) sxl_raise(L, &er);
    return 0;
}

static int writer_finish(lua_State *L)
{
    sx_error er;
    writer *w = check_writer(L);
    sx_dump_writer *inner = w->w;
    w->w = NULL; /* gone in any case */
    if (sx_dump_finish(inner, &er)) sxl_raise(L, &er);
    return 0;
}

static int writer_gc(lua_State *L)
{
    sx_error er;
    writer *w = lua_touserdata(L, 1);
    sx_dump_writer *inner = w->w;
    w->w = NULL;
    if (inner) sx_dump_finish(inner, &er); /* an incomplete file is removed by it */
    return 0;
}

/* -- Loading ----------------------------------------------------------------------------------- */

void sxl_open_dump(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open",       core_open      },
        {"memory",     core_memory    },
        {"synthetic",  core_synthetic },
        {"fields",     core_fields    },
        {"first",      core_first     },
        {"nimages",    core_nimages   },
        {"write_dump", core_write_dump},
        {NULL,         NULL           }
    };
    static const luaL_Reg methods[] = {
        {"info",       dump_info      },
        {"per_image",  dump_per_image },
        {"dims",       dump_dims      },
        {"image_name", dump_image_name},
        {"take",       dump_take      },
        {"close",      dump_close     },
        {NULL,         NULL           }
    };
    static const luaL_Reg events[] = {
        {"__gc",       dump_gc      },
        {"__close",    dump_close   },
        {"__len",      dump_len     },
        {"__tostring", dump_tostring},
        {NULL,         NULL         }
    };
    static const luaL_Reg writer_methods[] = {
        {"write",  writer_write },
        {"finish", writer_finish},
        {NULL,     NULL         }
    };
    static const luaL_Reg writer_events[] = {
        {"__gc",    writer_gc},
        {"__close", writer_gc},
        {NULL,      NULL     }
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, SXL_DUMP);
    luaL_setfuncs(L, events, 0);
    luaL_newlib(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "class");
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, dump_index, 1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Dump");
    lua_pop(L, 1);
    luaL_newmetatable(L, WRITER);
    luaL_setfuncs(L, writer_events, 0);
    luaL_newlib(L, writer_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
