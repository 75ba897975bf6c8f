/*
 * decode.c: from the raw bytes of a chunk to values in the buffers of a wave. Runs on workers; knows
 * nothing of HDF5's library.
 *
 * A chunk is read, its filters are undone from the last to the first (those that the chunk's mask
 * does not switch off), and the part that lies inside the data set and the wave is copied to the
 * images. When a chunk is one contiguous piece of one image, the last step writes right there.
 */
#include "dump/dump_impl.h"

#include <libdeflate.h>
#include <stdio.h>
#include <string.h>

void sx_decoder_free(sx_decoder *x)
{
    if (!x)
        return;
    if (x->z)
        libdeflate_free_decompressor(x->z);
    for (int i = 0; i < 3; i++)
        sx_free(x->buf[i]);
    sx_free(x);
}

static sx_err take_decoder(sx_dump *d, sx_decoder **out, sx_error *er)
{
    pthread_mutex_lock(&d->lock);
    sx_decoder *x = d->idle;
    if (x)
        d->idle = x->next;
    pthread_mutex_unlock(&d->lock);
    if (!x) {
        x = sx_calloc(1, sizeof *x);
        if (!x)
            return sx_nomem(er);
        x->z = libdeflate_alloc_decompressor();
        if (!x->z) {
            sx_decoder_free(x);
            return sx_nomem(er);
        }
    }
    *out = x;
    return SX_EOK;
}

static void give_decoder(sx_dump *d, sx_decoder *x)
{
    pthread_mutex_lock(&d->lock);
    x->next = d->idle;
    d->idle = x;
    pthread_mutex_unlock(&d->lock);
}

static unsigned char *room(sx_decoder *x, int which, size_t n, sx_error *er)
{
    if (x->cap[which] < n || !x->buf[which]) {
        sx_free(x->buf[which]);
        x->cap[which] = 0;
        x->buf[which] = sx_malloc_aligned(n);
        if (!x->buf[which]) {
            sx_nomem(er);
            return NULL;
        }
        x->cap[which] = n;
    }
    return x->buf[which];
}

/* -- Filters -------------------------------------------------------------------------------- */

bool sx_lzf_decode(const unsigned char *src, size_t src_n, unsigned char *dst, size_t dst_n)
{
    size_t i = 0, o = 0;
    while (i < src_n) {
        unsigned control = src[i++];
        if (control < 32) {   /* a run of control + 1 literal bytes */
            size_t n = control + 1;
            if (n > src_n - i || n > dst_n - o)
                return false;
            memcpy(dst + o, src + i, n);
            i += n;
            o += n;
            continue;
        }
        size_t n = control >> 5;
        if (n == 7) {
            if (i >= src_n)
                return false;
            n += src[i++];
        }
        n += 2;
        if (i >= src_n)
            return false;
        size_t back = ((size_t)(control & 31) << 8 | src[i++]) + 1;
        if (back > o || n > dst_n - o)
            return false;
        for (const unsigned char *from = dst + o - back; n; n--)   /* may overlap: byte by byte */
            dst[o++] = *from++;
    }
    return o == dst_n;
}

/* Shuffle stores all first bytes, then all second bytes, ...: bytes left over go last, as they are. */
static void unshuffle(const unsigned char *restrict src, unsigned char *restrict dst, size_t n,
                      size_t size)
{
    size_t count = n / size;
    const unsigned char *s0 = src, *s1 = src + count, *s2 = src + 2 * count, *s3 = src + 3 * count;
    if (size == 2) {
        for (size_t i = 0; i < count; i++) {
            dst[2 * i] = s0[i];
            dst[2 * i + 1] = s1[i];
        }
    } else if (size == 4) {
        for (size_t i = 0; i < count; i++) {
            dst[4 * i] = s0[i];
            dst[4 * i + 1] = s1[i];
            dst[4 * i + 2] = s2[i];
            dst[4 * i + 3] = s3[i];
        }
    } else {
        for (size_t b = 0; b < size; b++)
            for (size_t i = 0; i < count; i++)
                dst[i * size + b] = src[b * count + i];
    }
    memcpy(dst + count * size, src + count * size, n - count * size);
}

