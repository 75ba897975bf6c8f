/*
 * repl.c: lines typed by hand. Expressions are printed, statements run, unfinished ones continue on
 * the next line; errors do not end it. On a terminal lines are edited with libedit and kept in
 * $XDG_STATE_HOME/segx/history; from a pipe they are read quietly, without prompts.
 *
 *     ?topic    the manual's entry        a trailing ; prints nothing        _    the last value
 */
#include "program.h"

#include <ctype.h>
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include <lauxlib.h>
#include <lualib.h>

#include "base/base.h"
#include "segx_version.h"

typedef struct reader {
    EditLine *edit;          /* NULL: plain lines */
    History *history;
    char history_path[4096]; /* "": none */
    const char *prompt;
    char *line;              /* plain lines: getline's buffer */
    size_t line_size;
    lua_State *L;            /* for completion */
} reader;

/* -- Reading a line ----------------------------------------------------------------------- */

static char *prompt_of(EditLine *e)
{
    /* libedit wants a char * that it does not write to */
    static char first[] = "> ", more[] = ".. ";
    void *r = NULL;
    el_get(e, EL_CLIENTDATA, &r);
    return ((reader *)r)->prompt[0] == '.' ? more : first;
}

/* One character of the terminal; 1 read, 0 end, -1 interrupted. libedit's own goes on reading after
 * Ctrl-C. */
static int get_char(EditLine *e, wchar_t *out)
{
    mbstate_t state;
    memset(&state, 0, sizeof state);
    for (;;) {
        char c;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) {
            if (run_interrupted())
                return -1;
            el_resize(e);
            continue;
        }
        if (n <= 0)
            return (int)n;
        size_t used = mbrtowc(out, &c, 1, &state);
        if (used == (size_t)-2)
            continue;                           /* more bytes to come */
        if (used == (size_t)-1) {               /* not text: drop it */
            memset(&state, 0, sizeof state);
            continue;
        }
        return 1;
    }
}

static bool make_dirs(char *path)
{
    for (char *s = strchr(path + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = '\0';
        int r = mkdir(path, 0700);
        *s = '/';
        if (r != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static void find_history(reader *r)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && state[0] == '/')
        n = snprintf(r->history_path, sizeof r->history_path, "%s/segx/history", state);
    else if (home && home[0] == '/')
        n = snprintf(r->history_path, sizeof r->history_path, "%s/.local/state/segx/history", home);
    if (n <= 0 || (size_t)n >= sizeof r->history_path || !make_dirs(r->history_path))
        r->history_path[0] = '\0';
}

/* -- Completion: names of globals and fields ---------------------------------------------- */

typedef struct completion {
    const char *word;      /* what stands before the cursor, e.g. "segx.loss.fo" */
    size_t len;
    char rest[128];        /* what all names that fit have in common after the word */
    lua_Integer count;
    bool list;             /* print the names */
} completion;

enum { NAMES = 2 };        /* stack index of the set of names found */

static void offer(lua_State *L, const char *name, const char *last, size_t n)
{
    if (strncmp(name, last, n) != 0 || (name[0] == '_' && n == 0))
        return;
    lua_pushboolean(L, 1);
    lua_setfield(L, NAMES, name);
}

/* Offers the keys of the value on top and of what its metatable's __index leads to. */
static void offer_keys(lua_State *L, const char *last, size_t n, int depth)
{
    int t = lua_gettop(L);
    luaL_checkstack(L, 10, NULL);
    if (lua_istable(L, t)) {
        for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1))
            if (lua_type(L, -2) == LUA_TSTRING)
                offer(L, lua_tostring(L, -2), last, n);
    }
    lua_getglobal(L, "segx");
    if (lua_rawequal(L, -1, t)) {            /* modules that are not loaded yet */
        modules_list(L);
        for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TSTRING; i++, lua_pop(L, 1))
            offer(L, lua_tostring(L, -1), last, n);
    }
    lua_settop(L, t);
    if (depth > 5)
        return;
    if (luaL_getmetafield(L, t, "__index") == LUA_TTABLE) {
        offer_keys(L, last, n, depth + 1);
    } else if (luaL_getmetafield(L, t, "__name") == LUA_TSTRING) {
        /* a class of the engine: "segx.Tensor" has its methods in core.Tensor */
        const char *name = lua_tostring(L, -1);
        luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
        if (strncmp(name, "segx.", 5) == 0 && lua_getfield(L, -1, "segx.core") == LUA_TTABLE
            && lua_getfield(L, -1, name + 5) == LUA_TTABLE)
            offer_keys(L, last, n, depth + 1);
    }
    lua_settop(L, t);
}

/* From the set NAMES: sorted list, count, common rest. */
static void sum_up(lua_State *L, completion *c, size_t n)
{
    lua_newtable(L);
    int list = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, NAMES); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_rawseti(L, list, ++c->count);
    }
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, list);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
    for (lua_Integer i = 1; i <= c->count; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, list, i);
        const char *name = lua_tostring(L, -1);
        if (c->list)
            printf("%s  ", name);
        if (i == 1)
            snprintf(c->rest, sizeof c->rest, "%s", name + n);
        size_t k = 0;
        while (c->rest[k] && c->rest[k] == name[n + k])
            k++;
        c->rest[k] = '\0';
    }
}

