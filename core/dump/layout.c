/*
 * layout.c: what the axes mean. The class axis is the one whose removal leaves the labels' shape; it is
 * looked for right behind the image axis and at the end. Two answers: the caller is asked.
 */
#include "dump/h5.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct shape {
    unsigned rank;
    uint64_t dims[SX_RANK];
} shape;

static shape without(const shape *s, unsigned axis)
{
    shape r = {.rank = s->rank - 1};
    for (unsigned k = 0, o = 0; k < s->rank; k++)
        if (k != axis)
            r.dims[o++] = s->dims[k];
    return r;
}

static bool same(const shape *a, const shape *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0;
}

enum { NO_CLASS_AXIS = 1 << 15 };

/* Bit a: axis a can be the class axis. *spatial gets the labels' shape without axes of length 1 that
 * stand where the class axis would be. */
static unsigned candidates(const shape *logits, const shape *labels, bool image_axis, shape *spatial)
{
    const unsigned lo = image_axis ? 1 : 0, last = logits->rank - 1;
    shape variant[3] = {*labels};
    unsigned n = 1;
    if (labels->rank > lo + 1 && labels->dims[lo] == 1)
        variant[n++] = without(labels, lo);
    if (labels->rank > lo + 1 && labels->dims[labels->rank - 1] == 1)
        variant[n++] = without(labels, labels->rank - 1);
    for (unsigned i = 0; i < n; i++) {
        unsigned bits = 0;
        *spatial = variant[i];
        if (variant[i].rank + 1 == logits->rank && variant[i].rank > lo) {
            const unsigned axis[2] = {lo, last};
            for (int k = 0; k < 2; k++) {
                shape rest = without(logits, axis[k]);
                if (same(&rest, &variant[i]))
                    bits |= 1u << axis[k];
            }
        }
        if (bits)
            return bits;
    }
    for (unsigned i = 0; i < n; i++) {
        *spatial = variant[i];
        if (same(logits, &variant[i]) && logits->rank > lo)
            return NO_CLASS_AXIS;
    }
    *spatial = *labels;
    return 0;
}

static void describe(const shape *spatial, bool image_axis, int class_axis, size_t classes,
                     sx_layout *out)
{
    static const char *const letters[4] = {"", "W", "HW", "DHW"};
    memset(out, 0, sizeof *out);
    out->image_axis = image_axis;
    out->class_axis = class_axis;
    out->classes = classes;
    unsigned from = image_axis ? 1 : 0;
    out->n_dims = spatial->rank - from;
    for (size_t k = 0; k < out->n_dims && k < 3; k++)
        out->dims[k] = (size_t)spatial->dims[k + from];
    bool first = class_axis == (int)from;
    snprintf(out->text, sizeof out->text, "%s%s%s%s", image_axis ? "N" : "",
             class_axis >= 0 && first ? "C" : "", out->n_dims <= 3 ? letters[out->n_dims] : "",
             class_axis >= 0 && !first ? "C" : "");
}

/* "NCHW" -> image axis, class axis. */
static bool parse(const char *text, bool *image_axis, int *class_axis, unsigned *rank)
{
    *image_axis = false;
    *class_axis = -1;
    *rank = (unsigned)strlen(text);
    for (unsigned i = 0; i < *rank; i++) {
        char c = text[i];
        if (!strchr("NBCDHWZYXP", c) || strchr(text, c) != text + i)
            return false;
        if (c == 'N' || c == 'B') {
            if (i > 0)
                return false;
            *image_axis = true;
        }
        if (c == 'C')
            *class_axis = (int)i;
    }
    return *rank > 0;
}

