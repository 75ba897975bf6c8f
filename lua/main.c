/*
 * main.c: the program `segx`. Runs scripts like lua(1), opens dumps by hand, hands sub-commands to
 * segx/cli.lua. What scripts see besides Lua's own libraries is one global, `segx`.
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <lauxlib.h>
#include <lualib.h>

/* A word is a sub-command only if it stands here and holds no / or . : other files are scripts. */
static const char *const commands[] = {
    "info", "verify", "plan", "doc", "doctor", "ls", "show", "diff", "merge", "report", "export",
    "import", "repack", "shard", "kernel", "completion",
};

static bool is_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i], word) == 0)
            return true;
    return false;
}

/* Does the file hold HDF5's signature: at 0, 512, 1024, 2048 ... (a user block may precede it)? */
static bool is_hdf5(const char *path)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool found = false;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        unsigned char b[8];
        for (off_t at = 0; !found && at + 8 <= st.st_size; at = at ? at * 2 : 512)
            found = pread(fd, b, sizeof b, at) == (ssize_t)sizeof b
                && memcmp(b, signature, sizeof b) == 0;
    }
    close(fd);
    return found;
}

/* arg as in lua: arg[0] is the script, positive indices its arguments, negative ones what precedes. */
static void set_arg(lua_State *L, const program *p)
{
    int script = p->script ? p->script : p->argc;
    lua_createtable(L, p->argc - script, script + 1);
    for (int i = 0; i < p->argc; i++) {
        lua_pushstring(L, p->argv[i]);
        lua_rawseti(L, -2, p->script ? i - script : i);
    }
    lua_setglobal(L, "arg");
}

static int push_args(lua_State *L, const program *p)
{
    int n = 0;
    luaL_checkstack(L, p->argc, "too many arguments");
    for (int i = p->script + 1; p->script && i < p->argc; i++, n++)
        lua_pushstring(L, p->argv[i]);
    return n;
}

/* Runs the function that a load call left, or reports that call's error. False: p->status is set. */
static bool run_chunk(lua_State *L, program *p, int load_status, int nargs)
{
    if (load_status == LUA_OK) {
        lua_insert(L, -1 - nargs);
        load_status = run_call(L, p, nargs, 0);
    }
    if (load_status == LUA_OK)
        return true;
    p->status = run_report(L, p);
    return false;
}

static bool run_string(lua_State *L, program *p, const char *text, const char *name)
{
    return run_chunk(L, p, luaL_loadbuffer(L, text, strlen(text), name), 0);
}

static bool run_library(lua_State *L, program *p, const char *text)
{
    const char *eq = strchr(text, '=');
    const char *module = eq ? eq + 1 : text;
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    if (run_call(L, p, 1, 1) != LUA_OK) {
        p->status = run_report(L, p);
        return false;
    }
    lua_pushlstring(L, text, eq ? (size_t)(eq - text) : strlen(text));
    lua_pushvalue(L, -2);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 2);
    return true;
}

static bool run_lua_init(lua_State *L, program *p)
{
    const char *name = "=LUA_INIT_5_4", *init = getenv(name + 1);
    if (!init) {
        name = "=LUA_INIT";
        init = getenv(name + 1);
    }
    if (!init)
        return true;
    if (init[0] == '@')
        return run_chunk(L, p, luaL_loadfile(L, init + 1), 0);
    return run_string(L, p, init, name);
}

static bool run_script(lua_State *L, program *p)
{
    const char *path = p->stdin_script ? NULL : p->argv[p->script];
    int loaded = luaL_loadfile(L, path);
    if (loaded == LUA_ERRFILE) {
        run_message("%s\n", lua_tostring(L, -1));
        p->status = EXIT_FILE;
        return false;
    }
    /* run_chunk wants the function on top of its arguments */
    int nargs = loaded == LUA_OK ? push_args(L, p) : 0;
    if (nargs) {
        lua_pushvalue(L, -1 - nargs);
        lua_remove(L, -2 - nargs);
    }
    return run_chunk(L, p, loaded, nargs);
}

static bool open_dump(lua_State *L, program *p, const char *path)
{
    lua_getglobal(L, "segx");
    lua_getfield(L, -1, "open");
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        run_message("%s: this program cannot open dumps (it has no segx.open)\n", path);
        p->status = EXIT_SCRIPT;
        return false;
    }
    lua_pushstring(L, path);
    if (run_call(L, p, 1, 1) != LUA_OK) {
        p->status = run_report(L, p);
        return false;
    }
    lua_setglobal(L, "d");
    return true;
}

/* segx info dump.h5: require("segx.cli").info{"dump.h5"}. What it returns is the exit status (none or
 * true: 0, false: 1). */
