/*
 * bind_reduce.c: lazy tensors that lose or gain an axis: sums over pixels, images and classes,
 * means, labels, gradients.
 */
#include <string.h>

#include "bind.h"
#include "graph/grad.h"

/* -- Sums -------------------------------------------------------------------------------------- */

/* Pixel sum. What reads no pixel counts once per valid pixel. */
static sx_id pixel_sum(lua_State *L, sx_op op, sx_id id, const sxl_mix *mix, const char *who)
{
    if (!sx_node_get(sxl_get_session(L)->g, id)->dump) {
        sx_id valid = sxl_leaf(L, SX_OP_valid, sxl_need_dump(L, mix, who, NULL, NULL), 0, 0);
        id = sxl_make2(L, SX_OP_mul, id, valid);
    }
    return sxl_make1(L, op, id);
}

static sx_id image_sum(lua_State *L, sx_op op, int64_t batch, sx_id id, const sxl_mix *mix,
                       const char *who)
{
    sxl_session *s = sxl_get_session(L);
    sx_error er;
    if (mix->restricted && (sxl_axes_of(L, id) & SX_AX_N))
        sxl_misuse(L, NULL, "%s: the tensor is image %zu alone", who, mix->image + 1);
    if (sxl_axes_of(L, id) & SX_AX_P)
        sxl_misuse(L, "sum(\"pixel\") first", "%s: the tensor has a pixel axis", who);
    if (!sx_node_get(s->g, id)->dump) { /* a constant: once per image */
        sx_id first = sxl_leaf(L, SX_OP_first, sxl_need_dump(L, mix, who, NULL, NULL), 0, 1);
        first = sxl_made(L, sx_make(s->g, op, first, 0, 0, batch, &er), &er);
        return sxl_make2(L, SX_OP_mul, id, first);
    }
    return sxl_made(L, sx_make(s->g, op, id, 0, 0, batch, &er), &er);
}

static int core_psum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "psum", &mix);
    return sxl_push_mixed(L, pixel_sum(L, SX_OP_psum, id, &mix, "psum"), &mix);
}

static int core_bysum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "bysum", &mix);
    return sxl_push_mixed(L, pixel_sum(L, SX_OP_bysum, id, &mix, "bysum"), &mix);
}

static int core_nsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sx_id id = sxl_node(L, 1, "nsum", &mix);
    return sxl_push_mixed(L, image_sum(L, SX_OP_nsum, 0, id, &mix, "nsum"), &mix);
}

static int core_bsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 2);
    sx_id id = sxl_node(L, 1, "bsum", &mix);
    int64_t batch = sxl_integer(L, 2, "bsum: images of a batch", 1, INT32_MAX);
    if (batch == 1 && (sxl_axes_of(L, id) & SX_AX_N) && !(sxl_axes_of(L, id) & SX_AX_P))
        return sxl_push_mixed(L, id, &mix);
    return sxl_push_mixed(L, image_sum(L, SX_OP_bsum, batch, id, &mix, "bsum"), &mix);
}

/* -- Field operators ---------------------------------------------------------------------------- */

/* core.sum_above(a, b, mask, images), core.sum_below: see the op table. images: how many are sorted together, 0 all of them; mask: 0
 * where a pixel takes no part, nil: all valid ones do. */
static int sum_ordered(lua_State *L, sx_op op)
{
    sxl_mix mix = SXL_MIX;
    sx_error er;
    const char *who = sx_op_name(op);
    lua_settop(L, 4);
    sx_id a = sxl_node(L, 1, who, &mix), b = sxl_node(L, 2, who, &mix);
    sx_id mask = lua_isnil(L, 3) ? 0 : sxl_node(L, 3, who, &mix);
    int64_t images = sxl_integer(L, 4, "images sorted together", 0, INT32_MAX);
    return sxl_push_mixed(L, sxl_made(L, sx_make(sxl_get_session(L)->g, op, a, b, mask, images, &er), &er), &mix);
}

static int core_sum_above(lua_State *L) { return sum_ordered(L, SX_OP_sum_above); }
static int core_sum_below(lua_State *L) { return sum_ordered(L, SX_OP_sum_below); }

/* t:edt(): distance of every pixel to the nearest one where t is 0. */
static int tensor_edt(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    return sxl_push_mixed(L, sxl_make1(L, SX_OP_edt, sxl_node(L, 1, "edt", &mix)), &mix);
}

