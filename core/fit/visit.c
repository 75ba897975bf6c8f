/* visit.c: see visit.h. */
#include "fit/visit.h"

#define WAVE_BYTES ((size_t)64 << 20)

typedef struct reading {
    sx_dump *d;
    sx_wave wave;
} reading;

static sx_err decode(void *arg, size_t i, int worker, sx_error *er)
{
    reading *r = arg;
    return sx_dump_decode(r->d, &r->wave, i, worker, er);
}

sx_err sx_visit(sx_dump *d, const size_t *image, size_t n, uint32_t fields, sx_pool *pool, sx_visit_fn *visit, void *arg, sx_error *er)
{
    reading r = {.d = d};
    sx_err e = SX_EOK;
    for (size_t from = 0, to; !e && from < n; from = to) {
        const sx_wave *wave = sx_dump_kept(d, image[from], fields);
        if (!wave) {
            e = sx_dump_prepare(d, image[from], sx_dump_wave_size(d, image[from], WAVE_BYTES), fields, &r.wave, er);
            if (!e) e = sx_pool_for(pool, r.wave.tasks, decode, &r, er);
            wave = &r.wave;
        }
        if (e) break;
        for (to = from; to < n && image[to] < wave->first + wave->count;) to++;
        e = visit(arg, wave, from, to, er);
    }
    sx_wave_free(&r.wave);
    return e;
}
