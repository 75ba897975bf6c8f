/* Opening the HDF5 library: not before it is needed, once, and what is said when it is not right.
 * This program must not link HDF5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "dump/dump.h"
#include "dump/h5lib.h"

static bool in_memory(const char *part)
{
    FILE *f = fopen("/proc/self/maps", "r");
    if (!f)
        skip();
    char line[1024];
    bool yes = false;
    while (fgets(line, sizeof line, f))
        yes |= strstr(line, part) != NULL;
    fclose(f);
    return yes;
}

static void *load(void *arg)
{
    sx_err *e = arg;
    *e = sx_h5_load(NULL);
    return NULL;
}

/* A dump in memory does not need it; the first file does. Four threads at once get the same. */
static void on_demand(void **state)
{
    (void)state;
    static const float z[2 * 4] = {0};
    static const uint8_t y[4] = {0, 1, 0, 1};
    static const size_t dims[1] = {4};
    sx_error er;
    sx_dump *d = NULL;
    assert_false(in_memory("libhdf5"));
    assert_int_equal(sx_dump_memory("z", z, SX_F32, y, SX_U8, 1, 2, dims, 1, NULL, &d, &er),
                     SX_EOK);
    sx_dump_close(d);
    assert_false(in_memory("libhdf5"));
    pthread_t t[4];
    sx_err e[4];
    for (int k = 0; k < 4; k++)
        assert_int_equal(pthread_create(&t[k], NULL, load, &e[k]), 0);
    for (int k = 0; k < 4; k++) {
        pthread_join(t[k], NULL);
        assert_int_equal(e[k], SX_EOK);
    }
    assert_true(in_memory("libhdf5"));
    d = NULL;
    assert_int_equal(sx_dump_open("/nowhere/val.h5", NULL, &d, &er), SX_EFILE);
    assert_null(d);
    assert_string_equal(er.msg, "/nowhere/val.h5: No such file or directory");
}

/* Every name of the list is there: what a file is opened with works. */
static void usable(void **state)
{
    (void)state;
    assert_int_equal(sx_h5_load(NULL), SX_EOK);
    assert_true(H5open() >= 0);
    hid_t t = H5Tcopy(H5T_NATIVE_FLOAT);
    assert_true(t >= 0);
    assert_int_equal(H5Tget_size(t), sizeof(float));
    assert_int_equal(H5Tclose(t), 0);
    assert_true(H5FD_SEC2 >= 0);
}

static void refused(const char *const *name, size_t n, const char *msg, const char *hint)
{
    sx_h5_api api = {0};
    const sx_h5_api nothing = {0};
    sx_error er;
    assert_int_equal(sx_h5_load_from(name, n, &api, &er), SX_EFILE);
    if (!strstr(er.msg, msg) || !strstr(er.hint, hint))
        fail_msg("\"%s\" (%s) does not say \"%s\" (%s)", er.msg, er.hint, msg, hint);
    assert_memory_equal(&api, &nothing, sizeof api);
    assert_int_equal(sx_h5_load_from(name, n, &api, NULL), SX_EFILE);
}

static void none_of_them(void **state)
{
    (void)state;
    const char *const nowhere[] = {"/nowhere/libhdf5.so.1.2.3", "libhdf5_nowhere.so.1"};
    refused(nowhere, 2, "the HDF5 library cannot be opened: /nowhere/libhdf5.so.1.2.3: ",
            "libhdf5-103-1");
    const char *const no_library[] = {"/dev/null"};
    refused(no_library, 1, "the HDF5 library cannot be opened: /dev/null: ", "libhdf5-dev");
}

static void wrong_ones(void **state)
{
    (void)state;
    const char *const math[] = {"/nowhere/libhdf5.so", "libm.so.6"};
    refused(math, 2, "libm.so.6 is no HDF5 library", "built with HDF5 ");
    const char *const other[] = {OTHER_VERSION};
    char version[100];
    snprintf(version, sizeof version, "is HDF5 9.8.7, but segx was built for %d.%d", H5_VERS_MAJOR,
             H5_VERS_MINOR);
    refused(other, 1, version, "or build segx anew");
    const char *const lacking[] = {LACKING};
    refused(lacking, 1, " lacks H5", "install that again");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_demand),   /* first: nothing has opened it yet */
        cmocka_unit_test(usable),
        cmocka_unit_test(none_of_them),
        cmocka_unit_test(wrong_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