static int core_lsum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    const sxl_tensor *t = sxl_check_tensor(L, 1, "lsum");
    if (!t->id) {
        lua_pushliteral(L, "label");
        return sxl_dense_reduce(L, "sum");
    }
    return sxl_push_mixed(L, sxl_make1(L, SX_OP_lsum, sxl_node(L, 1, "lsum", &mix)), &mix);
}

static int core_transpose(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    const sxl_tensor *t = sxl_check_tensor(L, 1, "transpose");
    if (t->id)
        return sxl_push_mixed(L, sxl_make1(L, SX_OP_transpose, sxl_node(L, 1, "transpose", &mix)),
                              &mix);
    if (t->n_dims != 2)
        sxl_misuse(L, NULL, "transpose: a matrix expected, the tensor has %d dimensions",
                   t->n_dims);
    size_t rows = t->dim[0], cols = t->dim[1];
    sxl_tensor *r = sxl_push_dense(L, 2, (size_t[]){cols, rows});
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) r->v[j * rows + i] = t->v[i * cols + j];
    return 1;
}

/* Op over the class axis, applied to the class or the label axis. */
static sx_id over_classes(lua_State *L, sx_op op, sx_id id, sx_axes ax)
{
    if (ax != SX_AX_L) return sxl_make1(L, op, id);
    id = sxl_make1(L, op, sxl_make1(L, SX_OP_transpose, id));
    return sxl_axes_of(L, id) & (SX_AX_L | SX_AX_C) ? sxl_make1(L, SX_OP_transpose, id) : id;
}

static sx_id sum_axis(lua_State *L, sx_id id, sx_axes ax, const sxl_mix *mix, const char *who)
{
    switch (ax) {
    case SX_AX_P: return pixel_sum(L, SX_OP_psum, id, mix, who);
    case SX_AX_N: return image_sum(L, SX_OP_nsum, 0, id, mix, who);
    case SX_AX_L: return sxl_make1(L, SX_OP_lsum, id);
    default: return sxl_make1(L, SX_OP_csum, id);
    }
}

static sx_id sum_all(lua_State *L, sx_id id, const sxl_mix *mix, const char *who)
{
    if (sxl_axes_of(L, id) & SX_AX_P) id = sum_axis(L, id, SX_AX_P, mix, who);
    if ((sxl_axes_of(L, id) & SX_AX_N) && !mix->restricted) id = sum_axis(L, id, SX_AX_N, mix, who);
    if (sxl_axes_of(L, id) & SX_AX_L) id = sum_axis(L, id, SX_AX_L, mix, who);
    if (sxl_axes_of(L, id) & SX_AX_C) id = sum_axis(L, id, SX_AX_C, mix, who);
    return id;
}

/* t:sum([dim]) */
static int tensor_sum(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 2);
    if (!sxl_check_tensor(L, 1, "sum")->id) return sxl_dense_reduce(L, "sum");
    sx_axes ax = sxl_dim_argument(L, "sum");
    sx_id id = sxl_node(L, 1, "sum", &mix);
    return sxl_push_mixed(L, ax ? sum_axis(L, id, ax, &mix, "sum") : sum_all(L, id, &mix, "sum"),
                          &mix);
}

/* Valid pixels: of each image, or (when `images`) of all of them. */
static sx_id valid_count(lua_State *L, const sxl_mix *mix, bool images)
{
    sx_id n = sxl_leaf(L, SX_OP_valid, sxl_need_dump(L, mix, "mean", NULL, NULL), 0, 0);
    n = sxl_make1(L, SX_OP_psum, n);
    return images ? sxl_make1(L, SX_OP_nsum, n) : n;
}

