/*
 * base.h: what every room of the engine stands on: error records, memory, hashing.
 *
 * Errors. A function that can fail returns sx_err (0 = ok) and fills the sx_error that its caller
 * gave. The record holds a code, one message (what happened and where) and one hint (what to do
 * about it). The library never prints, exits or aborts. Workers of a parallel loop own one record
 * each; the record of the lowest task index wins, so the report does not depend on the threads.
 *
 * Memory. All of it goes through sx_malloc and friends, and all file reads through sx_pread, so
 * that tests can make the n-th of them fail (sx_fault_*). Both are thread safe.
 */
#ifndef SX_BASE_H
#define SX_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SX_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SX_PRINTF(f, a)
#endif

/* Error codes; the program's exit status follows them (see sx_err_exit). */
typedef enum sx_err {
#define SX_ERR(name, exit_code, text) SX_E##name,
#include "base/err.def"
#undef SX_ERR
} sx_err;

typedef struct sx_error {
    sx_err code;
    char msg[1024];
    char hint[512];
} sx_error;

/* Fills *er (er may be NULL) and returns code, so that `return sx_fail(...)` reads well.
 * sx_hint adds the hint to a record that sx_fail has filled. */
sx_err sx_fail(sx_error *er, sx_err code, const char *fmt, ...) SX_PRINTF(3, 4);
void sx_hint(sx_error *er, const char *fmt, ...) SX_PRINTF(2, 3);
/* Out of memory: a ready-made message, needs no memory itself. */
sx_err sx_nomem(sx_error *er);
const char *sx_err_name(sx_err code);  /* "FILE" */
int sx_err_exit(sx_err code);          /* exit status of the program for this code */

/* -- Memory ------------------------------------------------------------------------------- */

void *sx_malloc(size_t n);                    /* NULL on failure; n == 0 gives a valid pointer */
void *sx_calloc(size_t count, size_t size);   /* checks the product for overflow */
void *sx_realloc(void *p, size_t n);
void *sx_malloc_aligned(size_t n);            /* 64-byte aligned; released with sx_free too */
char *sx_strdup(const char *s);
void sx_free(void *p);

/* Arena: many small things that die together. Zeroed memory, 16-byte aligned. */
typedef struct sx_arena sx_arena;
sx_arena *sx_arena_new(void);
void *sx_arena_alloc(sx_arena *a, size_t n);
void sx_arena_free(sx_arena *a);              /* NULL is fine */

/* -- Time ------------------------------------------------------------------------------------ */

double sx_seconds(void);                      /* of a clock that only ever grows */

/* -- Reading ------------------------------------------------------------------------------ */

/* Exactly n bytes at offset off, or SX_EFILE with the path in the message. */
sx_err sx_pread(int fd, void *dst, size_t n, uint64_t off, const char *path, sx_error *er);

/* -- Faults, for tests ---------------------------------------------------------------------
 * After sx_fault_memory(n) the n-th allocation from now (1 = the next) fails, once; n = 0 turns it
 * off. sx_fault_read does the same for sx_pread. sx_fault_fired says whether it happened. */
void sx_fault_memory(long n);
void sx_fault_read(long n);
bool sx_fault_fired(void);

/* -- Hash ----------------------------------------------------------------------------------- */

uint64_t sx_hash64(const void *p, size_t n, uint64_t seed);   /* xxHash (XXH3) */

#endif
