/* compile.c: NVRTC: options, targets, logs. */
#include "cuda/compile.h"

#include "cuda/abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Exact kernels: IEEE arithmetic as the CPU's, every multiply-add written out. Fast ones: quotients and roots may be two units
 * off, what is below 2^-126 is 0; contraction stays off, so that no bit depends on what else is in the kernel. */
static const char *const common_options[] = {"--std=c++17", "--fmad=false", "-w"};
static const char *const exact_options[] = {"--prec-div=true", "--prec-sqrt=true", "--ftz=false"};
static const char *const fast_options[] = {"--prec-div=false", "--prec-sqrt=false", "--ftz=true"};
enum { N_COMMON = 3, N_OWN = 3 };
enum { REGISTERS = 65536 /* of a multiprocessor */, MANY_BYTES = 50 /* spilled: one block fewer will not do */ };

void sx_cuda_target(const sx_nvrtc *n, int cc, char target[16])
{
    int same = 0, largest = 0;               /* of the targets up to cc: with its major version, and of all */
    for (int i = 0; i < n->n_arch; i++) {
        if (n->arch[i] > cc) continue;
        if (n->arch[i] / 10 == cc / 10 && n->arch[i] > same) same = n->arch[i];
        if (n->arch[i] > largest) largest = n->arch[i];
    }
    if (same) snprintf(target, 16, "sm_%u", (unsigned)same % 10000);
    else snprintf(target, 16, "compute_%u", (unsigned)largest % 10000);
}

static char *program_log(const sx_nvrtc *n, void *program)
{
    size_t size = 0;
    if (n->log_size(program, &size) || size == 0) return NULL;
    char *log = sx_calloc(size + 1, 1);
    if (log && n->log(program, log)) log[0] = '\0';
    return log;
}

/* The line of a log that says what is wrong. */
static void first_error(const char *log, char *line, size_t n)
{
    const char *at = log ? strstr(log, "error") : NULL;
    line[0] = '\0';
    if (!at) return;
    while (at > log && at[-1] != '\n') at--;
    snprintf(line, n, "%.*s", (int)strcspn(at, "\n"), at);
}

static sx_err take_code(const sx_nvrtc *n, void *program, bool ptx, sx_cubin *out, sx_error *er)
{
    size_t size = 0;
    int rc = ptx ? n->ptx_size(program, &size) : n->cubin_size(program, &size);
    if (rc || size == 0) return sx_fail(er, SX_EDEVICE, "NVRTC gave no code (error %d)", rc);
    out->data = sx_malloc(size);
    if (!out->data) return sx_nomem(er);
    out->n = size;
    rc = ptx ? n->ptx(program, out->data) : n->cubin(program, out->data);
    if (!rc) return SX_EOK;
    sx_cubin_free(out);
    return sx_fail(er, SX_EDEVICE, "NVRTC gave no code (error %d)", rc);
}

/* The largest number before `what` in a log; 0: there is none. */
static int most_of(const char *log, const char *what)
{
    int most = 0;
    for (const char *at = log; at && (at = strstr(at, what)); at++) {
        const char *from = at;
        while (from > log && from[-1] >= '0' && from[-1] <= '9') from--;
        const int n = atoi(from);
        if (n > most) most = n;
    }
    return most;
}

/* blocks: how many of them must find registers on a multiprocessor at a time; 0: as the text says. */
static sx_err compile_for(const sx_nvrtc *n, const char *text, const char *target, bool fast, int blocks, sx_cubin *out, char **log,
                          sx_error *er)
{
    const char *option[N_COMMON + N_OWN + 3];
    char arch[48], at_a_time[48], wrong[400];
    int k = 0;
    void *program = NULL;
    *out = (sx_cubin){0};
    snprintf(arch, sizeof arch, "--gpu-architecture=%s", target);
    snprintf(at_a_time, sizeof at_a_time, "-DSX_CUDA_BLOCKS=%d", blocks);
    option[k++] = arch;
    if (blocks) option[k++] = at_a_time;
    option[k++] = "--ptxas-options=-v";
    for (int i = 0; i < N_COMMON; i++) option[k++] = common_options[i];
    for (int i = 0; i < N_OWN; i++) option[k++] = fast ? fast_options[i] : exact_options[i];
    int rc = n->create(&program, text, "segx.cu", 0, NULL, NULL);
    if (rc) return sx_fail(er, SX_EDEVICE, "NVRTC does not start (error %d)", rc);
    rc = n->compile(program, k, option);
    *log = program_log(n, program);
    sx_err e = SX_EOK;
    if (rc) {
        first_error(*log, wrong, sizeof wrong);
        e = sx_fail(er, SX_EDEVICE, "NVRTC %d.%d does not compile a kernel for %s (error %d)%s%s", n->major, n->minor, target, rc,
                    wrong[0] ? ": " : "", wrong);
        if (rc == 7) sx_hint(er, "its libnvrtc-builtins is not beside it; install the whole package again");
    } else {
        e = take_code(n, program, strncmp(target, "compute", 7) == 0, out, er);
    }
    n->destroy(&program);
    return e;
}

/* Registers decide how many blocks a multiprocessor holds: as many as the text wishes, but none may spill. A kernel that spills has
 * used all registers that it had, which says how many blocks it was compiled for. */
sx_err sx_cuda_compile(const sx_nvrtc *n, const char *text, const char *target, bool fast, sx_cubin *out, char **log, sx_error *er)
{
    for (int blocks = 0;;) {
        char *said = NULL;
        const sx_err e = compile_for(n, text, target, fast, blocks, out, &said, er);
        const int spilled = e ? 0 : most_of(said, " bytes spill stores"), registers = most_of(said, " registers");
        const int had = blocks ? blocks : registers ? REGISTERS / SX_CUDA_THREADS / registers : 1;
        const bool again = spilled && had > 1;
        if (log && !again) *log = said;
        else sx_free(said);
        if (!again) return e;
        sx_cubin_free(out);
        blocks = had > 2 && spilled > MANY_BYTES ? 2 : had - 1;
    }
}

void sx_cubin_free(sx_cubin *c)
{
    sx_free(c->data);
    *c = (sx_cubin){0};
}

/* -- What a cache entry depends on ------------------------------------------------------------------- */

static uint64_t hash_text(const char *s, uint64_t h) { return sx_hash64(s, strlen(s), h); }

static uint64_t key_part(const char *text, const char *gpu, bool fast, const char *nvrtc, uint64_t h)
{
    struct stat st = {0};
    for (int i = 0; i < N_COMMON; i++) h = hash_text(common_options[i], h);
    for (int i = 0; i < N_OWN; i++) h = hash_text(fast ? fast_options[i] : exact_options[i], h);
    h = hash_text(gpu, h);
    h = hash_text(text, h);
    if (nvrtc && stat(nvrtc, &st) == 0) {
        const int64_t file[3] = {(int64_t)st.st_size, (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
        h = sx_hash64(file, sizeof file, h);
    }
    return hash_text(nvrtc ? nvrtc : "", h);
}

sx_cache_key sx_cache_key_of(const char *text, const char *gpu, bool fast, const char *nvrtc_path)
{
    return (sx_cache_key){key_part(text, gpu, fast, nvrtc_path, SX_CODEGEN),
                          key_part(text, gpu, fast, nvrtc_path, SX_CODEGEN + 0x9e3779b97f4a7c15ull)};
}
