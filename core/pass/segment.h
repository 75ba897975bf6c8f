/*
 * segment.h: the statistics of one pass over a dump as an append-only file, one checked record per image, so that a pass
 * that was killed goes on where its last whole record ends.
 *
 * Layout, native byte order (a file of the other order is refused): header {magic, version, key, cells, images, doubles of
 * a record}, per cell {key, offset, length}, hash of all that. Then per image {image, valid pixels, masked pixels, hash}
 * and the doubles. A header is written whole (temporary name, rename); records may be torn at the end of the file only.
 *
 * Every write of a run folder goes through sx_put_bytes, which is where the tests kill: before, within, after it.
 */
#ifndef SX_SEGMENT_H
#define SX_SEGMENT_H

#include "base/base.h"

typedef struct sx_segment_cell {
    uint64_t key;             /* content of a statistic at one value of each of its sweep axes */
    uint64_t off, len;        /* its doubles inside a record */
} sx_segment_cell;

typedef struct sx_segment {
    char *path;
    int fd;                   /* -1 while it is neither written nor read */
    uint64_t key;             /* of the list of cells */
    size_t n_cells, images, len;
    size_t done;              /* whole records */
    sx_segment_cell *cell;
    double last_sync;
} sx_segment;

typedef struct sx_segment_record {
    uint64_t image, valid, masked, hash;
} sx_segment_record;

uint64_t sx_segment_key(const sx_segment_cell *cell, size_t n_cells);

/* Creates the file. Copies cell. */
sx_err sx_segment_create(const char *path, const sx_segment_cell *cell, size_t n_cells, size_t images, size_t len,
                         sx_segment **out, sx_error *er);
/* Reads the header; done is what the size says. Not a segment: SX_EFILE. */
sx_err sx_segment_open(const char *path, sx_segment **out, sx_error *er);
/* Before the first append: checks all records, cuts off what follows the last good one. */
sx_err sx_segment_mend(sx_segment *s, sx_error *er);
sx_err sx_segment_append(sx_segment *s, const double *v, uint64_t valid, uint64_t masked, sx_error *er);
/* To the disk, if the last time is longer ago than a second, or now. */
sx_err sx_segment_sync(sx_segment *s, bool now, sx_error *er);
/* Record of an image into v (len doubles) and rec; damage is SX_EFILE. */
sx_err sx_segment_read(sx_segment *s, size_t image, double *v, sx_segment_record *rec, sx_error *er);
void sx_segment_rest(sx_segment *s);    /* closes the file; it is opened again when needed */
void sx_segment_free(sx_segment *s);

/* n bytes to fd, all of them; name is for the message. */
sx_err sx_put_bytes(int fd, const void *p, size_t n, const char *name, sx_error *er);
/* For tests: SIGKILL at the n-th point from now (three points per sx_put_bytes); 0 = off. */
void sx_fault_kill(long n);

#endif
