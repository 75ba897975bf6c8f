/*
 * bind_dense.c: dense tensors: float64 numbers in memory, C order, eager arithmetic with
 * broadcasting. They hold results, class weights and matrices; pixels stay in the engine.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bind.h"

/* -- Making ------------------------------------------------------------------------------------ */

sxl_tensor *sxl_push_dense(lua_State *L, int n_dims, const size_t *dim)
{
    size_t n = 1;
    if (n_dims > SXL_DIMS)
        sxl_misuse(L, NULL, "a tensor has at most %d dimensions, not %d", SXL_DIMS, n_dims);
    for (int i = 0; i < n_dims; i++) {
        if (dim[i] && n > (SIZE_MAX / 4 - sizeof(sxl_tensor)) / sizeof(double) / dim[i])
            luaL_error(L, "not enough memory");
        n *= dim[i];
    }
    sxl_tensor *t = lua_newuserdatauv(L, sizeof *t + n * sizeof *t->v, 1);
    memset(t, 0, sizeof *t + n * sizeof *t->v);
    t->image = SXL_ALL_IMAGES;
    t->n_dims = n_dims;
    if (n_dims) memcpy(t->dim, dim, (size_t)n_dims * sizeof *dim);
    t->n = n;
    luaL_setmetatable(L, SXL_TENSOR);
    return t;
}

/* Gives the tensor on top the dimension names of the tensor at idx. */
static void copy_names(lua_State *L, int idx)
{
    lua_getiuservalue(L, idx, 1);
    lua_setiuservalue(L, -2, 1);
}

/* The names of the tensor at idx less number `drop` (0-based), to the tensor on top. */
static void drop_name(lua_State *L, int idx, const bool *keep)
{
    if (lua_getiuservalue(L, idx, 1) == LUA_TTABLE) {
        lua_newtable(L);
        int k = 0, n = (int)lua_rawlen(L, -2);
        for (int i = 0; i < n; i++) {
            if (!keep[i]) continue;
            lua_rawgeti(L, -2, i + 1);
            lua_rawseti(L, -2, ++k);
        }
        lua_setiuservalue(L, -3, 1);
    }
    lua_pop(L, 1);
}

/* Shape of the nested table or tensor on top of the stack, which is popped. */
static int nested_shape(lua_State *L, size_t *dim, const char *who)
{
    int n = 0;
    for (;;) {
        const sxl_tensor *t = sxl_test_tensor(L, -1);
        if (t && t->id)
            sxl_misuse(L, "t:eval() gives its numbers",
                       "%s: a lazy tensor inside a table of numbers", who);
        if (n + (t ? t->n_dims : 0) > SXL_DIMS || (n == SXL_DIMS && lua_istable(L, -1)))
            sxl_misuse(L, NULL, "%s: more than %d dimensions", who, SXL_DIMS);
        if (t) {
            for (int i = 0; i < t->n_dims; i++) dim[n++] = t->dim[i];
            break;
        }
        if (!lua_istable(L, -1)) break;
        dim[n++] = (size_t)luaL_len(L, -1);
        if (dim[n - 1] == 0) break;
        lua_geti(L, -1, 1);
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
    return n;
}

/* Values of the table or tensor on top, which is popped, into out from *at on. */
static void nested_values(lua_State *L, sxl_tensor *out, int depth, size_t *at, const char *who)
{
    const sxl_tensor *t = sxl_test_tensor(L, -1);
    if (t && !t->id) {
        bool same = t->n_dims == out->n_dims - depth;
        for (int i = 0; same && i < t->n_dims; i++) same = t->dim[i] == out->dim[depth + i];
        if (!same) sxl_misuse(L, NULL, "%s: rows of different shape", who);
        memcpy(out->v + *at, t->v, t->n * sizeof *t->v);
        *at += t->n;
    } else if (depth == out->n_dims) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            sxl_misuse(L, NULL, "%s: expected a number, got %s", who, luaL_typename(L, -1));
        out->v[(*at)++] = lua_tonumber(L, -1);
    } else {
        if (!lua_istable(L, -1) || (size_t)luaL_len(L, -1) != out->dim[depth])
            sxl_misuse(L, NULL, "%s: rows of different length", who);
        luaL_checkstack(L, 3, NULL);
        for (size_t i = 1; i <= out->dim[depth]; i++) {
            lua_geti(L, -1, (lua_Integer)i);
            nested_values(L, out, depth + 1, at, who);
        }
    }
    lua_pop(L, 1);
}

