/*
 * keep.c: decoded images that stay in memory between passes. A second pass over a dump that fits (another line in the
 * REPL, a gradient) then costs no reading and no unpacking. The driver decides what fits.
 */
#include <string.h>

#include "dump/dump_impl.h"

struct sx_kept {
    sx_wave wave;
    uint32_t fields;
    sx_kept *next;
};

size_t sx_dump_decoded_bytes(const sx_dump *d)
{
    size_t total = 0;
    for (size_t c = 0; c < d->n_columns; c++)
        for (size_t i = 0; i < d->info.n; i++) {
            const sx_column *col = &d->column[c];
            size_t bytes = col->set[col->n_sets > 1 ? i : 0].image_bytes;
            if (bytes > SIZE_MAX / 2 - total)
                return SIZE_MAX;
            total += bytes;
        }
    return total;
}

const sx_wave *sx_dump_kept(const sx_dump *d, size_t image, uint32_t fields)
{
    for (const sx_kept *k = d->kept; k; k = k->next)
        if (image >= k->wave.first && image - k->wave.first < k->wave.count &&
            (fields & ~k->fields) == 0)
            return &k->wave;
    return NULL;
}

static bool overlap(const sx_wave *a, const sx_wave *b)
{
    return a->first < b->first + b->count && b->first < a->first + a->count;
}

void sx_dump_keep(sx_dump *d, sx_wave *w, uint32_t fields)
{
    for (sx_kept **p = &d->kept; *p;) {
        sx_kept *k = *p;
        if (!overlap(&k->wave, w)) {
            p = &k->next;
            continue;
        }
        *p = k->next;                 /* decoded again with more fields, or in another grouping */
        sx_wave_free(&k->wave);
        sx_free(k);
    }
    sx_kept *k = sx_malloc(sizeof *k);
    if (!k) {                         /* keeping is a courtesy */
        sx_wave_free(w);
        return;
    }
    *k = (sx_kept){*w, fields, d->kept};
    d->kept = k;
    memset(w, 0, sizeof *w);
}

void sx_dump_forget(sx_dump *d)
{
    while (d->kept) {
        sx_kept *k = d->kept;
        d->kept = k->next;
        sx_wave_free(&k->wave);
        sx_free(k);
    }
}
