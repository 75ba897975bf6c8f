/* resident.c: images in a GPU's memory: pieces of images, the slabs that hold them, what has to go, and how they get there. */
#include "cuda/device.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { PIECE = 64 << 20, SLAB = 64 << 20 };   /* bytes of logits in a piece, and of a slab: at most an eighth of what there is */

/* -- Slabs ---------------------------------------------------------------------------------------------- */

static void drop_slab(sx_cuda *d, sx_slab **at)
{
    sx_slab *s = *at;
    for (sx_part_of *p = s->parts; p;) {
        sx_part_of *next = p->next;
        *p = (sx_part_of){0};
        p = next;
    }
    *at = s->next;
    d->in_slabs -= s->size;
    d->cu.mem_free(s->p);
    sx_free(s);
}

/* Slabs of other dumps go first, the one longest unused; then of this dump the one that was used last. */
sx_err sx_resident_evict(sx_cuda *d, uint64_t dump, bool *gone, sx_error *er)
{
    *gone = false;
    for (int wait = 0; wait < 2; wait++) {
        sx_slab **best = NULL;
        if (wait) {                            /* for every batch but the one in the making */
            sx_err e = SX_CU(d, er, stream_sync, d->stream);
            if (e) return e;
            d->done = d->batch - 1;
        }
        for (sx_slab **s = &d->slabs; *s; s = &(*s)->next) {
            if ((*s)->stamp > d->done) continue;
            if (!best) {
                best = s;
                continue;
            }
            const bool own = (*s)->dump == dump, best_own = (*best)->dump == dump;
            if (own != best_own ? best_own : own ? (*s)->stamp > (*best)->stamp : (*s)->stamp < (*best)->stamp) best = s;
        }
        if (!best) continue;
        drop_slab(d, best);
        d->counts.evicted++;
        *gone = true;
        break;
    }
    return SX_EOK;
}

void sx_resident_forget(sx_cuda *d, uint64_t dump)
{
    for (sx_slab **s = &d->slabs; *s;)
        if (!dump || (*s)->dump == dump) drop_slab(d, s);
        else s = &(*s)->next;
    for (sx_resident **r = &d->residents; *r;) {
        sx_resident *x = *r;
        if (dump && x->dump != dump) {
            r = &x->next;
            continue;
        }
        *r = x->next;
        for (size_t i = 0; i < x->n_piece; i++) {
            sx_free(x->piece[i].field);
            sx_free(x->piece[i].masked);
        }
        sx_free(x->piece);
        sx_free(x->start);
        sx_free(x);
    }
}

/* How much of the GPU's memory images may take: what is free when they first come, but for room to work in. */
static sx_err find_limit(sx_cuda *d, sx_error *er)
{
    size_t available = 0, total = 0;
    if (d->limit) return SX_EOK;
    sx_err e = SX_CU(d, er, mem_info, &available, &total);
    if (e) return e;
    const size_t room = available / 4 < (size_t)2 << 30 ? available / 4 : (size_t)2 << 30;
    d->limit = available - room;
    if (d->limit == 0) d->limit = 1;
    return SX_EOK;
}

/* Room for n bytes of a part, in the dump's newest slab or in a new one. */
static sx_err place(sx_cuda *d, const sx_resident *r, sx_part_of *part, size_t n, sx_error *er)
{
    const uint64_t dump = r->dump;
    n = (n + 255) & ~(size_t)255;
    sx_slab *s = d->slabs;
    while (s && (s->dump != dump || s->size - s->used < n)) s = s->next;
    if (!s) {
        size_t size = sx_cu_share(d, SLAB);
        bool gone;
        if (size > r->bytes) size = r->bytes;                /* small dumps have small slabs */
        if (size < n) size = n;
        while (d->in_slabs + size > d->limit) {
            sx_err e = sx_resident_evict(d, dump, &gone, er);
            if (e) return e;
            if (!gone) {
                d->oom = true;
                return sx_fail(er, SX_EDEVICE, "GPU %d (%s): a block of pixels (%zu MiB) does not fit into its memory", d->info.index,
                               d->info.name, size >> 20);
            }
        }
        if (!(s = sx_calloc(1, sizeof *s))) return sx_nomem(er);
        sx_err e = sx_cu_alloc(d, dump, &s->p, size, er);
        if (e) {
            sx_free(s);
            return e;
        }
        s->size = size;
        s->dump = dump;
        s->next = d->slabs;
        d->slabs = s;
        d->in_slabs += size;
    }
    *part = (sx_part_of){.p = s->p + s->used, .slab = s, .next = s->parts};
    s->parts = part;
    s->used += n;
    s->stamp = d->batch;
    return SX_EOK;
}

/* -- Pieces ----------------------------------------------------------------------------------------------- */

