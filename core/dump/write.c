/*
 * write.c: writes a dump image by image. The file grows under a temporary name in the same folder and
 * gets its own name at the end, so that a half-written dump is never found under it.
 */
#include "cpu/math.h"
#include "dump/h5.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct sx_dump_writer {
    char *path, *temp;
    sx_write_opts o;         /* class_names and split are not kept */
    hid_t file, logits, labels;
    size_t px;
    void *buf;               /* one image of logits or labels in the file's types */
    bool *written;           /* by image */
};

static void drop(sx_dump_writer *w, bool remove_temp)
{
    if (w->labels >= 0)
        H5Dclose(w->labels);
    if (w->logits >= 0)
        H5Dclose(w->logits);
    if (w->file >= 0)
        H5Fclose(w->file);
    if (remove_temp && w->temp)
        unlink(w->temp);
    sx_free(w->buf);
    sx_free(w->written);
    sx_free(w->temp);
    sx_free(w->path);
    sx_free(w);
}

/* -- Attributes ----------------------------------------------------------------------------- */

static bool put_strings(hid_t obj, const char *name, const char *const *v, size_t n, bool scalar)
{
    size_t size = 1;
    for (size_t i = 0; i < n; i++)
        size = strlen(v[i]) > size ? strlen(v[i]) : size;
    hsize_t dim = n;
    bool ok = false;
    hid_t space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dim, NULL);
    hid_t type = H5Tcopy(H5T_C_S1), attr = -1;
    char *buf = sx_calloc(n, size);
    if (buf && space >= 0 && type >= 0 && H5Tset_size(type, size) >= 0 &&
        H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0) {
        for (size_t i = 0; i < n; i++)
            memcpy(buf + i * size, v[i], strlen(v[i]));
        attr = H5Acreate2(obj, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        ok = attr >= 0 && H5Awrite(attr, type, buf) >= 0;
    }
    if (attr >= 0)
        H5Aclose(attr);
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    sx_free(buf);
    return ok;
}

