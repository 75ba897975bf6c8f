/*
 * bind_tensor.c: the Tensor type of Lua. One type for two things: expressions over a dump (lazy: a node of the
 * session's graph) and numbers in memory (dense, bind_dense.c). Elementwise functions and methods come from
 * the op table; there is no list of them here.
 */
#include <stdio.h>
#include <string.h>

#include "bind.h"

sxl_tensor *sxl_test_tensor(lua_State *L, int idx)
{
    return luaL_testudata(L, idx, SXL_TENSOR);
}

static sxl_tensor *check_tensor(lua_State *L, int idx, const char *who)
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

/* -- Operands -------------------------------------------------------------------------------------- */

static void mix_in(lua_State *L, int idx, const sxl_tensor *t, const sx_node *n, const char *who, sxl_mix *mix)
{
    if (n->axes & SX_AX_N) {
        if (t->image == SXL_ALL_IMAGES) {
            mix->all = true;
        } else if (mix->restricted && mix->image != t->image) {
            sxl_misuse(L, NULL, "%s: operands of different images, %zu and %zu", who, mix->image + 1, t->image + 1);
        } else {
            mix->restricted = true;
            mix->image = t->image;
        }
        if (mix->all && mix->restricted)
            sxl_misuse(L, "take the same image of both, a[3] and b[3]",
                       "%s: one operand is image %zu alone, another has all images", who, mix->image + 1);
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
    if (lua_type(L, idx) == LUA_TNUMBER) return sxl_made(L, sx_const(s->g, lua_tonumber(L, idx), &er), &er);
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    if (!t) {
        if (lua_isnoneornil(L, idx))
            sxl_misuse(L, NULL, "%s: argument %d: a tensor or a number expected, got nothing", who, idx);
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
static int push_mixed(lua_State *L, sx_id id, const sxl_mix *mix)
{
    sxl_session *s = sxl_get_session(L);
    bool images = sx_node_get(s->g, id)->axes & SX_AX_N;
    sxl_push_dump_of(L, mix->dump);
    sxl_push_lazy(L, id, images && mix->restricted ? mix->image : SXL_ALL_IMAGES, lua_isnil(L, -1) ? 0 : -1);
    return 1;
}

static sx_id make1(lua_State *L, sx_op op, sx_id a)
{
    sx_error er;
    return sxl_made(L, sx_make1(sxl_get_session(L)->g, op, a, &er), &er);
}

static sx_id make2(lua_State *L, sx_op op, sx_id a, sx_id b)
{
    sx_error er;
    return sxl_made(L, sx_make2(sxl_get_session(L)->g, op, a, b, &er), &er);
}

static sx_id make3(lua_State *L, sx_op op, sx_id a, sx_id b, sx_id c)
{
    sx_error er;
    return sxl_made(L, sx_make(sxl_get_session(L)->g, op, a, b, c, 0, &er), &er);
}

static sx_id constant(lua_State *L, double v)
{
    sx_error er;
    return sxl_made(L, sx_const(sxl_get_session(L)->g, v, &er), &er);
}

static sx_axes axes_of(lua_State *L, sx_id id)
{
    return sx_node_get(sxl_get_session(L)->g, id)->axes;
}

/* Number of the dump that the operands know; misuse when none does. */
static uint32_t need_dump(lua_State *L, const sxl_mix *mix, const char *who, size_t *classes, size_t *images)
{
    const sxl_dump *d = sxl_push_dump_of(L, mix->dump);
    if (!d || !d->d)
        sxl_misuse(L, "sum something that is made from d.logits or d.labels", "%s: the tensor %s", who,
                   d ? "belongs to a closed dump" : "belongs to no dump");
    if (classes) *classes = sx_dump_get_info(d->d)->classes;
    if (images) *images = sx_dump_get_info(d->d)->n;
    uint32_t slot = d->slot;
    lua_pop(L, 1);
    return slot;
}

static sx_id leaf(lua_State *L, sx_op op, uint32_t slot, uint32_t classes, int64_t attr)
{
    sx_error er;
    return sxl_made(L, sx_leaf(sxl_get_session(L)->g, op, slot, classes, attr, NULL, &er), &er);
}

static size_t classes_of(lua_State *L, sx_id id, const sxl_mix *mix, const char *who)
{
    size_t c = sx_node_get(sxl_get_session(L)->g, id)->classes;
    if (!c) need_dump(L, mix, who, &c, NULL);
    return c;
}

/* -- Elementwise ----------------------------------------------------------------------------------- */

static const char *lua_name(sx_op op)
{
    return op == SX_OP_max ? "maximum" : op == SX_OP_min ? "minimum" : sx_op_name(op);
}

static void check_condition(lua_State *L)
{
    if (lua_isboolean(L, 1))
        sxl_misuse(L, "write x:eq(3), x:lt(0.5)", "where: the condition is the Lua boolean %s; '==' on a tensor always is",
                   lua_toboolean(L, 1) ? "true" : "false");
}

static int elementwise_op(lua_State *L, sx_op op)
{
    int args = sx_op_args(op);
    bool lazy = false;
    if (op == SX_OP_where) check_condition(L);
    if (lua_gettop(L) < args)
        sxl_misuse(L, NULL, "%s: %d argument%s expected, got %d", lua_name(op), args, args > 1 ? "s" : "",
                   lua_gettop(L));
    lua_settop(L, args);
    for (int i = 1; i <= args; i++) {
        if (lua_type(L, i) == LUA_TNUMBER) continue;
        const sxl_tensor *t = sxl_test_tensor(L, i);
        if (!t)
            sxl_misuse(L, NULL, "%s: argument %d: a tensor or a number expected, got a %s", lua_name(op), i,
                       luaL_typename(L, i));
        lazy |= t->id != 0;
    }
    if (!lazy) {
        sxl_dense_op(L, op);
        return 1;
    }
    sxl_mix mix = SXL_MIX;
    sx_id id[3] = {0, 0, 0};
    for (int i = 0; i < args; i++) id[i] = sxl_node(L, i + 1, lua_name(op), &mix);
    return push_mixed(L, make3(L, op, id[0], id[1], id[2]), &mix);
}

static int elementwise(lua_State *L)
{
    return elementwise_op(L, (sx_op)lua_tointeger(L, lua_upvalueindex(1)));
}

/* t:clamp(lo, hi); either may be nil. Not min(max()): NaN stays NaN and the ends keep their gradient. */
static int tensor_clamp(lua_State *L)
{
    static const sx_op outside[] = {SX_OP_lt, SX_OP_gt};
    lua_settop(L, 3);
    check_tensor(L, 1, "clamp");
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
    sxl_misuse(L, "tostring(t), or t:item() for one number", "a tensor cannot be joined with text by '..'");
    return 0;
}

static int no_assign(lua_State *L)
{
    sxl_misuse(L, "build a new one, segx.tensor{...}", "tensors cannot be changed");
    return 0;
}

/* -- Axes and dimensions --------------------------------------------------------------------------- */

/* Axes of the tensor at idx as lazy code sees them: an image taken out is no axis. */
static sx_axes visible_axes(lua_State *L, int idx)
{
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    if (!t->id) return t->n == 1 ? 0 : sxl_dense_axes(L, idx, "axes");
    sx_axes ax = axes_of(L, t->id);
    return t->image == SXL_ALL_IMAGES ? ax : ax & ~SX_AX_N;
}

typedef struct dims {
    int n;
    sx_axes axis[SX_MAX_SWEEP + 6];
    size_t size[SX_MAX_SWEEP + 6];    /* 0: differs between images */
} dims;

/* Dimensions of the lazy tensor at idx in the order of results: sweeps, image, label, class, space. */
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
} axis_names[] = {{"image", SX_AX_N}, {"label", SX_AX_L}, {"class", SX_AX_C}, {"pixel", SX_AX_P}};
enum { N_AXIS_NAMES = 4 };

_Noreturn static void no_axis(lua_State *L, const char *who, const char *name, sx_axes have)
{
    char text[80] = "";
    for (int i = 0; i < N_AXIS_NAMES; i++)
        if (have & axis_names[i].axis) {
            if (text[0]) strcat(text, ", ");
            strcat(text, axis_names[i].name);
        }
    sxl_misuse(L, NULL, "%s: the tensor has no %s axis (it has %s)", who, name, text[0] ? text : "none");
}

/* The axis of the lazy tensor at 1 that the value at 2 names; 0 when it is nil. */
static sx_axes dim_argument(lua_State *L, const char *who)
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
        sxl_misuse(L, NULL, "%s: a dimension is a name or a position, not a %s", who, luaL_typename(L, 2));
    const char *name = lua_tostring(L, 2);
    for (int i = 0; i < N_AXIS_NAMES; i++)
        if (strcmp(axis_names[i].name, name) == 0) {
            if (!(have & axis_names[i].axis) && axis_names[i].axis != SX_AX_P && axis_names[i].axis != SX_AX_N)
                no_axis(L, who, name, have);
            return axis_names[i].axis;
        }
    sxl_session *s = sxl_get_session(L);
    for (int i = 0; i < sx_graph_axes(s->g); i++)
        if ((have & SX_AX_SWEEP(i)) && strcmp(sx_graph_axis_get(s->g, i)->name, name) == 0)
            sxl_misuse(L, "t:eval() first", "%s: '%s' is a sweep axis", who, name);
    sxl_misuse(L, NULL, "%s: unknown dimension '%s'\n  known: image, label, class, pixel, or a position", who, name);
}

/* core.axes(t) */
static int core_axes(lua_State *L)
{
    lua_settop(L, 1);
    sx_axes ax = 0;
    if (lua_type(L, 1) != LUA_TNUMBER) {
        check_tensor(L, 1, "axes");
        const sxl_tensor *t = sxl_test_tensor(L, 1);
        if (!t->id && lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {    /* a result: as its dimensions are named */
            lua_createtable(L, 0, 5);
            lua_newtable(L);
            int sweeps = 0;
            for (int i = 1; i <= t->n_dims; i++) {
                lua_rawgeti(L, 2, i);
                for (int k = 0; k < N_AXIS_NAMES; k++)
                    if (strcmp(lua_tostring(L, -1), axis_names[k].name) == 0) ax |= axis_names[k].axis;
                const char *name = lua_tostring(L, -1);
                bool known = false;
                for (int k = 0; k < N_AXIS_NAMES; k++) known |= strcmp(name, axis_names[k].name) == 0;
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
    const sxl_tensor *t = check_tensor(L, 1, "axes");
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
            if (ds.axis[i] == axis_names[j].axis && !(i && ds.axis[i - 1] == SX_AX_P && ds.axis[i] == SX_AX_P)) {
                lua_pushstring(L, axis_names[j].name);
                lua_rawseti(L, -2, ++k);
            }
    return 1;
}

static int tensor_kind(lua_State *L)
{
    lua_pushstring(L, check_tensor(L, 1, "kind")->id ? "lazy" : "dense");
    return 1;
}

/* Number of dimensions and sizes of the tensor at 1, dense or lazy. */
static int sizes(lua_State *L, const size_t **size, dims *ds, const char *who)
{
    sxl_tensor *t = check_tensor(L, 1, who);
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
        if (i < 1 || i > n) sxl_misuse(L, NULL, "size: dimension %d of a tensor with %d", (int)lua_tointeger(L, 2), n);
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

/* -- Sums ------------------------------------------------------------------------------------------ */

/* Pixel sum. What reads no pixel counts once per valid pixel. */
static sx_id pixel_sum(lua_State *L, sx_op op, sx_id id, const sxl_mix *mix, const char *who)
{
    if (!sx_node_get(sxl_get_session(L)->g, id)->dump) {
        sx_id valid = leaf(L, SX_OP_valid, need_dump(L, mix, who, NULL, NULL), 0, 0);
        id = make2(L, SX_OP_mul, id, valid);
    }
    return make1(L, op, id);
}

static sx_id image_sum(lua_State *L, sx_op op, int64_t batch, sx_id id, const sxl_mix *mix, const char *who)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    if (mix->restricted && (axes_of(L, id) & SX_AX_N))
        sxl_misuse(L, NULL, "%s: the tensor is image %zu alone", who, mix->image + 1);
    if (axes_of(L, id) & SX_AX_P) sxl_misuse(L, "sum(\"pixel\") first", "%s: the tensor has a pixel axis", who);
    if (!sx_node_get(s->g, id)->dump) {          /* a constant: once per image */
        sx_id first = leaf(L, SX_OP_first, need_dump(L, mix, who, NULL, NULL), 0, 1);
        first = sxl_made(L, sx_make(s->g, op, first, 0, 0, batch, &er), &er);
        return make2(L, SX_OP_mul, id, first);
    }
    return sxl_made(L, sx_make(s->g, op, id, 0, 0, batch, &er), &er);
}

static int core_psum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "psum", &mix);
    return push_mixed(L, pixel_sum(L, SX_OP_psum, id, &mix, "psum"), &mix);
}

static int core_bysum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "bysum", &mix);
    return push_mixed(L, pixel_sum(L, SX_OP_bysum, id, &mix, "bysum"), &mix);
}

static int core_nsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "nsum", &mix);
    return push_mixed(L, image_sum(L, SX_OP_nsum, 0, id, &mix, "nsum"), &mix);
}