sxl_tensor *sxl_to_dense(lua_State *L, int idx, const char *who)
{
    size_t dim[SXL_DIMS], at = 0;
    idx = lua_absindex(L, idx);
    sxl_tensor *t = sxl_test_tensor(L, idx);
    if (t && !t->id) {
        lua_pushvalue(L, idx);
        return t;
    }
    if (!lua_istable(L, idx) && lua_type(L, idx) != LUA_TNUMBER)
        sxl_misuse(L, NULL, "%s: expected numbers in tables, got %s", who,
                   t ? "a lazy tensor" : luaL_typename(L, idx));
    lua_pushvalue(L, idx);
    int n = nested_shape(L, dim, who);
    t = sxl_push_dense(L, n, dim);
    lua_pushvalue(L, idx);
    nested_values(L, t, 0, &at, who);
    return t;
}

static int core_dense(lua_State *L)
{
    lua_settop(L, 1);
    sxl_to_dense(L, 1, "tensor");
    return 1;
}

/* List of sizes at idx; -1 stands for what is left of n (0: not allowed). */
static int read_shape(lua_State *L, int idx, size_t *dim, const char *who, size_t n)
{
    size_t known = 1;
    int open = -1;
    if (!lua_istable(L, idx))
        sxl_misuse(L, NULL, "%s: a list of sizes expected, got %s", who, luaL_typename(L, idx));
    lua_Integer count = luaL_len(L, idx);
    if (count > SXL_DIMS) sxl_misuse(L, NULL, "%s: more than %d dimensions", who, SXL_DIMS);
    for (int i = 0; i < (int)count; i++) {
        lua_geti(L, idx, i + 1);
        int64_t v = sxl_integer(L, lua_gettop(L), who, n ? -1 : 0, INT32_MAX);
        lua_pop(L, 1);
        if (v < 0 && open >= 0) sxl_misuse(L, NULL, "%s: only one size can be -1", who);
        if (v < 0)
            open = i;
        else if (n)
            known = v && known > n ? n + 1 : known * (size_t)v;
        dim[i] = v < 0 ? 0 : (size_t)v;
    }
    if (open >= 0) dim[open] = known ? n / known : 0;
    return (int)count;
}

static int core_zeros(lua_State *L)
{
    size_t dim[SXL_DIMS];
    lua_settop(L, 1);
    int n = read_shape(L, 1, dim, "zeros", 0);
    sxl_push_dense(L, n, dim);
    return 1;
}

static int tensor_reshape(lua_State *L)
{
    size_t dim[SXL_DIMS], n = 1;
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    if (!t || t->id)
        sxl_misuse(L, "t:eval():reshape{...}",
                   "reshape: only tensors with numbers in memory can be reshaped");
    int n_dims = read_shape(L, 2, dim, "reshape", t->n);
    for (int i = 0; i < n_dims; i++) n = dim[i] && n > SIZE_MAX / dim[i] ? SIZE_MAX : n * dim[i];
    if (n != t->n)
        sxl_misuse(L, NULL, "reshape: the tensor has %zu numbers, the shape asks for %zu", t->n, n);
    sxl_tensor *r = sxl_push_dense(L, n_dims, dim);
    memcpy(r->v, t->v, t->n * sizeof *t->v);
    return 1;
}

/* -- Arithmetic -------------------------------------------------------------------------------- */

static void shape_text(const sxl_tensor *t, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < t->n_dims && at < size; i++) {
        int k = snprintf(buf + at, size - at, i ? "x%zu" : "%zu", t->dim[i]);
        at += k > 0 ? (size_t)k : 0;
    }
}

/* Size of t along dimension i of a result of n dimensions; 1 where t has none. */
static size_t size_at(const sxl_tensor *t, int i, int n)
{
    int k = i - (n - t->n_dims);
    return k < 0 ? 1 : t->dim[k];
}

