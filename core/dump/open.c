/*
 * open.c: opens a dump: finds predictions and labels by name and shape, and says what was guessed.
 * Everything here runs once per file, on one thread.
 */
#include "dump/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const logits_names[] = {
    "logits", "outputs", "output", "preds", "pred", "predictions", "prediction", "scores",
    "seg_logits", "probs", "prob", "probabilities", "softmax", "log_probs", "y_pred", NULL};
static const char *const labels_names[] = {
    "labels", "label", "target", "targets", "gt", "mask", "masks", "seg", "annotation",
    "annotations", "y", "y_true", NULL};
static const char *const id_names[] = {"names", "name", "ids", "id", "image_names", "filenames",
                                       NULL};
static const char *const container_names[] = {"samples", "sample", "cases", "images", "data", NULL};
static const char *const class_attrs[] = {"class_names", "classes", NULL};
static const char *const ignore_attrs[] = {"ignore_index", "ignore_label", "ignore", NULL};
static const char *const spacing_attrs[] = {"spacing", "voxel_spacing", NULL};

/* What opening has found so far. */
typedef struct finder {
    sx_dump *d;
    const sx_dump_opts *o;
    sx_error *er;
    sx_names root;               /* names in the root group */
    const char *container;       /* groups per sample: the group that holds them, "" = root */
    const char *logits, *labels; /* paths, or names inside a sample's group */
    sx_names samples;
    sx_layout layout;
    bool layout_stated;
    sx_stated stated;
} finder;

static bool listed(const sx_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->v[i], name) == 0)
            return true;
    return false;
}

static const char *pick(const sx_names *names, const char *const *synonyms)
{
    for (; *synonyms; synonyms++)
        if (listed(names, *synonyms))
            return *synonyms;
    return NULL;
}

