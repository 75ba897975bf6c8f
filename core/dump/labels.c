/*
 * labels.c: which class a label is; what to do about labels that are none.
 *
 * When neither the file nor the caller says what is ignored, all labels are read once at opening:
 * values outside [0,C) are then guessed to be "ignore" where the guess is safe (one value out of
 * 255, -1, -100), and refused with a question otherwise.
 */
#include "dump/dump_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DISTINCT = 8, BLOCK = 4096, SCAN_BUDGET = 32 << 20 };

size_t sx_dump_label_class(const sx_dump *d, int64_t v)
{
    for (size_t i = 0; i < d->info.n_ignore; i++)
        if (v == d->info.ignore[i])
            return d->info.classes;
    return v >= 0 && (uint64_t)v < d->info.classes ? (size_t)v : SIZE_MAX;
}

int64_t sx_label_value(const void *labels, sx_dtype t, size_t px)
{
    switch (t) {
    case SX_I8: return ((const int8_t *)labels)[px];
    case SX_U8: return ((const uint8_t *)labels)[px];
    case SX_I16: return ((const int16_t *)labels)[px];
    case SX_U16: return ((const uint16_t *)labels)[px];
    case SX_I32: return ((const int32_t *)labels)[px];
    case SX_U32: return ((const uint32_t *)labels)[px];
    case SX_I64: return ((const int64_t *)labels)[px];
    case SX_U64: return (int64_t)((const uint64_t *)labels)[px];
    default: return 0;
    }
}

bool sx_label_fits(sx_dtype t, int64_t v)
{
    switch (t) {
    case SX_I8: return v >= INT8_MIN && v <= INT8_MAX;
    case SX_U8: return v >= 0 && v <= UINT8_MAX;
    case SX_I16: return v >= INT16_MIN && v <= INT16_MAX;
    case SX_U16: return v >= 0 && v <= UINT16_MAX;
    case SX_I32: return v >= INT32_MIN && v <= INT32_MAX;
    case SX_U32: return v >= 0 && v <= UINT32_MAX;
    case SX_I64: return true;
    case SX_U64: return v >= 0;
    default: return false;
    }
}

/* 812340 -> "812,340" */
static const char *grouped(uint64_t v, char buf[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, v), o = 0;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            buf[o++] = ',';
        buf[o++] = digits[i];
    }
    buf[o] = '\0';
    return buf;
}

static uint64_t all_pixels(const sx_dump *d)
{
    if (!d->image_dims)
        return (uint64_t)d->info.n * d->info.max_px;
    uint64_t sum = 0;
    for (size_t i = 0; i < d->info.n; i++)
        sum += sx_dump_n_px(d, i);
    return sum;
}

/* "first at image 1 ... ; 12 pixels (0.1 %) in 3 images" */
static void where_all(const sx_dump *d, size_t image, size_t px, uint64_t pixels, size_t images,
                      char *buf, size_t n)
{
    char where[256], number[32];
    sx_dump_where(d, image, px, where, sizeof where);
    if (!pixels) {
        snprintf(buf, n, "first at %s", where);
        return;
    }
    uint64_t all = all_pixels(d);
    snprintf(buf, n, "first at %s; %s pixel%s (%.2g %%) in %zu image%s", where,
             grouped(pixels, number), pixels == 1 ? "" : "s",
             all ? 100.0 * (double)pixels / (double)all : 0.0, images, images == 1 ? "" : "s");
}

sx_err sx_dump_bad_label(const sx_dump *d, int64_t v, size_t image, size_t px, uint64_t pixels,
                         size_t images, sx_error *er)
{
    char where[400];
    where_all(d, image, px, pixels, images, where, sizeof where);
    sx_fail(er, SX_EDATA, "%s: %s holds the label %" PRId64 ", but there are %zu classes (0..%zu)\n"
            "  %s", d->path, d->info.labels_path, v, d->info.classes, d->info.classes - 1, where);
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < d->info.n_ignore && used < sizeof list - 32; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%" PRId64 ", ",
                                 d->info.ignore[i]);
    if (used)
        sx_hint(er, "if it marks pixels to leave out: segx.open(\"%s\", {ignore_index={%s%" PRId64
                "}})", d->path, list, v);
    else
        sx_hint(er, "if it marks pixels to leave out: segx.open(\"%s\", {ignore_index=%" PRId64
                "})", d->path, v);
    return SX_EDATA;
}

/* -- Scan ----------------------------------------------------------------------------------- */

typedef struct scan {
    uint64_t classes;
    uint64_t outside;                 /* pixels */
    size_t images, image, px;         /* images that have them; the first place */
    bool in_image;                    /* found some in the present image */
    bool ones;                        /* label 1 occurs */
    int64_t min, max;                 /* of the values outside */
    int64_t value[MAX_DISTINCT];
    size_t n_values;                  /* MAX_DISTINCT + 1: more than that */
} scan;

static void found(scan *s, int64_t v, size_t image, size_t px)
{
    if (!s->outside) {
        s->image = image;
        s->px = px;
        s->min = s->max = v;
    }
    s->outside++;
    if (!s->in_image)
        s->images++;
    s->in_image = true;
    if (v < s->min)
        s->min = v;
    if (v > s->max)
        s->max = v;
    size_t i = 0;
    while (i < s->n_values && i < MAX_DISTINCT && s->value[i] != v)
        i++;
    if (i < s->n_values)
        return;
    if (i < MAX_DISTINCT)
        s->value[i] = v;
    if (s->n_values <= MAX_DISTINCT)
        s->n_values++;
}

