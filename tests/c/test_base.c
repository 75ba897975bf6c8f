/* Errors, memory, faults, reading, hashing, the pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/cpu.h"
#include "base/pool.h"

static void errors(void **state)
{
    (void)state;
    sx_error er;
    assert_int_equal(sx_fail(&er, SX_EDATA, "%s: label %d", "val.h5", 33), SX_EDATA);
    sx_hint(&er, "try %s", "this");
    assert_int_equal(er.code, SX_EDATA);
    assert_string_equal(er.msg, "val.h5: label 33");
    assert_string_equal(er.hint, "try this");
    /* a new failure forgets the old hint */
    sx_fail(&er, SX_EFILE, "gone");
    assert_string_equal(er.hint, "");
    assert_int_equal(sx_nomem(&er), SX_EMEMORY);
    assert_string_equal(er.msg, "out of memory");
    /* no record: only the code */
    assert_int_equal(sx_fail(NULL, SX_EARG, "x"), SX_EARG);
    sx_hint(NULL, "x");
    /* long messages are cut, not overrun */
    char big[5000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    sx_fail(&er, SX_EARG, "%s", big);
    assert_int_equal(strlen(er.msg), sizeof er.msg - 1);
    sx_hint(&er, "%s", big);
    assert_int_equal(strlen(er.hint), sizeof er.hint - 1);
}

static void error_codes(void **state)
{
    (void)state;
    assert_string_equal(sx_err_name(SX_EOK), "OK");
    assert_string_equal(sx_err_name(SX_EFILE), "FILE");
    assert_int_equal(sx_err_exit(SX_EOK), 0);
    assert_int_equal(sx_err_exit(SX_EARG), 1);
    assert_int_equal(sx_err_exit(SX_EUSAGE), 2);
    assert_int_equal(sx_err_exit(SX_EFILE), 3);
    assert_int_equal(sx_err_exit(SX_EDATA), 4);
    assert_int_equal(sx_err_exit(SX_EDEVICE), 5);
    assert_int_equal(sx_err_exit(SX_EINTR), 130);
    assert_int_equal(sx_err_exit(SX_EFAILED), 6);
    assert_int_equal(sx_err_exit(SX_ESTOPPED), 75);
    assert_int_equal(sx_err_exit((sx_err)999), 1);
    assert_string_equal(sx_err_name((sx_err)999), "BUG");
}

