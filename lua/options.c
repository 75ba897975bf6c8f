/* options.c: the command line. As lua(1) where lua has it; long options are segx's own. */
#include "program.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lauxlib.h>

#include "segx_version.h"

static const char help_text[] =
    "usage: segx [options] [script.lua [args]]     run a script (- reads it from standard input)\n"
    "       segx [options] [dump.h5]               lines typed by hand; a dump is opened as d\n"
    "       segx COMMAND [args]                    info  verify  plan  ls  show  diff  report\n"
    "                                              doc  doctor\n"
    "\n"
    "as lua:\n"
    "  -e STAT         run STAT                  -i              lines by hand after the script\n"
    "  -l MOD, -l G=MOD  load a module           -v              print the version\n"
    "  -W              warnings on (they are)    -E              ignore environment variables\n"
    "  --              end of options            -               script from standard input\n"
    "\n"
    "segx:\n"
    "  --device auto|cpu|cuda[:N]     where to compute (default auto: a GPU where it is worth it)\n"
    "  --threads N                    threads (default: one per core)\n"
    "  --mem SIZE                     memory to use at most, e.g. 8G\n"
    "  --precision single|double      arithmetic\n"
    "  --mode fast|exact              on a GPU: any fixed order, or the bits of the CPU\n"
    "  --fresh                        run folders (out = ...): start over\n"
    "  --retry                        run folders: failed cells once more\n"
    "  --fail-fast                    a failed cell ends the sweep\n"
    "  --time-limit TIME              stop after 90, 15m, 2h (exit status 75); the same line goes on\n"
    "  --seed N                       of random numbers (default 0)\n"
    "  --quiet                        no progress, no notes\n"
    "  --verbose                      full tracebacks\n"
    "  --color[=auto|always|never]    colours\n"
    "  --no-strict                    reading an undefined global gives nil\n"
    "  --version  --help\n"
    "\n"
    "exit status: 0 done, 1 script error, 2 usage, 3 file, 4 data refused, 5 device,\n"
    "             6 failed configurations, 75 stopped but can go on, 130 Ctrl-C\n";

void print_help(void)
{
    fputs(help_text, stdout);
}

void print_version(void)
{
    printf("segx %s  %s\n", SEGX_VERSION, LUA_RELEASE);
}

void print_usage_hint(void)
{
    fputs("  hint: segx --help lists the options\n", stderr);
}

/* -- Values of options -------------------------------------------------------------------- */

static bool parse_int(const char *s, long long lo, long long hi, long long *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || *end || errno || v < lo || v > hi)
        return false;
    *out = v;
    return true;
}

/* "8G", "512MiB", "1.5g", "1000000": bytes; units are powers of 1024. */
static bool parse_size(const char *s, long long *out)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || !(v > 0) || s[strspn(s, "0123456789.")] != *end)
        return false;
    static const char unit[] = "KMGT";
    if (*end) {
        const char *u = *end >= 'a' && *end <= 'z' ? strchr(unit, *end - 'a' + 'A')
                                                   : strchr(unit, *end);
        if (u && *u) {
            v = ldexp(v, 10 * (int)(u - unit + 1));
            end++;
        }
        if (*end == 'i')
            end++;
        if (*end == 'B' || *end == 'b')
            end++;
    }
    if (*end || v < 1 || v >= 9e18)
        return false;
    *out = (long long)v;
    return true;
}

static bool one_of(const char *s, const char *a, const char *b)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0;
}

/* "90", "1.5h", "10m", "30s": seconds. */
static bool parse_time(const char *s, double *out)
{
    char *end;
    double v = strtod(s, &end);
    if (end == s || !(v > 0) || v > 1e9 || s[strspn(s, "0123456789.")] != *end)
        return false;
    if (*end) {
        double unit = *end == 's' ? 1 : *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 0;
        if (unit == 0 || end[1])
            return false;
        v *= unit;
    }
    *out = v;
    return true;
}

/* "auto", "cpu", "cuda", "cuda:0" */
static bool is_device(const char *s)
{
    if (one_of(s, "cpu", "cuda") || strcmp(s, "auto") == 0)
        return true;
    long long n;
    return strncmp(s, "cuda:", 5) == 0 && s[5] >= '0' && s[5] <= '9' && parse_int(s + 5, 0, 999, &n);
}

