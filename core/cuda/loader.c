/* loader.c: opens the driver and NVRTC at run time. */
#include "cuda/loader.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* C has no cast from an object's address to a function's: the bytes are copied. */
static bool find(void *lib, const char *symbol, void *field)
{
    void *p = dlsym(lib, symbol);
    memcpy(field, &p, sizeof p);
    return p != NULL;
}

/* -- The driver ------------------------------------------------------------------------------------ */

char *sx_driver_text(const sx_driver *d, int rc, char *buf, size_t n)
{
    const char *name = NULL, *text = NULL;
    if (d->error_name) d->error_name(rc, &name);
    if (d->error_text) d->error_text(rc, &text);
    snprintf(buf, n, "%s (%d: %s)", name ? name : "CUDA error", rc, text ? text : "unknown");
    return buf;
}

static sx_err open_library(sx_driver *d, sx_error *er)
{
    /* containers and WSL mount the driver's library beside the linker's paths */
    static const char *const name[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"};
    char reason[300] = "";
    for (size_t i = 0; i < sizeof name / sizeof name[0] && !d->lib; i++) {
        d->lib = dlopen(name[i], RTLD_LAZY | RTLD_LOCAL);
        const char *text = d->lib ? NULL : dlerror();
        if (i == 0 && text) snprintf(reason, sizeof reason, "%s", text);
        if (d->lib) snprintf(d->path, sizeof d->path, "%s", name[i]);
    }
    if (d->lib) return SX_EOK;
    d->absent = strstr(reason, "No such file") != NULL;
    if (d->absent) sx_fail(er, SX_EDEVICE, "NVIDIA's driver was not found (libcuda.so.1)");
    else sx_fail(er, SX_EDEVICE, "NVIDIA's driver cannot be opened: %s", reason);
    sx_hint(er, "it comes with the GPU's driver package; nvidia-smi works where it is installed. --device cpu needs no GPU");
    return SX_EDEVICE;
}

sx_err sx_driver_open(sx_driver *d, sx_error *er)
{
    char text[300];
    const char *missing = NULL;
    memset(d, 0, sizeof *d);
    sx_err e = open_library(d, er);
    if (e) return e;
#define NEEDED(field, symbol, arguments) \
    if (!find(d->lib, symbol, &d->field) && !missing) missing = symbol;
    SX_CU_FUNCTIONS(NEEDED)
#undef NEEDED
    if (missing) {
        sx_fail(er, SX_EDEVICE, "NVIDIA's driver is too old: %s has no %s", d->path, missing);
        sx_hint(er, "driver 450 (CUDA 11.0) or later is needed");
        return SX_EDEVICE;
    }
    int rc = d->init(0);
    if (rc) {
        d->absent = rc == SX_CU_NO_DEVICE || rc == SX_CU_STUB;
        sx_fail(er, SX_EDEVICE, "no GPU can be used: cuInit: %s", sx_driver_text(d, rc, text, sizeof text));
        if (rc == SX_CU_NO_DEVICE) sx_hint(er, "is there an NVIDIA GPU, and does CUDA_VISIBLE_DEVICES leave it visible?");
        return SX_EDEVICE;
    }
    rc = d->driver_version(&d->version);
    if (rc) return sx_fail(er, SX_EDEVICE, "cuDriverGetVersion: %s", sx_driver_text(d, rc, text, sizeof text));
    return SX_EOK;
}

/* -- Where NVRTC is -------------------------------------------------------------------------------- */

/* Major versions and the names that their library goes by (11.2 stands for all later 11.x), newest first. */
static const struct soname {
    int major;
    const char *name;
} soname[] = {{13, "libnvrtc.so.13"}, {12, "libnvrtc.so.12"}, {11, "libnvrtc.so.11.2"}};
enum { SONAMES = sizeof soname / sizeof soname[0] };

typedef struct search {
    int max;
    char *path;                  /* 512 */
    bool found;
} search;

static bool usable(const search *s, int i) { return !s->max || soname[i].major <= s->max; }

static void take(search *s, const char *path)
{
    snprintf(s->path, 512, "%s", path);
    s->found = true;
}

/* The newest version in the folders that match a pattern. */
static void look_in(search *s, const char *fmt, const char *root)
{
    if (!root || !*root || s->found) return;
    for (int i = 0; i < SONAMES && !s->found; i++) {
        char pattern[600], folder[512];
        glob_t g = {0};
        if (!usable(s, i)) continue;
        snprintf(folder, sizeof folder, fmt, root);
        snprintf(pattern, sizeof pattern, "%s/%s", folder, soname[i].name);
        if (glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc > 0) take(s, g.gl_pathv[g.gl_pathc - 1]);
        globfree(&g);
    }
}

/* A folder of Python packages: the wheels of CUDA 12 and 11, and of CUDA 13. */
static void look_in_packages(search *s, const char *fmt, const char *root)
{
    char folder[400];
    if (!root || !*root) return;
    snprintf(folder, sizeof folder, fmt, root);
    look_in(s, "%s/nvidia/cu13/lib", folder);
    look_in(s, "%s/nvidia/cuda_nvrtc/lib", folder);
}

/* The environment that the python3 of PATH belongs to. */
static void look_beside_python(search *s)
{
    const char *path = getenv("PATH");
    for (const char *p = path; p && *p && !s->found;) {
        const char *end = strchr(p, ':');
        size_t n = end ? (size_t)(end - p) : strlen(p);
        char bin[300], python[320];
        if (n > 0 && n < sizeof bin) {
            memcpy(bin, p, n);
            bin[n] = '\0';
            snprintf(python, sizeof python, "%s/python3", bin);
            if (access(python, X_OK) == 0) look_in_packages(s, "%s/../lib/python3*/*-packages", bin);
        }
        p = end ? end + 1 : NULL;
    }
}

/* By its name alone: in the process already (loaded: only that), or where the system's linker finds it. */
static void ask_linker(search *s, bool loaded)
{
    for (int i = 0; i < SONAMES && !s->found; i++) {
        if (!usable(s, i)) continue;
        void *lib = dlopen(soname[i].name, RTLD_LAZY | RTLD_LOCAL | (loaded ? RTLD_NOLOAD : 0));
        void *version = lib ? dlsym(lib, "nvrtcVersion") : NULL;
        Dl_info where;
        if (version && dladdr(version, &where) && where.dli_fname) take(s, where.dli_fname);
    }
}

sx_err sx_nvrtc_find(int max_major, char path[512], sx_error *er)
{
    search s = {.max = max_major, .path = path};
    const char *given = getenv("SEGX_NVRTC"), *home = getenv("HOME");
    if (given && *given) {
        if (access(given, R_OK) == 0) take(&s, given);
        else return sx_fail(er, SX_EDEVICE, "SEGX_NVRTC: there is no file %s", given);
    }
    if (!s.found) ask_linker(&s, true);
    look_in(&s, "%s/lib64", getenv("CUDA_HOME"));
    look_in(&s, "%s/lib64", getenv("CUDA_PATH"));
    if (!s.found) look_in_packages(&s, "%s/lib/python3*/site-packages", getenv("VIRTUAL_ENV"));
    look_in(&s, "%s/lib", getenv("CONDA_PREFIX"));
    if (!s.found) look_in_packages(&s, "%s/lib/python3*/site-packages", getenv("CONDA_PREFIX"));
    if (!s.found) look_beside_python(&s);
    if (!s.found) look_in_packages(&s, "%s/.local/lib/python3*/site-packages", home);
    if (!s.found) ask_linker(&s, false);
    look_in(&s, "%s/lib64", "/usr/local/cuda");
    look_in(&s, "%s/lib64", "/usr/local/cuda-1*");
    if (s.found) return SX_EOK;
    sx_fail(er, SX_EDEVICE, "NVRTC, NVIDIA's run-time compiler, is not found%s",
            max_major ? " in a version that this driver runs" : "");
    sx_hint(er, "pip install nvidia-cuda-nvrtc-cu12 (or a CUDA toolkit, 11.2 or later) gives it; SEGX_NVRTC=/path/libnvrtc.so.12 "
            "names one. segx doctor shows what was found");
    return SX_EDEVICE;
}

/* -- Opening it ------------------------------------------------------------------------------------- */

/* NVRTC looks for its builtins by name alone, which fails for wheels: opened by path first they are found. */
static void open_builtins(const char *path)
{
    char pattern[600];
    const char *slash = strrchr(path, '/');
    glob_t g = {0};
    if (!slash) return;
    snprintf(pattern, sizeof pattern, "%.*s/libnvrtc-builtins.so.*", (int)(slash - path), path);
    if (glob(pattern, 0, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++) (void)dlopen(g.gl_pathv[i], RTLD_LAZY | RTLD_LOCAL);
    globfree(&g);
}

sx_err sx_nvrtc_open(const char *path, sx_nvrtc *n, sx_error *er)
{
    const char *missing = NULL;
    memset(n, 0, sizeof *n);
    open_builtins(path);
    n->lib = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!n->lib) {
        const char *text = dlerror();
        sx_fail(er, SX_EDEVICE, "NVRTC cannot be opened: %s", text ? text : path);
        sx_hint(er, "SEGX_NVRTC names the library itself, .../libnvrtc.so.12; without it, segx looks in the usual places");
        return SX_EDEVICE;
    }
#define NEEDED(field, symbol, arguments) \
    if (!find(n->lib, symbol, &n->field) && !missing) missing = symbol;
    SX_NVRTC_FUNCTIONS(NEEDED)
#undef NEEDED
    if (missing) {
        sx_fail(er, SX_EDEVICE, "%s has no %s", path, missing);
        sx_hint(er, "NVRTC 11.2 or later is needed");
        return SX_EDEVICE;
    }
    int count = 0, rc = n->version(&n->major, &n->minor);
    if (!rc) rc = n->arch_count(&count);
    int *all = sx_calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *all);
    if (!all) return sx_nomem(er);
    if (!rc) rc = n->archs(all);
    for (int i = 0; i < count && n->n_arch < 64; i++) n->arch[n->n_arch++] = all[i];
    sx_free(all);
    if (rc || n->n_arch == 0) return sx_fail(er, SX_EDEVICE, "%s does not say what it compiles for (error %d)", path, rc);
    return SX_EOK;
}