static int core_bsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 2);
    sx_id id = sxl_node(L, 1, "bsum", &mix);
    int64_t batch = sxl_integer(L, 2, "bsum: images of a batch", 1, INT32_MAX);
    if (batch == 1 && (axes_of(L, id) & SX_AX_N) && !(axes_of(L, id) & SX_AX_P)) return push_mixed(L, id, &mix);
    return push_mixed(L, image_sum(L, SX_OP_bsum, batch, id, &mix, "bsum"), &mix);
}

static int core_lsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    const sxl_tensor *t = check_tensor(L, 1, "lsum");
    if (!t->id) {
        lua_pushliteral(L, "label");
        return sxl_dense_reduce(L, "sum");
    }
    return push_mixed(L, make1(L, SX_OP_lsum, sxl_node(L, 1, "lsum", &mix)), &mix);
}

static int core_transpose(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    const sxl_tensor *t = check_tensor(L, 1, "transpose");
    if (t->id) return push_mixed(L, make1(L, SX_OP_transpose, sxl_node(L, 1, "transpose", &mix)), &mix);
    if (t->n_dims != 2) sxl_misuse(L, NULL, "transpose: a matrix expected, the tensor has %d dimensions", t->n_dims);
    size_t rows = t->dim[0], cols = t->dim[1];
    sxl_tensor *r = sxl_push_dense(L, 2, (size_t[]){cols, rows});
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) r->v[j * rows + i] = t->v[i * cols + j];
    return 1;
}

