/*
 * dump.h: prediction dumps. Opens an HDF5 file (or arrays in memory) and hands out the logits and
 * labels of one image at a time, in the file's own number type.
 *
 * A dump has n images; image i has n_px(i) pixels (or voxels: all spatial axes flattened in C
 * order) and C classes. The engine never sees HDF5: it asks for sx_image views.
 *
 * Threads. sx_dump_open, _close and _prepare must be called from one thread (HDF5 is not thread
 * safe). sx_dump_decode may run on many threads at once, for different tasks.
 *
 * How a wave of images is read:
 *     sx_dump_prepare(d, first, count, wave)    main thread: finds chunks, sets up buffers
 *     for t in 0 .. wave->tasks-1, in parallel: sx_dump_decode(d, wave, t, worker)
 *     wave->image[0 .. count-1] are valid until the next prepare with the same wave
 */
#ifndef SX_DUMP_H
#define SX_DUMP_H

#include "base/base.h"

typedef enum sx_dtype {
    SX_F16, SX_F32, SX_F64, SX_I8, SX_U8, SX_I16, SX_U16, SX_I32, SX_U32, SX_I64, SX_U64,
    SX_DTYPE_COUNT
} sx_dtype;

size_t sx_dtype_size(sx_dtype t);
const char *sx_dtype_name(sx_dtype t);   /* "float16", "uint8" */

/* What the numbers in "logits" are. SX_SIGMOID1: one channel, the logit of class 1 against class 0;
 * the dump then has C = 2 and the engine stages a zero plane for class 0. */
typedef enum sx_activation { SX_LOGITS, SX_PROBS, SX_LOG_PROBS, SX_SIGMOID1 } sx_activation;

typedef struct sx_dump sx_dump;

/* All zero means: detect. Strings may be NULL. */
typedef struct sx_dump_opts {
    const char *logits;          /* path of the data set inside the file; with a group per sample its */
    const char *labels;          /*   name there, or "cases/" "*" "/scores" (any group) */
    const char *layout;          /* "NCHW", "NHWC", "NCDHW", "NDHWC", "NHW" (one sigmoid channel) */
    const char *activation;      /* "logits", "probs", "log_probs" */
    const char *const *class_names;   /* n_class_names strings, or NULL */
    size_t n_class_names;
    bool has_ignore;             /* ignore_index given by the caller: */
    const int64_t *ignore;       /*   n_ignore values; has_ignore with n_ignore == 0: nothing is ignored */
    size_t n_ignore;
    bool skip_nonfinite;         /* mask pixels with NaN or +inf instead of refusing the file */
    const double *spacing;       /* width of a pixel along each spatial axis: n_spacing of them; 0: as the file says, else 1 */
    size_t n_spacing;
} sx_dump_opts;

sx_err sx_dump_open(const char *path, const sx_dump_opts *opts, sx_dump **out, sx_error *er);
/* Arrays in memory; logits [n][C][px] and labels [n][px], C order; both are borrowed until close. dims:
 * the spatial shape (n_dims of them). */
sx_err sx_dump_memory(const char *name, const void *logits, sx_dtype logits_type, const void *labels,
                      sx_dtype labels_type, size_t n, size_t classes, const size_t *dims, size_t n_dims,
                      const sx_dump_opts *opts, sx_dump **out, sx_error *er);
/* A further per-pixel array {n, px} for a dump made by sx_dump_memory, before anything is read; borrowed too. */
sx_err sx_dump_memory_field(sx_dump *d, const char *name, const void *values, sx_dtype type, sx_error *er);
/* The images order[0 .. n-1] of d (0-based, none twice) as a dump of their own, which reads d's file and may outlive d (arrays of
 * a memory dump stay the caller's). Messages name images by their number in the file. */
sx_err sx_dump_subset(sx_dump *d, const size_t *order, size_t n, sx_dump **out, sx_error *er);
void sx_dump_close(sx_dump *d);   /* NULL is fine */

