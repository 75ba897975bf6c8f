/*
 * bind_draw.c: pictures for Lua: core.canvas(w, h, "#ffffff") -> Canvas, core.picture(d, i), core.text_width(s).
 *
 * A panel is a table {x =, y = (top left corner on the canvas), w =, h = (of the array), up = 1, down = 1}; numbers are a
 * dense tensor, of which a panel shows w * h from `first` on (0-based, default 0). Colours are "#rrggbb".
 */
#include <string.h>

#include "bind.h"
#include "draw/draw.h"

#define CANVAS "segx.Canvas"

static void free_canvas(void *p) { sx_canvas_free(p); }
static void free_bytes(void *p) { sx_free(p); }

/* -- Arguments --------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void colour(lua_State *L, int idx, unsigned char rgb[3])
{
    size_t n = 0;
    const char *s = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &n) : NULL;
    bool good = n == 7 && s[0] == '#';
    for (size_t k = 0; good && k < 3; k++) {
        int a = hex_digit(s[1 + 2 * k]), b = hex_digit(s[2 + 2 * k]);
        good = a >= 0 && b >= 0;
        rgb[k] = (unsigned char)(16 * a + b);
    }
    if (!good) sxl_misuse(L, NULL, "canvas: a colour is \"#rrggbb\"");
}

/* List of n colours at idx: pushed as n * 3 bytes. */
static const unsigned char *colours(lua_State *L, int idx, size_t *n)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    *n = lua_rawlen(L, idx);
    unsigned char *rgb = sxl_push_scratch(L, *n, 3);
    for (size_t i = 0; i < *n; i++) {
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        colour(L, lua_gettop(L), rgb + 3 * i);
        lua_pop(L, 1);
    }
    return rgb;
}

static sx_canvas *canvas(lua_State *L)
{
    return ((sxl_box *)luaL_checkudata(L, 1, CANVAS))->p;
}

static int64_t field(lua_State *L, int idx, const char *name, int64_t lo, int64_t hi, int64_t def)
{
    int64_t v = def;
    if (sxl_field(L, idx, name)) v = sxl_integer(L, lua_gettop(L), name, lo, hi);
    lua_pop(L, 1);
    return v;
}

static double number(lua_State *L, int idx, const char *name, double def)
{
    double v = def;
    if (sxl_field(L, idx, name)) v = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return v;
}

static sx_panel panel(lua_State *L, int idx)
{
    const int64_t most = 1 << 24;
    luaL_checktype(L, idx, LUA_TTABLE);
    sx_panel p = {.x = (long)field(L, idx, "x", -most, most, 0), .y = (long)field(L, idx, "y", -most, most, 0),
                  .w = (size_t)field(L, idx, "w", 1, most, 0), .h = (size_t)field(L, idx, "h", 1, most, 0),
                  .up = (size_t)field(L, idx, "up", 1, 64, 1), .down = (size_t)field(L, idx, "down", 1, most, 1)};
    if (p.w == 0 || p.h == 0 || (p.up > 1 && p.down > 1))
        sxl_misuse(L, NULL, "canvas: a panel has w and h, and up or down");
    return p;
}

/* The numbers that the panel at 2 shows: of the dense tensor at 3, from panel.first on. */
static const double *numbers(lua_State *L, const sx_panel *p)
{
    const sxl_tensor *t = sxl_check_tensor(L, 3, "canvas");
    if (t->id) sxl_misuse(L, NULL, "canvas: a dense tensor expected");
    size_t first = (size_t)field(L, 2, "first", 0, INT64_MAX, 0);
    if (first > t->n || p->w > (t->n - first) / p->h)
        sxl_misuse(L, NULL, "canvas: %zu numbers for a panel of %zu x %zu", t->n - (first < t->n ? first : t->n), p->w,
                   p->h);
    return t->v + first;
}

/* -- Canvas ------------------------------------------------------------------------------------ */

static int core_canvas(lua_State *L)
{
    sx_error er;
    sx_canvas *c;
    unsigned char paper[3];
    lua_settop(L, 3);
    int64_t w = sxl_integer(L, 1, "canvas: width", 1, INT32_MAX), h = sxl_integer(L, 2, "canvas: height", 1, INT32_MAX);
    colour(L, 3, paper);
    sxl_box *box = sxl_push_box(L, free_canvas);
    if (sx_canvas_new((size_t)w, (size_t)h, paper, &c, &er)) sxl_raise(L, &er);
    box->p = c;
    luaL_setmetatable(L, CANVAS);
    return 1;
}

static int canvas_gc(lua_State *L)
{
    sxl_box_clear(luaL_checkudata(L, 1, CANVAS));
    return 0;
}

static int canvas_size(lua_State *L)
{
    const sx_canvas *c = canvas(L);
    lua_pushinteger(L, (lua_Integer)c->w);
    lua_pushinteger(L, (lua_Integer)c->h);
    return 2;
}

/* canvas:pixel(x, y): "#rrggbb" */
static int canvas_pixel(lua_State *L)
{
    const sx_canvas *c = canvas(L);
    size_t x = (size_t)sxl_integer(L, 2, "pixel: x", 0, (int64_t)c->w - 1);
    size_t y = (size_t)sxl_integer(L, 3, "pixel: y", 0, (int64_t)c->h - 1);
    const unsigned char *v = c->rgb + 3 * (y * c->w + x);
    char text[8];
    static const char digit[] = "0123456789abcdef";
    text[0] = '#';
    for (size_t k = 0; k < 3; k++) {
        text[1 + 2 * k] = digit[v[k] >> 4];
        text[2 + 2 * k] = digit[v[k] & 15];
    }
    lua_pushlstring(L, text, 7);
    return 1;
}