/* Op over the class axis, applied to the class or the label axis. */
static sx_id over_classes(lua_State *L, sx_op op, sx_id id, sx_axes ax)
{
    if (ax != SX_AX_L) return make1(L, op, id);
    id = make1(L, op, make1(L, SX_OP_transpose, id));
    return axes_of(L, id) & (SX_AX_L | SX_AX_C) ? make1(L, SX_OP_transpose, id) : id;
}

static sx_id sum_axis(lua_State *L, sx_id id, sx_axes ax, const sxl_mix *mix, const char *who)
{
    switch (ax) {
    case SX_AX_P: return pixel_sum(L, SX_OP_psum, id, mix, who);
    case SX_AX_N: return image_sum(L, SX_OP_nsum, 0, id, mix, who);
    case SX_AX_L: return make1(L, SX_OP_lsum, id);
    default: return make1(L, SX_OP_csum, id);
    }
}

static sx_id sum_all(lua_State *L, sx_id id, const sxl_mix *mix, const char *who)
{
    if (axes_of(L, id) & SX_AX_P) id = sum_axis(L, id, SX_AX_P, mix, who);
    if ((axes_of(L, id) & SX_AX_N) && !mix->restricted) id = sum_axis(L, id, SX_AX_N, mix, who);
    if (axes_of(L, id) & SX_AX_L) id = sum_axis(L, id, SX_AX_L, mix, who);
    if (axes_of(L, id) & SX_AX_C) id = sum_axis(L, id, SX_AX_C, mix, who);
    return id;
}