/* -- Long options ------------------------------------------------------------------------- */

enum { NO_VALUE, VALUE, MAYBE };   /* MAYBE: only as --name=value */

static const struct long_option {
    const char *name;
    int value;
    const char *wants;
} long_options[] = {
    {"device", VALUE, "auto, cpu, cuda or cuda:N"},
    {"threads", VALUE, "a number from 1 to 4096"},
    {"mem", VALUE, "a size such as 512M or 8G"},
    {"precision", VALUE, "single or double"},
    {"mode", VALUE, "fast or exact"},
    {"seed", VALUE, "a whole number"},
    {"color", MAYBE, "auto, always or never"},
    {"time-limit", VALUE, "a time such as 90, 15m or 2h"},
    {"fresh", NO_VALUE, NULL},
    {"retry", NO_VALUE, NULL},
    {"fail-fast", NO_VALUE, NULL},
    {"quiet", NO_VALUE, NULL},
    {"verbose", NO_VALUE, NULL},
    {"no-strict", NO_VALUE, NULL},
    {"version", NO_VALUE, NULL},
    {"help", NO_VALUE, NULL},
};
enum { N_LONG = sizeof long_options / sizeof long_options[0] };

static bool set_option(program *p, const char *name, const char *v)
{
    if (strcmp(name, "device") == 0) {
        p->device = v;
        return is_device(v);
    } else if (strcmp(name, "threads") == 0) {
        return parse_int(v, 1, 4096, &p->threads);
    } else if (strcmp(name, "mem") == 0) {
        return parse_size(v, &p->mem);
    } else if (strcmp(name, "precision") == 0) {
        p->precision = v;
        return one_of(v, "single", "double");
    } else if (strcmp(name, "mode") == 0) {
        p->mode = v;
        return one_of(v, "fast", "exact");
    } else if (strcmp(name, "seed") == 0) {
        return parse_int(v, LLONG_MIN, LLONG_MAX, &p->seed);
    } else if (strcmp(name, "color") == 0) {
        p->color = !v || strcmp(v, "always") == 0 ? 1 : strcmp(v, "never") == 0 ? -1 : 0;
        return p->color != 0 || strcmp(v, "auto") == 0;
    } else if (strcmp(name, "time-limit") == 0) {
        return parse_time(v, &p->time_limit);
    } else if (strcmp(name, "fresh") == 0) {
        p->fresh = true;
    } else if (strcmp(name, "retry") == 0) {
        p->retry = true;
    } else if (strcmp(name, "fail-fast") == 0) {
        p->fail_fast = true;
    } else if (strcmp(name, "quiet") == 0) {
        p->quiet = true;
    } else if (strcmp(name, "verbose") == 0) {
        p->verbose = true;
    } else if (strcmp(name, "no-strict") == 0) {
        p->strict = STRICT_OFF;
    } else if (strcmp(name, "version") == 0) {
        p->version = true;
    } else if (strcmp(name, "help") == 0) {
        p->help = true;
    }
    return true;
}

int options_global(program *p, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    if (strncmp(word, "--", 2) != 0 || !word[2])
        return 0;
    const char *name = word + 2, *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    for (int k = 0; k < N_LONG; k++) {
        const struct long_option *o = &long_options[k];
        if (strlen(o->name) != n || strncmp(o->name, name, n) != 0)
            continue;
        const char *value = eq ? eq + 1 : NULL;
        if (o->value == NO_VALUE && eq) {
            run_message("option --%s takes no value\n", o->name);
            return -1;
        }
        if (o->value == VALUE && !value) {
            if (*i + 1 >= argc) {
                run_message("option --%s wants %s\n", o->name, o->wants);
                return -1;
            }
            value = argv[++*i];
        }
        if (!set_option(p, o->name, value)) {
            run_message("option --%s wants %s, got '%s'\n", o->name, o->wants, value);
            return -1;
        }
        return 1;
    }
    return 0;
}

