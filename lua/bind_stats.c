/*
 * bind_stats.c: core.stats: rank correlation, bootstrap intervals, draws. Lists are Lua lists of
 * numbers.
 */
#include <math.h>

#include "bind.h"
#include "stats/bootstrap.h"
#include "stats/rank.h"

/* The list at idx as an array in a userdata that is pushed. */
static double *push_numbers(lua_State *L, int idx, const char *what, size_t *n)
{
    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx))
        sxl_misuse(L, NULL, "%s: expected a list of numbers, got %s", what, luaL_typename(L, idx));
    *n = lua_rawlen(L, idx);
    double *v = sxl_push_scratch(L, *n, sizeof *v);
    for (size_t i = 0; i < *n; i++) {
        if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TNUMBER)
            sxl_misuse(L, NULL, "%s: entry %zu is not a number", what, i + 1);
        v[i] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    return v;
}

static void same_length(lua_State *L, const char *who, size_t a, size_t b)
{
    if (a != b) sxl_misuse(L, NULL, "%s: lists of %zu and %zu numbers", who, a, b);
}

static void free_rank(void *p) { sx_rank_free(p); }

static sx_rank *push_rank(lua_State *L, const double *x, const double *y, size_t n)
{
    sx_error er;
    sx_rank *r;
    sxl_box *box = sxl_push_box(L, free_rank);
    if (sx_rank_new(x, y, n, &r, &er)) sxl_raise(L, &er);
    return box->p = r;
}

static sx_rank *two_lists(lua_State *L, const char *who)
{
    size_t n, m;
    double *x = push_numbers(L, 1, who, &n), *y = push_numbers(L, 2, who, &m);
    same_length(L, who, n, m);
    return push_rank(L, x, y, n);
}

static int stats_kendall(lua_State *L)
{
    lua_pushnumber(L, sx_rank_kendall(two_lists(L, "kendall"), NULL));
    return 1;
}

static int stats_spearman(lua_State *L)
{
    lua_pushnumber(L, sx_rank_spearman(two_lists(L, "spearman"), NULL));
    return 1;
}

/* stats.ranks(kind, t, y): t dense {m, n}, y n numbers -> list of m: the correlation of minus each row of t with y. */
static int stats_ranks(lua_State *L)
{
    static const char *const kinds[] = {"kendall", "spearman", NULL};
    double (*const f[])(sx_rank *, const uint32_t *) = {sx_rank_kendall, sx_rank_spearman};
    size_t n;
    lua_settop(L, 3);
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    const sxl_tensor *t = sxl_check_tensor(L, 2, "ranks");
    const double *y = push_numbers(L, 3, "ranks", &n);
    if (t->id || t->n_dims != 2 || t->dim[1] != n) sxl_misuse(L, NULL, "ranks: rows of %zu numbers expected", n);
    double *x = sxl_push_scratch(L, n, sizeof *x);
    lua_createtable(L, (int)t->dim[0], 0);
    int list = lua_gettop(L);
    for (size_t i = 0; i < t->dim[0]; i++) {
        for (size_t k = 0; k < n; k++) x[k] = -t->v[i * n + k];
        lua_pushnumber(L, f[kind](push_rank(L, x, y, n), NULL));
        lua_rawseti(L, list, (lua_Integer)i + 1);
        sxl_box_clear(lua_touserdata(L, -1));
        lua_settop(L, list);
    }
    return 1;
}

static uint64_t seed_at(lua_State *L, int idx)
{
    return (uint64_t)sxl_integer(L, idx, "seed", INT64_MIN, INT64_MAX);
}

/* stats.uniform(seed, stream, counter): in [0, 1). */
static int stats_uniform(lua_State *L)
{
    uint64_t stream = (uint64_t)sxl_integer(L, 2, "stream", 0, INT64_MAX);
    uint64_t counter = (uint64_t)sxl_integer(L, 3, "counter", 0, INT64_MAX);
    lua_pushnumber(L, sx_draw_uniform(seed_at(L, 1), stream, counter));
    return 1;
}

/* -- Intervals --------------------------------------------------------------------------------- */

static const char *const known_options[] = {"kind", "x", "y", "minus", "groups", "resamples",
                                            "seed", "level", "bca", NULL};

static double *field_numbers(lua_State *L, const char *name, size_t *n)
{
    if (!sxl_field(L, 1, name)) return NULL;
    return push_numbers(L, -1, name, n);
}