void sxl_dense_op(lua_State *L, sx_op op)
{
    const sxl_tensor *t[3] = {NULL, NULL, NULL};
    double num[3] = {0, 0, 0};
    size_t dim[SXL_DIMS], step[3][SXL_DIMS] = {{0}}, at[SXL_DIMS] = {0};
    int args = sx_op_args(op), n = 0;
    for (int k = 0; k < args; k++) {
        t[k] = sxl_test_tensor(L, k + 1);
        if (!t[k])
            num[k] = lua_tonumber(L, k + 1);
        else if (t[k]->n_dims > n)
            n = t[k]->n_dims;
    }
    for (int i = 0; i < n; i++) {
        dim[i] = 1;
        for (int k = 0; k < args; k++) {
            size_t s = t[k] ? size_at(t[k], i, n) : 1;
            if (s == 1 || s == dim[i]) continue;
            if (dim[i] == 1) {
                dim[i] = s;
                continue;
            }
            char text[3][120] = {"", "", ""};
            for (int j = 0; j < args; j++)
                if (t[j]) shape_text(t[j], text[j], sizeof text[j]);
            sxl_misuse(L, NULL, "%s: shapes do not fit: %s and %s%s%s", sx_op_name(op), text[0],
                       text[1], args > 2 ? " and " : "", text[2]);
        }
    }
    for (int k = 0; k < args; k++) {
        size_t s = 1;
        for (int i = n - 1; t[k] && i >= n - t[k]->n_dims; i--) {
            size_t here = size_at(t[k], i, n);
            step[k][i] = here == 1 ? 0 : s;
            s *= here;
        }
    }
    sxl_tensor *r = sxl_push_dense(L, n, dim);
    size_t pos[3] = {0, 0, 0};
    for (size_t e = 0; e < r->n; e++) {
        double x[3];
        for (int k = 0; k < 3; k++) x[k] = t[k] ? t[k]->v[pos[k]] : num[k];
        r->v[e] = sx_op_eval(op, x[0], x[1], x[2]);
        for (int i = n - 1; i >= 0; i--) {
            if (++at[i] < dim[i]) {
                for (int k = 0; k < args; k++) pos[k] += step[k][i];
                break;
            }
            at[i] = 0;
            for (int k = 0; k < args; k++) pos[k] -= step[k][i] * (dim[i] - 1);
        }
    }
    for (int k = 0; k < args;
         k++) /* names: of the first operand that has the shape of the result, and names */
        if (t[k] && t[k]->n_dims == n && memcmp(t[k]->dim, dim, (size_t)n * sizeof *dim) == 0) {
            int type = lua_getiuservalue(L, k + 1, 1);
            lua_pop(L, 1);
            if (type != LUA_TTABLE) continue;
            copy_names(L, k + 1);
            break;
        }
}

/* -- Over one dimension ------------------------------------------------------------------------ */

/* 0-based dimension that the value at idx names. */
static int find_dim(lua_State *L, const sxl_tensor *t, int idx, const char *who)
{
    if (lua_type(L, idx) == LUA_TNUMBER) {
        int64_t i = sxl_integer(L, idx, who, INT32_MIN, INT32_MAX);
        if (i < 0) i += t->n_dims + 1;
        if (i < 1 || i > t->n_dims)
            sxl_misuse(L, NULL, "%s: dimension %d of a tensor with %d", who,
                       (int)lua_tointeger(L, idx), t->n_dims);
        return (int)i - 1;
    }
    if (lua_type(L, idx) != LUA_TSTRING)
        sxl_misuse(L, NULL, "%s: a dimension is a name or a position, not a %s", who,
                   luaL_typename(L, idx));
    const char *name = lua_tostring(L, idx);
    int found = -1;
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) {
        for (int i = 0; i < t->n_dims && found < 0; i++) {
            lua_rawgeti(L, -1, i + 1);
            if (lua_rawequal(L, -1, idx)) found = i;
            lua_pop(L, 1);
        }
    } else if (t->n_dims == 1 || (t->n_dims == 2 && t->dim[0] == t->dim[1])) {
        if (strcmp(name, "class") == 0) found = t->n_dims - 1;
        if (strcmp(name, "label") == 0 && t->n_dims == 2) found = 0;
    }
    lua_pop(L, 1);
    if (found < 0)
        sxl_misuse(L, "use its position", "%s: the tensor has no dimension '%s'", who, name);
    return found;
}

typedef struct fold {
    const char *name;
    double (*f)(const double *x, size_t n, size_t step);
    bool empty; /* has a value for no numbers */
} fold;

static double fold_sum(const double *x, size_t n, size_t step)
{
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i * step];
    return s;
}

static double fold_mean(const double *x, size_t n, size_t step)
{
    return fold_sum(x, n, step) / (double)n;
}

