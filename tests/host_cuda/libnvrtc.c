/*
 * libnvrtc.c: a stand-in for NVRTC: "compiles" the text of a kernel with the C compiler into a shared object, which libcuda.c
 * loads. CC: the compiler (default: the one that built this). FAKE_NVRTC_FAIL=RC: compiling gives that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
enum { OK = 0, NO_MEMORY = 1, FAILED = 6 };

typedef struct program {
    char *text, log[2000], *code;
    size_t n;
} program;

API int nvrtcVersion(int *major, int *minor) { *major = 12, *minor = 9; return OK; }
API int nvrtcGetNumSupportedArchs(int *n) { *n = 4; return OK; }
API int nvrtcGetSupportedArchs(int *arch)
{
    memcpy(arch, (int[]){75, 80, 90, 120}, 4 * sizeof *arch);
    return OK;
}

API int nvrtcCreateProgram(void **out, const char *text, const char *name, int headers, const char *const *header,
                           const char *const *include)
{
    (void)name, (void)headers, (void)header, (void)include;
    program *p = calloc(1, sizeof *p);
    *out = p;
    return p && (p->text = strdup(text)) ? OK : NO_MEMORY;
}

API int nvrtcDestroyProgram(void **q)
{
    program *p = *q;
    free(p->text);
    free(p->code);
    free(p);
    *q = NULL;
    return OK;
}

static int read_all(program *p, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return FAILED;
    fseek(f, 0, SEEK_END);
    p->n = (size_t)ftell(f);
    rewind(f);
    p->code = malloc(p->n + 1);
    const int rc = p->code && fread(p->code, 1, p->n, f) == p->n ? OK : FAILED;
    fclose(f);
    return rc;
}

API int nvrtcCompileProgram(void *q, int n, const char *const *option)
{
    program *p = q;
    const char *fail = getenv("FAKE_NVRTC_FAIL"), *dir = getenv("TMPDIR"), *cc = getenv("CC"), *level = "";
    char base[300], command[2000];
    int made_for = 0;
    for (int i = 0; i < n; i++)
        if (strncmp(option[i], "--gpu-architecture=", 19) == 0) made_for = atoi(strchr(option[i], '_') + 1);
    if (fail && *fail) {
        snprintf(p->log, sizeof p->log, "segx.cu(1): error: refused by the stand-in\n");
        return atoi(fail);
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = "-mavx2 -mfma";   /* fmaf is slow without */
#endif
    snprintf(base, sizeof base, "%s/segx-kernel-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(base);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) return FAILED;
    fprintf(f, "%s\nconst int segx_made_for = %d;\n", p->text, made_for);
    fclose(f);
    snprintf(command, sizeof command,
             "%s -x c -std=c11 -O%s %s -ffp-contract=off -fno-math-errno -fPIC -shared -w -o %s.so %s -lm >%s.log 2>&1", cc && *cc ? cc : FAKE_CC,
             getenv("FAKE_NVRTC_O") ? getenv("FAKE_NVRTC_O") : "1", level, base, base, base);
    int rc = system(command) == 0 ? OK : FAILED;
    char path[400];
    snprintf(path, sizeof path, "%s.log", base);
    f = fopen(path, "r");
    if (f) {
        p->log[fread(p->log, 1, sizeof p->log - 1, f)] = '\0';
        fclose(f);
    }
    unlink(path);
    unlink(base);
    snprintf(path, sizeof path, "%s.so", base);
    if (!rc) rc = read_all(p, path);
    unlink(path);
    return rc;
}

API int nvrtcGetProgramLogSize(void *q, size_t *n) { *n = strlen(((program *)q)->log) + 1; return OK; }
API int nvrtcGetProgramLog(void *q, char *log) { strcpy(log, ((program *)q)->log); return OK; }
API int nvrtcGetCUBINSize(void *q, size_t *n) { *n = ((program *)q)->n; return OK; }
API int nvrtcGetCUBIN(void *q, char *to) { memcpy(to, ((program *)q)->code, ((program *)q)->n); return OK; }
API int nvrtcGetPTXSize(void *q, size_t *n) { return nvrtcGetCUBINSize(q, n); }
API int nvrtcGetPTX(void *q, char *to) { return nvrtcGetCUBIN(q, to); }