static sx_err stated_layout(const sx_dump *d, const sx_set *a, const sx_set *b, const shape *logits,
                            const shape *labels, const sx_layout_ask *ask, sx_layout *out,
                            sx_error *er)
{
    bool image_axis;
    int class_axis;
    unsigned rank;
    char sa[160], sb[160];
    sx_err code = ask->by_file ? SX_EFILE : SX_EARG;
    const char *whose = ask->by_file ? "the file's attribute layout" : "layout";
    if (!parse(ask->stated, &image_axis, &class_axis, &rank)) {
        sx_fail(er, code, "%s: %s is \"%s\"", d->path, whose, ask->stated);
        sx_hint(er, "known: NCHW, NHWC, NCDHW, NDHWC, NHW (one sigmoid channel)%s",
                ask->by_file ? "; the option layout overrides the attribute" : "");
        return code;
    }
    if (ask->must_lack_images && image_axis) {   /* the caller's NCHW for groups of CHW */
        image_axis = false;
        class_axis -= class_axis >= 0;
        rank--;
    }
    shape spatial;
    unsigned bits = rank == logits->rank ? candidates(logits, labels, image_axis, &spatial) : 0;
    unsigned want = class_axis < 0 ? NO_CLASS_AXIS : 1u << class_axis;
    if (!(bits & want)) {
        sx_fail(er, code, "%s: %s is \"%s\", which does not fit %s %s with %s %s", d->path, whose,
                ask->stated, a->path, sx_set_shape(a, sa, sizeof sa), b->path,
                sx_set_shape(b, sb, sizeof sb));
        sx_hint(er, "the class axis is the second or the last one, and without it the shape must be "
                "that of the labels%s",
                ask->by_file ? "; the option layout overrides the attribute" : "");
        return code;
    }
    size_t classes = class_axis < 0 ? 1 : (size_t)logits->dims[class_axis];
    describe(&spatial, image_axis, class_axis, classes, out);
    return SX_EOK;
}

static sx_err misfit(const sx_dump *d, const sx_set *a, const sx_set *b, const shape *logits,
                     const shape *labels, sx_error *er)
{
    char sa[160], sb[160];
    sx_fail(er, SX_EFILE, "%s: the shapes of %s %s and %s %s do not fit", d->path, a->path,
            sx_set_shape(a, sa, sizeof sa), b->path, sx_set_shape(b, sb, sizeof sb));
    if (logits->rank == labels->rank && logits->rank > 2 && logits->dims[1] == labels->dims[1])
        sx_hint(er, "the labels look like one channel per class; store the class number of each "
                "pixel instead, [N,H,W]");
    else if (logits->dims[0] != labels->dims[0])
        sx_hint(er, "the first axis counts images: %" PRIu64 " against %" PRIu64, logits->dims[0],
                labels->dims[0]);
    else
        sx_hint(er, "segx wants [N,C,H,W] or [N,H,W,C] with labels [N,H,W] of the same size; upsample "
                "the predictions or shrink the labels where the file is made");
    return SX_EFILE;
}

sx_err sx_layout_find(const sx_dump *d, const sx_set *a, const sx_set *b, const sx_layout_ask *ask,
                      sx_layout *out, sx_error *er)
{
    shape logits = {.rank = a->rank}, labels = {.rank = b->rank}, spatial;
    memcpy(logits.dims, a->dims, sizeof logits.dims);
    memcpy(labels.dims, b->dims, sizeof labels.dims);
    if (ask->stated) {
        sx_err e = stated_layout(d, a, b, &logits, &labels, ask, out, er);
        if (e)
            return e;
    } else {
        bool image_axis = !ask->must_lack_images;
        unsigned bits = candidates(&logits, &labels, image_axis, &spatial);
        if (!bits && image_axis && ask->may_lack_images) {
            image_axis = false;
            bits = candidates(&logits, &labels, image_axis, &spatial);
            if (bits == NO_CLASS_AXIS)   /* cannot be told from images of one axis less */
                bits = 0;
        }
        if (!bits)
            return misfit(d, a, b, &logits, &labels, er);
        int axis = -1;
        if (bits != NO_CLASS_AXIS)
            for (int k = 0; k < SX_RANK; k++)
                if (bits >> k & 1) {
                    if (axis >= 0 && logits.dims[k] != 1) {
                        char text[160];
                        sx_fail(er, SX_EFILE, "%s: cannot tell which axis of %s %s is the class axis",
                                d->path, a->path, sx_set_shape(a, text, sizeof text));
                        sx_hint(er, "say so: segx.open(\"%s\", {layout=\"%s\"}), or store the "
                                "attribute layout=\"%s\"", d->path,
                                logits.rank == 5 ? "NCDHW" : "NCHW",
                                logits.rank == 5 ? "NCDHW" : "NCHW");
                        return SX_EFILE;
                    }
                    if (axis < 0)
                        axis = k;
                }
        describe(&spatial, image_axis, axis, axis < 0 ? 1 : (size_t)logits.dims[axis], out);
    }
    if (out->n_dims < 1 || out->n_dims > 3) {
        char text[160];
        return sx_fail(er, SX_EFILE, "%s: %s %s has %zu spatial axes; segx knows 1 to 3", d->path,
                       a->path, sx_set_shape(a, text, sizeof text), out->n_dims);
    }
    return SX_EOK;
}