static void memory(void **state)
{
    (void)state;
    void *p = sx_malloc(0);
    assert_non_null(p);
    p = sx_realloc(p, 100);
    assert_non_null(p);
    sx_free(p);
    sx_free(NULL);
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(sx_calloc(huge, 4));
    assert_null(sx_malloc_aligned(SIZE_MAX));
    for (size_t n = 0; n < 200; n += 33) {
        p = sx_malloc_aligned(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(p, 1, n);
        sx_free(p);
    }
    char *s = sx_strdup("abc");
    assert_string_equal(s, "abc");
    sx_free(s);
    int *z = sx_calloc(10, sizeof *z);
    for (int i = 0; i < 10; i++)
        assert_int_equal(z[i], 0);
    sx_free(z);
}

static void arena(void **state)
{
    (void)state;
    sx_arena *a = sx_arena_new();
    assert_non_null(a);
    unsigned char *all[3000];
    size_t size[3000];
    for (size_t i = 0; i < 3000; i++) {
        size[i] = i % 97 == 0 ? 20000 + i : i % 61;
        all[i] = sx_arena_alloc(a, size[i]);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(all[i][k], 0);
        memset(all[i], (int)(i & 255), size[i]);
    }
    for (size_t i = 0; i < 3000; i++)
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(all[i][k], i & 255);
    volatile size_t huge = SIZE_MAX - 3;
    assert_null(sx_arena_alloc(a, huge));
    sx_arena_free(a);
    sx_arena_free(NULL);
}

static void faults(void **state)
{
    (void)state;
    sx_fault_memory(3);
    void *a = sx_malloc(8), *b = sx_calloc(2, 8);
    assert_non_null(a);
    assert_non_null(b);
    assert_false(sx_fault_fired());
    assert_null(sx_realloc(a, 80));   /* a stays valid */
    assert_true(sx_fault_fired());
    void *c = sx_malloc_aligned(8);   /* once only */
    assert_non_null(c);
    sx_free(a);
    sx_free(b);
    sx_free(c);
    sx_fault_memory(1);
    assert_null(sx_strdup("x"));
    sx_fault_memory(1);
    assert_null(sx_arena_new());
    sx_arena *ar = sx_arena_new();
    sx_fault_memory(1);
    assert_null(sx_arena_alloc(ar, 5));
    assert_non_null(sx_arena_alloc(ar, 5));
    sx_arena_free(ar);
    sx_fault_memory(2);
    sx_fault_memory(0);
    assert_false(sx_fault_fired());
    for (int i = 0; i < 5; i++) {
        void *p = sx_malloc(1);
        assert_non_null(p);
        sx_free(p);
    }
    /* the pool: each of its allocations in turn */
    for (long n = 1; n <= 2; n++) {
        sx_pool *p;
        sx_error er;
        sx_fault_memory(n);
        assert_int_equal(sx_pool_new(2, &p, &er), SX_EMEMORY);
        assert_null(p);
        assert_true(sx_fault_fired());
    }
    sx_fault_memory(0);
}

static void reading(void **state)
{
    (void)state;
    char path[] = "/tmp/segx-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    char data[1000], back[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    assert_int_equal(write(fd, data, sizeof data), sizeof data);
    sx_error er;
    assert_int_equal(sx_pread(fd, back, 500, 500, "f.h5", &er), SX_EOK);
    assert_memory_equal(back, data + 500, 500);
    assert_int_equal(sx_pread(fd, back, 0, 5000, "f.h5", &er), SX_EOK);
    /* beyond the end */
    assert_int_equal(sx_pread(fd, back, 501, 500, "f.h5", &er), SX_EFILE);
    assert_non_null(strstr(er.msg, "f.h5"));
    assert_non_null(strstr(er.msg, "ends at offset 1000"));
    assert_true(er.hint[0] != '\0');
    assert_int_equal(sx_pread(fd, back, 1, UINT64_MAX, "f.h5", &er), SX_EFILE);
    assert_int_equal(sx_pread(-1, back, 1, 0, NULL, &er), SX_EFILE);
    sx_fault_read(2);
    assert_int_equal(sx_pread(fd, back, 1, 0, "f.h5", &er), SX_EOK);
    assert_int_equal(sx_pread(fd, back, 1, 0, "f.h5", &er), SX_EFILE);
    assert_non_null(strstr(er.msg, "f.h5"));
    assert_true(sx_fault_fired());
    assert_int_equal(sx_pread(fd, back, 1, 0, "f.h5", &er), SX_EOK);
    close(fd);
}

static void hashing(void **state)
{
    (void)state;
    /* values of XXH3_64bits: fingerprints on disk depend on them */
    assert_true(sx_hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(sx_hash64("abc", 3, 0) == UINT64_C(0x78af5f94892f3950));
    assert_true(sx_hash64("abc", 3, 1) != sx_hash64("abc", 3, 0));
}

static void isa(void **state)
{
    (void)state;
    sx_isa best = sx_isa_best();
    assert_true((int)best >= 0 && best < SX_ISA_COUNT);
    assert_string_equal(sx_isa_name(SX_ISA_BASE), "base");
    assert_string_equal(sx_isa_name(SX_ISA_V3), "v3");
    assert_string_equal(sx_isa_name(SX_ISA_V4), "v4");
    assert_string_equal(sx_isa_name(SX_ISA_COUNT), "?");
}

/* -- Pool --------------------------------------------------------------------------------- */

enum { N = 1000 };

typedef struct job {
    atomic_int done[N];
    atomic_int bad_worker;
    int threads;
    size_t fail[4];          /* indices that fail; SIZE_MAX = none */
    size_t interrupt_at;
    bool silent;             /* fail without a message */
} job;

static void job_init(job *j, int threads)
{
    for (size_t i = 0; i < N; i++)
        atomic_init(&j->done[i], 0);
    atomic_init(&j->bad_worker, 0);
    j->threads = threads;
    for (int i = 0; i < 4; i++)
        j->fail[i] = SIZE_MAX;
    j->interrupt_at = SIZE_MAX;
    j->silent = false;
}

static sx_err task(void *arg, size_t i, int worker, sx_error *er)
{
    job *j = arg;
    if (worker < 0 || worker >= j->threads)
        atomic_fetch_add(&j->bad_worker, 1);
    atomic_fetch_add(&j->done[i], 1);
    if (i == j->interrupt_at)
        sx_interrupt();
    for (int k = 0; k < 4; k++) {
        if (i != j->fail[k])
            continue;
        if (k == 0)   /* the lowest one is slow: a higher one fails earlier in time */
            usleep(2000);
        if (j->silent)
            return SX_EDATA;
        return sx_fail(er, SX_EDATA, "image %zu", i);
    }
    return SX_EOK;
}

static void pool_all(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    for (size_t t = 0; t < 4; t++) {
        sx_pool *p;
        sx_error er;
        assert_int_equal(sx_pool_new(threads[t], &p, &er), SX_EOK);
        assert_int_equal(sx_pool_threads(p), threads[t]);
        for (int round = 0; round < 50; round++) {
            static job j;
            size_t n = round % 10 == 0 ? N : (size_t)round;
            job_init(&j, threads[t]);
            assert_int_equal(sx_pool_for(p, n, task, &j, &er), SX_EOK);
            for (size_t i = 0; i < N; i++)
                assert_int_equal(atomic_load(&j.done[i]), i < n);
            assert_int_equal(atomic_load(&j.bad_worker), 0);
        }
        usleep(20000);   /* let the workers fall asleep; then wake them */
        static job j;
        job_init(&j, threads[t]);
        assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EOK);
        sx_pool_free(p);
    }
    sx_pool_free(NULL);
}

static void pool_errors(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    for (size_t t = 0; t < 4; t++) {
        sx_pool *p;
        sx_error er;
        assert_int_equal(sx_pool_new(threads[t], &p, &er), SX_EOK);
        for (int round = 0; round < 20; round++) {
            static job j;
            job_init(&j, threads[t]);
            j.fail[0] = 7;
            j.fail[1] = 8;
            j.fail[2] = 9;
            j.fail[3] = 500;
            assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EDATA);
            assert_string_equal(er.msg, "image 7");   /* the lowest, always */
            for (size_t i = 0; i < 7; i++)
                assert_int_equal(atomic_load(&j.done[i]), 1);
            assert_int_equal(atomic_load(&j.done[N - 1]), 0);
            j.silent = true;
            assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EDATA);
            assert_int_equal(er.code, SX_EDATA);
            assert_non_null(strstr(er.msg, "7"));
            assert_int_equal(sx_pool_for(p, N, task, &j, NULL), SX_EDATA);
            /* the pool goes on working */
            job_init(&j, threads[t]);
            assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EOK);
        }
        sx_pool_free(p);
    }
}