/* t:sum([dim]) */
static int tensor_sum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 2);
    if (!check_tensor(L, 1, "sum")->id) return sxl_dense_reduce(L, "sum");
    sx_axes ax = dim_argument(L, "sum");
    sx_id id = sxl_node(L, 1, "sum", &mix);
    return push_mixed(L, ax ? sum_axis(L, id, ax, &mix, "sum") : sum_all(L, id, &mix, "sum"), &mix);
}

/* Valid pixels: of each image, or (when `images`) of all of them. */
static sx_id valid_count(lua_State *L, const sxl_mix *mix, bool images)
{
    sx_id n = leaf(L, SX_OP_valid, need_dump(L, mix, "mean", NULL, NULL), 0, 0);
    n = make1(L, SX_OP_psum, n);
    return images ? make1(L, SX_OP_nsum, n) : n;
}

/* t:mean([dim]) */
static int tensor_mean(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    size_t images = 0;
    lua_settop(L, 2);
    if (!check_tensor(L, 1, "mean")->id) return sxl_dense_reduce(L, "mean");
    sx_axes ax = dim_argument(L, "mean");
    sx_id id = sxl_node(L, 1, "mean", &mix), sum;
    sx_axes have = axes_of(L, id);
    double count = 1;
    if (ax == SX_AX_P) {
        sum = sum_axis(L, id, ax, &mix, "mean");
        return push_mixed(L, make2(L, SX_OP_div, sum, valid_count(L, &mix, false)), &mix);
    }
    if (ax) {
        sum = sum_axis(L, id, ax, &mix, "mean");
        if (ax == SX_AX_N) need_dump(L, &mix, "mean", NULL, &images);
        count = ax == SX_AX_N ? (double)images : (double)classes_of(L, id, &mix, "mean");
        return push_mixed(L, make2(L, SX_OP_div, sum, constant(L, count)), &mix);
    }
    sum = sum_all(L, id, &mix, "mean");
    if (have & SX_AX_C) count *= (double)classes_of(L, id, &mix, "mean");
    if (have & SX_AX_L) count *= (double)classes_of(L, id, &mix, "mean");
    if (have & SX_AX_P) {
        sum = make2(L, SX_OP_div, sum, valid_count(L, &mix, (have & SX_AX_N) && !mix.restricted));
    } else if ((have & SX_AX_N) && !mix.restricted) {
        need_dump(L, &mix, "mean", NULL, &images);
        count *= (double)images;
    }
    if (count > 1 || count < 1) sum = make2(L, SX_OP_div, sum, constant(L, count));
    return push_mixed(L, sum, &mix);
}

