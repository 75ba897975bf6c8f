/*
 * bind_keep.c: run folders for Lua: core.folder(path, {fresh=, retry=}) -> Folder, locked until it is closed; with look=true
 * only to find out what is there (core.plan), neither made nor locked. core.eval takes one as the option `folder`: sums are
 * read from it, new ones go there. folder:put(name, text) writes a file at once or not at all, folder:start(name),
 * :add(text), :finish() the same piece by piece; folder:path(); folder:close().
 */
#include "bind.h"
#include "pass/keep.h"

static sxl_folder *check(lua_State *L)
{
    sxl_folder *f = luaL_checkudata(L, 1, SXL_FOLDER);
    if (!f->k) sxl_misuse(L, NULL, "the run folder is closed");
    return f;
}

sx_keep *sxl_folder_of(lua_State *L, int idx)
{
    sxl_folder *f = luaL_testudata(L, idx, SXL_FOLDER);
    if (!f) sxl_misuse(L, NULL, "eval: folder: a run folder expected, got %s", luaL_typename(L, idx));
    if (!f->k) sxl_misuse(L, NULL, "eval: the run folder is closed");
    return f->k;
}

static int core_folder(lua_State *L)
{
    static const char *const known[] = {"fresh", "retry", "look", NULL};
    sx_error er;
    const char *path = luaL_checkstring(L, 1);
    bool fresh = false, retry = false, look = false;
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        sxl_check_keys(L, 2, "folder", known);
        sxl_field(L, 2, "fresh");
        fresh = lua_toboolean(L, -1);
        sxl_field(L, 2, "retry");
        retry = lua_toboolean(L, -1);
        sxl_field(L, 2, "look");
        look = lua_toboolean(L, -1);
    }
    sxl_folder *f = lua_newuserdatauv(L, sizeof *f, 0);
    f->k = NULL;
    luaL_setmetatable(L, SXL_FOLDER);
    if (look ? sx_keep_look(path, &f->k, &er) : sx_keep_open(path, fresh, &f->k, &er)) {
        f->k = NULL;
        sxl_raise(L, &er);
    }
    sx_keep_retry(f->k, retry);
    return 1;
}

static int folder_close(lua_State *L)
{
    sxl_folder *f = luaL_checkudata(L, 1, SXL_FOLDER);
    if (f->k && sxl_get_session(L)->running)
        sxl_misuse(L, NULL, "the run folder is in use: it cannot be closed from inside an evaluation");
    sx_keep_close(f->k);
    f->k = NULL;
    return 0;
}

/* At the end of the program the session may be gone already. */
static int folder_gc(lua_State *L)
{
    sxl_folder *f = luaL_checkudata(L, 1, SXL_FOLDER);
    sx_keep_close(f->k);
    f->k = NULL;
    return 0;
}

static int folder_put(lua_State *L)
{
    sx_error er;
    size_t n;
    sxl_folder *f = check(L);
    const char *name = luaL_checkstring(L, 2), *text = luaL_checklstring(L, 3, &n);
    if (sx_keep_put(f->k, name, text, n, &er)) sxl_raise(L, &er);
    return 0;
}

static int folder_start(lua_State *L)
{
    sx_error er;
    sxl_folder *f = check(L);
    if (sx_keep_start(f->k, luaL_checkstring(L, 2), &er)) sxl_raise(L, &er);
    return 0;
}

static int folder_add(lua_State *L)
{
    sx_error er;
    size_t n;
    sxl_folder *f = check(L);
    const char *text = luaL_checklstring(L, 2, &n);
    if (sx_keep_add(f->k, text, n, &er)) sxl_raise(L, &er);
    return 0;
}

static int folder_finish(lua_State *L)
{
    sx_error er;
    if (sx_keep_replace(check(L)->k, &er)) sxl_raise(L, &er);
    return 0;
}

static int folder_path(lua_State *L)
{
    lua_pushstring(L, sx_keep_dir(check(L)->k));
    return 1;
}

/* core.failed_rows(n): the program's exit status becomes 6 if nothing worse happens. */
static int core_failed_rows(lua_State *L)
{
    lua_pushinteger(L, luaL_checkinteger(L, 1));
    lua_setfield(L, LUA_REGISTRYINDEX, SXL_FAILED_ROWS);
    return 0;
}

/* For tests: core._kill(n): SIGKILL at the n-th point of writing into run folders from now. */
static int core_kill(lua_State *L)
{
    sx_fault_kill((long)luaL_checkinteger(L, 1));
    return 0;
}

void sxl_open_keep(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"folder", core_folder}, {"failed_rows", core_failed_rows}, {"_kill", core_kill}, {NULL, NULL}
    };
    static const luaL_Reg methods[] = {
        {"close",  folder_close },
        {"put",    folder_put   },
        {"start",  folder_start },
        {"add",    folder_add   },
        {"finish", folder_finish},
        {"path",   folder_path  },
        {NULL,     NULL         }
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, SXL_FOLDER);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, folder_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, folder_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