/* Fletcher's checksum as HDF5 computes it: 16-bit big-endian words, an odd byte as high half. */
static uint32_t fletcher32(const unsigned char *p, size_t n)
{
    uint32_t a = 0, b = 0;
    size_t words = n / 2;
    while (words) {
        size_t run = words > 360 ? 360 : words;   /* as many as cannot overflow */
        words -= run;
        for (; run; run--, p += 2) {
            a += (uint32_t)p[0] << 8 | p[1];
            b += a;
        }
        a = (a & 0xffff) + (a >> 16);
        b = (b & 0xffff) + (b >> 16);
    }
    if (n & 1) {
        a += (uint32_t)*p << 8;
        b += a;
        a = (a & 0xffff) + (a >> 16);
        b = (b & 0xffff) + (b >> 16);
    }
    a = (a & 0xffff) + (a >> 16);
    b = (b & 0xffff) + (b >> 16);
    return b << 16 | a;
}

static bool fletcher_ok(const unsigned char *p, size_t n)
{
    const unsigned char *e = p + n;
    uint32_t stored = (uint32_t)e[0] | (uint32_t)e[1] << 8 | (uint32_t)e[2] << 16 |
                      (uint32_t)e[3] << 24;
    uint32_t sum = fletcher32(p, n);
    /* HDF5 before 1.6.3 stored the bytes of each half the other way round. */
    uint32_t old = (sum & 0x00ff00ffu) << 8 | (sum & 0xff00ff00u) >> 8;
    return stored == sum || stored == old;
}

void sx_swap_bytes(void *p, size_t count, size_t size)
{
    unsigned char *b = p;
    if (size == 2) {
        for (size_t i = 0; i < count; i++) {
            uint16_t v;
            memcpy(&v, b + 2 * i, 2);
            v = __builtin_bswap16(v);
            memcpy(b + 2 * i, &v, 2);
        }
    } else if (size == 4) {
        for (size_t i = 0; i < count; i++) {
            uint32_t v;
            memcpy(&v, b + 4 * i, 4);
            v = __builtin_bswap32(v);
            memcpy(b + 4 * i, &v, 4);
        }
    } else if (size == 8) {
        for (size_t i = 0; i < count; i++) {
            uint64_t v;
            memcpy(&v, b + 8 * i, 8);
            v = __builtin_bswap64(v);
            memcpy(b + 8 * i, &v, 8);
        }
    }
}

/* -- Where a chunk goes --------------------------------------------------------------------- */

typedef struct target {
    uint64_t origin[SX_RANK], extent[SX_RANK];   /* the part inside the data set */
    uint64_t img_lo, img_hi;                     /* along axis 0, the part inside the wave */
    size_t base;                                 /* image of the dump at axis 0 = 0, modulo 2^64 */
    unsigned char *direct;                       /* the whole chunk as one piece, or NULL */
} target;

void sx_chunk_origin(const sx_set *s, uint64_t chunk, uint64_t origin[SX_RANK])
{
    for (unsigned k = s->rank; k-- > 0;) {
        origin[k] = chunk % s->grid[k] * s->chunk_dims[k];
        chunk /= s->grid[k];
    }
}

static unsigned char *image_at(const sx_wave *w, const sx_wave_task *t, size_t image)
{
    const sx_wave_priv *v = w->priv;
    return v->ptr[t->column * w->count + (image - w->first)];
}