static const char *leaf(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_data_set(sx_dump *d, const char *path)
{
    hid_t id = H5Oopen(d->file, path, H5P_DEFAULT);
    if (id < 0)
        return false;
    bool yes = H5Iget_type(id) == H5I_DATASET;
    H5Oclose(id);
    return yes;
}

/* "images, labels and 3 more" */
static void list_root(const finder *f, char *buf, size_t n)
{
    size_t used = (size_t)snprintf(buf, n, f->root.n ? "it holds " : "it is empty");
    for (size_t i = 0; i < f->root.n; i++) {
        if (i == 8) {
            snprintf(buf + used, n - used, " and %zu more", f->root.n - i);
            return;
        }
        int got = snprintf(buf + used, n - used, "%s/%.40s", i ? ", " : "", f->root.v[i]);
        if (got > 0)
            used += (size_t)got;
    }
}

/* -- The file ------------------------------------------------------------------------------- */

static sx_err open_file(finder *f, const char *path)
{
    sx_dump *d = f->d;
    struct stat st;
    d->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (d->fd < 0 || fstat(d->fd, &st) < 0)
        return sx_fail(f->er, SX_EFILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sx_fail(f->er, SX_EFILE, "%s: not a file%s", path,
                       S_ISDIR(st.st_mode) ? " but a directory" : "");
    d->file_size = (uint64_t)st.st_size;
    d->mtime_s = (int64_t)st.st_mtim.tv_sec;
    d->mtime_ns = (int64_t)st.st_mtim.tv_nsec;
    d->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (d->file < 0) {
        htri_t is = H5Fis_hdf5(path);
        if (is > 0) {
            /* H5Fis_hdf5 has cleared the library's message: once more for it. */
            d->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
            if (d->file < 0) {
                sx_h5_fail(f->er, SX_EFILE, "%s: the file cannot be opened", path);
                if (f->er && strstr(f->er->msg, "lock"))
                    sx_hint(f->er, "if no other program is writing it, set the environment variable "
                            "HDF5_USE_FILE_LOCKING=FALSE");
                else
                    sx_hint(f->er, "it was cut off, is damaged, or was written by a newer HDF5 "
                            "(libver=\"latest\"); copy it again or make it anew");
                return SX_EFILE;
            }
        } else {
            sx_fail(f->er, SX_EFILE, "%s: not an HDF5 file%s", path, st.st_size ? "" : ": it is empty");
            sx_hint(f->er, "a dump is an HDF5 file with logits [N,C,H,W] and labels [N,H,W]");
            return SX_EFILE;
        }
    }
    hid_t fapl = H5Fget_access_plist(d->file), fcpl = H5Fget_create_plist(d->file);
    hsize_t user_block = 1;
    d->direct = fapl >= 0 && fcpl >= 0 && H5Pget_driver(fapl) == H5FD_SEC2 &&
                H5Pget_userblock(fcpl, &user_block) >= 0 && user_block == 0;
    if (fapl >= 0)
        H5Pclose(fapl);
    if (fcpl >= 0)
        H5Pclose(fcpl);
    return SX_EOK;
}

/* -- Names ---------------------------------------------------------------------------------- */

/* Lists a group of the file; *is = false when path is none. */
static sx_err list_group(finder *f, const char *path, sx_names *out, bool *is)
{
    memset(out, 0, sizeof *out);
    hid_t g = H5Gopen2(f->d->file, path, H5P_DEFAULT);
    *is = g >= 0;
    if (!*is)
        return SX_EOK;
    sx_err e = sx_h5_list(f->d, g, path, out, f->er);
    H5Gclose(g);
    return e;
}

static sx_err missing(finder *f, const char *what, const char *given, const char *const *synonyms)
{
    char root[480];
    list_root(f, root, sizeof root);
    if (given) {
        sx_fail(f->er, SX_EFILE, "%s: there is no data set %s; %s", f->d->path, given, root);
        return SX_EFILE;
    }
    sx_fail(f->er, SX_EFILE, "%s: no data set looks like %s (%s, %s, ...); %s", f->d->path, what,
            synonyms[0], synonyms[1], root);
    sx_hint(f->er, "say which it is: segx.open(\"%s\", {logits=\"...\", labels=\"...\"})", f->d->path);
    return SX_EFILE;
}

/* Looks into the groups of `container` for samples. f->samples.n stays 0 if there are none. */
static sx_err try_container(finder *f, const char *container)
{
    sx_dump *d = f->d;
    sx_names all, in;
    bool is = false;
    sx_err e = list_group(f, container[0] ? container : "/", &all, &is);
    if (e || !is || !all.n)
        return e;
    const char **kept = sx_arena_alloc(d->arena, all.n * sizeof *kept);
    if (!kept)
        return sx_nomem(f->er);
    const char *logits = NULL, *labels = NULL;
    size_t n = 0, skipped = 0;
    for (size_t i = 0; i < all.n; i++) {
        char path[600];
        snprintf(path, sizeof path, "%.200s/%.300s", container, all.v[i]);
        e = list_group(f, path, &in, &is);
        if (e)
            return e;
        if (!is)
            continue;
        if (!n) {
            logits = f->o->logits ? leaf(f->o->logits) : pick(&in, logits_names);
            labels = f->o->labels ? leaf(f->o->labels) : pick(&in, labels_names);
            if (!logits || !labels || !listed(&in, logits) || !listed(&in, labels)) {
                skipped++;
                continue;
            }
        }
        bool a = listed(&in, logits), b = listed(&in, labels);
        if (a && b) {
            kept[n++] = all.v[i];
        } else if (a || b) {
            sx_fail(f->er, SX_EFILE, "%s: the sample %s has no %s", d->path, path, a ? labels : logits);
            return SX_EFILE;
        } else {
            skipped++;
        }
    }
    if (!n)
        return SX_EOK;
    f->samples = (sx_names){kept, n};
    f->logits = logits;
    f->labels = labels;
    f->container = sx_dump_strdup(d, container);
    if (!f->container)
        return sx_nomem(f->er);
    return skipped ? sx_dump_note(d, f->er, "%zu group%s of %s/ without %s are skipped", skipped,
                                  skipped == 1 ? "" : "s", container, logits)
                   : SX_EOK;
}

static sx_err find_samples(finder *f)
{
    char name[210];
    const char *star = f->o->logits ? strstr(f->o->logits, "/*/") : NULL;
    if (star) {   /* the caller names the groups: "cases", any, "scores" */
        const char *from = f->o->logits;
        size_t n = (size_t)(star - from);
        snprintf(name, sizeof name, "%s%.*s", from[0] == '/' || n == 0 ? "" : "/",
                 (int)(n < 200 ? n : 200), from);
        return try_container(f, name);
    }
    for (const char *const *c = container_names; *c && !f->samples.n; c++) {
        if (!listed(&f->root, *c))
            continue;
        snprintf(name, sizeof name, "/%s", *c);
        sx_err e = try_container(f, name);
        if (e)
            return e;
    }
    return f->samples.n ? SX_EOK : try_container(f, "");
}

static sx_err rooted(finder *f, const char *name, const char **out)
{
    *out = name[0] == '/' ? sx_dump_strdup(f->d, name) : sx_dump_format(f->d, "/%s", name);
    return *out ? SX_EOK : sx_nomem(f->er);
}

static sx_err note_name(finder *f, const char *what, const char *found, const char *given,
                        const char *const *synonyms)
{
    if (given || strcmp(found, synonyms[0]) == 0)
        return SX_EOK;
    return sx_dump_note(f->d, f->er, "%s are taken from %s, by its name", what, found);
}

static sx_err find_sets(finder *f)
{
    bool is = false;
    sx_err e = list_group(f, "/", &f->root, &is);
    if (e)
        return e;
    const char *logits = f->o->logits ? f->o->logits : pick(&f->root, logits_names);
    const char *labels = f->o->labels ? f->o->labels : pick(&f->root, labels_names);
    bool a = logits && !strchr(logits, '*') && is_data_set(f->d, logits);
    bool b = labels && !strchr(labels, '*') && is_data_set(f->d, labels);
    if (!(a && b)) {
        e = find_samples(f);
        if (e)
            return e;
    }
    if (f->samples.n) {
        f->d->grouped = true;
    } else if (!a) {
        return missing(f, "predictions", f->o->logits, logits_names);
    } else if (!b) {
        return missing(f, "labels", f->o->labels, labels_names);
    } else {
        e = rooted(f, logits, &f->logits);
        if (!e)
            e = rooted(f, labels, &f->labels);
    }
    if (!e)
        e = note_name(f, "predictions", f->d->grouped ? f->logits : f->logits + 1, f->o->logits,
                      logits_names);
    if (!e)
        e = note_name(f, "labels", f->d->grouped ? f->labels : f->labels + 1, f->o->labels,
                      labels_names);
    return e;
}

/* -- Columns -------------------------------------------------------------------------------- */

static sx_err add_column(finder *f, const char *name, size_t n_sets, sx_column **out)
{
    sx_dump *d = f->d;
    sx_column *c = &d->column[d->n_columns];
    c->name = sx_dump_strdup(d, name);
    c->set = sx_arena_alloc(d->arena, n_sets * sizeof *c->set);
    if (!c->name || !c->set)
        return sx_nomem(f->er);
    for (size_t i = 0; i < n_sets; i++)
        c->set[i].id = -1;
    c->n_sets = n_sets;
    d->n_columns++;
    *out = c;
    return SX_EOK;
}

static sx_err check_types(finder *f, const sx_set *logits, const sx_set *labels)
{
    const char *path = f->d->path;
    if (!logits->readable || logits->type > SX_F64) {
        sx_fail(f->er, SX_EFILE, "%s: %s is %s; segx reads float16, float32 and float64", path,
                logits->path, logits->type_text);
        if (strstr(logits->type_text, "2-byte opaque") || strstr(logits->type_text, "bfloat16"))
            sx_hint(f->er, "%s; convert with .half() or .float() before dumping",
                    strstr(logits->type_text, "opaque") ? "this is what h5py writes for bfloat16"
                                                        : "bfloat16 keeps only 8 bits of precision");
        else
            sx_hint(f->er, "store the network's outputs before the softmax, as float16 or float32");
        return SX_EFILE;
    }
    if (!labels->readable || labels->type < SX_I8) {
        sx_fail(f->er, SX_EFILE, "%s: %s is %s; labels must be integers, the class number of each "
                "pixel", path, labels->path, labels->type_text);
        return SX_EFILE;
    }
    return SX_EOK;
}

/* String attribute of the set or, failing that, of the root. NULL when absent. */
static sx_err text_attr(finder *f, hid_t id, const char *attr, const char **out)
{
    *out = NULL;
    const hid_t at[2] = {id, f->d->file};
    for (int i = 0; i < 2 && !*out; i++) {
        sx_names s;
        sx_err e = sx_h5_strings(f->d, at[i], attr, &s, f->er);
        if (e)
            return e;
        if (s.n == 1)
            *out = s.v[0];
    }
    return SX_EOK;
}

static sx_err find_layout(finder *f, const sx_set *logits, const sx_set *labels)
{
    sx_layout_ask ask = {f->o->layout, false, !f->d->grouped, f->d->grouped};
    if (!ask.stated) {
        sx_names s;   /* the root's attribute too, but only when it has as many letters as axes */
        sx_err e = sx_h5_strings(f->d, logits->id, "layout", &s, f->er);
        if (!e && s.n == 0) {
            e = sx_h5_strings(f->d, f->d->file, "layout", &s, f->er);
            if (s.n == 1 && strlen(s.v[0]) != logits->rank)
                s.n = 0;
        }
        if (e)
            return e;
        if (s.n == 1) {
            ask.stated = s.v[0];
            ask.by_file = true;
        }
    }
    f->layout_stated = ask.stated != NULL;
    return sx_layout_find(f->d, logits, labels, &ask, &f->layout, f->er);
}

static sx_err open_stacked(finder *f)
{
    sx_dump *d = f->d;
    sx_column *logits, *labels;
    sx_err e = add_column(f, leaf(f->logits), 1, &logits);
    if (!e)
        e = add_column(f, leaf(f->labels), 1, &labels);
    if (!e)
        e = sx_h5_set_open(d, f->logits, &logits->set[0], f->er);
    if (!e)
        e = sx_h5_set_open(d, f->labels, &labels->set[0], f->er);
    if (!e)
        e = check_types(f, &logits->set[0], &labels->set[0]);
    if (!e)
        e = find_layout(f, &logits->set[0], &labels->set[0]);
    if (!e)
        e = sx_h5_set_storage(d, &logits->set[0], f->layout.image_axis, f->er);
    if (!e)
        e = sx_h5_set_storage(d, &labels->set[0], f->layout.image_axis, f->er);
    if (e)
        return e;
    d->info.n = (size_t)logits->set[0].dims[0];
    d->info.same_shape = true;
    return SX_EOK;
}

static sx_err open_sample(finder *f, size_t i, sx_column *logits, sx_column *labels)
{
    sx_dump *d = f->d;
    sx_set *a = &logits->set[i], *b = &labels->set[i];
    char path[900];
    snprintf(path, sizeof path, "%s/%s/%s", f->container, f->samples.v[i], f->logits);
    sx_err e = sx_h5_set_open(d, path, a, f->er);
    snprintf(path, sizeof path, "%s/%s/%s", f->container, f->samples.v[i], f->labels);
    if (!e)
        e = sx_h5_set_open(d, path, b, f->er);
    if (!e)
        e = check_types(f, a, b);
    if (e)
        return e;
    sx_layout first = f->layout;
    if (i == 0) {
        e = find_layout(f, a, b);
    } else {   /* the others follow the first: the layout is then a statement */
        sx_layout_ask ask = {first.text, true, false, true};
        e = sx_layout_find(d, a, b, &ask, &f->layout, f->er);
    }
    if (e)
        return e;
    if (i > 0 && f->layout.classes != first.classes)
        return sx_fail(f->er, SX_EFILE, "%s: %s has %zu classes, the samples before have %zu", d->path,
                       a->path, f->layout.classes, first.classes);
    if (i > 0 && (a->type != logits->set[0].type || b->type != labels->set[0].type))
        return sx_fail(f->er, SX_EFILE, "%s: the sample %s holds %s and %s, the ones before %s and %s",
                       d->path, f->samples.v[i], a->type_text, b->type_text,
                       logits->set[0].type_text, labels->set[0].type_text);
    for (size_t k = 0; k < f->layout.n_dims; k++) {
        d->image_dims[i][k] = f->layout.dims[k];
        if (f->layout.dims[k] != d->image_dims[0][k])
            d->info.same_shape = false;
    }
    e = sx_h5_set_storage(d, a, false, f->er);
    if (!e)
        e = sx_h5_set_storage(d, b, false, f->er);
    if (!e && i > 0) {   /* the first stays open: its attributes are read later */
        sx_h5_set_close(a);
        sx_h5_set_close(b);
    }
    return e;
}

static sx_err open_samples(finder *f)
{
    sx_dump *d = f->d;
    const size_t n = f->samples.n;
    sx_column *logits, *labels;
    sx_err e = add_column(f, f->logits, n, &logits);
    if (!e)
        e = add_column(f, f->labels, n, &labels);
    if (e)
        return e;
    d->image_dims = sx_arena_alloc(d->arena, n * sizeof *d->image_dims);
    if (!d->image_dims)
        return sx_nomem(f->er);
    d->info.n = n;
    d->info.same_shape = true;
    d->image_name = f->samples.v;
    for (size_t i = 0; i < n && !e; i++)
        e = open_sample(f, i, logits, labels);
    for (size_t k = 0; k < 3; k++)
        f->layout.dims[k] = d->image_dims[0][k];
    return e;
}

/* Further data sets with one number per pixel. */
static sx_err add_fields(finder *f)
{
    sx_dump *d = f->d;
    sx_names in = f->root;
    char path[900];
    bool is;
    sx_err e = SX_EOK;
    if (d->grouped) {
        snprintf(path, sizeof path, "%s/%s", f->container, f->samples.v[0]);
        e = list_group(f, path, &in, &is);
    }
    const char **names = sx_arena_alloc(d->arena, SX_MAX_FIELDS * sizeof *names);
    if (!names)
        return sx_nomem(f->er);
    const size_t n_sets = d->grouped ? d->info.n : 1;
    for (size_t k = 0; k < in.n && !e; k++) {
        const char *name = in.v[k];
        if (strcmp(name, leaf(f->logits)) == 0 || strcmp(name, leaf(f->labels)) == 0)
            continue;
        if (d->n_columns == SX_FIELD_COL + SX_MAX_FIELDS)
            return sx_dump_note(d, f->er, "only the first %d fields are read", SX_MAX_FIELDS);
        sx_column *c = NULL;
        bool fits = true;
        for (size_t i = 0; i < n_sets && fits && !e; i++) {
            snprintf(path, sizeof path, "%s/%s%s%s", d->grouped ? f->container : "",
                     d->grouped ? f->samples.v[i] : "", d->grouped ? "/" : "", name);
            fits = is_data_set(d, path);
            if (!fits)
                break;
            if (!c)
                e = add_column(f, name, n_sets, &c);
            if (!e)
                e = sx_h5_set_open(d, path, &c->set[i], f->er);
            if (e)
                break;
            sx_set *s = &c->set[i];
            size_t dims[3];
            sx_dump_dims(d, i, dims);
            unsigned lead = d->grouped || !f->layout.image_axis ? 0 : 1;
            fits = s->readable && s->rank == d->info.n_dims + lead &&
                   (!lead || s->dims[0] == d->info.n) && s->type == c->set[0].type;
            for (size_t a = 0; a < d->info.n_dims && fits; a++)
                fits = s->dims[a + lead] == dims[a];
            if (fits)
                e = sx_h5_set_storage(d, s, lead == 1, f->er);
            if (e == SX_EFILE) {   /* an unknown filter, say: the dump is good without it */
                fits = false;
                e = sx_dump_note(d, f->er, "the field %s cannot be read and is skipped", path);
            }
            if (!fits || d->grouped)
                sx_h5_set_close(s);
        }
        if (e)
            return e;
        if (!c)
            continue;
        if (!fits) {
            d->n_columns--;
            continue;
        }
        d->field_type[d->info.n_fields] = c->set[0].type;
        names[d->info.n_fields++] = c->name;
    }
    d->info.field_names = names;
    return e;
}

/* -- Attributes ----------------------------------------------------------------------------- */

static sx_err read_attributes(finder *f)
{
    sx_dump *d = f->d;
    /* On the data sets, the root, or the group that holds the samples. */
    hid_t at[4] = {d->column[SX_LABELS_COL].set[0].id, d->column[SX_LOGITS_COL].set[0].id, d->file, -1};
    int n_at = 3;
    if (d->grouped && f->container[0]) {
        at[3] = H5Gopen2(d->file, f->container, H5P_DEFAULT);
        n_at += at[3] >= 0;
    }
    sx_err e = SX_EOK;
    for (int i = 0; i < n_at && !e && !f->stated.n_names; i++)
        for (const char *const *a = class_attrs; *a && !e && !f->stated.n_names; a++) {
            sx_names s;
            e = sx_h5_strings(d, at[i], *a, &s, f->er);
            f->stated.names = s.v;
            f->stated.n_names = s.n;
        }
    for (int i = 0; i < n_at && !e && !f->stated.has_ignore; i++)
        for (const char *const *a = ignore_attrs; *a && !e && !f->stated.has_ignore; a++)
            e = sx_h5_ints(d, at[i], *a, &f->stated.has_ignore, &f->stated.ignore,
                           &f->stated.n_ignore, f->er);
    for (int i = 0; i < n_at && !e && !f->stated.n_spacing; i++)
        for (const char *const *a = spacing_attrs; *a && !e && !f->stated.n_spacing; a++)
            e = sx_h5_doubles(d, at[i], *a, &f->stated.spacing, &f->stated.n_spacing, f->er);
    if (n_at > 3)
        H5Gclose(at[3]);
    return e;
}

static sx_err read_image_names(finder *f)
{
    sx_dump *d = f->d;
    for (const char *const *n = id_names; *n && !d->image_name; n++) {
        if (!listed(&f->root, *n) || !is_data_set(d, *n))
            continue;
        hid_t id = H5Dopen2(d->file, *n, H5P_DEFAULT);
        sx_names s = {NULL, 0};
        hid_t space = id < 0 ? -1 : H5Dget_space(id);
        sx_err e = SX_EOK;
        if (space >= 0 && H5Sget_simple_extent_npoints(space) == (hssize_t)d->info.n)
            e = sx_h5_strings(d, id, NULL, &s, f->er);
        if (space >= 0)
            H5Sclose(space);
        if (id >= 0)
            H5Dclose(id);
        if (e)
            return e;
        if (s.n == d->info.n)
            d->image_name = s.v;
    }
    return SX_EOK;
}

static const struct {
    const char *word;
    sx_activation activation;
} activation_row[] = {{"logits", SX_LOGITS}, {"none", SX_LOGITS}, {"linear", SX_LOGITS},
                      {"identity", SX_LOGITS}, {"probs", SX_PROBS}, {"prob", SX_PROBS},
                      {"probabilities", SX_PROBS}, {"softmax", SX_PROBS},
                      {"log_probs", SX_LOG_PROBS}, {"log_softmax", SX_LOG_PROBS}};

static bool find_activation(const char *word, sx_activation *out)
{
    for (size_t i = 0; i < sizeof activation_row / sizeof activation_row[0]; i++)
        if (strcmp(word, activation_row[i].word) == 0) {
            *out = activation_row[i].activation;
            return true;
        }
    return false;
}

static sx_err read_activation(finder *f)
{
    sx_dump *d = f->d;
    const char *name = leaf(f->logits), *word = NULL;
    sx_activation act = SX_LOGITS;
    sx_err e = text_attr(f, d->column[SX_LOGITS_COL].set[0].id, "activation", &word);
    if (e)
        return e;
    const char *stated = f->o->activation ? f->o->activation : word;
    if (stated && f->layout.classes == 1 && strcmp(stated, "sigmoid") == 0)
        act = SX_PROBS;
    else if (stated && !find_activation(stated, &act)) {
        sx_err code = f->o->activation ? SX_EARG : SX_EFILE;
        sx_fail(f->er, code, "%s: unknown activation \"%s\"", d->path, stated);
        sx_hint(f->er, "known: logits, probs, log_probs%s",
                f->o->activation ? "" : "; the option activation overrides the attribute");
        return code;
    }
    if (!stated && find_activation(name, &act) && act != SX_LOGITS) {
        e = sx_dump_note(d, f->er, "the numbers are taken as %s because the data set is called %s",
                         act == SX_PROBS ? "probabilities" : "log-probabilities", name);
        if (e)
            return e;
    }
    if (f->layout.classes == 1) {
        if (act != SX_LOGITS) {
            sx_fail(f->er, SX_EFILE, "%s: %s has one channel of %s; segx reads one channel of logits",
                    d->path, f->logits, act == SX_PROBS ? "probabilities" : "log-probabilities");
            sx_hint(f->er, "store the output before the sigmoid, or two channels of probabilities "
                    "(1-p and p)");
            return SX_EFILE;
        }
        act = SX_SIGMOID1;
        e = sx_dump_note(d, f->er, "one channel: taken as the sigmoid logit of class 1 against class 0");
    }
    d->info.activation = act;
    return e;
}

/* -- Summary -------------------------------------------------------------------------------- */

static void readable_bytes(double v, char *buf, size_t n)
{
    if (v >= 1e9)
        snprintf(buf, n, "%.3g GB", v / 1e9);
    else if (v >= 1e6)
        snprintf(buf, n, "%.3g MB", v / 1e6);
    else
        snprintf(buf, n, "%.3g kB", v / 1e3);
}

static sx_err advise(finder *f)
{
    sx_dump *d = f->d;
    for (size_t c = 0; c < 2; c++) {
        const sx_set *s = &d->column[c].set[0];
        if (s->kind == SX_SET_H5 && s->stored > 0) {
            sx_err e = sx_dump_note(d, f->er, "%s is read through HDF5 on one thread (%s): contiguous "
                                    "storage, or chunks with shuffle and gzip, are faster", s->path,
                                    s->raw ? s->storage : s->type_text);
            if (e)
                return e;
        }
        if (c != SX_LOGITS_COL || s->n_chunks == 0 || d->grouped)
            continue;
        double chunks = (double)s->n_chunks / (double)s->grid[0];
        double cost = chunks * (double)s->chunk_bytes, size = (double)s->image_bytes;
        if (cost <= 2 * size || s->chunk_dims[0] == 1)
            continue;
        char shape[120], bytes[32];
        size_t used = 0;
        for (unsigned k = 0; k < s->rank && used < sizeof shape - 24; k++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64, k ? "x" : "",
                                     s->chunk_dims[k]);
        readable_bytes(cost, bytes, sizeof bytes);
        sx_err e = sx_dump_note(d, f->er, "chunks of %s make one image cost %s of reading (%.3gx its "
                                "size); whole waves are read instead, best is one image per chunk",
                                shape, bytes, cost / size);
        if (e)
            return e;
    }
    return SX_EOK;
}

static sx_err fill_info(finder *f)
{
    sx_dump *d = f->d;
    sx_dump_info *i = &d->info;
    const sx_set *a = &d->column[SX_LOGITS_COL].set[0], *b = &d->column[SX_LABELS_COL].set[0];
    i->classes = f->layout.classes == 1 ? 2 : f->layout.classes;
    i->logits_type = a->type;
    i->labels_type = b->type;
    i->n_dims = f->layout.n_dims;
    memcpy(i->dims, f->layout.dims, sizeof i->dims);
    if (i->same_shape)
        d->image_dims = NULL;
    i->layout = sx_dump_strdup(d, f->layout.text);
    i->logits_path = d->grouped ? sx_dump_format(d, "%s/*/%s", f->container, f->logits) : a->path;
    i->labels_path = d->grouped ? sx_dump_format(d, "%s/*/%s", f->container, f->labels) : b->path;
    i->storage = sx_dump_strdup(d, a->storage);
    if (!i->layout || !i->logits_path || !i->labels_path || !i->storage)
        return sx_nomem(f->er);
    i->max_px = 0;
    for (size_t k = 0; k < i->n; k++) {
        size_t px = sx_dump_n_px(d, k);
        i->max_px = px > i->max_px ? px : i->max_px;
        if (!d->image_dims)
            break;
    }
    for (size_t c = 0; c < 2; c++)
        for (size_t k = 0; k < d->column[c].n_sets; k++)
            i->bytes += d->column[c].set[k].stored;
    if (f->layout.classes == 0 || i->n == 0 || i->max_px == 0) {
        char shape[160];
        return sx_fail(f->er, SX_EDATA, "%s: %s %s holds no pixels", d->path, a->path,
                       sx_set_shape(a, shape, sizeof shape));
    }
    if (!f->layout_stated && f->layout.class_axis >= 0) {
        return sx_dump_note(d, f->er, "layout %s: without axis %d the shape is that of the labels",
                            f->layout.text, f->layout.class_axis + 1);
    }
    return SX_EOK;
}

/* -- Fingerprint ---------------------------------------------------------------------------- */

enum { SAMPLES = 8, SAMPLE_BYTES = 4096 };

static sx_err hash_bytes(const sx_dump *d, uint64_t addr, uint64_t size, uint64_t *h, sx_error *er)
{
    unsigned char buf[SAMPLE_BYTES];
    size_t n = size < sizeof buf ? (size_t)size : sizeof buf;
    sx_err e = sx_pread(d->fd, buf, n, addr, d->path, er);
    if (!e)
        *h = sx_hash64(buf, n, *h);
    return e;
}

static sx_err hash_set(const sx_dump *d, const sx_set *s, bool sample, uint64_t *h, sx_error *er)
{
    const uint64_t head[8] = {(uint64_t)s->type, s->rank, (uint64_t)s->kind, s->addr, s->stored,
                              s->chunk_bytes, s->n_chunks, s->n_filters};
    *h = sx_hash64(s->path, strlen(s->path), *h);
    *h = sx_hash64(head, sizeof head, *h);
    *h = sx_hash64(s->dims, s->rank * sizeof s->dims[0], *h);
    sx_err e = SX_EOK;
    if (s->chunk)
        for (uint64_t k = 0; k < s->n_chunks; k++) {
            const uint64_t row[3] = {s->chunk[k].addr, s->chunk[k].size, s->chunk[k].mask};
            *h = sx_hash64(row, sizeof row, *h);
        }
    if (!sample)
        return SX_EOK;
    if (s->chunk) {
        for (uint64_t k = 0; k < SAMPLES && !e; k++) {
            const sx_chunk *c = &s->chunk[s->n_chunks * k / SAMPLES];
            e = hash_bytes(d, c->addr, c->size, h, er);
        }
    } else {   /* somewhere in the set, or anywhere in the file */
        bool known = s->kind == SX_SET_CONTIGUOUS;
        uint64_t from = known ? s->addr : 0, all = known ? s->stored : d->file_size;
        for (uint64_t k = 0; k < SAMPLES && !e; k++) {
            uint64_t at = all / SAMPLES * k;
            e = hash_bytes(d, from + at, all - at, h, er);
        }
    }
    return e;
}

static sx_err fingerprint(finder *f)
{
    sx_dump *d = f->d;
    const uint64_t head[4] = {d->file_size, (uint64_t)d->mtime_s, (uint64_t)d->mtime_ns, d->info.n};
    uint64_t h = sx_hash64(head, sizeof head, 0);
    sx_err e = SX_EOK;
    for (size_t c = 0; c < 2; c++) {
        const size_t n = d->column[c].n_sets, step = n / SAMPLES + 1;
        for (size_t i = 0; i < n && !e; i++)
            e = hash_set(d, &d->column[c].set[i], i % step == 0, &h, f->er);
    }
    for (size_t i = 0; i < f->stated.n_names; i++)
        h = sx_hash64(f->stated.names[i], strlen(f->stated.names[i]), h);
    if (f->stated.n_ignore)
        h = sx_hash64(f->stated.ignore, f->stated.n_ignore * sizeof *f->stated.ignore, h);
    d->info.fingerprint = h;
    return e;
}

sx_err sx_dump_open(const char *path, const sx_dump_opts *opts, sx_dump **out, sx_error *er)
{
    static const sx_dump_opts nothing = {0};
    *out = NULL;
    sx_dump *d = NULL;
    sx_err e = sx_h5_load(er);
    if (!e)
        e = sx_dump_new(path, &d, er);
    if (e)
        return e;
    sx_quiet q;
    sx_h5_quiet(&q);
    finder f = {.d = d, .o = opts ? opts : &nothing, .er = er};
    e = open_file(&f, path);
    if (!e)
        e = find_sets(&f);
    if (!e)
        e = d->grouped ? open_samples(&f) : open_stacked(&f);
    if (!e)
        e = fill_info(&f);
    if (!e)
        e = add_fields(&f);
    if (!e)
        e = read_activation(&f);
    if (!e && !d->grouped)
        e = read_image_names(&f);
    if (!e)
        e = read_attributes(&f);
    if (!e)
        e = advise(&f);
    if (!e)
        e = sx_dump_settle(d, f.o, &f.stated, er);
    if (!e)
        e = fingerprint(&f);
    sx_h5_loud(&q);
    if (e) {
        sx_dump_close(d);
        return e;
    }
    *out = d;
    return SX_EOK;
}