static void pool_interrupt(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        sx_pool *p;
        sx_error er;
        static job j;
        assert_int_equal(sx_pool_new(threads, &p, &er), SX_EOK);
        job_init(&j, threads);
        j.interrupt_at = 10;
        assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EINTR);
        assert_int_equal(er.code, SX_EINTR);
        assert_true(sx_interrupted());
        assert_int_equal(atomic_load(&j.done[N - 1]), 0);
        job_init(&j, threads);   /* coming loops too, until it is cleared */
        assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EINTR);
        assert_int_equal(atomic_load(&j.done[0]), 0);
        sx_interrupt_clear();
        assert_false(sx_interrupted());
        assert_int_equal(sx_pool_for(p, N, task, &j, &er), SX_EOK);
        sx_pool_free(p);
    }
}

static sx_err nested(void *arg, size_t i, int worker, sx_error *er)
{
    (void)i;
    (void)worker;
    return sx_pool_for(arg, 3, nested, arg, er);
}

static void pool_misuse(void **state)
{
    (void)state;
    sx_pool *p;
    sx_error er;
    assert_int_equal(sx_pool_new(1000000, &p, &er), SX_EARG);
    assert_null(p);
    assert_int_equal(sx_pool_new(0, &p, &er), SX_EOK);
    assert_true(sx_pool_threads(p) >= 1);
    assert_int_equal(sx_pool_for(p, 5, nested, p, &er), SX_EBUG);
    assert_non_null(strstr(er.msg, "while a loop"));
    assert_int_equal(sx_pool_for(p, 0, nested, p, &er), SX_EOK);
    sx_pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors), cmocka_unit_test(error_codes), cmocka_unit_test(memory),
        cmocka_unit_test(arena), cmocka_unit_test(faults), cmocka_unit_test(reading),
        cmocka_unit_test(hashing), cmocka_unit_test(isa), cmocka_unit_test(pool_all),
        cmocka_unit_test(pool_errors), cmocka_unit_test(pool_interrupt),
        cmocka_unit_test(pool_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
