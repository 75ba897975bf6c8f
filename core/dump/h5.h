/*
 * h5.h: the HDF5 library, made quiet and wrapped in our errors. Included by h5.c, h5read.c, open.c,
 * picture.c and write.c only. All calls from one thread, after sx_h5_load.
 */
#ifndef SX_DUMP_H5_H
#define SX_DUMP_H5_H

#include "dump/dump_impl.h"
#include "dump/h5lib.h"

/* HDF5 prints its errors unless told otherwise: every entry point turns that off and back on. */
typedef struct sx_quiet {
    H5E_auto2_t func;
    void *data;
} sx_quiet;
void sx_h5_quiet(sx_quiet *q);
void sx_h5_loud(const sx_quiet *q);

/* sx_fail with the library's own innermost message behind ours. */
sx_err sx_h5_fail(sx_error *er, sx_err code, const char *fmt, ...) SX_PRINTF(3, 4);

/* Opens the data set at `path`; fills id, path, rank, dims, type. SX_OK with s->readable == false when it
 * is no array of numbers. s->id is open afterwards. */
sx_err sx_h5_set_open(sx_dump *d, const char *path, sx_set *s, sx_error *er);
/* Finds out where the bytes are. image_axis: axis 0 counts images; otherwise one is put in front. */
sx_err sx_h5_set_storage(sx_dump *d, sx_set *s, bool image_axis, sx_error *er);
void sx_h5_set_close(sx_set *s);
hid_t sx_h5_half_type(void);            /* a new type, 16-bit float of this machine's order */
hid_t sx_h5_memory_type(sx_dtype t);    /* a new type */

typedef struct sx_names {
    const char **v;
    size_t n;
} sx_names;
/* Names of all links in a group, by name; those that are whole numbers by value. */
sx_err sx_h5_list(sx_dump *d, hid_t group, const char *what, sx_names *out, sx_error *er);
/* Attribute (attr not NULL) or 1-d data set of strings; n = 0 when absent or something else. */
sx_err sx_h5_strings(sx_dump *d, hid_t obj, const char *attr, sx_names *out, sx_error *er);
/* Integer attribute, one or several; *there tells an empty one from none. */
sx_err sx_h5_ints(sx_dump *d, hid_t obj, const char *attr, bool *there, const int64_t **v, size_t *n,
                  sx_error *er);

/* Numbers of an attribute, one or several; n = 0 when absent or something else. */
sx_err sx_h5_doubles(sx_dump *d, hid_t obj, const char *attr, const double **v, size_t *n, sx_error *er);

/* "[8,19,512,512]" of the file's axes. */
char *sx_set_shape(const sx_set *s, char *buf, size_t n);

#endif