typedef struct sx_dump_info {
    const char *path;
    size_t n, classes;           /* images, classes */
    sx_dtype logits_type, labels_type;
    sx_activation activation;
    const char *layout;          /* as understood, e.g. "NCHW" */
    const char *logits_path, *labels_path;
    const char *storage;         /* e.g. "chunked 1x11x180x240, gzip+shuffle" */
    const char *const *class_names;   /* always classes of them ("0", "1" ... when the file has none) */
    bool named;                       /* the file or the caller named the classes */
    const int64_t *ignore;       /* values that mean "leave this pixel out" */
    size_t n_ignore;
    bool skip_nonfinite;         /* as opened: mask pixels whose logits are not finite */
    double spacing[3];           /* width of a pixel along each spatial axis, for distances; */
    bool spaced;                 /*   somebody has said it */
    bool ignore_guessed;         /* the file did not say; found by looking (decisions 5) */
    size_t n_dims;               /* spatial axes: 1, 2 or 3 */
    bool same_shape;             /* every image has the shape dims[0..n_dims-1] */
    size_t dims[3];
    size_t max_px;               /* pixels of the largest image */
    uint64_t bytes;              /* bytes of logits and labels as stored */
    size_t n_notes;              /* what was guessed, and why: one line each */
    const char *const *notes;
    size_t n_fields;             /* further per-pixel data sets (weight maps ...) by name */
    const char *const *field_names;
    uint64_t fingerprint;        /* xxHash over metadata, size, mtime, chunk table, sampled chunks */
} sx_dump_info;
const sx_dump_info *sx_dump_get_info(const sx_dump *d);
size_t sx_dump_n_px(const sx_dump *d, size_t image);
/* Spatial shape of one image, info->n_dims entries. */
void sx_dump_dims(const sx_dump *d, size_t image, size_t dims[3]);
/* Name of an image for messages: the file's id/names data set, or the sample's group, or NULL. */
const char *sx_dump_image_name(const sx_dump *d, size_t image);

/* A further data set of the file with one number or one text per image ("/group", "/picture"): n numbers to v, or (for texts) NaN there
 * and *text, n of them, the dump's. *there: false where the file has no such data set; then nothing else is touched. */
sx_err sx_dump_per_image(sx_dump *d, const char *name, double *v, const char *const **text, bool *there, sx_error *er);
/* What the network saw, if the file has it beside the labels: a data set "images" (or image, pictures, picture, rgb,
 * thumbnails) of uint8, {n, space}, {n, space, C} or {n, C, space} with C = 1, 3 or 4 (n missing where there is a group per
 * sample). 3 bytes per pixel, the caller's (sx_free); *rgb NULL: there is none. From the thread that opened the dump. */
sx_err sx_dump_picture(sx_dump *d, size_t image, unsigned char **rgb, sx_error *er);

/* Values of one image. Element (c, p) of the logits is logits[c * c_stride + p * p_stride], strides in
 * elements of logits_type; native byte order. SX_SIGMOID1 has one channel here. labels are contiguous. */
typedef struct sx_image {
    const void *logits;
    size_t c_stride, p_stride;
    const void *labels;
    const void *const *field;    /* info->n_fields pointers (NULL where not wanted), or NULL without fields */
    const sx_dtype *field_type;  /* info->n_fields of them: each field stays in the file's type */
    size_t n_px;
} sx_image;

/* A number that no other dump of this process has; a new one after sx_dump_changed. What is derived from its numbers and kept
 * elsewhere (a GPU's memory) goes by it. */
uint64_t sx_dump_id(const sx_dump *d);
/* The arrays of a dump in memory have been written to. */
void sx_dump_changed(sx_dump *d);

/* A wave: buffers for some images. The caller keeps it and reuses it; zero it before first use. */
typedef struct sx_wave {
    size_t first, count, tasks;
    sx_image *image;             /* count of them */
    void *priv;                  /* the reader's */
} sx_wave;

