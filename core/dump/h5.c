/* h5.c: data sets of an HDF5 file: number type, shape, filters, places of chunks. */
#include "dump/h5.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Asking 1.10's library for the place of chunk i walks the index from its start: quadratic. */
enum { MAX_CHUNK_QUERIES = 2000, MAX_CHUNK_TABLE = 1 << 24 };

/* -- Errors --------------------------------------------------------------------------------- */

void sx_h5_quiet(sx_quiet *q)
{
    q->func = NULL;
    q->data = NULL;
    H5Eget_auto2(H5E_DEFAULT, &q->func, &q->data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void sx_h5_loud(const sx_quiet *q)
{
    H5Eset_auto2(H5E_DEFAULT, q->func, q->data);
}

typedef struct reason {
    char text[256];
} reason;

static herr_t keep_innermost(unsigned n, const H5E_error2_t *e, void *arg)
{
    (void)n;
    reason *r = arg;
    if (e->desc && e->desc[0])
        snprintf(r->text, sizeof r->text, "%s", e->desc);
    return 0;
}

sx_err sx_h5_fail(sx_error *er, sx_err code, const char *fmt, ...)
{
    char ours[700];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(ours, sizeof ours, fmt, ap) < 0)
        ours[0] = '\0';
    va_end(ap);
    reason r = {""};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &r);
    return r.text[0] ? sx_fail(er, code, "%s (HDF5: %s)", ours, r.text)
                     : sx_fail(er, code, "%s", ours);
}

char *sx_set_shape(const sx_set *s, char *buf, size_t n)
{
    size_t used = (size_t)snprintf(buf, n, "[");
    unsigned from = s->kind != SX_SET_MEMORY && !s->image_axis ? 1 : 0;
    for (unsigned k = from; k < s->rank && used + 24 < n; k++)
        used += (size_t)snprintf(buf + used, n - used, "%s%" PRIu64, k > from ? "," : "", s->dims[k]);
    snprintf(buf + used, n - used, "]");
    return buf;
}

/* -- Number types --------------------------------------------------------------------------- */

hid_t sx_h5_half_type(void)
{
    hid_t t = H5Tcopy(H5T_NATIVE_FLOAT);
    if (t < 0)
        return t;
    if (H5Tset_fields(t, 15, 10, 5, 0, 10) < 0 || H5Tset_size(t, 2) < 0 || H5Tset_ebias(t, 15) < 0) {
        H5Tclose(t);
        return -1;
    }
    return t;
}

hid_t sx_h5_memory_type(sx_dtype t)
{
    switch (t) {
    case SX_F16: return sx_h5_half_type();
    case SX_F32: return H5Tcopy(H5T_NATIVE_FLOAT);
    case SX_F64: return H5Tcopy(H5T_NATIVE_DOUBLE);
    case SX_I8: return H5Tcopy(H5T_NATIVE_INT8);
    case SX_U8: return H5Tcopy(H5T_NATIVE_UINT8);
    case SX_I16: return H5Tcopy(H5T_NATIVE_INT16);
    case SX_U16: return H5Tcopy(H5T_NATIVE_UINT16);
    case SX_I32: return H5Tcopy(H5T_NATIVE_INT32);
    case SX_U32: return H5Tcopy(H5T_NATIVE_UINT32);
    case SX_I64: return H5Tcopy(H5T_NATIVE_INT64);
    default: return H5Tcopy(H5T_NATIVE_UINT64);
    }
}

static void float_type(hid_t t, size_t size, sx_set *s)
{
    size_t spos = 0, epos = 0, esize = 0, mpos = 0, msize = 0;
    size_t bias = H5Tget_ebias(t);
    if (H5Tget_fields(t, &spos, &epos, &esize, &mpos, &msize) < 0)
        return;
    if (size == 2 && spos == 15 && epos == 10 && esize == 5 && mpos == 0 && msize == 10 && bias == 15)
        s->type = SX_F16;
    else if (size == 4 && spos == 31 && epos == 23 && esize == 8 && msize == 23 && bias == 127)
        s->type = SX_F32;
    else if (size == 8 && spos == 63 && epos == 52 && esize == 11 && msize == 52 && bias == 1023)
        s->type = SX_F64;
    else if (size == 2 && esize == 8) {
        snprintf(s->type_text, sizeof s->type_text, "bfloat16");
        return;
    } else {
        snprintf(s->type_text, sizeof s->type_text, "%zu-byte float of an unusual kind", size);
        return;
    }
    s->readable = s->raw = true;
}

