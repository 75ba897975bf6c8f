/*
 * bind_tensor.c: the Tensor type of Lua. One type for two things: expressions over a dump (lazy: a
 * node of the session's graph) and numbers in memory (dense, bind_dense.c). Elementwise functions
 * and methods come from the op table; there is no list of them here.
 */
#include <stdio.h>
#include <string.h>

#include "bind.h"

sxl_tensor *sxl_test_tensor(lua_State *L, int idx) { return luaL_testudata(L, idx, SXL_TENSOR); }

sxl_tensor *sxl_check_tensor(lua_State *L, int idx, const char *who)
{
    sxl_tensor *t = sxl_test_tensor(L, idx);
    if (!t) sxl_misuse(L, NULL, "%s: a tensor expected, got %s", who, luaL_typename(L, idx));
    return t;
}

void sxl_push_lazy(lua_State *L, sx_id id, size_t image, int dump)
{
    if (dump) dump = lua_absindex(L, dump);
    luaL_checkstack(L, 4, NULL);
    sxl_tensor *t = lua_newuserdatauv(L, sizeof *t, 1);
    memset(t, 0, sizeof *t);
    t->id = id;
    t->image = image;
    luaL_setmetatable(L, SXL_TENSOR);
    if (dump) {
        lua_pushvalue(L, dump);
        lua_setiuservalue(L, -2, 1);
    }
}

sxl_dump *sxl_push_dump_of(lua_State *L, int idx)
{
    const sxl_tensor *t = idx ? sxl_test_tensor(L, idx) : NULL;
    if (!t || !t->id)
        lua_pushnil(L);
    else
        lua_getiuservalue(L, idx, 1);
    return luaL_testudata(L, -1, SXL_DUMP);
}

/* -- Operands ---------------------------------------------------------------------------------- */

static void mix_in(lua_State *L, int idx, const sxl_tensor *t, const sx_node *n, const char *who,
                   sxl_mix *mix)
{
    if (n->axes & SX_AX_N) {
        if (t->image == SXL_ALL_IMAGES) {
            mix->all = true;
        } else if (mix->restricted && mix->image != t->image) {
            sxl_misuse(L, NULL, "%s: operands of different images, %zu and %zu", who,
                       mix->image + 1, t->image + 1);
        } else {
            mix->restricted = true;
            mix->image = t->image;
        }
        if (mix->all && mix->restricted)
            sxl_misuse(L, "take the same image of both, a[3] and b[3]",
                       "%s: one operand is image %zu alone, another has all images", who,
                       mix->image + 1);
    }
    if (mix->firm) return;
    if (mix->dump && !n->dump) return;
    lua_getiuservalue(L, idx, 1);
    if (!lua_isnil(L, -1)) {
        mix->dump = idx;
        mix->firm = n->dump != 0;
    }
    lua_pop(L, 1);
}

sx_id sxl_node(lua_State *L, int idx, const char *who, sxl_mix *mix)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    if (lua_type(L, idx) == LUA_TNUMBER)
        return sxl_made(L, sx_const(s->g, lua_tonumber(L, idx), &er), &er);
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    if (!t) {
        if (lua_isnoneornil(L, idx))
            sxl_misuse(L, NULL, "%s: argument %d: a tensor or a number expected, got nothing", who,
                       idx);
        sxl_misuse(L, NULL, "%s: argument %d: a tensor or a number expected, got a %s", who, idx,
                   luaL_typename(L, idx));
    }
    if (t->id) {
        if (mix) mix_in(L, idx, t, sx_node_get(s->g, t->id), who, mix);
        return t->id;
    }
    sx_axes axes = sxl_dense_axes(L, idx, who);
    if (!axes) return sxl_made(L, sx_const(s->g, t->v[0], &er), &er);
    if (t->dim[0] > UINT32_MAX) sxl_misuse(L, NULL, "%s: too many classes", who);
    return sxl_made(L, sx_data(s->g, axes, (uint32_t)t->dim[0], t->v, t->n, NULL, &er), &er);
}

