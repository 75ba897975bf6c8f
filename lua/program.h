/*
 * program.h: what the files of the program `segx` share: options, running Lua, the REPL.
 *
 * One struct program lives in main() and is handed around; the only globals are those that a signal
 * handler needs (run.c).
 */
#ifndef SEGX_PROGRAM_H
#define SEGX_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>

enum { EXIT_DONE = 0, EXIT_SCRIPT = 1, EXIT_USAGE = 2, EXIT_FILE = 3, EXIT_FAILED = 6 };

typedef enum strict_mode { STRICT_ERROR, STRICT_WARN, STRICT_OFF } strict_mode;

typedef struct action {
    char kind;             /* 'e': statement, 'l': module */
    const char *text;
} action;

typedef struct program {
    int argc;
    char **argv;
    /* as lua(1) */
    action *actions;       /* -e and -l in order */
    int n_actions;
    bool interactive, show_version, no_env, warnings_on, stdin_script, has_e;
    int script;            /* index in argv of the script, dump or sub-command; 0 = none */
    /* ours; "given" ones are left out of segx.options when they were not */
    const char *device, *precision, *mode;
    long long threads, mem;          /* 0 = not given */
    long long seed;
    bool quiet, verbose, help, version;
    bool fresh, retry, fail_fast;    /* of run folders */
    double time_limit;     /* seconds; 0 = none */
    int color;             /* -1 never, 0 automatic, 1 always */
    strict_mode strict;
    int status;            /* exit status */
} program;

/* -- options.c -- */

/* Fills p from the command line; false: a message was printed, exit with EXIT_USAGE. */
bool options_parse(program *p, int argc, char **argv);
/* One global long option at argv[*i]: 1 = taken (and *i moved to its last word), 0 = not one of
 * ours, -1 = wrong, a message was printed. */
int options_global(program *p, int argc, char **argv, int *i);
void options_push(lua_State *L, const program *p);    /* pushes the table segx.options */
void print_usage_hint(void);
void print_help(void);
void print_version(void);

/* -- modules.c -- */

/* Makes the product's modules loadable and sets the global `segx`. May raise. */
void modules_open(lua_State *L, program *p);
void modules_strict(lua_State *L, program *p);        /* undefined globals: error, warning or nil */
/* Is there such a module, as far as one can tell without loading it? */
bool modules_exist(const char *name);
/* Pushes the names of modules segx.X that were built in, as a list of X. */
void modules_list(lua_State *L);

/* -- run.c -- */

/* Calls like lua_pcall, with tracebacks and Ctrl-C; 0 = fine, else the error value is on the stack. */
int run_call(lua_State *L, program *p, int nargs, int nresults);
/* Prints the error value on top of the stack, pops it, returns the exit status it stands for. */
int run_report(lua_State *L, program *p);
int run_interrupted(void);          /* the signal that came since the last run_clear, or 0 */
void run_end(void);                 /* before lua_close: signals end the program again */
void run_clear(lua_State *L);
void run_signals(void);             /* installs the handlers (again) */
void run_time_limit(double seconds);/* stops the script then, as SIGTERM does */
void run_warnings(lua_State *L, bool on);
void run_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* to stderr */

/* -- repl.c -- */

int repl(lua_State *L, program *p);   /* reads and runs lines until the end; exit status */

/* The binding of the engine (bind_core.c). */
int luaopen_segx_core(lua_State *L);

#endif