static void integer_type(hid_t t, size_t size, sx_set *s)
{
    static const sx_dtype by_size[4][2] = {
        {SX_U8, SX_I8}, {SX_U16, SX_I16}, {SX_U32, SX_I32}, {SX_U64, SX_I64}};
    bool is_signed = H5Tget_sign(t) == H5T_SGN_2;
    if (size == 0 || size > 8) {
        snprintf(s->type_text, sizeof s->type_text, "%zu-byte integer", size);
        return;
    }
    int log2 = size > 4 ? 3 : size > 2 ? 2 : size > 1 ? 1 : 0;
    s->type = by_size[log2][is_signed];
    s->readable = true;
    s->raw = size == (size_t)1 << log2 && H5Tget_precision(t) == 8 * size && H5Tget_offset(t) == 0;
}

static void number_type(hid_t t, sx_set *s)
{
    static const char *const class_name[] = {"integers", "floats", "times", "strings", "bit fields",
                                             "opaque", "compound", "references", "enumeration",
                                             "variable-length", "arrays"};
    H5T_class_t cls = H5Tget_class(t);
    size_t size = H5Tget_size(t);
    H5T_order_t order = H5Tget_order(t);
    s->readable = s->raw = s->swap = false;
    if (cls == H5T_OPAQUE)
        snprintf(s->type_text, sizeof s->type_text, "a %zu-byte opaque type", size);
    else if (cls >= 0 && (size_t)cls < sizeof class_name / sizeof class_name[0])
        snprintf(s->type_text, sizeof s->type_text, "%s", class_name[cls]);
    else
        snprintf(s->type_text, sizeof s->type_text, "an unknown type");
    if (cls == H5T_FLOAT) {
        float_type(t, size, s);
    } else if (cls == H5T_INTEGER) {
        integer_type(t, size, s);
    } else if (cls == H5T_ENUM) {   /* h5py writes booleans like this */
        hid_t base = H5Tget_super(t);
        if (base >= 0) {
            integer_type(base, size, s);
            order = H5Tget_order(base);
            H5Tclose(base);
        }
    }
    if (s->readable && order != H5T_ORDER_LE && order != H5T_ORDER_BE && size > 1)
        s->readable = s->raw = false;
    if (!s->readable)
        return;
    snprintf(s->type_text, sizeof s->type_text, "%s", sx_dtype_name(s->type));
    s->swap = size > 1 && order != H5Tget_order(H5T_NATIVE_INT);
}

/* -- Opening -------------------------------------------------------------------------------- */

void sx_h5_set_close(sx_set *s)
{
    if (s->id >= 0)
        H5Dclose(s->id);
    s->id = -1;
}

sx_err sx_h5_set_open(sx_dump *d, const char *path, sx_set *s, sx_error *er)
{
    memset(s, 0, sizeof *s);
    s->id = -1;
    s->path = sx_dump_strdup(d, path);
    if (!s->path)
        return sx_nomem(er);
    hid_t space = -1, type = -1;
    sx_err e = SX_EOK;
    s->id = H5Dopen2(d->file, path, H5P_DEFAULT);
    if (s->id >= 0) {
        space = H5Dget_space(s->id);
        type = H5Dget_type(s->id);
    }
    if (space < 0 || type < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: %s cannot be opened", d->path, path);
        goto done;
    }
    number_type(type, s);
    int rank = H5Sget_simple_extent_type(space) == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : 0;
    hsize_t dims[H5S_MAX_RANK];
    s->image_axis = true;
    if (rank <= 0 || rank >= SX_RANK) {
        s->readable = false;
        snprintf(s->type_text, sizeof s->type_text, "of %d axes", rank);
    } else if (H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        e = sx_h5_fail(er, SX_EFILE, "%s: the shape of %s cannot be read", d->path, path);
    } else {
        s->rank = (unsigned)rank;
        for (int k = 0; k < rank; k++)
            s->dims[k] = dims[k];
    }

done:
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    if (e)
        sx_h5_set_close(s);
    return e;
}