static void find_target(const sx_wave *w, const sx_wave_task *t, target *g)
{
    const sx_set *s = t->set;
    memset(g, 0, sizeof *g);
    g->base = t->base;
    sx_chunk_origin(s, t->chunk, g->origin);
    for (unsigned k = 0; k < s->rank; k++) {
        uint64_t left = s->dims[k] - g->origin[k];
        g->extent[k] = left < s->chunk_dims[k] ? left : s->chunk_dims[k];
    }
    g->img_lo = g->origin[0];
    g->img_hi = g->origin[0] + g->extent[0];
    if (g->img_lo < t->first)
        g->img_lo = t->first;
    if (g->img_hi > t->first + t->count)
        g->img_hi = t->first + t->count;

    if (s->chunk_dims[0] != 1)
        return;
    unsigned k = 1;
    while (k < s->rank && s->chunk_dims[k] == 1)
        k++;
    size_t offset = 0;
    for (unsigned j = 1; j < s->rank; j++)
        offset = offset * (size_t)s->dims[j] + (size_t)g->origin[j];
    if (k < s->rank) {
        if (g->extent[k] != s->chunk_dims[k])
            return;
        for (unsigned j = k + 1; j < s->rank; j++)
            if (s->chunk_dims[j] != s->dims[j])
                return;
    }
    g->direct = image_at(w, t, (size_t)g->img_lo + g->base) + offset * sx_dtype_size(s->type);
}

/* Copies the chunk's values (src), or its fill value where src is NULL, to the images. */
static void scatter(const sx_wave *w, const sx_wave_task *t, const target *g,
                    const unsigned char *src)
{
    const sx_set *s = t->set;
    const size_t size = sx_dtype_size(s->type);
    const unsigned last = s->rank - 1;
    size_t src_step[SX_RANK], dst_step[SX_RANK];   /* in elements */
    src_step[last] = dst_step[last] = 1;
    for (unsigned k = last; k > 0; k--) {
        src_step[k - 1] = src_step[k] * (size_t)s->chunk_dims[k];
        dst_step[k - 1] = dst_step[k] * (size_t)s->dims[k];
    }
    unsigned in = last;   /* axes from here on are one run of memory in chunk and image */
    while (in > 1 && s->chunk_dims[in] == s->dims[in])
        in--;
    const size_t row = (size_t)g->extent[in] * dst_step[in];
    for (uint64_t img = g->img_lo; img < g->img_hi; img++) {
        unsigned char *to = image_at(w, t, (size_t)img + g->base);
        uint64_t at[SX_RANK] = {0};
        for (bool more = true; more;) {
            size_t si = (size_t)(img - g->origin[0]) * src_step[0], di = 0;
            for (unsigned k = 1; k < s->rank; k++) {
                si += (size_t)at[k] * src_step[k];
                di += (size_t)(g->origin[k] + at[k]) * dst_step[k];
            }
            unsigned char *dst = to + di * size;
            if (src) {
                memcpy(dst, src + si * size, row * size);
                if (s->swap)
                    sx_swap_bytes(dst, row, size);
            } else {
                for (size_t i = 0; i < row; i++)
                    memcpy(dst + i * size, s->fill, size);
            }
            more = false;
            for (unsigned k = in; k-- > 1;) {
                if (++at[k] < g->extent[k]) {
                    more = true;
                    break;
                }
                at[k] = 0;
            }
        }
    }
}

/* -- Decoding ------------------------------------------------------------------------------- */

static sx_err damaged(const sx_dump *d, const sx_wave_task *t, const target *g, const char *what,
                      sx_error *er)
{
    char at[160] = "";
    size_t used = 0;
    for (unsigned k = t->set->image_axis ? 0 : 1; k < t->set->rank && used < sizeof at - 24; k++)
        used += (size_t)snprintf(at + used, sizeof at - used, "%s%llu", used ? "," : "",
                                 (unsigned long long)g->origin[k]);
    size_t image = (size_t)g->img_lo + g->base;
    char where[256];
    sx_dump_where(d, image, SIZE_MAX, where, sizeof where);
    sx_fail(er, SX_EFILE, "%s: %s: the chunk at [%s] (%s) is damaged: %s", d->path, t->set->path, at,
            where, what);
    sx_hint(er, "copy the file again or make it anew");
    return SX_EFILE;
}

static bool makes_bytes(int filter)
{
    return filter != SX_FILTER_FLETCHER32;
}

