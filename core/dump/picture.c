/*
 * picture.c: what the network saw: pictures that lie in the file beside logits and labels, read one at a time, for looking
 * at. Passes know nothing of them.
 */
#include "dump/h5.h"

#include <stdio.h>
#include <string.h>

static const char *const picture_names[] = {"images", "image", "pictures", "picture", "rgb", "thumbnails", NULL};

/* Where the channels are in a set of an image's shape. */
typedef struct arrangement {
    size_t channels;
    size_t channel_step, pixel_step;   /* in bytes */
} arrangement;

/* Do the axes from `at` on have the spatial sizes? */
static bool same_space(const sx_set *s, unsigned at, const size_t *dims, size_t n_dims)
{
    for (size_t k = 0; k < n_dims; k++)
        if (s->dims[at + k] != dims[k]) return false;
    return true;
}

/* {space}, {space, C} or {C, space}, behind `lead` axes, with C = 1, 3 or 4. */
static bool arrange(const sx_set *s, unsigned lead, const size_t *dims, size_t n_dims, arrangement *a)
{
    size_t px = 1;
    for (size_t k = 0; k < n_dims; k++) px *= dims[k];
    if (s->rank == lead + n_dims && same_space(s, lead, dims, n_dims)) {
        *a = (arrangement){1, 0, 1};
        return true;
    }
    if (s->rank != lead + n_dims + 1) return false;
    const unsigned last = lead + (unsigned)n_dims;
    uint64_t behind = s->dims[last], before = s->dims[lead];
    if (same_space(s, lead, dims, n_dims) && (behind == 1 || behind == 3 || behind == 4)) {
        *a = (arrangement){(size_t)behind, 1, (size_t)behind};
        return true;
    }
    if (same_space(s, lead + 1, dims, n_dims) && (before == 1 || before == 3 || before == 4)) {
        *a = (arrangement){(size_t)before, px, 1};
        return true;
    }
    return false;
}

/* One colour three times, or the first three of the channels. */
static void to_rgb(const unsigned char *from, const arrangement *a, size_t px, unsigned char *rgb)
{
    for (size_t p = 0; p < px; p++)
        for (size_t c = 0; c < 3; c++)
            rgb[3 * p + c] = from[p * a->pixel_step + (a->channels >= 3 ? c : 0) * a->channel_step];
}

static sx_err read_picture(sx_dump *d, const char *path, size_t image, unsigned char **rgb, sx_error *er)
{
    sx_set s = {.id = -1};
    arrangement a;
    size_t dims[3];
    unsigned char *raw = NULL, *out = NULL;
    const size_t px = sx_dump_n_px(d, image);
    const unsigned lead = d->grouped || !d->column[SX_LABELS_COL].set[0].image_axis ? 0 : 1;
    sx_dump_dims(d, image, dims);
    sx_err e = sx_h5_set_open(d, path, &s, er);
    if (e) goto done;
    if (!s.readable || s.type != SX_U8 || s.rank < lead || (lead && s.dims[0] != d->info.n) ||
        !arrange(&s, lead, dims, d->info.n_dims, &a))
        goto done;   /* something else of that name */
    e = sx_h5_set_storage(d, &s, lead == 1, er);
    if (e) goto done;
    raw = sx_malloc(s.image_bytes);
    out = sx_malloc(3 * px);
    if (!raw || !out) {
        e = sx_nomem(er);
        goto done;
    }
    e = sx_h5_read_images(d, &s, lead ? image : 0, 1, raw, er);
    if (e) goto done;
    to_rgb(raw, &a, px, out);
    *rgb = out;
    out = NULL;

done:
    sx_h5_set_close(&s);
    sx_free(raw);
    sx_free(out);
    return e;
}

sx_err sx_dump_picture(sx_dump *d, size_t image, unsigned char **rgb, sx_error *er)
{
    *rgb = NULL;
    if (d->file < 0) return SX_EOK;
    if (d->base) return sx_dump_picture(d->base, d->pick[image], rgb, er);
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = SX_EOK;
    for (const char *const *name = picture_names; *name && !*rgb && !e; name++) {
        char path[1000];
        const char *labels = d->column[SX_LABELS_COL].set[d->grouped ? image : 0].path;
        const char *slash = strrchr(labels, '/');   /* beside the labels */
        int folder = slash ? (int)(slash - labels) : 0;
        snprintf(path, sizeof path, "%.*s/%s", folder, labels, *name);
        hid_t id = H5Oopen(d->file, path, H5P_DEFAULT);
        if (id < 0) continue;
        bool is_set = H5Iget_type(id) == H5I_DATASET;
        H5Oclose(id);
        if (is_set) e = read_picture(d, path, image, rgb, er);
    }
    sx_h5_loud(&q);
    return e;
}