/* Methods that lazily exist over classes (and labels) only. Upvalue 1: op, upvalue 2: name. */
static int class_method(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sx_op op = (sx_op)lua_tointeger(L, lua_upvalueindex(1));
    const char *who = lua_tostring(L, lua_upvalueindex(2));
    bool named = op != SX_OP_cmax && op != SX_OP_NONE;       /* dim may be left out: "class" */
    lua_settop(L, 2);
    const sxl_tensor *t = check_tensor(L, 1, who);
    if (lua_isnil(L, 2) && named && (t->id || t->n_dims > 1)) {
        lua_pushliteral(L, "class");
        lua_replace(L, 2);
    }
    if (!t->id) {
        if (lua_isnil(L, 2) && t->n_dims == 1) lua_pushinteger(L, 1), lua_replace(L, 2);
        return sxl_dense_reduce(L, who);
    }
    sx_axes ax = dim_argument(L, who);
    if (ax != SX_AX_C && ax != SX_AX_L)
        sxl_misuse(L, op == SX_OP_cmax || op == SX_OP_NONE ? "the larger of two: a:maximum(b); over the rest: t:eval()" : NULL,
                   "%s: only over \"class\" or \"label\"", who);
    sx_id id = sxl_node(L, 1, who, &mix);
    if (op == SX_OP_NONE)
        id = make1(L, SX_OP_neg, over_classes(L, SX_OP_cmax, make1(L, SX_OP_neg, id), ax));
    else
        id = over_classes(L, op, id, ax);
    return push_mixed(L, id, &mix);
}

/* -- Labels ---------------------------------------------------------------------------------------- */

static sx_id picked(lua_State *L, const char *who, sxl_mix *mix)
{
    lua_settop(L, 2);
    check_tensor(L, 1, who);
    const sxl_tensor *y = check_tensor(L, 2, who);
    if (!y->id) sxl_misuse(L, "t:pick(d.labels)", "%s: labels expected, got a dense tensor", who);
    sx_id a = sxl_node(L, 1, who, mix), b = sxl_node(L, 2, who, mix);
    return make2(L, SX_OP_pick, a, b);
}