void sxl_read_boot(lua_State *L, size_t n, sx_boot *b)
{
    *b = (sx_boot){.n = n, .resamples = 1000, .level = 0.95};
    if (sxl_field(L, 1, "resamples"))
        b->resamples = (size_t)sxl_integer(L, -1, "resamples", 1, 10000000);
    if (sxl_field(L, 1, "seed")) b->seed = seed_at(L, -1);
    if (sxl_field(L, 1, "level")) b->level = luaL_checknumber(L, -1);
    if (sxl_field(L, 1, "bca")) b->bca = lua_toboolean(L, -1);
    size_t m = 0;
    double *groups = field_numbers(L, "groups", &m);
    if (!groups) return;
    same_length(L, "groups", n, m);
    uint32_t *group = sxl_push_scratch(L, n, sizeof *group);
    for (size_t i = 0; i < n; i++) {
        double g = groups[i];
        if (!(g >= 1 && g <= (double)n) || g != floor(g))
            sxl_misuse(L, NULL, "groups: entry %zu is not an integer in 1 .. %zu", i + 1, n);
        group[i] = (uint32_t)g - 1;
        if (group[i] >= b->units) b->units = (size_t)group[i] + 1;
    }
    b->group = group;
}

typedef struct ranks {
    sx_rank *of, *minus; /* minus: NULL, or taken away */
    double (*f)(sx_rank *, const uint32_t *);
} ranks;

static double rank_value(void *arg, const uint32_t *w, size_t n)
{
    ranks *r = arg;
    (void)n;
    double v = r->f(r->of, w);
    return r->minus ? v - r->f(r->minus, w) : v;
}

typedef struct means {
    const double *x, *y, *minus; /* y: NULL, or sum x / sum y; minus: over the same y */
} means;

static double mean_value(void *arg, const uint32_t *w, size_t n)
{
    means *m = arg;
    double top = 0, bottom = 0;
    for (size_t i = 0; i < n; i++) {
        double x = m->minus ? m->x[i] - m->minus[i] : m->x[i], y = m->y ? m->y[i] : 1;
        if (!w[i] || isnan(x) || isnan(y)) continue;
        top += w[i] * x;
        bottom += w[i] * y;
    }
    return top / bottom;
}

/* stats.interval{kind = "kendall" | "spearman" | "mean", x, y, minus, groups, resamples, seed, level,
 * bca} -> value, lo, hi. minus: the statistic of x less that of minus, under the same resamples. */
static int stats_interval(lua_State *L)
{
    static const char *const kinds[] = {"kendall", "spearman", "mean", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 24, NULL);
    sxl_check_keys(L, 1, "interval", known_options);
    sxl_field(L, 1, "kind");
    int kind = luaL_checkoption(L, -1, "mean", kinds);
    size_t n = 0, ny = 0, nm = 0;
    double *x = field_numbers(L, "x", &n), *y = field_numbers(L, "y", &ny);
    double *minus = field_numbers(L, "minus", &nm);
    if (!x) sxl_misuse(L, NULL, "interval: x is missing");
    if (!y && kind < 2) sxl_misuse(L, NULL, "interval: y is missing");
    if (y) same_length(L, "interval", n, ny);
    if (minus) same_length(L, "interval", n, nm);
    sx_boot b;
    sxl_read_boot(L, n, &b);
    ranks r = {.f = kind == 0 ? sx_rank_kendall : sx_rank_spearman};
    means m = {x, y, minus};
    if (kind < 2) {
        r.of = push_rank(L, x, y, n);
        if (minus) r.minus = push_rank(L, minus, y, n);
    }
    double value, lo, hi;
    sx_error er;
    if (sx_boot_interval(&b, kind < 2 ? rank_value : mean_value, kind < 2 ? (void *)&r : (void *)&m,
                         &value, &lo, &hi, &er))
        sxl_raise(L, &er);
    lua_pushnumber(L, value);
    lua_pushnumber(L, lo);
    lua_pushnumber(L, hi);
    return 3;
}

void sxl_open_stats(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"kendall",  stats_kendall },
        {"spearman", stats_spearman},
        {"ranks",    stats_ranks   },
        {"uniform",  stats_uniform },
        {"interval", stats_interval},
        {NULL,       NULL          }
    };
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "stats");
}