/* t:mean([dim]) */
static int tensor_mean(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    size_t images = 0;
    lua_settop(L, 2);
    if (!sxl_check_tensor(L, 1, "mean")->id) return sxl_dense_reduce(L, "mean");
    sx_axes ax = sxl_dim_argument(L, "mean");
    sx_id id = sxl_node(L, 1, "mean", &mix), sum;
    sx_axes have = sxl_axes_of(L, id);
    double count = 1;
    if (ax == SX_AX_P) {
        sum = sum_axis(L, id, ax, &mix, "mean");
        return sxl_push_mixed(L, sxl_make2(L, SX_OP_div, sum, valid_count(L, &mix, false)), &mix);
    }
    if (ax) {
        sum = sum_axis(L, id, ax, &mix, "mean");
        if (ax == SX_AX_N) sxl_need_dump(L, &mix, "mean", NULL, &images);
        count = ax == SX_AX_N ? (double)images : (double)sxl_classes_of(L, id, &mix, "mean");
        return sxl_push_mixed(L, sxl_make2(L, SX_OP_div, sum, sxl_constant(L, count)), &mix);
    }
    sum = sum_all(L, id, &mix, "mean");
    if (have & SX_AX_C) count *= (double)sxl_classes_of(L, id, &mix, "mean");
    if (have & SX_AX_L) count *= (double)sxl_classes_of(L, id, &mix, "mean");
    if (have & SX_AX_P) {
        sum =
            sxl_make2(L, SX_OP_div, sum, valid_count(L, &mix, (have & SX_AX_N) && !mix.restricted));
    } else if ((have & SX_AX_N) && !mix.restricted) {
        sxl_need_dump(L, &mix, "mean", NULL, &images);
        count *= (double)images;
    }
    if (count > 1 || count < 1) sum = sxl_make2(L, SX_OP_div, sum, sxl_constant(L, count));
    return sxl_push_mixed(L, sum, &mix);
}

/* Methods that lazily exist over classes (and labels) only. Upvalue 1: op, upvalue 2: name. */
static int class_method(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sx_op op = (sx_op)lua_tointeger(L, lua_upvalueindex(1));
    const char *who = lua_tostring(L, lua_upvalueindex(2));
    bool named = op != SX_OP_cmax && op != SX_OP_NONE; /* dim may be left out: "class" */
    lua_settop(L, 2);
    const sxl_tensor *t = sxl_check_tensor(L, 1, who);
    if (lua_isnil(L, 2) && named && (t->id || t->n_dims > 1)) {
        lua_pushliteral(L, "class");
        lua_replace(L, 2);
    }
    if (!t->id) {
        if (lua_isnil(L, 2) && t->n_dims == 1) lua_pushinteger(L, 1), lua_replace(L, 2);
        return sxl_dense_reduce(L, who);
    }
    sx_axes ax = sxl_dim_argument(L, who);
    if (ax != SX_AX_C && ax != SX_AX_L)
        sxl_misuse(L,
                   op == SX_OP_cmax || op == SX_OP_NONE
                       ? "the larger of two: a:maximum(b); over the rest: t:eval()"
                       : NULL,
                   "%s: only over \"class\" or \"label\"", who);
    sx_id id = sxl_node(L, 1, who, &mix);
    if (op == SX_OP_NONE)
        id = sxl_make1(L, SX_OP_neg, over_classes(L, SX_OP_cmax, sxl_make1(L, SX_OP_neg, id), ax));
    else
        id = over_classes(L, op, id, ax);
    return sxl_push_mixed(L, id, &mix);
}

/* -- Labels ------------------------------------------------------------------------------------ */

static sx_id picked(lua_State *L, const char *who, sxl_mix *mix)
{
    lua_settop(L, 2);
    sxl_check_tensor(L, 1, who);
    const sxl_tensor *y = sxl_check_tensor(L, 2, who);
    if (!y->id) sxl_misuse(L, "t:pick(d.labels)", "%s: labels expected, got a dense tensor", who);
    sx_id a = sxl_node(L, 1, who, mix), b = sxl_node(L, 2, who, mix);
    return sxl_make2(L, SX_OP_pick, a, b);
}

static int tensor_pick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    return sxl_push_mixed(L, picked(L, "pick", &mix), &mix);
}

static int tensor_logpick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    return sxl_push_mixed(L, sxl_make1(L, SX_OP_log, picked(L, "logpick", &mix)), &mix);
}

static int tensor_one_minus_pick(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sx_id p = picked(L, "one_minus_pick", &mix);
    return sxl_push_mixed(L, sxl_make2(L, SX_OP_sub, sxl_constant(L, 1), p), &mix);
}

static int tensor_onehot(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    lua_settop(L, 1);
    sxl_check_tensor(L, 1, "onehot");
    return sxl_push_mixed(L, sxl_make1(L, SX_OP_onehot, sxl_node(L, 1, "onehot", &mix)), &mix);
}