static int tensor_pick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    return push_mixed(L, picked(L, "pick", &mix), &mix);
}

static int tensor_logpick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    return push_mixed(L, make1(L, SX_OP_log, picked(L, "logpick", &mix)), &mix);
}

static int tensor_one_minus_pick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sx_id p = picked(L, "one_minus_pick", &mix);
    return push_mixed(L, make2(L, SX_OP_sub, constant(L, 1), p), &mix);
}

static int tensor_onehot(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    check_tensor(L, 1, "onehot");
    return push_mixed(L, make1(L, SX_OP_onehot, sxl_node(L, 1, "onehot", &mix)), &mix);
}

/* t:sum_by(labels): sum over all valid pixels, split by label. */
static int tensor_sum_by(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sxl_session *s = sxl_get_session(L);
    lua_settop(L, 2);
    check_tensor(L, 1, "sum_by");
    sx_id t = sxl_node(L, 1, "sum_by", &mix), y = sxl_node(L, 2, "sum_by", &mix), sum;
    if (!(axes_of(L, y) & SX_AX_P)) sxl_misuse(L, "t:sum_by(d.labels)", "sum_by: the argument must be labels");
    if (sx_node_get(s->g, y)->op == SX_OP_labels) {
        sum = pixel_sum(L, SX_OP_bysum, t, &mix, "sum_by");
    } else {                                       /* other labels, a prediction say: choose by their one-hot */
        sx_id hot = make1(L, SX_OP_onehot, y);
        if (axes_of(L, t) & SX_AX_C) hot = make1(L, SX_OP_transpose, hot);
        sum = pixel_sum(L, SX_OP_psum, make3(L, SX_OP_where, hot, t, constant(L, 0)), &mix, "sum_by");
    }
    return push_mixed(L, mix.restricted ? sum : image_sum(L, SX_OP_nsum, 0, sum, &mix, "sum_by"), &mix);
}

/* -- Reading --------------------------------------------------------------------------------------- */

/* Lazy t[i]: the first of image, class that it has. */
static int lazy_index_one(lua_State *L, int64_t i)
{
    sxl_mix mix = SXL_MIX;
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    dims ds;
    lazy_dims(L, 1, &ds);
    if (ds.n == 0) sxl_misuse(L, "t:item() gives its number", "index: the tensor is a single number");
    sx_axes ax = ds.axis[0];
    if (ax & (SX_SWEEP_MASK | SX_AX_L)) sxl_misuse(L, "t:eval()[i]", "index: the first dimension is no image or class");
    if (ax == SX_AX_P)
        sxl_misuse(L, "t:eval()[i]", "index: single pixels can be read from a tensor in memory only");
    if (i < 1 || (ds.size[0] && (uint64_t)i > ds.size[0]))
        sxl_misuse(L, NULL, "index: %lld is not in 1 .. %zu", (long long)i, ds.size[0]);
    if (ax == SX_AX_N) {
        lua_getiuservalue(L, 1, 1);
        sxl_push_lazy(L, t->id, (size_t)i - 1, lua_isnil(L, -1) ? 0 : -1);
        return 1;
    }
    sx_id id = sxl_node(L, 1, "index", &mix);
    uint32_t c = (uint32_t)classes_of(L, id, &mix, "index");
    sx_id hot = make2(L, SX_OP_eq, leaf(L, SX_OP_classes, 0, c, 0), constant(L, (double)(i - 1)));
    id = make1(L, SX_OP_csum, make3(L, SX_OP_where, hot, id, constant(L, 0)));
    return push_mixed(L, id, &mix);
}

