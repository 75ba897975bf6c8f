/*
 * run.c: calling Lua with Ctrl-C and readable errors.
 *
 * Ctrl-C (SIGTERM, SIGUSR1, the time limit) sets the engine's interrupt flag and a hook that raises an error object with
 * code "INTR" at the next Lua instruction. A second one ends the program at once.
 */
#include "program.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "base/base.h"
#include "base/pool.h"

/* For the signal handler. */
static lua_State *volatile running;
static volatile sig_atomic_t last_signal;

void run_message(const char *fmt, ...)
{
    fflush(stdout);
    fputs("segx: ", stderr);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
}

/* -- Signals ------------------------------------------------------------------------------ */

static int interrupt_text(lua_State *L)
{
    lua_getfield(L, 1, "message");
    return 1;
}

static void raise_interrupt(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    bool stop = last_signal != SIGINT;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, stop ? "STOPPED" : "INTR");
    lua_setfield(L, -2, "code");
    lua_pushstring(L, last_signal == SIGALRM ? "time limit reached" : stop ? "stopped" : "interrupted");
    lua_setfield(L, -2, "message");
    if (luaL_newmetatable(L, "segx.interrupt")) {
        lua_pushcfunction(L, interrupt_text);
        lua_setfield(L, -2, "__tostring");
    }
    lua_setmetatable(L, -2);
    lua_error(L);
}

static void on_signal(int sig)
{
    last_signal = sig;
    sx_interrupt();
    lua_State *L = running;
    if (L)
        lua_sethook(L, raise_interrupt, LUA_MASKCOUNT, 1);
    signal(sig, SIG_DFL);
}

void run_signals(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;   /* no SA_RESTART: reading a line must come back */
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGALRM, &sa, NULL);
    signal(SIGXFSZ, SIG_IGN);    /* a file too large is a failed write, with a message */
}

void run_time_limit(double seconds)
{
    if (!(seconds > 0)) return;
    if (seconds > 1e8) seconds = 1e8;
    struct itimerval t = {{0, 0}, {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)}};
    if (!t.it_value.tv_sec && !t.it_value.tv_usec) t.it_value.tv_usec = 1;
    setitimer(ITIMER_REAL, &t, NULL);
}

int run_interrupted(void)
{
    return last_signal;
}

void run_end(void)
{
    running = NULL;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGALRM, SIG_IGN);
}

void run_clear(lua_State *L)
{
    lua_sethook(L, NULL, 0, 0);
    last_signal = 0;
    sx_interrupt_clear();
    run_signals();
}

/* -- Errors ------------------------------------------------------------------------------- */

/* Registry keys, strings: the place of the last error object; its traceback, with --verbose. */
static const char where_key = 0, trace_key = 0;

/* Pushes field `key` of the error object at index i if it is a string. Objects may be of any kind, so
 * reading a field may itself fail: it is done protected. */
static int get_field(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_gettable(L, 1);
    return 1;
}

static const char *push_string_field(lua_State *L, int i, const char *key)
{
    i = lua_absindex(L, i);
    if (!lua_istable(L, i) && !lua_isuserdata(L, i))
        return NULL;
    lua_pushcfunction(L, get_field);
    lua_pushvalue(L, i);
    lua_pushstring(L, key);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        return NULL;
    }
    return lua_tostring(L, -1);
}

static bool is_user_frame(lua_State *L, lua_Debug *ar)
{
    return lua_getinfo(L, "Sln", ar) && strcmp(ar->what, "C") != 0 && ar->currentline > 0
        && strncmp(ar->source, "=segx/", 6) != 0;
}

/* Pushes text plus one line for each place in the user's own files that the error came through; the
 * innermost is left out when the text begins with it. */
static void add_places(lua_State *L, const char *text)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, text);
    lua_Debug ar;
    int shown = 0;
    bool first = true;
    for (int level = 1; shown < 8 && lua_getstack(L, level, &ar); level++) {
        if (!is_user_frame(L, &ar))
            continue;
        char place[LUA_IDSIZE + 32];
        int n = snprintf(place, sizeof place, "%s:%d:", ar.short_src, ar.currentline);
        bool said = first && strncmp(text, place, (size_t)n) == 0;
        first = false;
        if (said)
            continue;
        place[n - 1] = '\0';
        luaL_addstring(&b, "\n  at ");
        luaL_addstring(&b, place);
        if (ar.name) {
            luaL_addstring(&b, ", in ");
            luaL_addstring(&b, ar.name);
        }
        shown++;
    }
    luaL_pushresult(&b);
}