static size_t channels_of(const sx_dump_info *i) { return i->activation == SX_SIGMOID1 ? 1 : i->classes; }

static size_t blocks_of_piece(const sx_cuda *d, const sx_dump_info *i)
{
    size_t n = sx_cu_share(d, PIECE) / (SX_BLOCK * channels_of(i) * sx_dtype_size(i->logits_type));
    return n ? n : 1;
}

sx_err sx_resident_of(sx_cuda *d, const sx_dump *dump, sx_resident **out, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(dump);
    const uint64_t id = sx_dump_id(dump);
    for (*out = d->residents; *out; *out = (*out)->next)
        if ((*out)->dump == id) return SX_EOK;
    sx_err e = find_limit(d, er);
    if (e) return e;
    sx_resident *r = sx_calloc(1, sizeof *r);
    if (!r) return sx_nomem(er);
    const size_t most = r->most = blocks_of_piece(d, info) * SX_BLOCK;
    r->dump = id;
    r->images = info->n;
    r->n_fields = info->n_fields;
    r->start = sx_calloc(info->n + 1, sizeof *r->start);
    for (size_t i = 0; r->start && i < info->n; i++) r->start[i + 1] = r->start[i] + (sx_dump_n_px(dump, i) + most - 1) / most;
    if (r->start) r->piece = sx_calloc(r->start[info->n] + 1, sizeof *r->piece);
    r->next = d->residents;
    d->residents = r;
    if (!r->start || !r->piece) {
        sx_resident_forget(d, id);
        return sx_nomem(er);
    }
    for (size_t i = 0; i < info->n; i++)
        for (size_t k = r->start[i]; k < r->start[i + 1]; k++) {
            sx_gpu_piece *p = &r->piece[r->n_piece++];
            const size_t px = sx_dump_n_px(dump, i);
            p->image = i;
            p->first = (k - r->start[i]) * most;
            p->count = px - p->first < most ? px - p->first : most;
            p->stride = (p->count + SX_CUDA_PAD - 1) / SX_CUDA_PAD * SX_CUDA_PAD;
            const size_t blocks = (p->count + SX_BLOCK - 1) / SX_BLOCK;
            r->bytes += p->stride * (channels_of(info) * sx_dtype_size(info->logits_type) + 4);
            p->field = sx_calloc(2 * r->n_fields + 1, sizeof *p->field);
            p->masked = sx_calloc(blocks * (2 + info->classes), sizeof *p->masked);
            if (!p->field || !p->masked) {
                sx_resident_forget(d, id);
                return sx_nomem(er);
            }
            p->valid = p->masked + blocks;
            p->counts = p->valid + blocks;
        }
    *out = r;
    return SX_EOK;
}

static sx_part_of *field_part(const sx_gpu_piece *p, const sx_wants *w, size_t i)
{
    return &p->field[2 * (size_t)w->field[i] + w->use_double];
}

bool sx_resident_has(const sx_resident *r, const sx_gpu_piece *p, const sx_wants *w)
{
    (void)r;
    if (!p->labels.p || (w->logits && !p->logits.p)) return false;
    for (size_t i = 0; i < w->n_field; i++)
        if (!field_part(p, w, i)->p) return false;
    return true;
}

static void use(const sx_cuda *d, const sx_part_of *p)
{
    if (p->slab) p->slab->stamp = d->batch;
}

void sx_resident_use(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, const sx_wants *w)
{
    (void)r;
    use(d, &p->labels);
    if (w->logits) use(d, &p->logits);
    for (size_t i = 0; i < w->n_field; i++) use(d, field_part(p, w, i));
}

/* -- Logits and fields: rows of pixels, padded -------------------------------------------------------------- */

typedef struct rows_fill {
    sx_fill f;
    const char *x;               /* element 0 of row 0 */
    size_t es, c_stride, p_stride, count, stride;
    int check;                   /* bits of the numbers to check for NaN and +inf; 0: none */
    atomic_bool odd;
} rows_fill;

/* NaN or +inf (-inf is a logit: a class that cannot be). */
static bool any_odd(const void *v, size_t n, int bits)
{
    unsigned odd = 0;
    if (bits == 16)
        for (size_t i = 0; i < n; i++) {
            const uint16_t h = ((const uint16_t *)v)[i];
            odd |= (h & 0x7c00u) == 0x7c00u && h != 0xfc00u;
        }
    else if (bits == 32)
        for (size_t i = 0; i < n; i++) {
            const uint32_t h = ((const uint32_t *)v)[i];
            odd |= (h & 0x7f800000u) == 0x7f800000u && h != 0xff800000u;
        }
    else
        for (size_t i = 0; i < n; i++) {
            const double x = ((const double *)v)[i];
            odd |= !(x < (double)INFINITY);
        }
    return odd != 0;
}

