/*
 * dump_impl.h: what the files of core/dump share. Not for other rooms, and free of hdf5.h: only
 * h5.c, open.c and write.c see the library.
 *
 *   sx_set     one HDF5 data set (or array in memory): shape, number type, where its bytes lie
 *   sx_column  logits, labels or a field: one set with an image axis, or one set per image
 *   sx_dump    the columns, names and notes of a file
 */
#ifndef SX_DUMP_IMPL_H
#define SX_DUMP_IMPL_H

#include "dump/dump.h"

#include <pthread.h>

enum {
    SX_RANK = 7,          /* axes of a set, the image axis included */
    SX_MAX_FILTERS = 6,
    SX_MAX_FIELDS = 32,   /* bits of fields_wanted */
    SX_LOGITS_COL = 0,
    SX_LABELS_COL = 1,
    SX_FIELD_COL = 2
};

typedef enum sx_set_kind {
    SX_SET_MEMORY,        /* the caller's array */
    SX_SET_CONTIGUOUS,    /* one block at a known place of the file */
    SX_SET_CHUNKS,        /* chunks at known places, filters that we have */
    SX_SET_CHUNKS_H5,     /* the same, but HDF5 has to fetch the raw chunks */
    SX_SET_H5             /* anything else: HDF5 reads the images */
} sx_set_kind;

/* Filter numbers as HDF5 registers them. */
enum { SX_FILTER_DEFLATE = 1, SX_FILTER_SHUFFLE = 2, SX_FILTER_FLETCHER32 = 3, SX_FILTER_LZF = 32000 };

typedef struct sx_filter {
    int id;
    unsigned arg;         /* shuffle: bytes of an element */
} sx_filter;

typedef struct sx_chunk {
    uint64_t addr, size;  /* in the file; size 0: never written */
    uint32_t mask;        /* bit i: filter i was not applied */
} sx_chunk;

typedef struct sx_set {
    const char *path;
    int64_t id;           /* HDF5's, or -1 when it is opened on demand */
    bool image_axis;      /* the file has it; otherwise dims[0] == 1 was put in front by us */
    unsigned rank;
    uint64_t dims[SX_RANK];
    bool readable;        /* a number type that we know; otherwise type_text says what it is */
    bool raw;             /* bytes of the file are values of `type`, but for the byte order */
    bool swap;
    sx_dtype type;
    char type_text[48];
    sx_set_kind kind;
    const unsigned char *memory;
    size_t image_bytes;   /* of one image, dense, in the file's axis order */
    uint64_t addr;        /* SX_SET_CONTIGUOUS */
    uint64_t chunk_dims[SX_RANK], grid[SX_RANK];
    uint64_t n_chunks;    /* of the grid */
    size_t chunk_bytes;
    sx_chunk *chunk;      /* SX_SET_CHUNKS: n_chunks, in grid order */
    unsigned n_filters;
    sx_filter filter[SX_MAX_FILTERS];
    unsigned char fill[8];
    uint64_t stored;      /* bytes in the file */
    char storage[160];    /* in words */
} sx_set;

typedef struct sx_column {
    const char *name;
    size_t n_sets;        /* 1, or one per image */
    sx_set *set;
} sx_column;

/* What one worker needs while it decodes a chunk. */
typedef struct sx_decoder {
    struct sx_decoder *next;
    struct libdeflate_decompressor *z;
    unsigned char *buf[3];
    size_t cap[3];
} sx_decoder;

typedef struct sx_kept sx_kept;

struct sx_dump {
    sx_arena *arena;      /* strings, tables: everything that lives as long as the dump */
    sx_dump_info info;
    const char *path;
    int fd;               /* -1: arrays in memory */
    int64_t file;         /* HDF5's, or -1 */
    bool direct;          /* addresses in the file can be trusted (plain driver, no user block) */
    uint64_t file_size;
    int64_t mtime_s, mtime_ns;
    size_t n_columns;
    sx_column column[2 + SX_MAX_FIELDS];
    bool grouped;         /* one set per image */
    size_t (*image_dims)[3];   /* NULL when all images have info.dims */
    const char **image_name;   /* NULL or n of them */
    const char **note;
    size_t note_cap;
    sx_dtype field_type[SX_MAX_FIELDS];
    pthread_mutex_t lock;      /* of `idle` */
    bool lock_made;
    sx_decoder *idle;          /* decoders that no worker holds */
    sx_kept *kept;             /* keep.c */
    sx_dump *base;             /* subset.c: whose file and arrays these are; NULL: its own */
    const size_t *pick;        /*   number there of each image */
    size_t subsets;            /* open subsets of this dump: it stays until the last is closed */
    bool closing;
    uint64_t id;               /* sx_dump_id */
};