/* in: n raw bytes. Leaves the values in *out: g->direct, or a buffer of the decoder, or in itself. */
static sx_err undo_filters(sx_dump *d, const sx_wave_task *t, const target *g, uint32_t mask,
                           sx_decoder *x, const unsigned char *in, size_t n,
                           const unsigned char **out, sx_error *er)
{
    const sx_set *s = t->set;
    int turn = 1;
    for (unsigned f = s->n_filters; f-- > 0;) {
        if (mask >> f & 1)
            continue;
        int id = s->filter[f].id;
        if (id == SX_FILTER_FLETCHER32) {
            if (n < 4 || !fletcher_ok(in, n - 4))
                return damaged(d, t, g, "wrong checksum (fletcher32)", er);
            n -= 4;
            continue;
        }
        bool last = true;
        size_t want = s->chunk_bytes;   /* size after this step: checksums below add to it */
        for (unsigned b = 0; b < f; b++) {
            if (mask >> b & 1)
                continue;
            if (makes_bytes(s->filter[b].id))
                last = false;
            else
                want += 4;
        }
        if (id == SX_FILTER_SHUFFLE)    /* may also stand behind a packer: any size */
            want = n;
        unsigned char *to = last && g->direct && want == s->chunk_bytes ? g->direct : NULL;
        if (!to) {
            to = room(x, turn, want, er);
            if (!to)
                return SX_EMEMORY;
            turn = 3 - turn;
        }
        if (id == SX_FILTER_SHUFFLE) {
            unshuffle(in, to, n, s->filter[f].arg);
        } else if (id == SX_FILTER_DEFLATE) {
            if (libdeflate_zlib_decompress(x->z, in, n, to, want, NULL) != LIBDEFLATE_SUCCESS)
                return damaged(d, t, g, "its gzip data cannot be unpacked", er);
        } else if (!sx_lzf_decode(in, n, to, want)) {
            return damaged(d, t, g, "its LZF data cannot be unpacked", er);
        }
        in = to;
        n = want;
    }
    if (n != s->chunk_bytes)
        return damaged(d, t, g, "it has the wrong size", er);
    *out = in;
    return SX_EOK;
}

static sx_err decode_with(sx_dump *d, const sx_wave *w, const sx_wave_task *t, sx_decoder *x,
                          sx_error *er)
{
    const sx_set *s = t->set;
    const sx_wave_priv *v = w->priv;
    target g;
    find_target(w, t, &g);
    if (g.img_lo >= g.img_hi)
        return SX_EOK;
    if (t->at.size == 0) {
        scatter(w, t, &g, NULL);
        return SX_EOK;
    }
    bool plain = true;
    for (unsigned f = 0; f < s->n_filters; f++)
        if (!(t->at.mask >> f & 1))
            plain = false;
    size_t n = (size_t)t->at.size;
    const unsigned char *in;
    if (s->kind == SX_SET_CHUNKS_H5) {
        in = v->raw + t->at.addr;
    } else {
        unsigned char *to = plain && g.direct && n == s->chunk_bytes ? g.direct : room(x, 0, n, er);
        if (!to)
            return SX_EMEMORY;
        sx_err e = sx_pread(d->fd, to, n, t->at.addr, d->path, er);
        if (e)
            return e;
        in = to;
    }
    const unsigned char *values = NULL;
    sx_err e = undo_filters(d, t, &g, t->at.mask, x, in, n, &values, er);
    if (e)
        return e;
    if (!g.direct) {
        scatter(w, t, &g, values);
        return SX_EOK;
    }
    if (values != g.direct)
        memcpy(g.direct, values, s->chunk_bytes);
    if (s->swap)
        sx_swap_bytes(g.direct, s->chunk_bytes / sx_dtype_size(s->type), sx_dtype_size(s->type));
    return SX_EOK;
}

sx_err sx_decode_chunk(sx_dump *d, const sx_wave *w, const sx_wave_task *t, sx_error *er)
{
    sx_decoder *x = NULL;
    sx_err e = take_decoder(d, &x, er);
    if (e)
        return e;
    e = decode_with(d, w, t, x, er);
    give_decoder(d, x);
    return e;
}