/* A quick look at a block first: almost all are clean. Negative values are large as unsigned. */
#define SCAN_AS(U)                                                                             \
    do {                                                                                       \
        const U *v = labels;                                                                   \
        if (s->classes > (U)-1)                                                                \
            break;                                                                             \
        U limit = (U)s->classes, any = 0, one = 0;                                             \
        for (size_t i = lo; i < hi; i++) {                                                     \
            any = (U)(any | (U)(v[i] >= limit));                                               \
            one = (U)(one | (U)(v[i] == 1));                                                   \
        }                                                                                      \
        s->ones |= one != 0;                                                                   \
        if (any)                                                                               \
            for (size_t i = lo; i < hi; i++)                                                   \
                if (v[i] >= limit)                                                             \
                    found(s, sx_label_value(labels, t, i), image, i);                          \
    } while (0)

static void scan_image(scan *s, const void *labels, sx_dtype t, size_t n_px, size_t image)
{
    s->in_image = false;
    for (size_t lo = 0; lo < n_px; lo += BLOCK) {
        size_t hi = n_px - lo < BLOCK ? n_px : lo + BLOCK;
        switch (sx_dtype_size(t)) {
        case 1: SCAN_AS(uint8_t); break;
        case 2: SCAN_AS(uint16_t); break;
        case 4: SCAN_AS(uint32_t); break;
        default: SCAN_AS(uint64_t); break;
        }
    }
}

static sx_err judge(sx_dump *d, const scan *s, sx_error *er)
{
    if (!s->outside)
        return SX_EOK;
    const size_t C = d->info.classes;
    char where[400], number[32];
    where_all(d, s->image, s->px, s->outside, s->images, where, sizeof where);
    int64_t v = s->value[0];
    if (s->n_values == 1 && v == 255 && C == 2 && !s->ones) {
        sx_fail(er, SX_EDATA, "%s: %s holds only 0 and 255: is 255 class 1, or to be left out?\n"
                "  %s", d->path, d->info.labels_path, where);
        sx_hint(er, "if it is class 1, store 1 there; if it marks pixels to leave out: "
                "segx.open(\"%s\", {ignore_index=255})", d->path);
        return SX_EDATA;
    }
    if (s->n_values == 1 && (v == 255 || v == -1 || v == -100)) {
        int64_t *one = sx_arena_alloc(d->arena, sizeof *one);
        if (!one)
            return sx_nomem(er);
        *one = v;
        d->info.ignore = one;
        d->info.n_ignore = 1;
        d->info.ignore_guessed = true;
        return sx_dump_note(d, er, "label %" PRId64 " (%s pixels) is left out: the file does not say "
                            "so, but it is no class and the only such value; ignore_index=%" PRId64
                            " says it", v, grouped(s->outside, number), v);
    }
    if (s->n_values == 1 && v >= 0 && (uint64_t)v == C) {
        sx_fail(er, SX_EDATA, "%s: %s holds the label %" PRId64 ", but %s has %zu classes (0..%zu), "
                "and nothing in the file says what %" PRId64 " means\n  %s", d->path,
                d->info.labels_path, v, d->info.logits_path, C, C - 1, v, where);
        sx_hint(er, "if it marks pixels to leave out: segx.open(\"%s\", {ignore_index=%" PRId64 "})",
                d->path, v);
        return SX_EDATA;
    }
    if (s->n_values == 1)
        return sx_dump_bad_label(d, v, s->image, s->px, s->outside, s->images, er);
    if (s->min >= 0)
        sx_fail(er, SX_EDATA, "%s: labels of %s go up to %" PRId64 ", but %s has %zu classes "
                "(0..%zu)\n  %s", d->path, d->info.labels_path, s->max, d->info.logits_path, C,
                C - 1, where);
    else
        sx_fail(er, SX_EDATA, "%s: %s holds labels from %" PRId64 " to %" PRId64 " outside the %zu "
                "classes (0..%zu) of %s\n  %s", d->path, d->info.labels_path, s->min, s->max, C,
                C - 1, d->info.logits_path, where);
    if (s->n_values > MAX_DISTINCT) {
        sx_hint(er, "are labels and predictions from the same set of classes?");
        return SX_EDATA;
    }
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < s->n_values && used < sizeof list - 32; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%" PRId64, i ? ", " : "",
                                 s->value[i]);
    sx_hint(er, "if these mark pixels to leave out: segx.open(\"%s\", {ignore_index={%s}})", d->path,
            list);
    return SX_EDATA;
}

sx_err sx_dump_scan_labels(sx_dump *d, sx_error *er)
{
    scan s = {.classes = d->info.classes};
    sx_wave w = {0};
    sx_err e = SX_EOK;
    const size_t size = sx_dtype_size(d->info.labels_type);
    for (size_t first = 0; first < d->info.n && !e;) {
        size_t count = 0, bytes = 0;
        while (first + count < d->info.n) {
            bytes += sx_dump_n_px(d, first + count) * size;
            if (count && bytes > SCAN_BUDGET)
                break;
            count++;
        }
        e = sx_wave_prepare(d, first, count, 1u << SX_LABELS_COL, &w, er);
        for (size_t t = 0; t < w.tasks && !e; t++)
            e = sx_dump_decode(d, &w, t, 0, er);
        for (size_t i = 0; i < count && !e; i++)
            scan_image(&s, w.image[i].labels, d->info.labels_type, w.image[i].n_px, first + i);
        first += count;
    }
    sx_wave_free(&w);
    return e ? e : judge(d, &s, er);
}
