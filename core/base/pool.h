/*
 * pool.h: a small thread pool for loops whose tasks write to numbered cells.
 *
 * sx_pool_for runs task(arg, index, worker, er) for index 0 .. n-1 on all workers, handing out
 * indices in ascending order. Which worker runs which index is not defined; results must depend on
 * the index alone. The first failing index (the lowest) decides the error; later indices may be
 * skipped then. The calling thread is worker 0. An interrupt request (sx_interrupt) makes the
 * loop stop early with SX_EINTR.
 */
#ifndef SX_POOL_H
#define SX_POOL_H

#include "base/base.h"

typedef struct sx_pool sx_pool;
typedef sx_err (*sx_task)(void *arg, size_t index, int worker, sx_error *er);

/* threads <= 0: one per core that this process may use. */
sx_err sx_pool_new(int threads, sx_pool **out, sx_error *er);
void sx_pool_free(sx_pool *p);
int sx_pool_threads(const sx_pool *p);
/* At least n bytes, 64-byte aligned, that stay with the pool until a larger n is asked for: fresh pages cost more than what is
 * computed into them. For the caller of sx_pool_for, one use at a time; contents are whatever. NULL: no memory. */
void *sx_pool_buffer(sx_pool *p, size_t n);
sx_err sx_pool_for(sx_pool *p, size_t n, sx_task task, void *arg, sx_error *er);

/* Async-signal-safe: asks running and coming loops to stop. sx_interrupt_clear before new work. */
void sx_interrupt(void);
void sx_interrupt_clear(void);
bool sx_interrupted(void);

#endif