/* One number of the type `memory`, or (n > 0) a list, kept as `type`. */
static bool put_numbers(hid_t obj, const char *name, hid_t type, hid_t memory, const void *v, hsize_t n)
{
    hid_t space = n ? H5Screate_simple(1, &n, NULL) : H5Screate(H5S_SCALAR);
    hid_t attr = space < 0 ? -1 : H5Acreate2(obj, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attr >= 0 && H5Awrite(attr, memory, v) >= 0;
    if (attr >= 0)
        H5Aclose(attr);
    if (space >= 0)
        H5Sclose(space);
    return ok;
}

static bool put_int(hid_t obj, const char *name, int64_t v)
{
    return put_numbers(obj, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &v, 0);
}

static bool put_double(hid_t obj, const char *name, double v)
{
    return put_numbers(obj, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &v, 0);
}

/* -- Creating ------------------------------------------------------------------------------- */

static hid_t make_set(sx_dump_writer *w, const char *name, sx_dtype type, bool classes)
{
    const sx_write_opts *o = &w->o;
    hsize_t dims[5], chunk[5];
    int rank = 0;
    dims[rank++] = o->n;
    if (classes)
        dims[rank++] = o->classes;
    for (size_t k = 0; k < o->n_dims; k++)
        dims[rank++] = o->dims[k];
    memcpy(chunk, dims, sizeof chunk);
    chunk[0] = 1;
    if (classes && (double)w->px * (double)o->classes * (double)sx_dtype_size(type) > 1e9)
        chunk[1] = 1;   /* HDF5's chunks end at 4 GB */
    hid_t id = -1, mem = sx_h5_memory_type(type), space = H5Screate_simple(rank, dims, NULL);
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
    bool ok = mem >= 0 && space >= 0 && dcpl >= 0 && H5Pset_obj_track_times(dcpl, 0) >= 0;
    if (ok && o->gzip > 0)
        ok = H5Pset_chunk(dcpl, rank, chunk) >= 0 && H5Pset_shuffle(dcpl) >= 0 &&
             H5Pset_deflate(dcpl, (unsigned)o->gzip) >= 0;
    if (ok)
        id = H5Dcreate2(w->file, name, mem, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    if (dcpl >= 0)
        H5Pclose(dcpl);
    if (space >= 0)
        H5Sclose(space);
    if (mem >= 0)
        H5Tclose(mem);
    return id;
}

static sx_err check_opts(const char *path, const sx_write_opts *o, size_t *px, sx_error *er)
{
    if (o->logits_type > SX_F64 || o->labels_type < SX_I8 || o->labels_type >= SX_DTYPE_COUNT)
        return sx_fail(er, SX_EARG, "%s: logits must be floats, labels integers", path);
    if (!o->n || !o->classes || o->n_dims < 1 || o->n_dims > 3 || o->gzip < 0 || o->gzip > 9)
        return sx_fail(er, SX_EARG, "%s: %zu images, %zu classes, %zu spatial axes, gzip %d", path,
                       o->n, o->classes, o->n_dims, o->gzip);
    uint64_t dims[4] = {o->classes};
    size_t all;
    *px = 1;
    for (size_t k = 0; k < o->n_dims; k++) {
        dims[k + 1] = o->dims[k];
        if (!o->dims[k])
            return sx_fail(er, SX_EARG, "%s: images without pixels", path);
    }
    if (!sx_product(dims, o->n_dims + 1, 8, &all))
        return sx_fail(er, SX_EARG, "%s: the images are too large", path);
    for (size_t k = 0; k < o->n_dims; k++)
        *px *= o->dims[k];
    return SX_EOK;
}

static bool put_attributes(sx_dump_writer *w, const sx_write_opts *o)
{
    static const char *const layout[4] = {"", "NCW", "NCHW", "NCDHW"};
    if (o->only)
        return put_strings(w->logits, "layout", &layout[o->n_dims], 1, true) &&
               put_double(w->logits, "scale", w->o.scale) &&
               (!o->class_names || put_strings(w->file, "class_names", o->class_names, o->classes, false)) &&
               (!o->text || put_strings(w->logits, "source", &o->text, 1, true));
    return put_int(w->file, "segx_dump", 1) &&
           put_strings(w->logits, "layout", &layout[o->n_dims], 1, true) &&
           (!o->class_names || put_strings(w->file, "class_names", o->class_names, o->classes, false)) &&
           (!o->has_ignore || put_int(w->labels, "ignore_index", o->ignore)) &&
           (!o->spacing || put_numbers(w->logits, "spacing", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, o->spacing, o->n_dims)) &&
           (!o->split || put_strings(w->file, "split", &o->split, 1, true));
}

sx_err sx_dump_create(const char *path, const sx_write_opts *o, sx_dump_writer **out, sx_error *er)
{
    *out = NULL;
    size_t px = 0;
    sx_err e = check_opts(path, o, &px, er);
    if (!e)
        e = sx_h5_load(er);
    if (e)
        return e;
    sx_dump_writer *w = sx_calloc(1, sizeof *w);
    if (!w)
        return sx_nomem(er);
    w->file = w->logits = w->labels = -1;
    w->o = *o;
    w->o.class_names = NULL;
    w->o.split = w->o.text = NULL;
    w->o.scale = o->scale > 0 ? o->scale : 1;
    w->px = px;
    size_t room = strlen(path) + 40, size = px * o->classes * sx_dtype_size(o->logits_type);
    if (size < px * sx_dtype_size(o->labels_type))
        size = px * sx_dtype_size(o->labels_type);
    sx_quiet q;
    sx_h5_quiet(&q);
    w->path = sx_strdup(path);
    w->temp = sx_malloc(room);
    w->buf = sx_malloc(size);
    w->written = sx_calloc(o->n, sizeof *w->written);
    if (!w->path || !w->temp || !w->buf || !w->written) {
        e = sx_nomem(er);
        goto done;
    }
    snprintf(w->temp, room, "%s.part-%ld", path, (long)getpid());
    w->file = H5Fcreate(w->temp, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (w->file < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: cannot be made", path);
        goto done;
    }
    w->logits = make_set(w, o->only ? o->only : "logits", o->logits_type, true);
    if (!o->only)
        w->labels = make_set(w, "labels", o->labels_type, false);
    if (w->logits < 0 || (!o->only && w->labels < 0) || !put_attributes(w, o))
        e = sx_h5_fail(er, SX_EFILE, "%s: the data sets cannot be made", path);

done:
    if (e)
        drop(w, w->file >= 0);
    else
        *out = w;
    sx_h5_loud(&q);
    return e;
}

/* -- Writing -------------------------------------------------------------------------------- */

static bool write_image(sx_dump_writer *w, hid_t set, sx_dtype type, bool classes, size_t image)
{
    hsize_t from[5] = {image}, size[5] = {1};
    int rank = 1;
    if (classes)
        size[rank++] = w->o.classes;
    for (size_t k = 0; k < w->o.n_dims; k++)
        size[rank++] = w->o.dims[k];
    hid_t mem = sx_h5_memory_type(type), space = H5Dget_space(set);
    hid_t mem_space = H5Screate_simple(rank, size, NULL);
    bool ok = mem >= 0 && space >= 0 && mem_space >= 0 &&
              H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, size, NULL) >= 0 &&
              H5Dwrite(set, mem, mem_space, space, H5P_DEFAULT, w->buf) >= 0;
    if (mem_space >= 0)
        H5Sclose(mem_space);
    if (space >= 0)
        H5Sclose(space);
    if (mem >= 0)
        H5Tclose(mem);
    return ok;
}

static void put_logits(sx_dump_writer *w, const float *from)
{
    const size_t n = w->px * w->o.classes;
    if (w->o.logits_type == SX_F16) {
        uint16_t *to = w->buf;
        for (size_t i = 0; i < n; i++)
            to[i] = sx_float_to_half(from[i]);
    } else if (w->o.logits_type == SX_F32) {
        memcpy(w->buf, from, n * sizeof *from);
    } else {
        double *to = w->buf;
        for (size_t i = 0; i < n; i++)
            to[i] = (double)from[i];
    }
}

static sx_err put_labels(sx_dump_writer *w, size_t image, const int32_t *from, sx_error *er)
{
    const sx_dtype type = w->o.labels_type;
    const size_t size = sx_dtype_size(type);
    for (size_t i = 0; i < w->px; i++) {
        int64_t v = from[i];
        if (!sx_label_fits(type, v))
            return sx_fail(er, SX_EARG, "%s: image %zu: the label %" PRId64 " does not fit into %s",
                           w->path, image + 1, v, sx_dtype_name(type));
        unsigned char *to = (unsigned char *)w->buf + i * size;
        switch (size) {
        case 1: to[0] = (unsigned char)(v & 0xff); break;
        case 2: memcpy(to, &(uint16_t){(uint16_t)(v & 0xffff)}, 2); break;
        case 4: memcpy(to, &(uint32_t){(uint32_t)(v & 0xffffffff)}, 4); break;
        default: memcpy(to, &v, 8); break;
        }
    }
    return SX_EOK;
}

sx_err sx_dump_write(sx_dump_writer *w, size_t image, const float *logits, const int32_t *labels,
                     sx_error *er)
{
    if (image >= w->o.n || w->o.only)
        return sx_fail(er, SX_EARG, "%s: image %zu of %zu", w->path, image + 1, w->o.n);
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = put_labels(w, image, labels, er);
    bool ok = e || write_image(w, w->labels, w->o.labels_type, false, image);
    if (!e && ok) {
        put_logits(w, logits);
        ok = write_image(w, w->logits, w->o.logits_type, true, image);
    }
    if (!ok)
        e = sx_h5_fail(er, SX_EFILE, "%s: image %zu cannot be written", w->path, image + 1);
    sx_h5_loud(&q);
    if (!e)
        w->written[image] = true;
    return e;
}

sx_err sx_dump_write_array(sx_dump_writer *w, size_t image, const void *v, sx_dtype type, sx_error *er)
{
    const size_t n = w->px * w->o.classes;
    const double scale = w->o.scale;
    if (image >= w->o.n || !w->o.only)
        return sx_fail(er, SX_EARG, "%s: image %zu of %zu", w->path, image + 1, w->o.n);
    for (size_t i = 0; i < n; i++) {
        const double x = scale * (type == SX_F32 ? (double)((const float *)v)[i] : ((const double *)v)[i]);
        if (w->o.logits_type == SX_F16)
            ((uint16_t *)w->buf)[i] = sx_float_to_half((float)x);
        else if (w->o.logits_type == SX_F32)
            ((float *)w->buf)[i] = (float)x;
        else
            ((double *)w->buf)[i] = x;
    }
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = SX_EOK;
    if (!write_image(w, w->logits, w->o.logits_type, true, image))
        e = sx_h5_fail(er, SX_EFILE, "%s: image %zu cannot be written", w->path, image + 1);
    sx_h5_loud(&q);
    if (!e)
        w->written[image] = true;
    return e;
}

sx_err sx_dump_finish(sx_dump_writer *w, sx_error *er)
{
    if (!w)
        return SX_EOK;
    sx_quiet q;
    sx_h5_quiet(&q);
    sx_err e = SX_EOK;
    for (size_t i = 0; i < w->o.n; i++)
        if (!w->written[i]) {
            e = sx_fail(er, SX_EARG, "%s: image %zu was never written: the file is not kept", w->path,
                        i + 1);
            goto done;
        }
    herr_t closed = (w->labels >= 0 ? H5Dclose(w->labels) : 0) | H5Dclose(w->logits);
    closed |= H5Fclose(w->file);
    w->labels = w->logits = w->file = -1;
    if (closed < 0)
        e = sx_h5_fail(er, SX_EFILE, "%s: cannot be written", w->path);
    else if (rename(w->temp, w->path) != 0)
        e = sx_fail(er, SX_EFILE, "%s: %s", w->path, strerror(errno));

done:
    drop(w, e != SX_EOK);
    sx_h5_loud(&q);
    return e;
}
