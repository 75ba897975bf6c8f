/*
 * tile.h: the tile machine: runs the per-pixel part of a pass over one block of one image.
 *
 * A program is made from the pixel sums of a pass. It stages some hundred pixels at a time (all classes), runs one kernel per
 * node over them, and adds to the sums in the fixed order of decisions 13. Nodes are grouped by the set of sweep axes
 * they depend on; a group runs once per combination of its axes' values, so nothing is computed more often than its
 * axes ask for. Values that a larger group needs are kept for all combinations, others only for the current one.
 *
 * What a program needs from outside its pixels (parameters, class vectors, results of earlier passes) are its imports: the
 * caller lays their values, in double, into one array at the given offsets, [sweep][L][C] each.
 */
#ifndef SX_TILE_H
#define SX_TILE_H

#include "cpu/kernels.h"
#include "dump/dump.h"
#include "graph/graph.h"

#define SX_BLOCK ((size_t)1 << 15)   /* pixels of a block: tiles are summed in double inside, blocks then in order */

typedef struct sx_import {
    sx_id id;
    size_t off, n;                   /* in doubles */
} sx_import;

typedef struct sx_prog sx_prog;

/* sum: psum and bysum nodes; map: pixel nodes to write out. The graph must outlive the program. counts: values of each
 * sweep axis, where not all of them are wanted (imports and sums then hold only those), or NULL. */
sx_err sx_prog_new(const sx_graph *g, const sx_dump_info *info, const sx_kernels *k, const sx_id *sum, size_t n_sum,
                   const sx_id *map, size_t n_map, const size_t *counts, sx_prog **out, sx_error *er);
void sx_prog_free(sx_prog *p);

size_t sx_prog_imports(const sx_prog *p, const sx_import **list);
size_t sx_prog_import_len(const sx_prog *p);              /* doubles */
size_t sx_prog_stat_len(const sx_prog *p);                /* doubles of a cell: all sums, [sweep][L][C] each */
size_t sx_prog_stat_off(const sx_prog *p, size_t sum);    /* of sum number i inside a cell */
size_t sx_prog_scratch(const sx_prog *p);                 /* bytes per worker, 64-byte aligned, zeroed once */
uint32_t sx_prog_fields(const sx_prog *p);                /* dump fields that it reads */
size_t sx_prog_axis(const sx_prog *p, int axis);          /* values of a sweep axis */
/* Field operators: their values are made elsewhere (pass/fields.c), a plane at a time, and read like the dump's numbers. */
size_t sx_prog_made(const sx_prog *p, const sx_id **list);

typedef struct sx_block {
    const sx_dump *dump;
    const sx_image *image;
    size_t index;                    /* of the image, for messages */
    size_t first, count;             /* pixels */
    const double *imports;           /* import_len doubles */
    const void *imports_t;           /* the same in the arithmetic's type */
    double *cell;                    /* stat_len doubles, added to */
    void *const *map;                /* per map node: [sweep][C][image pixels] in the arithmetic's type, or NULL */
    void *const *made;               /* per field operator: its values at the image, laid out like a map */
    uint64_t valid, masked;          /* out: pixels that count; pixels left out for not being finite */
} sx_block;

/* Labels that are no class, or logits that are not finite: SX_EDATA with the first pixel. */
sx_err sx_prog_run(const sx_prog *p, void *scratch, sx_block *b, sx_error *er);

/* -- Pixels, for whoever else runs a program ------------------------------------------------------------ */

/* Classes of count pixels from first on, C where they are ignored. A label that is no class: SX_EDATA with its pixel. */
sx_err sx_read_labels(const sx_dump *d, const sx_image *im, size_t index, size_t first, size_t count, int32_t *lab, sx_error *er);
/* Is every logit of the pixel a number or -inf? */
bool sx_pixel_finite(const sx_dump_info *info, const sx_image *im, size_t px);

/* -- What is wrong with a dump -----------------------------------------------------------------------
 * After a pass was refused: all images are looked at again, slowly, so that the message can say how many pixels. */
typedef struct sx_fault {
    uint64_t pixels;
    size_t images, last, image, px;  /* first at image, px */
    int64_t value;
} sx_fault;
typedef struct sx_census {
    sx_fault labels, logits;
} sx_census;
void sx_census_image(sx_census *c, const sx_dump *d, const sx_image *im, size_t index);
sx_err sx_census_error(const sx_census *c, const sx_dump *d, sx_error *er);   /* SX_EOK: nothing wrong found */

#endif
