/*
 * keep.h: a run folder. What passes have summed stays in it, by content, so that the same sums are never computed twice:
 *
 *   lock            holds the process id; locked (flock) while a process writes
 *   journal.jsonl   one line per finished cell: key, segment, place on the sweep axes, text; append-only
 *   stats/KEY.seg   the cells of one pass: a record per image (segment.h); the truth. A journal that lost lines is mended
 *                   from them.
 *
 * A cell is one pixel sum at one value of each of its sweep axes. Its key is a hash of everything its numbers depend on:
 * operations, constants, axis values, the dump's fingerprint and how it was opened, precision, version of the numerics.
 * One thread at a time, one process at a time.
 */
#ifndef SX_KEEP_H
#define SX_KEEP_H

#include "dump/dump.h"
#include "graph/graph.h"
#include "pass/segment.h"

#define SX_NUMERICS 2          /* raise when the same sum gives other bits than before */

typedef struct sx_keep sx_keep;

/* Makes the folder if need be and locks it; another process that has it: SX_EFILE with its id. fresh: what passes left is
 * thrown away. */
sx_err sx_keep_open(const char *dir, bool fresh, sx_keep **out, sx_error *er);
/* To find cells only: nothing is made, locked or changed; a folder that is not there is an empty one. */
sx_err sx_keep_look(const char *dir, sx_keep **out, sx_error *er);
void sx_keep_close(sx_keep *k);
/* Cells that hold a non-finite number are computed again (at most once per opening). */
void sx_keep_retry(sx_keep *k, bool on);
bool sx_keep_retries(const sx_keep *k);
const char *sx_keep_dir(const sx_keep *k);
/* The file dir/name gets these bytes at once or not at all. */
sx_err sx_keep_put(sx_keep *k, const char *name, const void *p, size_t n, sx_error *er);
/* The same piece by piece, one file at a time: what is added between start and finish. After a failure start again. */
sx_err sx_keep_start(sx_keep *k, const char *name, sx_error *er);
sx_err sx_keep_add(sx_keep *k, const void *p, size_t n, sx_error *er);
sx_err sx_keep_replace(sx_keep *k, sx_error *er);

/* -- For passes ----------------------------------------------------------------------------------------- */

/* Keys of the combinations of each sum (psum, bysum), [sum][combination], in one array; start[i] is the first of sum i.
 * Both from sx_malloc; the caller's. */
sx_err sx_cell_keys(const sx_graph *g, const sx_dump_info *info, bool use_double, bool fast, const sx_id *sum, size_t n_sum,
                    uint64_t **keys, size_t **start, sx_error *er);

/* Images that an unfinished segment has of a cell, the most; 0: there is none. */
size_t sx_keep_begun(const sx_keep *k, uint64_t key, size_t images);
/* A finished cell: its segment and its place in there. */
bool sx_keep_find(const sx_keep *k, uint64_t key, size_t images, sx_segment **seg, const sx_segment_cell **cell);
void sx_keep_forget(sx_keep *k, uint64_t key);

/* The segment of these cells, new or as far as it got (seg->done). It belongs to the keep. */
sx_err sx_keep_begin(sx_keep *k, const sx_segment_cell *cell, size_t n, size_t images, size_t len, sx_segment **seg,
                     sx_error *er);
/* All records are there: to disk, found from now on, one line per cell into the journal. sum, combo: per cell. */
sx_err sx_keep_finish(sx_keep *k, sx_segment *seg, const sx_graph *g, const sx_id *sum, const size_t *combo, sx_error *er);

/* -- Boxes: part of a sweep ------------------------------------------------------------------------------ */

/* Which values of each sweep axis. index[a] NULL: all. */
typedef struct sx_box {
    size_t count[SX_MAX_SWEEP];
    size_t *index[SX_MAX_SWEEP];
} sx_box;

void sx_box_clear(sx_box *b);
/* A box that is NULL is the whole sweep. Values of axis a inside the box; combinations of a set of axes, and the number in
 * the whole sweep of combination k of them. */
size_t sx_box_axis(const sx_graph *g, const sx_box *b, int a);
size_t sx_box_count(const sx_graph *g, const sx_box *b, sx_axes axes);
size_t sx_box_full(const sx_graph *g, const sx_box *b, sx_axes axes, size_t k);
/* Of n numbers, [combination of `axes`][...], those inside the box. */
void sx_box_copy(const sx_graph *g, const sx_box *b, sx_axes axes, const double *v, size_t n, double *dst);
/* Grows the box on the axes that it leaves open yet, as far as every combination of `axes` in it is missing. false: none
 * is there, or what the box already says does not fit (it is unchanged then). */
sx_err sx_box_take(const sx_graph *g, sx_box *b, sx_axes axes, const bool *missing, bool *taken, sx_error *er);

#endif