/* -- Storage -------------------------------------------------------------------------------- */

static const char *filter_name(int id, const char *from_file)
{
    static const struct {
        int id;
        const char *name;
    } row[] = {{1, "gzip"}, {2, "shuffle"}, {3, "fletcher32"}, {4, "szip"}, {5, "nbit"},
               {6, "scaleoffset"}, {307, "bzip2"}, {32000, "lzf"}, {32001, "blosc"}, {32004, "lz4"},
               {32008, "bitshuffle"}, {32013, "zfp"}, {32015, "zstd"}, {32026, "blosc2"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].id == id)
            return row[i].name;
    return from_file[0] ? from_file : "unknown";
}

/* Reads the filter list; *ours: we can undo it. Filters go to s->storage as words. */
static sx_err get_filters(sx_dump *d, sx_set *s, hid_t dcpl, bool *ours, sx_error *er)
{
    int n = H5Pget_nfilters(dcpl);
    unsigned packers = 0;
    char words[80] = "";
    *ours = n <= SX_MAX_FILTERS;
    for (int i = 0; i < n; i++) {
        unsigned flags = 0, arg[8] = {0}, config = 0;
        size_t n_arg = 8;
        char name[64] = "";
        H5Z_filter_t id = H5Pget_filter2(dcpl, (unsigned)i, &flags, &n_arg, arg, sizeof name, name,
                                         &config);
        if (id < 0)
            return sx_h5_fail(er, SX_EFILE, "%s: the filters of %s cannot be read", d->path, s->path);
        bool known = id == SX_FILTER_DEFLATE || id == SX_FILTER_SHUFFLE ||
                     id == SX_FILTER_FLETCHER32 || id == SX_FILTER_LZF;
        if (id == SX_FILTER_DEFLATE || id == SX_FILTER_LZF)
            packers++;
        if (id == SX_FILTER_SHUFFLE && (n_arg < 1 || arg[0] == 0))
            arg[0] = (unsigned)sx_dtype_size(s->type);
        if (!known) {
            *ours = false;
            if (H5Zfilter_avail(id) <= 0) {
                sx_fail(er, SX_EFILE, "%s: %s uses HDF5 filter %d (%s), which this build lacks",
                        d->path, s->path, (int)id, filter_name(id, name));
                sx_hint(er, "rewrite it uncompressed or with gzip where it was made, or install the "
                        "filter and set HDF5_PLUGIN_PATH");
                return SX_EFILE;
            }
        }
        if (*ours) {
            s->filter[i].id = id;
            s->filter[i].arg = arg[0];
        }
        size_t used = strlen(words);   /* the packer goes first: "gzip+shuffle" */
        char before[80];
        snprintf(before, sizeof before, "%s", words);
        if (used == 0)
            snprintf(words, sizeof words, "%s", filter_name(id, name));
        else if (id == SX_FILTER_FLETCHER32)
            snprintf(words + used, sizeof words - used, "+%s", filter_name(id, name));
        else
            snprintf(words, sizeof words, "%.40s+%.38s", filter_name(id, name), before);
    }
    if (packers > 1)   /* the size between them is not known */
        *ours = false;
    s->n_filters = *ours && n > 0 ? (unsigned)n : 0;
    size_t used = strlen(s->storage);
    snprintf(s->storage + used, sizeof s->storage - used, ", %s", n > 0 ? words : "not compressed");
    return SX_EOK;
}

typedef struct table {
    const sx_dump *d;
    sx_set *s;
    bool bad;
} table;