/* Protected: reading a field may run code of the product. Argument: the completion. */
static int complete_protected(lua_State *L)
{
    completion *c = lua_touserdata(L, 1);
    const char *s = c->word, *end = s + c->len;
    lua_newtable(L);
    lua_pushglobaltable(L);
    for (;;) {
        luaL_checkstack(L, 8, NULL);
        const char *dot = s;
        while (dot < end && *dot != '.' && *dot != ':')
            dot++;
        if (dot == end)
            break;
        lua_pushlstring(L, s, (size_t)(dot - s));
        lua_pushvalue(L, -1);
        /* globals raw: no warning for an undefined one; but L, A, W come from the metatable */
        if (s == c->word && lua_rawget(L, -3) == LUA_TNIL && !(dot == s + 1 && strchr("LAW", *s)))
            return 0;
        lua_pushvalue(L, -2);
        lua_gettable(L, -4);
        s = dot + 1;
    }
    const char *last = lua_pushlstring(L, s, (size_t)(end - s));
    lua_pushvalue(L, -2);
    offer_keys(L, last, (size_t)(end - s), 0);
    sum_up(L, c, (size_t)(end - s));
    return 0;
}

static bool run_completion(lua_State *L, completion *c)
{
    lua_pushcfunction(L, complete_protected);
    lua_pushlightuserdata(L, c);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return true;
    lua_pop(L, 1);
    return false;
}

static unsigned char complete(EditLine *e, int ch)
{
    (void)ch;
    void *data = NULL;
    el_get(e, EL_CLIENTDATA, &data);
    reader *r = data;
    const LineInfo *li = el_line(e);
    const char *start = li->cursor;
    while (start > li->buffer && (isalnum((unsigned char)start[-1]) || strchr("_.:", start[-1])))
        start--;
    if (start == li->cursor)
        return el_insertstr(e, "    ") == 0 ? CC_REFRESH : CC_ERROR;
    completion c = {.word = start, .len = (size_t)(li->cursor - start)};
    bool ok = run_completion(r->L, &c);
    if (!ok || !c.count)
        return CC_REFRESH_BEEP;
    if (c.rest[0])
        return el_insertstr(e, c.rest) == 0 ? CC_REFRESH : CC_ERROR;
    if (c.count == 1)
        return CC_NORM;
    completion all = {.word = start, .len = c.len, .list = true};
    putchar('\n');
    run_completion(r->L, &all);
    putchar('\n');
    fflush(stdout);
    return CC_REDISPLAY;
}

/* -- The reader --------------------------------------------------------------------------- */

static void reader_open(reader *r, lua_State *L)
{
    memset(r, 0, sizeof *r);
    r->L = L;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return;
    setlocale(LC_CTYPE, "");
    r->edit = el_init("segx", stdin, stdout, stderr);
    if (!r->edit)
        return;
    el_set(r->edit, EL_CLIENTDATA, (void *)r);
    el_set(r->edit, EL_PROMPT, prompt_of);
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_GETCFN, get_char);
    el_set(r->edit, EL_ADDFN, "segx-complete", "complete a name", complete);
    el_set(r->edit, EL_BIND, "^I", "segx-complete", NULL);
    el_set(r->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(r->edit, NULL);
    r->history = history_init();
    if (r->history) {
        HistEvent ev;
        history(r->history, &ev, H_SETSIZE, 2000);
        history(r->history, &ev, H_SETUNIQUE, 1);
        el_set(r->edit, EL_HIST, history, r->history);
        find_history(r);
        if (r->history_path[0])
            history(r->history, &ev, H_LOAD, r->history_path);
    }
}

static void reader_close(reader *r)
{
    if (r->history)
        history_end(r->history);
    if (r->edit)
        el_end(r->edit);
    free(r->line);
}

/* The next line without its end, or NULL: end of input, or a signal (run_interrupted). */
static const char *read_line(reader *r, const char *prompt, size_t *len)
{
    const char *line;
    ssize_t n;
    if (r->edit) {
        int count = 0;
        r->prompt = prompt;
        fflush(stdout);
        line = el_gets(r->edit, &count);
        n = line ? count : -1;
        if (n <= 0 && run_interrupted())
            el_set(r->edit, EL_UNBUFFERED, 0);   /* leaves the half line, restores the terminal */
    } else {
        fflush(stdout);
        n = getline(&r->line, &r->line_size, stdin);
        line = r->line;
    }
    if (n <= 0)
        return NULL;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    *len = (size_t)n;
    return line;
}

static void remember(reader *r, const char *text)
{
    HistEvent ev;
    if (!r->history || !text[strspn(text, " \t")])
        return;
    history(r->history, &ev, H_ENTER, text);
    if (r->history_path[0])
        history(r->history, &ev, H_SAVE, r->history_path);
}

/* -- Running ------------------------------------------------------------------------------ */