/* Pushes the tensor of a node made from the operands of mix. */
int sxl_push_mixed(lua_State *L, sx_id id, const sxl_mix *mix)
{
    sxl_session *s = sxl_get_session(L);
    bool images = sx_node_get(s->g, id)->axes & SX_AX_N;
    sxl_push_dump_of(L, mix->dump);
    sxl_push_lazy(L, id, images && mix->restricted ? mix->image : SXL_ALL_IMAGES,
                  lua_isnil(L, -1) ? 0 : -1);
    return 1;
}

sx_id sxl_make1(lua_State *L, sx_op op, sx_id a)
{
    sx_error er;
    return sxl_made(L, sx_make1(sxl_get_session(L)->g, op, a, &er), &er);
}

sx_id sxl_make2(lua_State *L, sx_op op, sx_id a, sx_id b)
{
    sx_error er;
    return sxl_made(L, sx_make2(sxl_get_session(L)->g, op, a, b, &er), &er);
}

sx_id sxl_make3(lua_State *L, sx_op op, sx_id a, sx_id b, sx_id c)
{
    sx_error er;
    return sxl_made(L, sx_make(sxl_get_session(L)->g, op, a, b, c, 0, &er), &er);
}

sx_id sxl_constant(lua_State *L, double v)
{
    sx_error er;
    return sxl_made(L, sx_const(sxl_get_session(L)->g, v, &er), &er);
}

sx_axes sxl_axes_of(lua_State *L, sx_id id) { return sx_node_get(sxl_get_session(L)->g, id)->axes; }

/* Number of the dump that the operands know; misuse when none does. */
uint32_t sxl_need_dump(lua_State *L, const sxl_mix *mix, const char *who, size_t *classes,
                       size_t *images)
{
    const sxl_dump *d = sxl_push_dump_of(L, mix->dump);
    if (!d || !d->d)
        sxl_misuse(L, "sum something that is made from d.logits or d.labels", "%s: the tensor %s",
                   who, d ? "belongs to a closed dump" : "belongs to no dump");
    if (classes) *classes = sx_dump_get_info(d->d)->classes;
    if (images) *images = sx_dump_get_info(d->d)->n;
    uint32_t slot = d->slot;
    lua_pop(L, 1);
    return slot;
}

sx_id sxl_leaf(lua_State *L, sx_op op, uint32_t slot, uint32_t classes, int64_t attr)
{
    sx_error er;
    return sxl_made(L, sx_leaf(sxl_get_session(L)->g, op, slot, classes, attr, NULL, &er), &er);
}

size_t sxl_classes_of(lua_State *L, sx_id id, const sxl_mix *mix, const char *who)
{
    size_t c = sx_node_get(sxl_get_session(L)->g, id)->classes;
    if (!c) sxl_need_dump(L, mix, who, &c, NULL);
    return c;
}

/* -- Elementwise ------------------------------------------------------------------------------- */

static const char *lua_name(sx_op op)
{
    return op == SX_OP_max ? "maximum" : op == SX_OP_min ? "minimum" : sx_op_name(op);
}

static void check_condition(lua_State *L)
{
    if (lua_isboolean(L, 1))
        sxl_misuse(L, "write x:eq(3), x:lt(0.5)",
                   "where: the condition is the Lua boolean %s; '==' on a tensor always is",
                   lua_toboolean(L, 1) ? "true" : "false");
}

static int elementwise_op(lua_State *L, sx_op op)
{
    int args = sx_op_args(op);
    bool lazy = false;
    if (op == SX_OP_where) check_condition(L);
    if (lua_gettop(L) < args)
        sxl_misuse(L, NULL, "%s: %d argument%s expected, got %d", lua_name(op), args,
                   args > 1 ? "s" : "", lua_gettop(L));
    lua_settop(L, args);
    for (int i = 1; i <= args; i++) {
        if (lua_type(L, i) == LUA_TNUMBER) continue;
        const sxl_tensor *t = sxl_test_tensor(L, i);
        if (!t)
            sxl_misuse(L, NULL, "%s: argument %d: a tensor or a number expected, got a %s",
                       lua_name(op), i, luaL_typename(L, i));
        lazy |= t->id != 0;
    }
    if (!lazy) {
        sxl_dense_op(L, op);
        return 1;
    }
    sxl_mix mix = SXL_MIX;
    sx_id id[3] = {0, 0, 0};
    for (int i = 0; i < args; i++) id[i] = sxl_node(L, i + 1, lua_name(op), &mix);
    return sxl_push_mixed(L, sxl_make3(L, op, id[0], id[1], id[2]), &mix);
}

