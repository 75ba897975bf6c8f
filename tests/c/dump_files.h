/* dump_files.h: HDF5 files of many kinds for the tests of core/dump, and the values they hold. */
#ifndef SX_TEST_DUMP_FILES_H
#define SX_TEST_DUMP_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef H5_USE_110_API
#define H5_USE_110_API
#endif
#include <hdf5.h>

#include "dump/dump.h"

/* The dump that every layout below holds: N images of H x W pixels, C classes. */
enum { N = 5, C = 4, H = 9, W = 14, PX = H * W };

static inline double logit_at(size_t n, size_t c, size_t p)
{
    return (double)((n * 131 + c * 37 + p * 7 + p * p % 11) % 97) / 8.0 - 6.0;
}

static inline int label_at(size_t n, size_t p)
{
    return (int)((n + p + p / 5) % C);
}

/* -- Files ---------------------------------------------------------------------------------- */

static char tmp_dir[256];

static inline int make_tmp(void **state)
{
    (void)state;
    const char *base = getenv("SEGX_TMP");
    if (base)
        mkdir(base, 0777);
    snprintf(tmp_dir, sizeof tmp_dir, "%.200s/dumpXXXXXX", base ? base : "/tmp");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return mkdtemp(tmp_dir) ? 0 : -1;
}

static inline int remove_tmp(void **state)
{
    (void)state;
    rmdir(tmp_dir);
    return 0;
}

static inline const char *tmp_path(const char *name)
{
    static char buf[4][400];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(buf[turn], sizeof buf[turn], "%s/%s", tmp_dir, name);
    return buf[turn];
}

static inline hid_t half_type(H5T_order_t order)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    H5Tset_order(t, order);
    return t;
}

/* The values are multiples of 1/8 below 16: HDF5's own slow conversion to any float type is exact. */
static inline double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? m / 16777216.0 : 0.0;
    if (e) {
        v = 1.0 + m / 1024.0;
        for (int k = e; k < 15; k++)
            v /= 2;
        for (int k = 15; k < e; k++)
            v *= 2;
    }
    return h & 0x8000 ? -v : v;
}

/* How a data set is stored; chunk[0] == 0: contiguous. */
typedef struct how {
    const char *name;
    hsize_t chunk[5];
    int gzip;
    int shuffle, fletcher;
} how;

static inline hid_t plist(const how *h, int rank)
{
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    if (h && h->chunk[0]) {
        assert_true(H5Pset_chunk(p, rank, h->chunk) >= 0);
        if (h->shuffle)
            H5Pset_shuffle(p);
        if (h->gzip)
            H5Pset_deflate(p, (unsigned)h->gzip);
        if (h->fletcher)
            H5Pset_fletcher32(p);
    }
    return p;
}