/* Does the syntax error on top of the stack say that the text ended too early? */
static bool is_unfinished(lua_State *L)
{
    size_t n;
    const char *msg = lua_tolstring(L, -1, &n);
    static const char mark[] = "<eof>";
    return msg && n >= 5 && strcmp(msg + n - 5, mark) == 0;
}

enum load { LOAD_EXPRESSION, LOAD_STATEMENT, LOAD_UNFINISHED, LOAD_ERROR };

/* Loads text: as an expression if it is one (without a trailing ;), else as statements. Pushes the
 * function or the error message; nothing when unfinished. */
static enum load load_text(lua_State *L, const char *text)
{
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    bool silent = n && text[n - 1] == ';';
    const char *code = lua_pushfstring(L, "return %s", text);
    int status = luaL_loadbufferx(L, code, strlen(code), "=stdin", "t");
    lua_remove(L, -2);
    if (status == LUA_OK)
        return silent ? LOAD_STATEMENT : LOAD_EXPRESSION;
    bool unfinished = is_unfinished(L);
    lua_pop(L, 1);
    status = luaL_loadbufferx(L, text, strlen(text), "=stdin", "t");
    if (status == LUA_OK)
        return LOAD_STATEMENT;
    if (unfinished || is_unfinished(L)) {
        lua_pop(L, 1);
        return LOAD_UNFINISHED;
    }
    return LOAD_ERROR;
}

static void print_values(lua_State *L, program *p, int n)
{
    lua_pushvalue(L, -n);
    lua_setglobal(L, "_");
    luaL_checkstack(L, 4, NULL);
    lua_getglobal(L, "print");
    lua_insert(L, -1 - n);
    if (run_call(L, p, n, 0) != LUA_OK)
        run_report(L, p);
}

static void show_doc(lua_State *L, program *p, const char *topic)
{
    topic += strspn(topic, " \t");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "segx.cli");
    if (modules_exist("segx.cli") && run_call(L, p, 1, 1) != LUA_OK) {
        run_report(L, p);
        return;
    }
    if (!lua_istable(L, -1) || lua_getfield(L, -1, "doc") != LUA_TFUNCTION) {
        run_message("this version has no manual\n");
        lua_settop(L, 0);
        return;
    }
    lua_newtable(L);
    if (*topic) {
        lua_pushstring(L, topic);
        lua_rawseti(L, -2, 1);
    }
    if (run_call(L, p, 1, 0) != LUA_OK)
        run_report(L, p);
    lua_settop(L, 0);
}

/* Reads one complete piece of text onto the stack. False: end of input (or a signal other than
 * Ctrl-C on a terminal). An empty string: nothing to do. */
static bool read_piece(lua_State *L, reader *r)
{
    lua_settop(L, 0);
    for (;;) {
        run_clear(L);
        size_t len;
        const char *line = read_line(r, lua_gettop(L) ? ".. " : "> ", &len);
        if (!line && run_interrupted() == SIGINT && r->edit) {
            putchar('\n');
            lua_settop(L, 0);
            continue;                       /* Ctrl-C: forget what was typed */
        }
        if (!line)
            return lua_gettop(L) > 0 && !run_interrupted();   /* runs the rest: a syntax error */
        if (lua_gettop(L)) {
            lua_pushliteral(L, "\n");
            lua_pushlstring(L, line, len);
            lua_concat(L, 3);
        } else {
            lua_pushlstring(L, line, len);
        }
        const char *text = lua_tostring(L, 1);
        if (text[0] == '?')
            return true;
        if (load_text(L, text) != LOAD_UNFINISHED)
            return true;
    }
}

int repl(lua_State *L, program *p)
{
    reader r;
    reader_open(&r, L);
    strict_mode old = p->strict;
    if (p->strict == STRICT_ERROR)
        p->strict = STRICT_WARN;
    if (r.edit)
        printf("segx %s  %s  ?topic explains  Ctrl-D leaves  (L A W = segx.loss, axis, weights)\n",
               SEGX_VERSION, LUA_VERSION);
    while (read_piece(L, &r)) {
        lua_settop(L, 1);
        const char *text = lua_tostring(L, 1);
        remember(&r, text);
        if (text[0] == '?') {
            show_doc(L, p, text + 1);
            continue;
        }
        enum load kind = load_text(L, text);
        if (kind == LOAD_UNFINISHED) {       /* the input ended in the middle */
            run_message("unfinished: %s\n", text);
            continue;
        }
        if (kind == LOAD_ERROR || run_call(L, p, 0, LUA_MULTRET) != LUA_OK) {
            run_report(L, p);
            continue;
        }
        int n = lua_gettop(L) - 1;
        if (kind == LOAD_EXPRESSION && n > 0)
            print_values(L, p, n);
    }
    int sig = run_interrupted();
    p->strict = old;
    lua_settop(L, 0);
    if (r.edit)
        putchar('\n');
    reader_close(&r);
    if (sig)
        return sx_err_exit(sig == SIGTERM ? SX_ESTOPPED : SX_EINTR);
    return p->status;
}