/* Those numbers become 0: pixels that have them do not count, whatever else is multiplied there. */
static void clear_odd(void *v, size_t n, int bits)
{
    for (size_t i = 0; i < n; i++) {
        char *x = (char *)v + i * (size_t)bits / 8;
        if (any_odd(x, 1, bits)) memset(x, 0, (size_t)bits / 8);
    }
}

static void gather(char *to, const rows_fill *r, size_t row, size_t px, size_t n)
{
    const char *from = r->x + (row * r->c_stride + px * r->p_stride) * r->es;
    if (r->p_stride == 1) {
        memcpy(to, from, n * r->es);
        return;
    }
    for (size_t i = 0; i < n; i++, to += r->es, from += r->p_stride * r->es) memcpy(to, from, r->es);
}

static void fill_rows(sx_fill *f, char *to, size_t off, size_t n)
{
    rows_fill *r = (rows_fill *)f;
    bool odd = false;
    for (size_t at = off / r->es, end = (off + n) / r->es; at < end;) {
        const size_t row = at / r->stride, px = at % r->stride;
        size_t k = r->stride - px < end - at ? r->stride - px : end - at, have = px < r->count ? r->count - px : 0;
        if (have > k) have = k;
        if (have) gather(to, r, row, px, have);
        memset(to + have * r->es, 0, (k - have) * r->es);
        if (r->check && any_odd(to, have, r->check)) {
            odd = true;
            clear_odd(to, have, r->check);
        }
        to += k * r->es;
        at += k;
    }
    if (odd) atomic_store(&r->odd, true);
}

/* NaN or +inf were seen. Refused, if a pixel that counts has them. */
static sx_err refuse_odd(const sx_dump *dump, const sx_gpu_piece *p, const sx_image *im, sx_error *er)
{
    sx_census c = {0};
    sx_census_image(&c, dump, im, p->image);
    return sx_census_error(&c, dump, er);
}

static sx_err load_logits(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, sx_dump *dump, const sx_image *im, sx_pool *pool, bool *odd,
                          sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(dump);
    const size_t es = sx_dtype_size(info->logits_type), n = channels_of(info) * p->stride * es;
    rows_fill f = {.f.fill = fill_rows, .x = (const char *)im->logits + p->first * im->p_stride * es, .es = es,
                   .c_stride = im->c_stride, .p_stride = im->p_stride, .count = p->count, .stride = p->stride,
                   .check = 8 * (int)es};
    sx_err e = place(d, r, &p->logits, n, er);
    if (e) return e;
    e = sx_cu_upload(d, p->logits.p, n, &f.f, pool, er);
    *odd = atomic_load(&f.odd);
    if (!e && *odd && !info->skip_nonfinite) e = refuse_odd(dump, p, im, er);
    return e;
}

static sx_err load_field(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, const sx_wants *w, size_t i, const sx_image *im, sx_pool *pool,
                         sx_error *er)
{
    const size_t es = w->use_double ? 8 : 4;
    const sx_kernels *k = sx_kernels_get(SX_ISA_BASE, w->use_double);
    const int64_t number = w->field[i];
    sx_part_of *part = field_part(p, w, i);
    if (!im->field || !im->field[number]) return sx_fail(er, SX_EBUG, "field %d was not read", (int)number);
    char *row = sx_malloc_aligned(p->stride * es);
    if (!row) return sx_nomem(er);
    sx_src s = {.x = (const char *)im->field[number] + p->first * sx_dtype_size(im->field_type[number]),
                .type = im->field_type[number], .p_stride = 1, .n_px = p->count};
    k->load(row, &s, 0, p->stride);            /* in the arithmetic's type, as the CPU takes it */
    rows_fill f = {.f.fill = fill_rows, .x = row, .es = es, .p_stride = 1, .count = p->stride, .stride = p->stride};
    sx_err e = place(d, r, part, p->stride * es, er);
    if (!e) e = sx_cu_upload(d, part->p, p->stride * es, &f.f, pool, er);
    sx_free(row);
    return e;
}

/* -- Labels: a byte per pixel and a list of labels per tile ---------------------------------------------------- */

typedef struct survey {
    const sx_dump *dump;
    const sx_image *im;
    sx_gpu_piece *p;
    size_t classes, per_tile;
    bool mask;
    unsigned char *loc;
    uint32_t *head;
    int32_t *table;
} survey;