/* Makes a data set of file type `type` from `data` of memory type `mem` (data NULL: writes nothing). */
static inline hid_t put_with(hid_t loc, const char *name, hid_t type, int rank, const hsize_t *dims,
                             hid_t dcpl, hid_t mem, const void *data)
{
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t id = H5Dcreate2(loc, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    assert_true(id >= 0);
    if (data)
        assert_true(H5Dwrite(id, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    return id;
}

static inline void put(hid_t loc, const char *name, hid_t type, int rank, const hsize_t *dims,
                       const how *h, hid_t mem, const void *data)
{
    hid_t p = plist(h, rank);
    H5Dclose(put_with(loc, name, type, rank, dims, p, mem, data));
    H5Pclose(p);
}

static inline void attr_ints(hid_t obj, const char *name, hid_t type, const int64_t *v, hsize_t n)
{
    hid_t s = n == 1 ? H5Screate(H5S_SCALAR) : n ? H5Screate_simple(1, &n, NULL) : H5Screate(H5S_NULL);
    hid_t a = H5Acreate2(obj, name, type, s, H5P_DEFAULT, H5P_DEFAULT);
    if (n)
        assert_true(H5Awrite(a, H5T_NATIVE_INT64, v) >= 0);
    H5Aclose(a);
    H5Sclose(s);
}

/* Variable-length strings, or fixed ones of `fixed` bytes. */
static inline void attr_strings(hid_t obj, const char *name, const char *const *v, hsize_t n,
                                size_t fixed, H5T_str_t pad)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    H5Tset_size(t, fixed ? fixed : H5T_VARIABLE);
    H5Tset_strpad(t, pad);
    hid_t s = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &n, NULL);
    hid_t a = H5Acreate2(obj, name, t, s, H5P_DEFAULT, H5P_DEFAULT);
    if (fixed) {
        char buf[1024];
        memset(buf, pad == H5T_STR_SPACEPAD ? ' ' : 0, sizeof buf);
        for (hsize_t i = 0; i < n; i++)
            memcpy(buf + i * fixed, v[i], strlen(v[i]));
        assert_true(H5Awrite(a, t, buf) >= 0);
    } else {
        assert_true(H5Awrite(a, t, v) >= 0);
    }
    H5Aclose(a);
    H5Sclose(s);
    H5Tclose(t);
}

static inline void attr_text(hid_t obj, const char *name, const char *text)
{
    attr_strings(obj, name, &text, 1, 0, H5T_STR_NULLTERM);
}

static inline hid_t new_file(const char *name)
{
    hid_t f = H5Fcreate(tmp_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(f >= 0);
    return f;
}

/* The dump's logits as doubles in axis order N C H W or N H W C. */
static inline double *all_logits(int last)
{
    double *v = malloc(sizeof *v * N * C * PX);
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++)
            for (size_t p = 0; p < PX; p++)
                v[last ? (n * PX + p) * C + c : (n * C + c) * PX + p] = logit_at(n, c, p);
    return v;
}

static inline int *all_labels(void)
{
    int *v = malloc(sizeof *v * N * PX);
    for (size_t n = 0; n < N; n++)
        for (size_t p = 0; p < PX; p++)
            v[n * PX + p] = label_at(n, p);
    return v;
}

static const hsize_t nchw[4] = {N, C, H, W}, nhwc[4] = {N, H, W, C}, nhw[3] = {N, H, W};

static inline void put_logits(hid_t f, const char *name, hid_t type, int last, const how *h)
{
    double *v = all_logits(last);
    put(f, name, type, 4, last ? nhwc : nchw, h, H5T_NATIVE_DOUBLE, v);
    free(v);
}

static inline void put_labels(hid_t f, const char *name, hid_t type, const how *h)
{
    int *v = all_labels();
    put(f, name, type, 3, nhw, h, H5T_NATIVE_INT, v);
    free(v);
}

/* Logits f32 and labels u8, contiguous: the file most tests begin with. Still open. */
static inline hid_t plain_file(const char *name)
{
    hid_t f = new_file(name);
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    return f;
}

/* -- Filters of our own -------------------------------------------------------------------- */

/* A plain LZF packer: greedy, hash of three bytes. Returns the packed size. */
static inline size_t lzf_pack(const unsigned char *src, size_t n, unsigned char *dst)
{
    static size_t last[4096];
    size_t o = 0, run = 0, run_at = o++;
    memset(last, 0, sizeof last);
    for (size_t i = 0; i < n;) {
        size_t len = 0, back = 0;
        if (i + 3 <= n) {
            unsigned h = (src[i] * 33u * 33u + src[i + 1] * 33u + src[i + 2]) & 4095;
            back = last[h] ? i - (last[h] - 1) : 0;
            last[h] = i + 1;
            while (back && back <= 8192 && len < 264 && i + len < n &&
                   src[i + len] == src[i + len - back])
                len++;
        }
        if (len < 3) {
            dst[o++] = src[i++];
            if (++run == 32) {
                dst[run_at] = 31;
                run = 0;
                run_at = o++;
            }
            continue;
        }
        if (run)
            dst[run_at] = (unsigned char)(run - 1);
        else
            o--;
        back--;
        if (len - 2 < 7) {
            dst[o++] = (unsigned char)((len - 2) << 5 | back >> 8);
        } else {
            dst[o++] = (unsigned char)(7 << 5 | back >> 8);
            dst[o++] = (unsigned char)(len - 9);
        }
        dst[o++] = (unsigned char)(back & 255);
        i += len;
        run = 0;
        run_at = o++;
    }
    if (run)
        dst[run_at] = (unsigned char)(run - 1);
    else
        o--;
    return o;
}

static inline void shuffle_bytes(const unsigned char *src, unsigned char *dst, size_t n, size_t size)
{
    for (size_t i = 0; i < n / size; i++)
        for (size_t b = 0; b < size; b++)
            dst[b * (n / size) + i] = src[i * size + b];
}

/* -- Checks --------------------------------------------------------------------------------- */

static inline double value_of(const void *p, sx_dtype t, size_t i)
{
    switch (t) {
    case SX_F16: return half_value(((const uint16_t *)p)[i]);
    case SX_F32: return (double)((const float *)p)[i];
    case SX_F64: return ((const double *)p)[i];
    default: return (double)sx_label_value(p, t, i);
    }
}

static inline sx_err read_wave(sx_dump *d, size_t first, size_t count, uint32_t fields, sx_wave *w,
                               sx_error *er)
{
    sx_err e = sx_dump_prepare(d, first, count, fields, w, er);
    for (size_t t = w->tasks; t-- > 0 && !e;)   /* any order will do */
        e = sx_dump_decode(d, w, t, 0, er);
    return e;
}

#define assert_ok(call)                                                                        \
    do {                                                                                       \
        sx_err assert_e_ = (call);                                                             \
        if (assert_e_)                                                                         \
            fail_msg("%s: %s", #call, er.msg);                                                 \
    } while (0)

/* Every logit and label of the usual dump, read in waves of each size. */
static inline void check_values(sx_dump *d)
{
    const sx_dump_info *i = sx_dump_get_info(d);
    sx_error er;
    sx_wave w = {0};
    assert_int_equal(i->n, N);
    assert_int_equal(i->classes, C);
    for (size_t step = 1; step <= N; step++)
        for (size_t first = 0; first < N; first += step) {
            size_t count = N - first < step ? N - first : step;
            assert_ok(read_wave(d, first, count, 0, &w, &er));
            for (size_t k = 0; k < count; k++) {
                const sx_image *im = &w.image[k];
                assert_int_equal(im->n_px, PX);
                for (size_t p = 0; p < PX; p++) {
                    if (sx_label_value(im->labels, i->labels_type, p) != label_at(first + k, p))
                        fail_msg("label of image %zu pixel %zu", first + k, p);
                    for (size_t c = 0; c < C; c++)
                        if (value_of(im->logits, i->logits_type,
                                     c * im->c_stride + p * im->p_stride) !=
                            logit_at(first + k, c, p))
                            fail_msg("logit of image %zu class %zu pixel %zu (waves of %zu)",
                                     first + k, c, p, step);
                }
            }
        }
    sx_wave_free(&w);
}

static inline sx_dump *open_ok(const char *name, const sx_dump_opts *o)
{
    sx_error er;
    sx_dump *d = NULL;
    assert_ok(sx_dump_open(tmp_path(name), o, &d, &er));
    return d;
}

static inline void check_file(const char *name, const sx_dump_opts *o)
{
    sx_dump *d = open_ok(name, o);
    check_values(d);
    sx_dump_close(d);
    unlink(tmp_path(name));
}

/* Opening must fail with this code and these words in message and hint (NULL: any). */
static inline void check_refused(const char *name, const sx_dump_opts *o, sx_err code,
                                 const char *msg, const char *hint)
{
    sx_error er = {0};
    sx_dump *d = NULL;
    sx_err e = sx_dump_open(tmp_path(name), o, &d, &er);
    if (!e)
        fail_msg("%s was opened", name);
    assert_null(d);
    assert_int_equal(e, code);
    assert_int_equal(er.code, code);
    if (msg && !strstr(er.msg, msg))
        fail_msg("message is \"%s\", without \"%s\"", er.msg, msg);
    if (hint && !strstr(er.hint, hint))
        fail_msg("hint is \"%s\", without \"%s\"", er.hint, hint);
    assert_non_null(strstr(er.msg, name));
    unlink(tmp_path(name));
}

static inline int has_note(const sx_dump *d, const char *words)
{
    const sx_dump_info *i = sx_dump_get_info(d);
    for (size_t k = 0; k < i->n_notes; k++)
        if (strstr(i->notes[k], words))
            return 1;
    return 0;
}

#endif