/* canvas:fill(x, y, w, h, colour) */
static int canvas_fill(lua_State *L)
{
    sx_canvas *c = canvas(L);
    long v[4];
    unsigned char rgb[3];
    for (int i = 0; i < 4; i++) v[i] = (long)sxl_integer(L, 2 + i, "fill", -(1 << 24), 1 << 24);
    colour(L, 6, rgb);
    sx_canvas_fill(c, v[0], v[1], v[2], v[3], rgb);
    return 0;
}

/* canvas:text(x, y, text, colour): its width */
static int canvas_text(lua_State *L)
{
    sx_canvas *c = canvas(L);
    long x = (long)sxl_integer(L, 2, "text: x", -(1 << 24), 1 << 24), y = (long)sxl_integer(L, 3, "text: y", -(1 << 24), 1 << 24);
    size_t n;
    unsigned char rgb[3];
    const char *s = luaL_checklstring(L, 4, &n);
    colour(L, 5, rgb);
    lua_pushinteger(L, (lua_Integer)sx_canvas_text(c, x, y, s, n, rgb));
    return 1;
}

/* canvas:picture(panel, bytes, grey, fade) */
static int canvas_picture(lua_State *L)
{
    sx_canvas *c = canvas(L);
    sx_panel p = panel(L, 2);
    size_t n, first = (size_t)field(L, 2, "first", 0, INT64_MAX, 0);
    const char *rgb = luaL_checklstring(L, 3, &n);
    if (first > n / 3 || p.w > (n / 3 - first) / p.h)
        sxl_misuse(L, NULL, "canvas: %zu bytes for a picture of %zu x %zu", n, p.w, p.h);
    sx_canvas_picture(c, &p, (const unsigned char *)rgb + 3 * first, luaL_optnumber(L, 4, 0), luaL_optnumber(L, 5, 0));
    return 0;
}

/* canvas:labels(panel, tensor, {colour, ...}) */
static int canvas_labels(lua_State *L)
{
    sx_canvas *c = canvas(L);
    sx_panel p = panel(L, 2);
    const double *v = numbers(L, &p);
    size_t n;
    const unsigned char *rgb = colours(L, 4, &n);
    sx_canvas_labels(c, &p, v, rgb, n);
    return 0;
}

/* canvas:heat(panel, tensor, {lo =, hi =, low =, high =, map = list of 256 colours}) */
static int canvas_heat(lua_State *L)
{
    static const char *const known[] = {"lo", "hi", "low", "high", "map", NULL};
    sx_canvas *c = canvas(L);
    sx_panel p = panel(L, 2);
    const double *v = numbers(L, &p);
    luaL_checktype(L, 4, LUA_TTABLE);
    sxl_check_keys(L, 4, "heat", known);
    sx_heat h = {.lo = number(L, 4, "lo", 0), .hi = number(L, 4, "hi", 1), .low = number(L, 4, "low", 1),
                 .high = number(L, 4, "high", 1)};
    size_t n;
    lua_getfield(L, 4, "map");
    h.map = colours(L, lua_gettop(L), &n);
    if (n != 256) sxl_misuse(L, NULL, "heat: map is a list of 256 colours");
    sx_canvas_heat(c, &p, v, &h);
    return 0;
}

/* canvas:png(): the bytes of the file */
static int canvas_png(lua_State *L)
{
    sx_error er;
    unsigned char *bytes;
    size_t n;
    const sx_canvas *c = canvas(L);
    sxl_box *box = sxl_push_box(L, free_bytes);
    if (sx_canvas_png(c, &bytes, &n, &er)) sxl_raise(L, &er);
    box->p = bytes;
    lua_pushlstring(L, (const char *)bytes, n);
    sxl_box_clear(box);
    return 1;
}

/* -- Functions --------------------------------------------------------------------------------- */

/* core.picture(d, i): what the network saw of image i, 3 bytes per pixel, or nil. */
static int core_picture(lua_State *L)
{
    sx_error er;
    const sxl_dump *d = sxl_check_dump(L, 1);
    size_t n = sx_dump_get_info(d->d)->n;
    size_t i = (size_t)sxl_integer(L, 2, "picture", 1, (int64_t)n) - 1;
    unsigned char *rgb;
    sxl_box *box = sxl_push_box(L, free_bytes);
    if (sx_dump_picture(d->d, i, &rgb, &er)) sxl_raise(L, &er);
    if (!rgb) return 0;
    box->p = rgb;
    lua_pushlstring(L, (const char *)rgb, 3 * sx_dump_n_px(d->d, i));
    sxl_box_clear(box);
    return 1;
}

static int core_text_width(lua_State *L)
{
    static const unsigned char none[3];
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);
    lua_pushinteger(L, (lua_Integer)sx_canvas_text(NULL, 0, 0, s, n, none));
    return 1;
}

void sxl_open_draw(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"canvas",     core_canvas    },
        {"picture",    core_picture   },
        {"text_width", core_text_width},
        {NULL,         NULL           }
    };
    static const luaL_Reg methods[] = {
        {"size",    canvas_size   },
        {"pixel",   canvas_pixel  },
        {"fill",    canvas_fill   },
        {"text",    canvas_text   },
        {"picture", canvas_picture},
        {"labels",  canvas_labels },
        {"heat",    canvas_heat   },
        {"png",     canvas_png    },
        {NULL,      NULL          }
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, CANVAS);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, canvas_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