static void enter_chunk(table *t, const hsize_t *origin, unsigned mask, uint64_t addr, uint64_t size)
{
    const sx_set *s = t->s;
    uint64_t k = 0;
    unsigned skip = s->image_axis ? 0 : 1;
    for (unsigned a = 0; a < s->rank; a++) {
        uint64_t o = a < skip ? 0 : origin[a - skip];
        if (o >= s->dims[a])
            return;   /* left over from before the data set was made smaller */
        k = k * s->grid[a] + o / s->chunk_dims[a];
    }
    if (addr == HADDR_UNDEF || size == 0)
        return;
    if (size > t->d->file_size || addr > t->d->file_size - size) {
        t->bad = true;
        return;
    }
    s->chunk[k] = (sx_chunk){addr, size, mask};
}

#if SX_H5_HAS_CHUNK_ITER
static int on_chunk(const hsize_t *offset, unsigned mask, haddr_t addr, hsize_t size, void *arg)
{
    enter_chunk(arg, offset, mask, addr, size);
    return 0;
}

static bool can_iterate(void)
{
    return sx_h5.Dchunk_iter_ != NULL;
}

static herr_t iterate(table *t)
{
    return H5Dchunk_iter(t->s->id, H5P_DEFAULT, on_chunk, t);
}
#else
static bool can_iterate(void)
{
    return false;
}

static herr_t iterate(table *t)
{
    (void)t;
    return -1;
}
#endif

static sx_err find_chunks(sx_dump *d, sx_set *s, hid_t space, sx_error *er)
{
    hsize_t n = 0;
    if (H5Dget_num_chunks(s->id, space, &n) < 0)
        return sx_h5_fail(er, SX_EFILE, "%s: the chunks of %s cannot be listed", d->path, s->path);
    if (!d->direct || s->n_chunks > MAX_CHUNK_TABLE ||
        (n > MAX_CHUNK_QUERIES && !can_iterate())) {
        s->kind = SX_SET_CHUNKS_H5;
        return SX_EOK;
    }
    s->chunk = sx_arena_alloc(d->arena, (size_t)s->n_chunks * sizeof *s->chunk);
    if (!s->chunk)
        return sx_nomem(er);
    table t = {d, s, false};
    if (can_iterate()) {
        if (iterate(&t) < 0)
            return sx_h5_fail(er, SX_EFILE, "%s: the chunks of %s cannot be listed", d->path, s->path);
        n = 0;
    }
    for (hsize_t i = 0; i < n; i++) {
        hsize_t origin[H5S_MAX_RANK] = {0}, size = 0;
        unsigned mask = 0;
        haddr_t addr = HADDR_UNDEF;
        if (H5Dget_chunk_info(s->id, space, i, origin, &mask, &addr, &size) < 0)
            return sx_h5_fail(er, SX_EFILE, "%s: the chunks of %s cannot be listed", d->path,
                              s->path);
        enter_chunk(&t, origin, mask, addr, size);
    }
    if (t.bad) {
        sx_fail(er, SX_EFILE, "%s: %s has chunks beyond the end of the file", d->path, s->path);
        sx_hint(er, "the file was cut off or is damaged; copy it again or make it anew");
        return SX_EFILE;
    }
    s->kind = SX_SET_CHUNKS;
    return SX_EOK;
}

static sx_err chunked_storage(sx_dump *d, sx_set *s, hid_t dcpl, hid_t space, sx_error *er)
{
    hsize_t cd[H5S_MAX_RANK];
    int rank = H5Pget_chunk(dcpl, H5S_MAX_RANK, cd);
    unsigned skip = s->image_axis ? 0 : 1;
    if (rank < 0 || (unsigned)rank + skip != s->rank)
        return sx_h5_fail(er, SX_EFILE, "%s: the chunk shape of %s cannot be read", d->path, s->path);
    size_t used = (size_t)snprintf(s->storage, sizeof s->storage, "chunked ");
    s->n_chunks = 1;
    for (unsigned k = 0; k < s->rank; k++) {
        s->chunk_dims[k] = k < skip ? 1 : cd[k - skip];
        if (s->chunk_dims[k] == 0)
            return sx_fail(er, SX_EFILE, "%s: %s has empty chunks", d->path, s->path);
        s->grid[k] = (s->dims[k] + s->chunk_dims[k] - 1) / s->chunk_dims[k];
        if (s->grid[k] && s->n_chunks > UINT32_MAX / s->grid[k])
            return sx_fail(er, SX_EFILE, "%s: %s has too many chunks", d->path, s->path);
        s->n_chunks *= s->grid[k];
        if (k >= skip)
            used += (size_t)snprintf(s->storage + used, sizeof s->storage - used, "%s%" PRIu64,
                                     k > skip ? "x" : "", s->chunk_dims[k]);
    }
    if (!sx_product(s->chunk_dims, s->rank, sx_dtype_size(s->type), &s->chunk_bytes))
        return sx_fail(er, SX_EFILE, "%s: the chunks of %s are too large", d->path, s->path);
    bool ours = true;
    sx_err e = get_filters(d, s, dcpl, &ours, er);
    if (e)
        return e;
    unsigned chunk_opts = 0;   /* edge chunks may be stored unfiltered, without saying so in the mask */
    if (H5Pget_chunk_opts(dcpl, &chunk_opts) >= 0 &&
        (chunk_opts & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS))
        ours = false;
    return ours && s->raw ? find_chunks(d, s, space, er) : SX_EOK;
}