/* Number of an image in the file. */
static inline size_t sx_dump_at(const sx_dump *d, size_t image)
{
    return d->pick ? d->pick[image] : image;
}

/* -- dump.c */
sx_err sx_dump_new(const char *path, sx_dump **out, sx_error *er);
sx_err sx_dump_note(sx_dump *d, sx_error *er, const char *fmt, ...) SX_PRINTF(3, 4);
char *sx_dump_strdup(sx_dump *d, const char *s);          /* in the arena; NULL: no memory */
char *sx_dump_format(sx_dump *d, const char *fmt, ...) SX_PRINTF(2, 3);
/* Product of n dims times size; false on overflow. */
bool sx_product(const uint64_t *dims, size_t n, size_t size, size_t *out);
/* Class names and ignored values from the file (may be none) and the caller, label scan if neither
 * states what is ignored, notes. The columns must be readable by now. */
typedef struct sx_stated {
    const char *const *names;
    size_t n_names;
    bool has_ignore;
    const int64_t *ignore;
    size_t n_ignore;
    const double *spacing;
    size_t n_spacing;
} sx_stated;
sx_err sx_dump_settle(sx_dump *d, const sx_dump_opts *o, const sx_stated *file, sx_error *er);

/* -- layout.c */
/* Which axis of the logits is the class axis, found by fitting their shape to the labels'. */
typedef struct sx_layout {
    bool image_axis;         /* axis 0 of both counts images */
    int class_axis;          /* of the file's logits; -1: there is none */
    size_t classes;          /* 1 without a class axis */
    size_t n_dims, dims[3];  /* spatial axes of one image */
    char text[8];            /* "NCHW" */
} sx_layout;
/* stated: "NCHW" or NULL; by_file: the file says it, not the caller. may_lack_images: one image without
 * an image axis is possible; must_lack_images: always so (one group per sample). */
typedef struct sx_layout_ask {
    const char *stated;
    bool by_file, may_lack_images, must_lack_images;
} sx_layout_ask;
sx_err sx_layout_find(const sx_dump *d, const sx_set *logits, const sx_set *labels,
                      const sx_layout_ask *ask, sx_layout *out, sx_error *er);

/* -- labels.c */
bool sx_label_fits(sx_dtype t, int64_t v);   /* whether a label of type t can have the value */
/* Reads all labels; refuses or guesses what the values outside [0,C) are. */
sx_err sx_dump_scan_labels(sx_dump *d, sx_error *er);

/* -- wave.c: columns: bit i set = read column i */
sx_err sx_wave_prepare(sx_dump *d, size_t first, size_t count, uint64_t columns, sx_wave *w,
                       sx_error *er);

typedef struct sx_wave_task {
    const sx_set *set;
    size_t column, image;      /* image: of the dump; the first that the task makes */
    size_t base;               /* chunked sets: image of the dump that the set's image 0 is, or would be, modulo 2^64 */
    size_t first, count;       /* chunked sets: images of the set that are wanted */
    uint64_t chunk;            /* of the grid (chunked sets) */
    sx_chunk at;               /* where it is; addr = place in `raw` for SX_SET_CHUNKS_H5 */
    unsigned char *dst;        /* contiguous sets: at.size bytes from at.addr go there */
} sx_wave_task;

typedef struct sx_wave_priv {
    unsigned char *buf, *raw;
    size_t buf_cap, raw_cap, raw_used;
    sx_wave_task *task;
    size_t task_cap;
    void *tables;              /* images, pointers: one block */
    size_t tables_cap;
    sx_image *image;
    unsigned char **ptr;       /* [column][image of the wave] */
    const void **field;        /* [image of the wave][field] */
} sx_wave_priv;

/* -- decode.c */
void sx_decoder_free(sx_decoder *x);
sx_err sx_decode_chunk(sx_dump *d, const sx_wave *w, const sx_wave_task *t, sx_error *er);
void sx_swap_bytes(void *p, size_t count, size_t size);
/* LZF: false unless src is whole and gives exactly dst_n bytes. */
bool sx_lzf_decode(const unsigned char *src, size_t src_n, unsigned char *dst, size_t dst_n);

/* -- h5.c, quiet all of them */
sx_err sx_h5_read_images(sx_dump *d, const sx_set *s, size_t first, size_t count, void *dst,
                         sx_error *er);
/* Appends the raw bytes of a chunk to w->raw and says where; size 0 when it was never written. */
sx_err sx_h5_read_chunk(sx_dump *d, const sx_set *s, uint64_t chunk, sx_wave_priv *w, sx_chunk *at,
                        sx_error *er);
void sx_h5_close(sx_dump *d);
void sx_chunk_origin(const sx_set *s, uint64_t chunk, uint64_t origin[SX_RANK]);

#endif
