/*
 * store.h: records of equal size, appended in order and read back by index: the statistics of every image. Kept in
 * memory up to a limit; what comes later goes to an unlinked temporary file (in TMPDIR), so memory stays flat however
 * many images a dump has. One thread at a time.
 */
#ifndef SX_STORE_H
#define SX_STORE_H

#include "base/base.h"

typedef struct sx_store sx_store;

/* len: doubles of a record; n: records that are expected; limit: bytes to keep in memory. */
sx_err sx_store_new(size_t len, size_t n, size_t limit, sx_store **out, sx_error *er);
void sx_store_free(sx_store *s);
sx_err sx_store_append(sx_store *s, const double *rec, sx_error *er);
/* Copies record i into rec. */
sx_err sx_store_get(sx_store *s, size_t i, double *rec, sx_error *er);
uint64_t sx_store_spilled(const sx_store *s);   /* bytes in the temporary file; of NULL none */

#endif
