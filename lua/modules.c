/*
 * modules.c: where `require "segx.loss"` finds its text, the global `segx`, undefined globals.
 *
 * The Lua files of the product are inside the program. When the environment variable SEGX_LUA names
 * a folder, files below it go first (segx/loss.lua), so that they can be changed without building.
 * Chunk names are "segx/loss.lua" in both cases: error messages tell product from script by them.
 */
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "embedded.h"
#include "segx_version.h"

#pragma weak luaopen_segx_core

static const struct embedded_module *find_embedded(const char *name)
{
    for (const struct embedded_module *m = embedded_modules; m->name; m++)
        if (strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

/* Pushes "DIR/segx/loss.lua" or, in the second form, "DIR/segx/loss/init.lua". */
static const char *push_path(lua_State *L, const char *dir, const char *name, int form)
{
    const char *rel = luaL_gsub(L, name, ".", "/");
    const char *path = lua_pushfstring(L, form ? "%s/%s/init.lua" : "%s/%s.lua", dir, rel);
    lua_remove(L, -2);
    return path;
}

/* Loads the file with a chunk name of its own. LUA_OK: function pushed; LUA_ERRFILE: there is no such
 * file, nothing pushed; else: message pushed. */
static int load_file(lua_State *L, const char *path, const char *chunk)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return LUA_ERRFILE;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t n = 1; n;) {
        n = fread(luaL_prepbuffer(&b), 1, LUAL_BUFFERSIZE, f);
        luaL_addsize(&b, n);
    }
    fclose(f);
    luaL_pushresult(&b);
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    int status = luaL_loadbufferx(L, text, size, chunk, "t");
    lua_remove(L, -2);
    return status;
}

/* package.searchers entry. Upvalue 1: the folder of SEGX_LUA or nil. */
static int searcher(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (strcmp(name, "segx") != 0 && strncmp(name, "segx.", 5) != 0)
        return 0;
    const char *dir = lua_tostring(L, lua_upvalueindex(1));
    int status = LUA_ERRFILE;
    for (int form = 0; dir && form < 2 && status == LUA_ERRFILE; form++) {
        const char *path = push_path(L, dir, name, form);
        const char *chunk = lua_pushfstring(L, "=%s", path + strlen(dir) + 1);
        status = load_file(L, path, chunk);
        if (status == LUA_OK) {
            lua_pushstring(L, path);
            return 2;
        }
    }
    const struct embedded_module *m = find_embedded(name);
    if (status == LUA_ERRFILE && m) {
        status = luaL_loadbufferx(L, (const char *)m->text, *m->size, m->chunk, "t");
        if (status == LUA_OK) {
            lua_pushfstring(L, "(built in) %s", m->chunk + 1);
            return 2;
        }
    }
    if (status != LUA_ERRFILE)
        return luaL_error(L, "error loading module '%s':\n\t%s", name, lua_tostring(L, -1));
    lua_pushfstring(L, "no module '%s' in this program", name);
    return 1;
}

static int no_core(lua_State *L)
{
    return luaL_error(L, "this program was built without the engine's binding (segx.core)");
}

static int open_core(lua_State *L)
{
    return luaopen_segx_core ? luaopen_segx_core(L) : no_core(L);
}

/* Without the engine: segx.x is module segx.x, or nil. */
static int plain_index(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_pushfstring(L, "segx.%s", lua_tostring(L, 2));
    if (!find_embedded(name) && strcmp(name, "segx.core") != 0)
        return 0;
    lua_getglobal(L, "require");
    lua_pushvalue(L, 3);
    lua_call(L, 1, 1);
    return 1;
}

void modules_open(lua_State *L, program *p)
{
    /* searchers: preload, ours, the standard ones */
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    const char *dir = p->no_env ? NULL : getenv("SEGX_LUA");
    lua_pushstring(L, dir && *dir ? dir : NULL);
    lua_pushcclosure(L, searcher, 1);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_core);
    lua_setfield(L, -2, "segx.core");
    lua_pop(L, 1);

    /* The table `segx` with what the program knows; segx/init.lua finds it as the global and may
     * fill it, or return a table of its own that then gets these fields. */
    lua_newtable(L);
    int base = lua_gettop(L);
    lua_pushstring(L, SEGX_VERSION);
    lua_setfield(L, base, "version");
    options_push(L, p);
    lua_setfield(L, base, "options");
    lua_pushvalue(L, base);
    lua_setglobal(L, "segx");

    lua_getglobal(L, "require");
    lua_pushliteral(L, "segx");
    if (luaopen_segx_core && (find_embedded("segx") || dir)) {
        lua_call(L, 1, 1);
        if (lua_istable(L, -1) && !lua_rawequal(L, -1, base)) {
            static const char *const fields[] = {"version", "options"};
            for (int i = 0; i < 2; i++) {
                lua_pushstring(L, fields[i]);
                lua_getfield(L, base, fields[i]);
                lua_rawset(L, -3);
            }
            lua_setglobal(L, "segx");
        }
    } else {
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, plain_index);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, base);
        luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
        lua_pushvalue(L, base);
        lua_setfield(L, -2, "segx");
    }
    lua_settop(L, base - 1);
}

bool modules_exist(const char *name)
{
    const char *dir = getenv("SEGX_LUA");
    return find_embedded(name) || (dir && *dir);
}

void modules_list(lua_State *L)
{
    lua_newtable(L);
    lua_Integer n = 0;
    for (const struct embedded_module *m = embedded_modules; m->name; m++)
        if (strncmp(m->name, "segx.", 5) == 0) {
            lua_pushstring(L, m->name + 5);
            lua_rawseti(L, -2, ++n);
        }
}

/* -- Undefined globals -------------------------------------------------------------------- */

enum { MAX_NAME = 40 };

/* Number of single edits between two names; large when one of them is long. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    if (na > MAX_NAME || nb > MAX_NAME)
        return MAX_NAME;
    size_t row[MAX_NAME + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[nb];
}

/* Pushes the nearest name among the globals, or nothing and returns NULL. */
static const char *nearest_global(lua_State *L, const char *name)
{
    size_t best = strlen(name) < 4 ? 2 : 3;   /* below this many edits */
    const char *found = NULL;
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -2);
        size_t d = distance(name, key);
        if (d < best || (d == best && found && strcmp(key, found) < 0)) {
            best = d;
            found = key;   /* a key of the table: stays valid */
        }
    }
    lua_pop(L, 1);
    return found;
}

/* In lines typed by hand these are there without asking. */
static const char *const repl_short[][2] = {{"L", "loss"}, {"A", "axis"}, {"W", "weights"}};

static int missing_global(lua_State *L)
{
    const program *p = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING || p->strict == STRICT_OFF)
        return 0;
    const char *name = lua_tostring(L, 2);
    if (p->strict == STRICT_WARN) {
        for (size_t i = 0; i < sizeof repl_short / sizeof repl_short[0]; i++) {
            if (strcmp(name, repl_short[i][0]) != 0)
                continue;
            lua_getglobal(L, "segx");
            lua_getfield(L, -1, repl_short[i][1]);
            return 1;
        }
    }
    const char *near = nearest_global(L, name);
    const char *text = near ? lua_pushfstring(L, "undefined global '%s' (did you mean '%s'?)", name, near)
                            : lua_pushfstring(L, "undefined global '%s'", name);
    if (p->strict == STRICT_ERROR)
        return luaL_error(L, "%s", text);
    lua_warning(L, text, 0);
    return 0;
}

void modules_strict(lua_State *L, program *p)
{
    lua_pushglobaltable(L);
    lua_createtable(L, 0, 1);
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, missing_global, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}