static size_t largest(const double *x, size_t n, size_t step)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i * step] > x[best * step] || (isnan(x[i * step]) && !isnan(x[best * step])))
            best = i;
    return best;
}

static double fold_max(const double *x, size_t n, size_t step)
{
    return x[largest(x, n, step) * step];
}
static double fold_argmax(const double *x, size_t n, size_t step)
{
    return (double)largest(x, n, step);
}

static double fold_min(const double *x, size_t n, size_t step)
{
    double m = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i * step] < m || isnan(x[i * step])) m = x[i * step];
    return m;
}

static double fold_lse(const double *x, size_t n, size_t step)
{
    double m = fold_max(x, n, step), s = 0;
    if (!isfinite(m)) return m;
    for (size_t i = 0; i < n; i++) s += sx_op_eval(SX_OP_exp, x[i * step] - m, 0, 0);
    return m + sx_op_eval(SX_OP_log, s, 0, 0);
}

static const fold folds[] = {
    {"sum",         fold_sum,    true },
    {"mean",        fold_mean,   true },
    {"max",         fold_max,    false},
    {"min",         fold_min,    false},
    {"argmax",      fold_argmax, false},
    {"logsumexp",   fold_lse,    false},
    {"softmax",     fold_lse,    false},
    {"log_softmax", fold_lse,    false}
};

int sxl_dense_reduce(lua_State *L, const char *what)
{
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    const fold *f = folds;
    while (strcmp(f->name, what) != 0) f++;
    bool map = f->f == fold_lse && strcmp(what, "logsumexp") != 0;
    if (lua_isnoneornil(L, 2)) { /* everything */
        if (map) sxl_misuse(L, NULL, "%s: over which dimension?", what);
        if (t->n == 0 && !f->empty) sxl_misuse(L, NULL, "%s: the tensor is empty", what);
        sxl_push_dense(L, 0, NULL)->v[0] = f->f(t->v, t->n, 1);
        return 1;
    }
    int d = find_dim(L, t, 2, what);
    size_t inner = 1, outer = 1, len = t->dim[d], dim[SXL_DIMS];
    bool keep[SXL_DIMS];
    int n = 0;
    if (len == 0 && !f->empty) sxl_misuse(L, NULL, "%s: the dimension is empty", what);
    for (int i = 0; i < t->n_dims; i++) {
        keep[i] = i != d;
        if (i < d) outer *= t->dim[i];
        if (i > d) inner *= t->dim[i];
        if (i != d || map) dim[n++] = t->dim[i];
    }
    sxl_tensor *r = sxl_push_dense(L, n, dim);
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++) {
            const double *x = t->v + o * len * inner + i;
            double v = f->f(x, len, inner);
            if (!map) {
                r->v[o * inner + i] = v;
                continue;
            }
            for (size_t k = 0; k < len; k++) {
                double y = x[k * inner] - v;
                r->v[(o * len + k) * inner + i] =
                    f == &folds[6] ? sx_op_eval(SX_OP_exp, y, 0, 0) : y;
            }
        }
    if (map)
        copy_names(L, 1);
    else
        drop_name(L, 1, keep);
    return 1;
}

