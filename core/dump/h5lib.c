/* h5lib.c: opening the HDF5 library at run time. */
#define SX_H5_NO_REDIRECT
#include "dump/h5lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* The build says which library its headers belong to: the file, and the name that updates keep. */
#ifndef SX_HDF5_FILE
#define SX_HDF5_FILE "libhdf5.so"
#endif
#ifndef SX_HDF5_SONAME
#define SX_HDF5_SONAME "libhdf5.so"
#endif

sx_h5_api sx_h5;
static atomic_bool loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void hint(sx_error *er)
{
    sx_hint(er, "segx was built with HDF5 %d.%d.%d, %s; install that again (Debian 12: apt install "
            "libhdf5-103-1; elsewhere: libhdf5-dev), or build segx anew", H5_VERS_MAJOR,
            H5_VERS_MINOR, H5_VERS_RELEASE, SX_HDF5_FILE);
}

/* C has no cast from an object's address to a function's: the bytes are copied. */
static bool find(void *lib, const char *symbol, void *field)
{
    void *p = dlsym(lib, symbol);
    memcpy(field, &p, sizeof p);
    return p != NULL;
}

/* HDF5 itself aborts the program when headers and library differ. */
static sx_err check_version(void *lib, const char *name, sx_error *er)
{
    herr_t (*version)(unsigned *, unsigned *, unsigned *) = NULL;
    unsigned v[3] = {0};
    if (!find(lib, "H5get_libversion", &version) || version(&v[0], &v[1], &v[2]) < 0) {
        sx_fail(er, SX_EFILE, "%s is no HDF5 library", name);
        hint(er);
        return SX_EFILE;
    }
    if (v[0] != H5_VERS_MAJOR || v[1] != H5_VERS_MINOR) {
        sx_fail(er, SX_EFILE, "%s is HDF5 %u.%u.%u, but segx was built for %d.%d", name, v[0], v[1],
                v[2], H5_VERS_MAJOR, H5_VERS_MINOR);
        hint(er);
        return SX_EFILE;
    }
    return SX_EOK;
}

sx_err sx_h5_load_from(const char *const *name, size_t n, sx_h5_api *api, sx_error *er)
{
    char reason[400] = "no name";
    void *lib = NULL;
    size_t k = 0;
    /* Global, as if linked: filters from HDF5_PLUGIN_PATH may count on finding HDF5's functions. */
    for (; k < n && !(lib = dlopen(name[k], RTLD_LAZY | RTLD_GLOBAL)); k++) {
        const char *text = dlerror();
        if (k == 0 && text) {
            strncpy(reason, text, sizeof reason - 1);
            reason[sizeof reason - 1] = '\0';
        }
    }
    if (!lib) {
        sx_fail(er, SX_EFILE, "the HDF5 library cannot be opened: %s", reason);
        hint(er);
        return SX_EFILE;
    }
    sx_err e = check_version(lib, name[k], er);
    if (e)
        return e;
    sx_h5_api a = {0};
    const char *missing = NULL;
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define NEEDED(f) \
    if (!find(lib, TEXT(H5##f), &a.f##_) && !missing) \
        missing = TEXT(H5##f);
#define OPTIONAL(f) find(lib, TEXT(H5##f), &a.f##_);
    SX_H5_FUNCTIONS(NEEDED)
    SX_H5_VARIABLES(NEEDED)
    SX_H5_OPTIONAL(OPTIONAL)
    find(lib, "H5FD_sec2_init", &a.sec2_init);
    find(lib, "H5FD_SEC2_id_g", &a.sec2_id);
    if (missing) {
        sx_fail(er, SX_EFILE, "%s lacks %s", name[k], missing);
        hint(er);
        return SX_EFILE;
    }
    *api = a;
    return SX_EOK;
}

#ifdef SX_HDF5_INSIDE   /* linked into the program (cmake/Portable.cmake) */
static sx_err load(sx_error *er)
{
#define TAKE(f) sx_h5.f##_ = &H5##f;
    SX_H5_FUNCTIONS(TAKE)
    SX_H5_VARIABLES(TAKE)
    (void)er;
    return SX_EOK;
}

hid_t sx_h5_sec2(void)
{
    return H5FD_SEC2;
}
#else
static sx_err load(sx_error *er)
{
    static const char *const name[] = {SX_HDF5_FILE, SX_HDF5_SONAME};
    return sx_h5_load_from(name, sizeof name / sizeof name[0], &sx_h5, er);
}

hid_t sx_h5_sec2(void)
{
    return sx_h5.sec2_init ? sx_h5.sec2_init() : sx_h5.sec2_id ? *sx_h5.sec2_id : -1;
}
#endif

sx_err sx_h5_load(sx_error *er)
{
    if (atomic_load_explicit(&loaded, memory_order_acquire))
        return SX_EOK;
    sx_err e = SX_EOK;
    pthread_mutex_lock(&lock);
    if (!atomic_load_explicit(&loaded, memory_order_relaxed)) {
        e = load(er);
        if (!e)
            atomic_store_explicit(&loaded, true, memory_order_release);
    }
    pthread_mutex_unlock(&lock);
    return e;
}