static bool run_command(lua_State *L, program *p)
{
    const char *name = p->argv[p->script];
    lua_getglobal(L, "require");
    lua_pushliteral(L, "segx.cli");
    if (modules_exist("segx.cli") && run_call(L, p, 1, 1) != LUA_OK) {
        p->status = run_report(L, p);
        return false;
    }
    if (!lua_istable(L, -1) || lua_getfield(L, -1, name) != LUA_TFUNCTION) {
        run_message("this version has no sub-command '%s'\n", name);
        fprintf(stderr, "  hint: a script of that name runs as ./%s\n", name);
        p->status = EXIT_USAGE;
        return false;
    }
    lua_newtable(L);
    lua_Integer n = 0;
    for (int i = p->script + 1; i < p->argc; i++) {
        lua_pushstring(L, p->argv[i]);
        lua_rawseti(L, -2, ++n);
    }
    if (run_call(L, p, 1, 1) != LUA_OK) {
        p->status = run_report(L, p);
        return false;
    }
    if (lua_isinteger(L, -1))
        p->status = (int)lua_tointeger(L, -1);
    else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        p->status = EXIT_SCRIPT;
    lua_settop(L, 0);
    return true;
}

static void run_all(lua_State *L, program *p)
{
    const char *word = p->script && !p->stdin_script ? p->argv[p->script] : NULL;
    bool command = word && is_command(word);
    bool dump = word && !command && is_hdf5(word);
    if (!p->no_env && !run_lua_init(L, p))
        return;
    if (dump && !open_dump(L, p, word))
        return;
    for (int i = 0; i < p->n_actions; i++) {
        const action *a = &p->actions[i];
        if (a->kind == 'e' ? !run_string(L, p, a->text, "=(command line)")
                           : !run_library(L, p, a->text))
            return;
    }
    if (command) {
        run_command(L, p);
        return;
    }
    if (p->script && !dump && !run_script(L, p) && !p->interactive)
        return;
    bool nothing = !p->script && !p->has_e && !p->show_version;
    if (p->interactive || (dump && !p->has_e) || (nothing && isatty(STDIN_FILENO))) {
        p->status = EXIT_DONE;
        p->status = repl(L, p);
    } else if (nothing) {
        run_chunk(L, p, luaL_loadfile(L, NULL), 0);
    }
}

static int protected_main(lua_State *L)
{
    program *p = lua_touserdata(L, 1);
    lua_settop(L, 0);
    luaL_checkversion(L);
    run_warnings(L, true);
    if (p->no_env) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    set_arg(L, p);
    /* Runs repeat: the generator does not start from the clock. */
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, p->seed);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
    modules_open(L, p);
    modules_strict(L, p);
    run_signals();
    run_time_limit(p->time_limit);
    run_all(L, p);
    if (lua_getfield(L, LUA_REGISTRYINDEX, "segx.failed_rows") == LUA_TNUMBER && p->status == EXIT_DONE)
        p->status = EXIT_FAILED;
    return 0;
}

/* Global options may also follow a sub-command: they are taken out of argv. */
static bool take_trailing_options(program *p)
{
    int to = p->script + 1;
    for (int i = to; i < p->argc; i++) {
        if (strcmp(p->argv[i], "--") == 0) {
            while (i < p->argc)
                p->argv[to++] = p->argv[i++];
            break;
        }
        int r = options_global(p, p->argc, p->argv, &i);
        if (r < 0)
            return false;
        if (r == 0)
            p->argv[to++] = p->argv[i];
    }
    p->argc = to;
    return true;
}

/* Arrays of some MB come and go with every evaluation; given back to the system, their pages would be cleared again each time. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 16 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

int main(int argc, char **argv)
{
    program p = {0};
    lua_State *L = NULL;
    keep_memory();
    if (argc < 1)
        return EXIT_USAGE;
    p.status = EXIT_USAGE;
    if (!options_parse(&p, argc, argv))
        goto done;
    if (p.script && !p.stdin_script && is_command(argv[p.script]) && !take_trailing_options(&p))
        goto done;
    p.status = EXIT_DONE;
    if (p.help || p.version) {
        if (p.help)
            print_help();
        else
            print_version();
        goto done;
    }
    if (p.show_version)
        print_version();
    L = luaL_newstate();
    if (!L) {
        run_message("out of memory\n");
        p.status = EXIT_SCRIPT;
        goto done;
    }
    lua_pushcfunction(L, protected_main);
    lua_pushlightuserdata(L, &p);
    if (run_call(L, &p, 1, 0) != LUA_OK)
        p.status = run_report(L, &p);
    run_end();
    lua_close(L);
done:
    free(p.actions);
    if ((fflush(stdout) != 0 || ferror(stdout)) && p.status == EXIT_DONE) {
        run_message("writing to standard output failed: %s\n", strerror(errno));
        p.status = EXIT_FILE;
    }
    return p.status;
}