/* fields_wanted: bit i set = field i will be used. */
sx_err sx_dump_prepare(sx_dump *d, size_t first, size_t count, uint32_t fields_wanted, sx_wave *w, sx_error *er);
sx_err sx_dump_decode(sx_dump *d, sx_wave *w, size_t task, int worker, sx_error *er);
void sx_wave_free(sx_wave *w);
/* How many images from `first` on make one wave of at most `budget` bytes of buffers (at least one). Memory
 * dumps need no buffers. */
size_t sx_dump_wave_size(const sx_dump *d, size_t first, size_t budget);

/* -- Keeping decoded images -----------------------------------------------------------------------
 * For dumps that fit into memory: waves stay decoded until the dump is closed or sx_dump_forget. */
size_t sx_dump_decoded_bytes(const sx_dump *d);   /* of all images and fields; SIZE_MAX when absurd */
/* The kept wave that holds the image and (at least) these fields, or NULL. */
const sx_wave *sx_dump_kept(const sx_dump *d, size_t image, uint32_t fields);
/* Takes over the buffers of a decoded wave (and zeroes *w, ready for the next prepare). Kept waves with images of it go. */
void sx_dump_keep(sx_dump *d, sx_wave *w, uint32_t fields);
void sx_dump_forget(sx_dump *d);

/* -- Labels ---------------------------------------------------------------------------------- */

/* Class of label value v: 0 .. C-1; C when v is ignored; SIZE_MAX when it is neither. */
size_t sx_dump_label_class(const sx_dump *d, int64_t v);

/* Value of the label of a pixel of a wave's image. */
int64_t sx_label_value(const void *labels, sx_dtype t, size_t px);

/* The error for labels that are no class: v, first seen at this image and pixel; `pixels` of them in
 * `images` images (0: not counted). Returns SX_EDATA. */
sx_err sx_dump_bad_label(const sx_dump *d, int64_t v, size_t image, size_t px, uint64_t pixels,
                         size_t images, sx_error *er);
/* "image 3 \"name\" y=12 x=40" for messages (image and coordinates as the user counts: image from 1,
 * axes from 0). px == SIZE_MAX: the image alone. Returns buf. */
char *sx_dump_where(const sx_dump *d, size_t image, size_t px, char *buf, size_t n);

/* -- Writing -----------------------------------------------------------------------------------
 * A dump written image by image; used by the generator and by tests. */
typedef struct sx_dump_writer sx_dump_writer;
typedef struct sx_write_opts {
    size_t n, classes, n_dims, dims[3];
    sx_dtype logits_type;        /* SX_F16, SX_F32, SX_F64 */
    sx_dtype labels_type;
    int gzip;                    /* 0 = contiguous, 1-9 = chunked by image, shuffle + gzip */
    const char *const *class_names;  /* classes of them or NULL */
    bool has_ignore;
    int64_t ignore;
    const double *spacing;       /* attribute, n_dims numbers, or NULL */
    const char *split;           /* attribute, or NULL */
    const char *only;            /* NULL: a dump. Else the file gets one data set of this name and shape, no labels */
    const char *text;            /* only: attribute "source", what the numbers are, or NULL */
    double scale;                /* only: numbers are stored times this, attribute "scale"; 0 = 1 */
} sx_write_opts;
sx_err sx_dump_create(const char *path, const sx_write_opts *opts, sx_dump_writer **out, sx_error *er);
/* logits: classes x px floats; labels: px values; both converted to the file's types. */
sx_err sx_dump_write(sx_dump_writer *w, size_t image, const float *logits, const int32_t *labels, sx_error *er);
/* For a file with `only`: classes x px numbers. */
sx_err sx_dump_write_array(sx_dump_writer *w, size_t image, const void *v, sx_dtype type, sx_error *er);
sx_err sx_dump_finish(sx_dump_writer *w, sx_error *er);   /* closes; w is gone in any case */

#endif