/* t:sum_by(labels): sum over all valid pixels, split by label. */
static int tensor_sum_by(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sxl_session *s = sxl_get_session(L);
    lua_settop(L, 2);
    sxl_check_tensor(L, 1, "sum_by");
    sx_id t = sxl_node(L, 1, "sum_by", &mix), y = sxl_node(L, 2, "sum_by", &mix), sum;
    if (!(sxl_axes_of(L, y) & SX_AX_P))
        sxl_misuse(L, "t:sum_by(d.labels)", "sum_by: the argument must be labels");
    if (sx_node_get(s->g, y)->op == SX_OP_labels) {
        sum = pixel_sum(L, SX_OP_bysum, t, &mix, "sum_by");
    } else { /* other labels, a prediction say: choose by their one-hot */
        sx_id hot = sxl_make1(L, SX_OP_onehot, y);
        if (sxl_axes_of(L, t) & SX_AX_C) hot = sxl_make1(L, SX_OP_transpose, hot);
        sum = pixel_sum(L, SX_OP_psum, sxl_make3(L, SX_OP_where, hot, t, sxl_constant(L, 0)), &mix,
                        "sum_by");
    }
    return sxl_push_mixed(
        L, mix.restricted ? sum : image_sum(L, SX_OP_nsum, 0, sum, &mix, "sum_by"), &mix);
}

/* core.grad(y, x): derivative of the sum of y over its images, classes and pixels with respect to
 * x, another lazy tensor that y is made from. It has the axes of x, and y's sweep axes. */
static int core_grad(lua_State *L)
{
    sxl_mix mix = SXL_MIX;
    sx_error er;
    lua_settop(L, 2);
    for (int i = 1; i <= 2; i++) {
        const sxl_tensor *t = sxl_check_tensor(L, i, "grad");
        if (!t->id)
            sxl_misuse(L, "segx.grad(loss, d.logits)",
                       "grad: argument %d holds numbers; there is nothing to derive", i);
        if (t->image != SXL_ALL_IMAGES)
            sxl_misuse(L, "segx.grad(y, x)[3]", "grad: argument %d is one image alone", i);
    }
    sx_id y = sxl_node(L, 1, "grad", &mix), x = sxl_node(L, 2, "grad", &mix), g;
    if (sx_grad(sxl_get_session(L)->g, y, x, &g, &er)) sxl_raise(L, &er);
    return sxl_push_mixed(L, g, &mix);
}

/* -- Loading ----------------------------------------------------------------------------------- */

void sxl_open_reduce(lua_State *L, int methods)
{
    static const luaL_Reg functions[] = {
        {"psum",      core_psum     },
        {"bysum",     core_bysum    },
        {"nsum",      core_nsum     },
        {"bsum",      core_bsum     },
        {"sum_above", core_sum_above},
        {"sum_below", core_sum_below},
        {"lsum",      core_lsum     },
        {"transpose", core_transpose},
        {"grad",      core_grad     },
        {NULL,        NULL          }
    };
    static const luaL_Reg method[] = {
        {"sum",            tensor_sum           },
        {"mean",           tensor_mean          },
        {"pick",           tensor_pick          },
        {"logpick",        tensor_logpick       },
        {"one_minus_pick", tensor_one_minus_pick},
        {"onehot",         tensor_onehot        },
        {"sum_by",         tensor_sum_by        },
        {"edt",            tensor_edt           },
        {"transpose",      core_transpose       },
        {NULL,             NULL                 }
    };
    static const struct {
        const char *name;
        sx_op op; /* NONE: min, by way of cmax */
    } by_class[] = {
        {"max",         SX_OP_cmax       },
        {"min",         SX_OP_NONE       },
        {"logsumexp",   SX_OP_logsumexp  },
        {"softmax",     SX_OP_softmax    },
        {"log_softmax", SX_OP_log_softmax},
        {"argmax",      SX_OP_argmax     }
    };
    methods = lua_absindex(L, methods);
    luaL_setfuncs(L, functions, 0);
    lua_pushvalue(L, methods);
    luaL_setfuncs(L, method, 0);
    for (size_t i = 0; i < sizeof by_class / sizeof *by_class; i++) {
        lua_pushinteger(L, by_class[i].op);
        lua_pushstring(L, by_class[i].name);
        lua_pushcclosure(L, class_method, 2);
        lua_setfield(L, -2, by_class[i].name);
    }
    lua_pop(L, 1);
}
