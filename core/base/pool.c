/*
 * pool.c: workers that wait for the next loop, indices handed out by one counter.
 *
 * Why the lowest failing index is found whatever the timing: indices are handed out in ascending
 * order, and an index is skipped only when a lower one has already failed. So every index below
 * the lowest failing one has run, and the minimum over the workers is that index.
 */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 4096, SPINS = 2000 };

static atomic_bool interrupt_flag;

typedef struct worker {
    struct sx_pool *pool;
    pthread_t thread;
    int number;
    size_t failed;      /* index that failed, SIZE_MAX = none */
    bool interrupted;
    sx_error er;
} worker;

struct sx_pool {
    int threads;
    worker *w;               /* threads of them; w[0] is the caller of sx_pool_for */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    atomic_uint round;       /* counts loops; a change is the signal to begin */
    atomic_int running;      /* workers that have not finished this round */
    atomic_bool busy;        /* a loop is running: a task must not start another */
    bool quit;               /* written before the last round */
    void *buffer;            /* sx_pool_buffer */
    size_t buffer_len;
    /* the loop */
    sx_task task;
    void *arg;
    size_t n;
    atomic_size_t next, lowest;   /* next index to hand out; lowest index that failed so far */
};

void sx_interrupt(void) { atomic_store(&interrupt_flag, true); }
void sx_interrupt_clear(void) { atomic_store(&interrupt_flag, false); }
bool sx_interrupted(void) { return atomic_load_explicit(&interrupt_flag, memory_order_relaxed); }

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void work(sx_pool *p, worker *w)
{
    w->failed = SIZE_MAX;
    w->interrupted = false;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->n || i > atomic_load_explicit(&p->lowest, memory_order_relaxed))
            return;
        if (sx_interrupted()) {
            w->interrupted = true;
            return;
        }
        w->er.msg[0] = w->er.hint[0] = '\0';
        sx_err e = p->task(p->arg, i, w->number, &w->er);
        if (e == SX_EOK)
            continue;
        w->er.code = e;
        w->failed = i;
        size_t low = atomic_load(&p->lowest);
        while (i < low && !atomic_compare_exchange_weak(&p->lowest, &low, i)) {}
        return;
    }
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    sx_pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        for (int s = 0; s < SPINS && atomic_load(&p->round) == seen; s++)
            relax();
        if (atomic_load(&p->round) == seen) {
            pthread_mutex_lock(&p->lock);
            while (atomic_load(&p->round) == seen)
                pthread_cond_wait(&p->start, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        seen++;
        if (p->quit)
            return NULL;
        work(p, w);
        if (atomic_fetch_sub(&p->running, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void begin_round(sx_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->round, 1);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
}

static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);   /* more than 1024 cores: the set is too small */
    return n < 1 ? 1 : n < MAX_THREADS ? (int)n : MAX_THREADS;
}

/* Ends and joins workers 1 .. started-1. */
static void stop_workers(sx_pool *p, int started)
{
    p->quit = true;
    begin_round(p);
    for (int i = 1; i < started; i++)
        pthread_join(p->w[i].thread, NULL);
}

sx_err sx_pool_new(int threads, sx_pool **out, sx_error *er)
{
    *out = NULL;
    if (threads > MAX_THREADS)
        return sx_fail(er, SX_EARG, "%d threads asked for, at most %d are possible", threads,
                       MAX_THREADS);
    if (threads <= 0)
        threads = usable_cores();
    sx_pool *p = sx_calloc(1, sizeof *p);
    worker *w = sx_calloc((size_t)threads, sizeof *w);
    if (!p || !w) {
        sx_free(w);
        sx_free(p);
        return sx_nomem(er);
    }
    p->w = w;
    p->threads = threads;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->start, NULL);
    pthread_cond_init(&p->done, NULL);

    /* Signals belong to the program's main thread: workers inherit a mask that blocks all. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int failed = 0, started = 0;
    for (; started < threads && !failed; started++) {
        w[started].pool = p;
        w[started].number = started;
        if (started)
            failed = pthread_create(&w[started].thread, NULL, worker_main, &w[started]);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        stop_workers(p, started - 1);
        p->threads = 1;
        sx_pool_free(p);
        sx_fail(er, SX_EMEMORY, "worker thread %d of %d cannot be started: %s", started - 1,
                threads, strerror(failed));
        sx_hint(er, "ask for fewer threads");
        return SX_EMEMORY;
    }
    *out = p;
    return SX_EOK;
}

void sx_pool_free(sx_pool *p)
{
    if (!p)
        return;
    if (p->threads > 1)
        stop_workers(p, p->threads);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->start);
    pthread_mutex_destroy(&p->lock);
    sx_free(p->buffer);
    sx_free(p->w);
    sx_free(p);
}

void *sx_pool_buffer(sx_pool *p, size_t n)
{
    if (n > p->buffer_len || !p->buffer) {
        sx_free(p->buffer);
        p->buffer = sx_malloc_aligned(n);
        p->buffer_len = p->buffer ? n : 0;
    }
    return p->buffer;
}

int sx_pool_threads(const sx_pool *p)
{
    return p->threads;
}

sx_err sx_pool_for(sx_pool *p, size_t n, sx_task task, void *arg, sx_error *er)
{
    if (n == 0)
        return SX_EOK;
    if (n > SIZE_MAX - MAX_THREADS)
        return sx_fail(er, SX_EBUG, "sx_pool_for: %zu tasks", n);
    if (atomic_exchange(&p->busy, true))
        return sx_fail(er, SX_EBUG, "sx_pool_for called while a loop of this pool is running");
    p->task = task;
    p->arg = arg;
    p->n = n;
    atomic_store(&p->next, 0);
    atomic_store(&p->lowest, SIZE_MAX);
    bool alone = p->threads == 1 || n == 1;
    if (!alone) {
        atomic_store(&p->running, p->threads - 1);
        begin_round(p);
    }
    work(p, &p->w[0]);
    if (!alone) {
        for (int s = 0; s < SPINS && atomic_load(&p->running); s++)
            relax();
        if (atomic_load(&p->running)) {
            pthread_mutex_lock(&p->lock);
            while (atomic_load(&p->running))
                pthread_cond_wait(&p->done, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
    }

    sx_err result = SX_EOK;
    const worker *lowest = NULL;
    for (int i = 0; i < (alone ? 1 : p->threads); i++) {
        const worker *w = &p->w[i];
        if (w->interrupted)
            result = SX_EINTR;
        if (w->failed != SIZE_MAX && (!lowest || w->failed < lowest->failed))
            lowest = w;
    }
    /* An interrupt may have skipped an index that would have failed: it goes first. */
    if (result == SX_EINTR) {
        sx_fail(er, SX_EINTR, "interrupted");
    } else if (lowest) {
        result = lowest->er.code;
        if (er && lowest->er.msg[0])
            *er = lowest->er;
        else
            sx_fail(er, result, "task %zu failed: %s", lowest->failed, sx_err_name(result));
    }
    atomic_store(&p->busy, false);
    return result;
}