static void unknown_option(const char *word)
{
    run_message("unknown option '%s'\n", word);
    for (int k = 0; word[0] == '-' && word[1] == '-' && k < N_LONG; k++)
        if (word[2] && strncmp(long_options[k].name, word + 2, 2) == 0) {
            fprintf(stderr, "  hint: --%s?\n", long_options[k].name);
            return;
        }
    print_usage_hint();
}

bool options_parse(program *p, int argc, char **argv)
{
    p->argc = argc;
    p->argv = argv;
    p->actions = calloc((size_t)argc + 1, sizeof *p->actions);
    if (!p->actions) {
        run_message("out of memory\n");
        return false;
    }
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (word[0] != '-') {
            p->script = i;
            return true;
        }
        if (!word[1]) {             /* - */
            p->script = i;
            p->stdin_script = true;
            return true;
        }
        if (strcmp(word, "--") == 0) {
            if (i + 1 < argc) {
                p->script = i + 1;
                p->stdin_script = strcmp(argv[i + 1], "-") == 0;
            }
            return true;
        }
        if (word[1] == '-') {
            int r = options_global(p, argc, argv, &i);
            if (r == 0)
                unknown_option(word);
            if (r <= 0)
                return false;
            continue;
        }
        switch (word[1]) {
        case 'e':
        case 'l': {
            const char *text = word[2] ? word + 2 : i + 1 < argc ? argv[++i] : NULL;
            if (!text || (word[1] == 'l' && text[0] == '-')) {
                run_message("option -%c wants %s\n", word[1], word[1] == 'e' ? "a statement"
                                                                              : "a module");
                return false;
            }
            p->has_e |= word[1] == 'e';
            p->actions[p->n_actions++] = (action){word[1], text};
            continue;
        }
        default:
            break;
        }
        if (word[2]) {
            unknown_option(word);
            return false;
        }
        switch (word[1]) {
        case 'i':
            p->interactive = true;
            break;
        case 'v':
            p->show_version = true;
            break;
        case 'W':
            p->warnings_on = true;
            break;
        case 'E':
            p->no_env = true;
            break;
        case 'h':
            p->help = true;
            break;
        default:
            unknown_option(word);
            return false;
        }
    }
    return true;
}

/* -- segx.options ------------------------------------------------------------------------- */

static int terminal_width(void)
{
    const char *columns = getenv("COLUMNS");
    long long n;
    if (columns && parse_int(columns, 20, 1000, &n))
        return (int)n;
    struct winsize w;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20)
            return w.ws_col;
    return 80;
}

static bool wants_color(const program *p, int fd)
{
    if (p->color)
        return p->color > 0;
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static void set_string(lua_State *L, const char *key, const char *v)
{
    if (v) {
        lua_pushstring(L, v);
        lua_setfield(L, -2, key);
    }
}

static void set_int(lua_State *L, const char *key, long long v)
{
    lua_pushinteger(L, v);
    lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool v)
{
    lua_pushboolean(L, v);
    lua_setfield(L, -2, key);
}

/* device, precision, mode, threads, mem (bytes): only what was given. Always: seed, quiet, verbose,
 * color (booleans: may standard output / standard error be coloured), tty, width. */
void options_push(lua_State *L, const program *p)
{
    lua_newtable(L);
    set_string(L, "device", p->device);
    set_string(L, "precision", p->precision);
    set_string(L, "mode", p->mode);
    if (p->threads)
        set_int(L, "threads", p->threads);
    if (p->mem)
        set_int(L, "mem", p->mem);
    set_int(L, "seed", p->seed);
    set_bool(L, "fresh", p->fresh);
    set_bool(L, "retry", p->retry);
    set_bool(L, "fail_fast", p->fail_fast);
    set_bool(L, "quiet", p->quiet);
    set_bool(L, "verbose", p->verbose);
    set_bool(L, "color", wants_color(p, STDOUT_FILENO));
    set_bool(L, "color_stderr", wants_color(p, STDERR_FILENO));
    set_bool(L, "tty", isatty(STDOUT_FILENO));
    set_bool(L, "tty_stderr", isatty(STDERR_FILENO));
    set_int(L, "width", terminal_width());
}