sx_axes sxl_dense_axes(lua_State *L, int idx, const char *who)
{
    const sxl_tensor *t = sxl_test_tensor(L, idx);
    char text[120];
    if (t->n == 1) return 0;
    if (t->n == 0) sxl_misuse(L, NULL, "%s: the tensor is empty", who);
    shape_text(t, text, sizeof text);
    if (lua_getiuservalue(L, idx, 1) == LUA_TTABLE) {
        const char *last = lua_rawgeti(L, -1, t->n_dims) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        const char *first = lua_rawgeti(L, -2, 1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        bool fits = strcmp(last, "class") == 0 &&
                    (t->n_dims == 1 || (t->n_dims == 2 && strcmp(first, "label") == 0));
        if (!fits)
            sxl_misuse(L, "leave out eval() and use the expression itself",
                       "%s: numbers that depend on image or sweep (%s) meet a lazy tensor", who,
                       text);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    if (t->n_dims == 1) return SX_AX_C;
    if (t->n_dims == 2 && t->dim[0] == t->dim[1]) return SX_AX_C | SX_AX_L;
    sxl_misuse(L, "one number, a vector by class {C} or a matrix {C,C}",
               "%s: a tensor of shape %s cannot meet a lazy one", who, text);
}

/* -- Reading ----------------------------------------------------------------------------------- */

typedef struct range {
    size_t from, count;
    bool drop;
} range;

static range one_index(lua_State *L, const sxl_tensor *t, int d, int idx)
{
    range r = {0, t->dim[d], false};
    if (lua_istable(L, idx)) { /* {} all, {a, b} from a to b */
        if (luaL_len(L, idx) == 0) return r;
        lua_geti(L, idx, 1);
        lua_geti(L, idx, 2);
        int64_t a = sxl_integer(L, -2, "index", 1, (int64_t)t->dim[d]);
        int64_t b = lua_isnil(L, -1) ? (int64_t)t->dim[d]
                                     : sxl_integer(L, -1, "index", a, (int64_t)t->dim[d]);
        lua_pop(L, 2);
        r.from = (size_t)a - 1;
        r.count = (size_t)(b - a + 1);
        return r;
    }
    if (t->dim[d] == 0) sxl_misuse(L, NULL, "index: the dimension is empty");
    r.from = (size_t)sxl_integer(L, idx, "index", 1, (int64_t)t->dim[d]) - 1;
    r.count = 1;
    r.drop = true;
    return r;
}

int sxl_dense_index(lua_State *L)
{
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    range r[SXL_DIMS];
    size_t dim[SXL_DIMS], at[SXL_DIMS] = {0}, step[SXL_DIMS], pos = 0;
    bool keep[SXL_DIMS];
    int given = 1, n = 0;
    if (t->n_dims == 0)
        sxl_misuse(L, "t:item() gives its number", "index: the tensor is a single number");
    if (lua_istable(L, 2)) given = (int)luaL_len(L, 2);
    if (given > t->n_dims)
        sxl_misuse(L, NULL, "index: %d indices into %d dimensions", given, t->n_dims);
    for (int d = 0; d < t->n_dims; d++) {
        r[d] = (range){0, t->dim[d], false};
        if (d < given && lua_istable(L, 2)) {
            lua_geti(L, 2, d + 1);
            r[d] = one_index(L, t, d, lua_gettop(L));
            lua_pop(L, 1);
        } else if (d < given) {
            r[d] = one_index(L, t, d, 2);
        }
        keep[d] = !r[d].drop;
        if (keep[d]) dim[n++] = r[d].count;
    }
    size_t s = 1;
    for (int d = t->n_dims - 1; d >= 0; d--) {
        step[d] = s;
        pos += r[d].from * s;
        s *= t->dim[d];
    }
    if (n == 0) {
        lua_pushnumber(L, t->v[pos]);
        return 1;
    }
    sxl_tensor *out = sxl_push_dense(L, n, dim);
    for (size_t e = 0; e < out->n; e++) {
        out->v[e] = t->v[pos];
        for (int d = t->n_dims - 1; d >= 0; d--) {
            if (++at[d] < r[d].count) {
                pos += step[d];
                break;
            }
            at[d] = 0;
            pos -= step[d] * (r[d].count - 1);
        }
    }
    drop_name(L, 1, keep);
    return 1;
}

static void push_rows(lua_State *L, const sxl_tensor *t, int depth, size_t *at)
{
    if (depth == t->n_dims) {
        lua_pushnumber(L, t->v[(*at)++]);
        return;
    }
    luaL_checkstack(L, 3, NULL);
    lua_createtable(L, (int)(t->dim[depth] < INT32_MAX ? t->dim[depth] : 0), 0);
    for (size_t i = 1; i <= t->dim[depth]; i++) {
        push_rows(L, t, depth + 1, at);
        lua_rawseti(L, -2, (lua_Integer)i);
    }
}

/* The tensor at 1, evaluated if lazy. */
static sxl_tensor *forced(lua_State *L, const char *who)
{
    sxl_tensor *t = sxl_test_tensor(L, 1);
    if (!t) sxl_misuse(L, NULL, "%s: a tensor expected, got %s", who, luaL_typename(L, 1));
    if (!t->id) return t;
    sxl_eval_one(L, 1);
    lua_replace(L, 1);
    return sxl_test_tensor(L, 1);
}

/* t:totable(): nested tables; a number for a single number. */
static int tensor_totable(lua_State *L)
{
    size_t at = 0;
    push_rows(L, forced(L, "totable"), 0, &at);
    return 1;
}

static int tensor_item(lua_State *L)
{
    const sxl_tensor *t = forced(L, "item");
    if (t->n != 1) {
        char text[120];
        shape_text(t, text, sizeof text);
        sxl_misuse(L, NULL, "item: the tensor holds %zu numbers (%s), not one", t->n, text);
    }
    lua_pushnumber(L, t->v[0]);
    return 1;
}

/* -- Text -------------------------------------------------------------------------------------- */

enum { MAX_LINES = 10, MAX_COLUMNS = 12 };

static void add_number(luaL_Buffer *b, double v)
{
    char buf[48];
    if (isnan(v))
        snprintf(buf, sizeof buf, " %10s", "nan");
    else
        snprintf(buf, sizeof buf, " %10.6g", v);
    luaL_addstring(b, buf);
}

static void add_row(luaL_Buffer *b, const sxl_tensor *t, size_t row, size_t cols)
{
    char buf[40];
    luaL_addstring(b, "\n ");
    if (t->n_dims > 2) { /* where the row lies */
        size_t rest = row, idx[SXL_DIMS];
        for (int d = t->n_dims - 2; d >= 0; d--) {
            idx[d] = rest % t->dim[d];
            rest /= t->dim[d];
        }
        luaL_addchar(b, '[');
        for (int d = 0; d < t->n_dims - 1; d++) {
            snprintf(buf, sizeof buf, d ? ",%zu" : "%zu", idx[d] + 1);
            luaL_addstring(b, buf);
        }
        luaL_addchar(b, ']');
    }
    for (size_t c = 0; c < cols && c < MAX_COLUMNS; c++) add_number(b, t->v[row * cols + c]);
    if (cols > MAX_COLUMNS) luaL_addstring(b, "  ...");
}

int sxl_dense_tostring(lua_State *L)
{
    const sxl_tensor *t = sxl_test_tensor(L, 1);
    char buf[160];
    luaL_Buffer b;
    if (t->n_dims == 0) {
        snprintf(buf, sizeof buf, "%.10g", t->v[0]);
        lua_pushstring(L, isnan(t->v[0]) ? "nan" : buf);
        return 1;
    }
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    shape_text(t, buf, sizeof buf);
    lua_pushfstring(L, "tensor %s", buf);
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, " (");
        for (int i = 1; i <= t->n_dims; i++) {
            if (i > 1) lua_pushliteral(L, ", ");
            luaL_checkstack(L, 4, NULL);
            lua_rawgeti(L, 2, i);
            if (i > 1) lua_concat(L, 2);
            lua_concat(L, 2);
        }
        lua_pushliteral(L, ")");
        lua_concat(L, 3);
    }
    luaL_buffinit(L, &b);
    size_t cols = t->dim[t->n_dims - 1], rows = cols ? t->n / cols : 0;
    if (t->n_dims == 1) { /* a vector: wrapped */
        size_t per = 8, lines = (t->n + per - 1) / per;
        for (size_t l = 0; l < lines && l < MAX_LINES - 1; l++) {
            luaL_addstring(&b, "\n ");
            for (size_t c = l * per; c < t->n && c < (l + 1) * per; c++) add_number(&b, t->v[c]);
        }
        if (lines > MAX_LINES - 1) {
            snprintf(buf, sizeof buf, "\n  ... %zu more", t->n - per * (MAX_LINES - 1));
            luaL_addstring(&b, buf);
        }
    } else {
        size_t shown = rows > MAX_LINES ? MAX_LINES - 1 : rows;
        for (size_t r = 0; r < shown; r++) add_row(&b, t, r, cols);
        if (rows > shown) {
            snprintf(buf, sizeof buf, "\n  ... %zu more rows", rows - shown);
            luaL_addstring(&b, buf);
        }
    }
    luaL_pushresult(&b);
    lua_concat(L, 2);
    return 1;
}

void sxl_open_dense(lua_State *L, int methods)
{
    static const luaL_Reg functions[] = {
        {"dense", core_dense},
        {"zeros", core_zeros},
        {NULL,    NULL      }
    };
    static const luaL_Reg method[] = {
        {"reshape", tensor_reshape},
        {"totable", tensor_totable},
        {"item",    tensor_item   },
        {NULL,      NULL          }
    };
    methods = lua_absindex(L, methods);
    luaL_setfuncs(L, functions, 0);
    lua_pushvalue(L, methods);
    luaL_setfuncs(L, method, 0);
    lua_pop(L, 1);
}