static sx_err survey_block(void *arg, size_t b, int worker, sx_error *er)
{
    survey *s = arg;
    const size_t C = s->classes, first = b * SX_BLOCK, end = s->p->stride - first < SX_BLOCK ? s->p->stride - first : SX_BLOCK;
    const size_t count = s->p->count - first < SX_BLOCK ? s->p->count - first : SX_BLOCK;
    int32_t *lab = sx_malloc(SX_BLOCK * sizeof *lab), *place_of = sx_calloc(2 * (C + 1), sizeof *place_of);
    int32_t *stamp = place_of ? place_of + C + 1 : NULL;
    uint32_t *counts = s->p->counts + b * C, masked = 0, valid = 0;
    (void)worker;
    sx_err e = lab && place_of ? SX_EOK : sx_nomem(er);
    memset(counts, 0, C * sizeof *counts);
    if (!e) e = sx_read_labels(s->dump, s->im, s->p->image, s->p->first + first, count, lab, er);
    for (size_t i = 0; !e && s->mask && i < count; i++)
        if (lab[i] < (int32_t)C && !sx_pixel_finite(sx_dump_get_info(s->dump), s->im, s->p->first + first + i)) {
            lab[i] = (int32_t)C;
            masked++;
        }
    for (size_t t = 0; !e && t < end / SX_TILE; t++) {
        const size_t tile = first / SX_TILE + t;
        int32_t *list = s->table + tile * s->per_tile;
        uint32_t n = 0;
        for (size_t i = t * SX_TILE; i < (t + 1) * SX_TILE; i++) {
            const int32_t y = i < count ? lab[i] : (int32_t)C;
            if (stamp[y] != (int32_t)t + 1) {
                stamp[y] = (int32_t)t + 1;
                place_of[y] = (int32_t)n;
                list[n++] = y;
            }
            s->loc[first + i] = (unsigned char)(C < 256 ? y : place_of[y]);
            if (y < (int32_t)C) counts[y]++;
        }
        s->head[2 * tile] = (uint32_t)(tile * s->per_tile);
        s->head[2 * tile + 1] = n;
    }
    for (size_t c = 0; c < C; c++) valid += counts[c];
    s->p->masked[b] = masked;
    s->p->valid[b] = valid;
    sx_free(lab);
    sx_free(place_of);
    return e;
}

static size_t to_64(size_t n) { return (n + 63) & ~(size_t)63; }

static sx_err load_labels(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, sx_dump *dump, const sx_image *im, bool odd, sx_pool *pool,
                          sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(dump);
    const size_t tiles = p->stride / SX_TILE, per_tile = info->classes + 1 < SX_TILE ? info->classes + 1 : SX_TILE;
    p->head = to_64(p->stride);
    p->table = p->head + to_64(2 * tiles * sizeof(uint32_t));
    const size_t n = to_64(p->table + tiles * per_tile * sizeof(int32_t));
    char *all = sx_malloc_aligned(n);
    if (!all) return sx_nomem(er);
    memset(all + p->head, 0, n - p->head);
    survey s = {.dump = dump, .im = im, .p = p, .classes = info->classes, .per_tile = per_tile, .mask = odd && info->skip_nonfinite,
                .loc = (unsigned char *)all, .head = (uint32_t *)(void *)(all + p->head), .table = (int32_t *)(void *)(all + p->table)};
    rows_fill f = {.f.fill = fill_rows, .x = all, .es = 1, .p_stride = 1, .count = n, .stride = n};
    sx_err e = sx_pool_for(pool, (p->count + SX_BLOCK - 1) / SX_BLOCK, survey_block, &s, er);
    if (!e) e = place(d, r, &p->labels, n, er);
    if (!e) e = sx_cu_upload(d, p->labels.p, n, &f.f, pool, er);
    sx_free(all);
    return e;
}

/* A part that did not arrive is not there; its room is lost until the slab goes. */
static void forget_part(sx_part_of *p)
{
    sx_slab *s = p->slab;
    if (!s) return;
    for (sx_part_of **at = &s->parts; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    *p = (sx_part_of){0};
}

sx_err sx_resident_load(sx_cuda *d, sx_resident *r, sx_gpu_piece *p, const sx_wants *w, sx_dump *dump, const sx_image *im, sx_pool *pool,
                        sx_error *er)
{
    const bool skip = sx_dump_get_info(dump)->skip_nonfinite;   /* then which pixels count depends on the logits */
    bool odd = false;
    sx_err e = SX_EOK;
    sx_resident_use(d, r, p, w);
    if (((w->logits || (skip && !p->labels.p)) && !p->logits.p) || (skip && !p->labels.p)) {
        if (p->logits.p) forget_part(&p->logits);
        if ((e = load_logits(d, r, p, dump, im, pool, &odd, er))) {
            forget_part(&p->logits);
            return e;
        }
    }
    if (!p->labels.p && (e = load_labels(d, r, p, dump, im, odd, pool, er))) {
        forget_part(&p->labels);
        return e;
    }
    for (size_t i = 0; i < w->n_field; i++) {
        sx_part_of *part = field_part(p, w, i);
        if (!part->p && (e = load_field(d, r, p, w, i, im, pool, er))) {
            forget_part(part);
            return e;
        }
    }
    return e;
}