static int elementwise(lua_State *L)
{
    return elementwise_op(L, (sx_op)lua_tointeger(L, lua_upvalueindex(1)));
}

/* t:clamp(lo, hi); either may be nil. Not min(max()): NaN stays NaN and the ends keep their
 * gradient. */
static int tensor_clamp(lua_State *L)
{
    static const sx_op outside[] = {SX_OP_lt, SX_OP_gt};
    lua_settop(L, 3);
    sxl_check_tensor(L, 1, "clamp");
    for (int k = 0; k < 2; k++) {
        if (lua_isnil(L, 2 + k)) continue;
        lua_pushinteger(L, outside[k]);
        lua_pushcclosure(L, elementwise, 1);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2 + k);
        lua_call(L, 2, 1);
        lua_pushinteger(L, SX_OP_where);
        lua_pushcclosure(L, elementwise, 1);
        lua_insert(L, -2);
        lua_pushvalue(L, 2 + k);
        lua_pushvalue(L, 1);
        lua_call(L, 3, 1);
        lua_replace(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

static int no_order(lua_State *L)
{
    sxl_misuse(L, "write a:lt(b), and choose with segx.where(cond, a, b)",
               "comparison inside a traced loss gives one boolean for all pixels");
    return 0;
}

static int no_concat(lua_State *L)
{
    sxl_misuse(L, "tostring(t), or t:item() for one number",
               "a tensor cannot be joined with text by '..'");
    return 0;
}

static int no_assign(lua_State *L)
{
    sxl_misuse(L, "build a new one, segx.tensor{...}", "tensors cannot be changed");
    return 0;
}

/* -- Axes and dimensions ----------------------------------------------------------------------- */

/* Axes of the tensor at idx as lazy code sees them: an image taken out is no axis. */
static sx_axes visible_axes(lua_State *L, int idx)
{
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    if (!t->id) return t->n == 1 ? 0 : sxl_dense_axes(L, idx, "axes");
    sx_axes ax = sxl_axes_of(L, t->id);
    return t->image == SXL_ALL_IMAGES ? ax : ax & ~SX_AX_N;
}

typedef struct dims {
    int n;
    sx_axes axis[SX_MAX_SWEEP + 6];
    size_t size[SX_MAX_SWEEP + 6]; /* 0: differs between images */
} dims;

/* Dimensions of the lazy tensor at idx in the order of results: sweeps, image, label, class,
 * space. */
static void lazy_dims(lua_State *L, int idx, dims *out)
{
    sxl_session *s = sxl_get_session(L);
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    const sx_node *n = sx_node_get(s->g, t->id);
    sx_axes ax = visible_axes(L, idx);
    const sxl_dump *d = sxl_push_dump_of(L, idx);
    const sx_dump_info *info = d && d->d ? sx_dump_get_info(d->d) : NULL;
    size_t classes = n->classes ? n->classes : info ? info->classes : 0;
    int k = 0;
    for (int i = 0; i < sx_graph_axes(s->g); i++)
        if (ax & SX_AX_SWEEP(i)) {
            out->axis[k] = SX_AX_SWEEP(i);
            out->size[k++] = sx_graph_axis_get(s->g, i)->count;
        }
    if (ax & SX_AX_N) out->axis[k] = SX_AX_N, out->size[k++] = info ? info->n : 0;
    if (ax & SX_AX_L) out->axis[k] = SX_AX_L, out->size[k++] = classes;
    if (ax & SX_AX_C) out->axis[k] = SX_AX_C, out->size[k++] = classes;
    if (ax & SX_AX_P) {
        size_t dim[3] = {0, 0, 0}, n_space = info ? info->n_dims : 1;
        if (info && t->image != SXL_ALL_IMAGES)
            sx_dump_dims(d->d, t->image, dim);
        else if (info && info->same_shape)
            memcpy(dim, info->dims, sizeof dim);
        for (size_t i = 0; i < n_space; i++) out->axis[k] = SX_AX_P, out->size[k++] = dim[i];
    }
    out->n = k;
    lua_pop(L, 1);
}

static const struct {
    const char *name;
    sx_axes axis;
} axis_names[] = {
    {"image", SX_AX_N},
    {"label", SX_AX_L},
    {"class", SX_AX_C},
    {"pixel", SX_AX_P}
};
enum { N_AXIS_NAMES = 4 };

_Noreturn static void no_axis(lua_State *L, const char *who, const char *name, sx_axes have)
{
    char text[80] = "";
    for (int i = 0; i < N_AXIS_NAMES; i++)
        if (have & axis_names[i].axis) {
            if (text[0]) strcat(text, ", ");
            strcat(text, axis_names[i].name);
        }
    sxl_misuse(L, NULL, "%s: the tensor has no %s axis (it has %s)", who, name,
               text[0] ? text : "none");
}

/* The axis of the lazy tensor at 1 that the value at 2 names; 0 when it is nil. */
sx_axes sxl_dim_argument(lua_State *L, const char *who)
{
    sx_axes have = visible_axes(L, 1);
    if (lua_isnoneornil(L, 2)) return 0;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        dims ds;
        lazy_dims(L, 1, &ds);
        int64_t i = sxl_integer(L, 2, who, INT32_MIN, INT32_MAX), at = i < 0 ? i + ds.n : i - 1;
        if (at < 0 || at >= ds.n)
            sxl_misuse(L, NULL, "%s: dimension %d of a tensor with %d", who, (int)i, ds.n);
        sx_axes ax = ds.axis[at];
        if (ax & SX_SWEEP_MASK)
            sxl_misuse(L, "t:eval() first", "%s: dimension %d is a sweep axis", who, (int)i);
        int space = 0;
        for (int k = 0; k < ds.n; k++) space += ds.axis[k] == SX_AX_P;
        if (ax == SX_AX_P && space > 1)
            sxl_misuse(L, "\"pixel\" stands for all of them; one image in memory: t[3]:eval()",
                       "%s: dimension %d is one of %d of the image's own", who, (int)i, space);
        return ax;
    }
    if (lua_type(L, 2) != LUA_TSTRING)
        sxl_misuse(L, NULL, "%s: a dimension is a name or a position, not a %s", who,
                   luaL_typename(L, 2));
    const char *name = lua_tostring(L, 2);
    for (int i = 0; i < N_AXIS_NAMES; i++)
        if (strcmp(axis_names[i].name, name) == 0) {
            if (!(have & axis_names[i].axis) && axis_names[i].axis != SX_AX_P &&
                axis_names[i].axis != SX_AX_N)
                no_axis(L, who, name, have);
            return axis_names[i].axis;
        }
    sxl_session *s = sxl_get_session(L);
    for (int i = 0; i < sx_graph_axes(s->g); i++)
        if ((have & SX_AX_SWEEP(i)) && strcmp(sx_graph_axis_get(s->g, i)->name, name) == 0)
            sxl_misuse(L, "t:eval() first", "%s: '%s' is a sweep axis", who, name);
    sxl_misuse(L, NULL,
               "%s: unknown dimension '%s'\n  known: image, label, class, pixel, or a position",
               who, name);
}

/* core.axes(t) */
static int core_axes(lua_State *L)
{
    lua_settop(L, 1);
    sx_axes ax = 0;
    if (lua_type(L, 1) != LUA_TNUMBER) {
        sxl_check_tensor(L, 1, "axes");
        const sxl_tensor *t = sxl_test_tensor(L, 1);
        if (!t->id &&
            lua_getiuservalue(L, 1, 1) == LUA_TTABLE) { /* a result: as its dimensions are named */
            lua_createtable(L, 0, 5);
            lua_newtable(L);
            int sweeps = 0;
            for (int i = 1; i <= t->n_dims; i++) {
                lua_rawgeti(L, 2, i);
                for (int k = 0; k < N_AXIS_NAMES; k++)
                    if (strcmp(lua_tostring(L, -1), axis_names[k].name) == 0)
                        ax |= axis_names[k].axis;
                const char *name = lua_tostring(L, -1);
                bool known = false;
                for (int k = 0; k < N_AXIS_NAMES; k++)
                    known |= strcmp(name, axis_names[k].name) == 0;
                if (known)
                    lua_pop(L, 1);
                else
                    lua_rawseti(L, -2, ++sweeps);
            }
        } else {
            lua_settop(L, 1);
            ax = visible_axes(L, 1);
            lua_createtable(L, 0, 5);
            sxl_push_sweeps(L, ax);
        }
    } else {
        lua_createtable(L, 0, 5);
        lua_newtable(L);
    }
    lua_setfield(L, -2, "sweep");
    for (int i = 0; i < N_AXIS_NAMES; i++) {
        lua_pushboolean(L, (ax & axis_names[i].axis) != 0);
        lua_setfield(L, -2, axis_names[i].name);
    }
    return 1;
}

/* t:axes(): names of the dimensions in order; nil for a dense tensor without names. */
static int tensor_axes(lua_State *L)
{
    lua_settop(L, 1);
    const sxl_tensor *t = sxl_check_tensor(L, 1, "axes");
    if (!t->id) {
        lua_getiuservalue(L, 1, 1);
        return 1;
    }
    dims ds;
    lazy_dims(L, 1, &ds);
    sxl_push_sweeps(L, visible_axes(L, 1));
    int k = (int)lua_rawlen(L, -1);
    for (int i = k; i < ds.n; i++)
        for (int j = 0; j < N_AXIS_NAMES; j++)
            if (ds.axis[i] == axis_names[j].axis &&
                !(i && ds.axis[i - 1] == SX_AX_P && ds.axis[i] == SX_AX_P)) {
                lua_pushstring(L, axis_names[j].name);
                lua_rawseti(L, -2, ++k);
            }
    return 1;
}

static int tensor_kind(lua_State *L)
{
    lua_pushstring(L, sxl_check_tensor(L, 1, "kind")->id ? "lazy" : "dense");
    return 1;
}

/* Number of dimensions and sizes of the tensor at 1, dense or lazy. */
static int sizes(lua_State *L, const size_t **size, dims *ds, const char *who)
{
    sxl_tensor *t = sxl_check_tensor(L, 1, who);
    *size = t->dim;
    if (!t->id) return t->n_dims;
    lazy_dims(L, 1, ds);
    *size = ds->size;
    return ds->n;
}

static int tensor_dim(lua_State *L)
{
    dims ds;
    const size_t *size;
    lua_pushinteger(L, sizes(L, &size, &ds, "dim"));
    return 1;
}

/* t:size() -> list; t:size(d) -> one. 0: differs between images. */
static int tensor_size(lua_State *L)
{
    dims ds;
    const size_t *size;
    int n = sizes(L, &size, &ds, "size");
    if (!lua_isnoneornil(L, 2)) {
        int64_t i = sxl_integer(L, 2, "size", INT32_MIN, INT32_MAX);
        if (i < 0) i += n + 1;
        if (i < 1 || i > n)
            sxl_misuse(L, NULL, "size: dimension %d of a tensor with %d", (int)lua_tointeger(L, 2),
                       n);
        lua_pushinteger(L, (lua_Integer)size[i - 1]);
        return 1;
    }
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)size[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int tensor_len(lua_State *L)
{
    dims ds;
    const size_t *size;
    lua_settop(L, 1);
    int n = sizes(L, &size, &ds, "#");
    lua_pushinteger(L, n ? (lua_Integer)size[0] : 0);
    return 1;
}

/* -- Reading ----------------------------------------------------------------------------------- */

/* Lazy t[i]: the first of image, class that it has. */
static int lazy_index_one(lua_State *L, int64_t i)
{
    sxl_mix mix = SXL_MIX;
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    dims ds;
    lazy_dims(L, 1, &ds);
    if (ds.n == 0)
        sxl_misuse(L, "t:item() gives its number", "index: the tensor is a single number");
    sx_axes ax = ds.axis[0];
    if (ax & (SX_SWEEP_MASK | SX_AX_L))
        sxl_misuse(L, "t:eval()[i]", "index: the first dimension is no image or class");
    if (ax == SX_AX_P)
        sxl_misuse(L, "t:eval()[i]",
                   "index: single pixels can be read from a tensor in memory only");
    if (i < 1 || (ds.size[0] && (uint64_t)i > ds.size[0]))
        sxl_misuse(L, NULL, "index: %lld is not in 1 .. %zu", (long long)i, ds.size[0]);
    if (ax == SX_AX_N) {
        lua_getiuservalue(L, 1, 1);
        sxl_push_lazy(L, t->id, (size_t)i - 1, lua_isnil(L, -1) ? 0 : -1);
        return 1;
    }
    sx_id id = sxl_node(L, 1, "index", &mix);
    uint32_t c = (uint32_t)sxl_classes_of(L, id, &mix, "index");
    sx_id hot = sxl_make2(L, SX_OP_eq, sxl_leaf(L, SX_OP_classes, 0, c, 0),
                          sxl_constant(L, (double)(i - 1)));
    id = sxl_make1(L, SX_OP_csum, sxl_make3(L, SX_OP_where, hot, id, sxl_constant(L, 0)));
    return sxl_push_mixed(L, id, &mix);
}

static int lazy_index(lua_State *L)
{
    if (!lua_istable(L, 2))
        return lazy_index_one(L, sxl_integer(L, 2, "index", INT64_MIN, INT64_MAX - 1));
    int n = (int)luaL_len(L, 2);
    for (int k = 1; k <= n; k++) { /* t[{i, j}] = t[i][j] */
        if (lua_geti(L, 2, k) == LUA_TTABLE)
            sxl_misuse(L, "t:eval()[{...}], or one image at a time: t[3]",
                       "index: ranges need a tensor in memory");
        int64_t i = sxl_integer(L, -1, "index", INT64_MIN, INT64_MAX - 1);
        lua_pop(L, 1);
        lazy_index_one(L, i);
        lua_replace(L, 1);
        lua_settop(L, 2);
    }
    lua_settop(L, 1);
    return 1;
}

/* Upvalue 1: the table of methods. */
static int tensor_index(lua_State *L)
{
    int type = lua_type(L, 2);
    if (type == LUA_TNUMBER || type == LUA_TTABLE) {
        const sxl_tensor *t = sxl_check_tensor(L, 1, "index");
        return t->id ? lazy_index(L) : sxl_dense_index(L);
    }
    lua_pushvalue(L, 2);
    lua_gettable(L, lua_upvalueindex(1));
    return 1;
}

static void push_text(lua_State *L, sx_id id, size_t limit)
{
    sx_error er;
    sxl_session *s = sxl_get_session(L);
    sxl_box *box = sxl_push_box(L, sx_free);
    if (!(box->p = sx_text(s->g, id, limit))) {
        sx_nomem(&er);
        sxl_raise(L, &er);
    }
    lua_pushstring(L, box->p);
    sxl_box_clear(box);
    lua_remove(L, -2);
}

/* core.text(t [, limit]): canonical text; beyond limit bytes it is cut and ends with a hash of the
 * whole. */
static int core_text(lua_State *L)
{
    int64_t limit =
        lua_isnoneornil(L, 2) ? 1 << 20 : sxl_integer(L, 2, "text: limit", 1, INT32_MAX);
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    if (t && !t->id && !(t->n == 1 || t->n_dims <= 2)) {
        lua_settop(L, 1);
        return sxl_dense_tostring(L);
    }
    push_text(L, sxl_node(L, 1, "text", NULL), (size_t)limit);
    return 1;
}

static int tensor_tostring(lua_State *L)
{
    sxl_session *s = sxl_get_session(L);
    const sxl_tensor *t = sxl_check_tensor(L, 1, "tostring");
    dims ds;
    char buf[40];
    luaL_Buffer b;
    if (!t->id) return sxl_dense_tostring(L);
    lua_settop(L, 1);
    lazy_dims(L, 1, &ds);
    push_text(L, t->id, 300);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "lazy tensor {");
    int sweep = 0;
    for (int i = 0; i < ds.n; i++) {
        if (i) luaL_addstring(&b, ", ");
        if (ds.axis[i] & SX_SWEEP_MASK) {
            for (; ds.axis[i] != SX_AX_SWEEP(sweep); sweep++) {
            }
            luaL_addstring(&b, sx_graph_axis_get(s->g, sweep)->name);
        }
        for (int k = 0; k < N_AXIS_NAMES; k++)
            if (ds.axis[i] == axis_names[k].axis) luaL_addstring(&b, axis_names[k].name);
        if (ds.size[i]) {
            snprintf(buf, sizeof buf, " %zu", ds.size[i]);
            luaL_addstring(&b, buf);
        }
        if (ds.axis[i] == SX_AX_P) /* all of space is one axis */
            for (; i + 1 < ds.n; i++) {
                snprintf(buf, sizeof buf, "x%zu", ds.size[i + 1]);
                if (ds.size[i + 1]) luaL_addstring(&b, buf);
            }
    }
    luaL_addstring(&b, "}");
    if (t->image != SXL_ALL_IMAGES) {
        snprintf(buf, sizeof buf, " of image %zu", t->image + 1);
        luaL_addstring(&b, buf);
    }
    luaL_addstring(&b, ": ");
    luaL_pushresult(&b);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return 1;
}

/* -- Loading ----------------------------------------------------------------------------------- */

static void set_op(lua_State *L, int table, sx_op op, const char *name)
{
    table = lua_absindex(L, table);
    lua_pushinteger(L, op);
    lua_pushcclosure(L, elementwise, 1);
    lua_setfield(L, table, name);
}

static void open_metatable(lua_State *L, int methods)
{
    static const struct {
        const char *event;
        sx_op op;
    } events[] = {
        {"__add",  SX_OP_add },
        {"__sub",  SX_OP_sub },
        {"__mul",  SX_OP_mul },
        {"__div",  SX_OP_div },
        {"__pow",  SX_OP_pow },
        {"__unm",  SX_OP_neg },
        {"__band", SX_OP_band},
        {"__bor",  SX_OP_bor },
        {"__bnot", SX_OP_bnot}
    };
    static const luaL_Reg other[] = {
        {"__lt",       no_order       },
        {"__le",       no_order       },
        {"__concat",   no_concat      },
        {"__newindex", no_assign      },
        {"__len",      tensor_len     },
        {"__tostring", tensor_tostring},
        {NULL,         NULL           }
    };
    luaL_newmetatable(L, SXL_TENSOR);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        set_op(L, -1, events[i].op, events[i].event);
    luaL_setfuncs(L, other, 0);
    lua_pushvalue(L, methods);
    lua_pushcclosure(L, tensor_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void sxl_open_tensor(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"axes", core_axes},
        {"text", core_text},
        {NULL,   NULL     }
    };
    static const luaL_Reg methods[] = {
        {"clamp", tensor_clamp},
        {"axes",  tensor_axes },
        {"kind",  tensor_kind },
        {"dim",   tensor_dim  },
        {"size",  tensor_size },
        {NULL,    NULL        }
    };
    int core = lua_gettop(L);
    luaL_setfuncs(L, functions, 0);
    lua_newtable(L);
    int class = lua_gettop(L);
    luaL_setfuncs(L, methods, 0);
    for (int i = 1; i < SX_OP_COUNT; i++)
        if (sx_op_class((sx_op)i) == SX_CL_EW) set_op(L, class, (sx_op)i, lua_name((sx_op)i));
    open_metatable(L, class);
    lua_pushvalue(L, core);
    sxl_open_dense(L, class);
    sxl_open_reduce(L, class);
    lua_pop(L, 1);
    lua_pushnil(L); /* segx.f(a, ...) is a:f(...) */
    while (lua_next(L, class)) {
        lua_pushvalue(L, -2);
        if (lua_rawget(L, core) == LUA_TNIL) {
            lua_pushvalue(L, -3);
            lua_pushvalue(L, -3);
            lua_rawset(L, core);
        }
        lua_pop(L, 2);
    }
    lua_setfield(L, core, "Tensor");
}