/* Message handler. Upvalue 1: the program. */
static int on_error(lua_State *L)
{
    const program *p = lua_touserdata(L, lua_upvalueindex(1));
    if (push_string_field(L, 1, "code")) {
        lua_Debug ar;
        int level = 1;
        while (lua_getstack(L, level, &ar) && !is_user_frame(L, &ar))
            level++;
        if (lua_getstack(L, level, &ar) && is_user_frame(L, &ar))
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
        else
            lua_pushliteral(L, "");
        lua_rawsetp(L, LUA_REGISTRYINDEX, &where_key);
        if (p->verbose) {
            luaL_traceback(L, L, NULL, 1);
            lua_rawsetp(L, LUA_REGISTRYINDEX, &trace_key);
        }
        lua_settop(L, 1);
        return 1;
    }
    const char *text = lua_tostring(L, 1);
    if (!text) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
            text = lua_tostring(L, -1);
        else
            text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    if (p->verbose)
        luaL_traceback(L, L, text, 1);
    else
        add_places(L, text);
    return 1;
}

int run_call(lua_State *L, program *p, int nargs, int nresults)
{
    int base = lua_gettop(L) - nargs;
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, on_error, 1);
    lua_insert(L, base);
    running = L;
    int status = lua_pcall(L, nargs, nresults, base);
    lua_remove(L, base);
    return status;
}

int run_report(lua_State *L, program *p)
{
    (void)p;
    int status = EXIT_SCRIPT;
    int object = lua_gettop(L);
    const char *code = push_string_field(L, object, "code");
    if (!code) {
        const char *text = lua_tostring(L, object);
        run_message("%s\n", text ? text : "(error that is no text)");
        lua_settop(L, object - 1);
        return status;
    }
    for (int c = 0; strcmp(sx_err_name((sx_err)c), "BUG") != 0; c++)
        if (strcasecmp(sx_err_name((sx_err)c), code) == 0)
            status = sx_err_exit((sx_err)c);
    bool interrupt = strcasecmp(code, "INTR") == 0 || strcmp(code, "interrupted") == 0;
    if (interrupt)
        status = sx_err_exit(SX_EINTR);
    if (interrupt && last_signal && last_signal != SIGINT)
        status = sx_err_exit(SX_ESTOPPED);
    const char *message = push_string_field(L, object, "message");
    if (!message)
        message = luaL_tolstring(L, object, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &where_key);
    const char *where = lua_tostring(L, -1);
    bool placed = !where || interrupt || strcasecmp(code, "STOPPED") == 0 || strcasecmp(code, "USAGE") == 0
        || strncmp(message, where, strlen(where)) == 0;
    run_message("%s%s\n", placed ? "" : where, message);
    const char *hint = push_string_field(L, object, "hint");
    if (hint && *hint && !strstr(message, hint))
        fprintf(stderr, "  hint: %s\n", hint);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &trace_key) == LUA_TSTRING)
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &where_key);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &trace_key);
    lua_settop(L, object - 1);
    return status;
}

/* -- Warnings ----------------------------------------------------------------------------- */

static void warn_off(void *ud, const char *msg, int tocont);
static void warn_on(void *ud, const char *msg, int tocont);
static void warn_more(void *ud, const char *msg, int tocont);

static bool warn_control(lua_State *L, const char *msg, int tocont)
{
    if (tocont || *msg != '@')
        return false;
    if (strcmp(msg, "@on") == 0)
        lua_setwarnf(L, warn_on, L);
    else if (strcmp(msg, "@off") == 0)
        lua_setwarnf(L, warn_off, L);
    return true;
}

static void warn_off(void *ud, const char *msg, int tocont)
{
    warn_control(ud, msg, tocont);
}

static void warn_more(void *ud, const char *msg, int tocont)
{
    fputs(msg, stderr);
    if (!tocont)
        fputc('\n', stderr);
    lua_setwarnf(ud, tocont ? warn_more : warn_on, ud);
}

static void warn_on(void *ud, const char *msg, int tocont)
{
    if (warn_control(ud, msg, tocont))
        return;
    run_message("warning: ");
    warn_more(ud, msg, tocont);
}

void run_warnings(lua_State *L, bool on)
{
    lua_setwarnf(L, on ? warn_on : warn_off, L);
}