static int lazy_index(lua_State *L)
{
    if (!lua_istable(L, 2)) return lazy_index_one(L, sxl_integer(L, 2, "index", INT64_MIN, INT64_MAX - 1));
    int n = (int)luaL_len(L, 2);
    for (int k = 1; k <= n; k++) {               /* t[{i, j}] = t[i][j] */
        if (lua_geti(L, 2, k) == LUA_TTABLE)
            sxl_misuse(L, "t:eval()[{...}], or one image at a time: t[3]", "index: ranges need a tensor in memory");
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
        const sxl_tensor *t = check_tensor(L, 1, "index");
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

/* core.text(t [, limit]): canonical text; beyond limit bytes it is cut and ends with a hash of the whole. */
static int core_text(lua_State *L)
{
    int64_t limit = lua_isnoneornil(L, 2) ? 1 << 20 : sxl_integer(L, 2, "text: limit", 1, INT32_MAX);
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
    const sxl_tensor *t = check_tensor(L, 1, "tostring");
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
            for (; ds.axis[i] != SX_AX_SWEEP(sweep); sweep++) {}
            luaL_addstring(&b, sx_graph_axis_get(s->g, sweep)->name);
        }
        for (int k = 0; k < N_AXIS_NAMES; k++)
            if (ds.axis[i] == axis_names[k].axis) luaL_addstring(&b, axis_names[k].name);
        if (ds.size[i]) {
            snprintf(buf, sizeof buf, " %zu", ds.size[i]);
            luaL_addstring(&b, buf);
        }
        if (ds.axis[i] == SX_AX_P)               /* all of space is one axis */
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

/* -- Loading --------------------------------------------------------------------------------------- */

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
    } events[] = {{"__add", SX_OP_add}, {"__sub", SX_OP_sub}, {"__mul", SX_OP_mul},   {"__div", SX_OP_div},
                  {"__pow", SX_OP_pow}, {"__unm", SX_OP_neg}, {"__band", SX_OP_band}, {"__bor", SX_OP_bor},
                  {"__bnot", SX_OP_bnot}};
    static const luaL_Reg other[] = {{"__lt", no_order},           {"__le", no_order},   {"__concat", no_concat},
                                     {"__newindex", no_assign},    {"__len", tensor_len},
                                     {"__tostring", tensor_tostring}, {NULL, NULL}};
    luaL_newmetatable(L, SXL_TENSOR);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) set_op(L, -1, events[i].op, events[i].event);
    luaL_setfuncs(L, other, 0);
    lua_pushvalue(L, methods);
    lua_pushcclosure(L, tensor_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void sxl_open_tensor(lua_State *L)
{
    static const luaL_Reg functions[] = {{"psum", core_psum}, {"bysum", core_bysum}, {"nsum", core_nsum},
                                         {"bsum", core_bsum}, {"lsum", core_lsum},   {"transpose", core_transpose},
                                         {"axes", core_axes}, {"text", core_text},   {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"clamp", tensor_clamp},     {"sum", tensor_sum},       {"mean", tensor_mean},
        {"pick", tensor_pick},       {"logpick", tensor_logpick}, {"one_minus_pick", tensor_one_minus_pick},
        {"onehot", tensor_onehot},   {"sum_by", tensor_sum_by}, {"axes", tensor_axes},
        {"kind", tensor_kind},       {"dim", tensor_dim},       {"size", tensor_size},
        {"transpose", core_transpose}, {NULL, NULL}};
    static const struct {
        const char *name;
        sx_op op;                                 /* NONE: min, by way of cmax */
    } by_class[] = {{"max", SX_OP_cmax},         {"min", SX_OP_NONE},         {"logsumexp", SX_OP_logsumexp},
                    {"softmax", SX_OP_softmax},  {"log_softmax", SX_OP_log_softmax}, {"argmax", SX_OP_argmax}};
    int core = lua_gettop(L);
    luaL_setfuncs(L, functions, 0);
    lua_newtable(L);
    int class = lua_gettop(L);
    luaL_setfuncs(L, methods, 0);
    for (int i = 1; i < SX_OP_COUNT; i++)
        if (sx_op_class((sx_op)i) == SX_CL_EW) set_op(L, class, (sx_op)i, lua_name((sx_op)i));
    for (size_t i = 0; i < sizeof by_class / sizeof *by_class; i++) {
        lua_pushinteger(L, by_class[i].op);
        lua_pushstring(L, by_class[i].name);
        lua_pushcclosure(L, class_method, 2);
        lua_setfield(L, class, by_class[i].name);
    }
    open_metatable(L, class);
    lua_pushvalue(L, core);
    sxl_open_dense(L, class);
    lua_pop(L, 1);
    lua_pushnil(L);                               /* segx.f(a, ...) is a:f(...) */
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
