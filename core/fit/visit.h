/*
 * visit.h: some images of a dump, wave by wave: those that are decoded already are taken as they are, the others are read.
 */
#ifndef SX_VISIT_H
#define SX_VISIT_H

#include "base/pool.h"
#include "dump/dump.h"

/* A wave with the wanted images from number `from` up to `to` (of the list). */
typedef sx_err sx_visit_fn(void *arg, const sx_wave *wave, size_t from, size_t to, sx_error *er);

/* image: n of the dump, ascending. fields: a bit for each further data set that is wanted. Stops at the first error. */
sx_err sx_visit(sx_dump *d, const size_t *image, size_t n, uint32_t fields, sx_pool *pool, sx_visit_fn *visit, void *arg, sx_error *er);

#endif