static sx_err find_storage(sx_dump *d, sx_set *s, hid_t dcpl, hid_t space, sx_error *er)
{
    s->kind = SX_SET_H5;
    H5D_layout_t layout = H5Pget_layout(dcpl);
    if (layout == H5D_CHUNKED)
        return chunked_storage(d, s, dcpl, space, er);
    if (layout != H5D_CONTIGUOUS) {
        snprintf(s->storage, sizeof s->storage, "%s", layout == H5D_COMPACT ? "compact"
                 : layout == H5D_VIRTUAL ? "virtual (parts of other data sets)" : "unusual");
        return SX_EOK;
    }
    bool external = H5Pget_external_count(dcpl) > 0;
    snprintf(s->storage, sizeof s->storage, "contiguous%s", external ? ", in other files" : "");
    haddr_t addr = external ? HADDR_UNDEF : H5Dget_offset(s->id);
    if (addr == HADDR_UNDEF || !s->raw || !d->direct)
        return SX_EOK;
    size_t all;
    if (!sx_product(s->dims, 1, s->image_bytes, &all) || addr > d->file_size ||
        all > d->file_size - addr) {
        sx_fail(er, SX_EFILE, "%s: %s ends beyond the end of the file", d->path, s->path);
        sx_hint(er, "the file was cut off or is damaged; copy it again or make it anew");
        return SX_EFILE;
    }
    s->kind = SX_SET_CONTIGUOUS;
    s->addr = addr;
    return SX_EOK;
}

sx_err sx_h5_set_storage(sx_dump *d, sx_set *s, bool image_axis, sx_error *er)
{
    if (!image_axis) {
        for (unsigned k = s->rank; k > 0; k--)
            s->dims[k] = s->dims[k - 1];
        s->dims[0] = 1;
        s->rank++;
    }
    s->image_axis = image_axis;
    if (!sx_product(s->dims + 1, s->rank - 1, sx_dtype_size(s->type), &s->image_bytes))
        return sx_fail(er, SX_EFILE, "%s: the images of %s are too large for this machine", d->path,
                       s->path);
    sx_err e = SX_EOK;
    hid_t space = -1, dcpl = -1, mem = -1;
    dcpl = H5Dget_create_plist(s->id);
    space = H5Dget_space(s->id);
    mem = sx_h5_memory_type(s->type);
    H5D_fill_value_t fill = H5D_FILL_VALUE_DEFAULT;
    if (dcpl < 0 || space < 0 || mem < 0 || H5Pfill_value_defined(dcpl, &fill) < 0 ||
        (fill != H5D_FILL_VALUE_UNDEFINED && s->raw && H5Pget_fill_value(dcpl, mem, s->fill) < 0)) {
        e = sx_h5_fail(er, SX_EFILE, "%s: the properties of %s cannot be read", d->path, s->path);
        goto done;
    }
    s->stored = H5Dget_storage_size(s->id);
    e = find_storage(d, s, dcpl, space, er);

done:
    if (mem >= 0)
        H5Tclose(mem);
    if (space >= 0)
        H5Sclose(space);
    if (dcpl >= 0)
        H5Pclose(dcpl);
    return e;
}
