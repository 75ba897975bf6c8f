/* Dumps that cannot be read, labels that are no class, damage, failing memory and reads; the writer. */
#include "dump_files.h"

#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>

#include "base/pool.h"

static void write_bytes(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(tmp_path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* -- No dump -------------------------------------------------------------------------------- */

static void no_such_file(void **state)
{
    (void)state;
    check_refused("none.h5", NULL, SX_EFILE, "No such file", NULL);
    write_bytes("text.h5", "hello, this is no HDF5 file", 27);
    check_refused("text.h5", NULL, SX_EFILE, "not an HDF5 file", "logits");
    write_bytes("empty.h5", "", 0);
    check_refused("empty.h5", NULL, SX_EFILE, "it is empty", NULL);
    mkdir(tmp_path("dir.h5"), 0777);
    check_refused("dir.h5", NULL, SX_EFILE, "directory", NULL);
    rmdir(tmp_path("dir.h5"));
}

static void no_such_set(void **state)
{
    (void)state;
    hid_t f = new_file("b.h5");
    H5Fclose(f);
    check_refused("b.h5", NULL, SX_EFILE, "it is empty", "logits=");
    f = new_file("b.h5");
    put_logits(f, "results", H5T_IEEE_F32LE, 0, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("b.h5", NULL, SX_EFILE, "it holds /labels, /results", "logits=");
    f = new_file("b.h5");
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
    put_labels(f, "truth", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    const sx_dump_opts o = {.labels = "/truth"}, wrong = {.labels = "thruth"};
    sx_dump *d = open_ok("b.h5", &o);
    check_values(d);
    assert_string_equal(sx_dump_get_info(d)->labels_path, "/truth");
    sx_dump_close(d);
    sx_error er;
    assert_int_equal(sx_dump_open(tmp_path("b.h5"), NULL, &d, &er), SX_EFILE);
    assert_non_null(strstr(er.msg, "labels"));
    check_refused("b.h5", &wrong, SX_EFILE, "there is no data set thruth", NULL);
    /* one sample without labels */
    f = new_file("b.h5");
    for (int k = 0; k < 2; k++) {
        hid_t g = H5Gcreate2(f, k ? "two" : "one", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        const hsize_t chw[3] = {C, H, W}, hw[2] = {H, W};
        put(g, "logits", H5T_IEEE_F32LE, 3, chw, NULL, -1, NULL);
        if (!k)
            put(g, "labels", H5T_STD_U8LE, 2, hw, NULL, -1, NULL);
        H5Gclose(g);
    }
    H5Fclose(f);
    check_refused("b.h5", NULL, SX_EFILE, "the sample /two has no labels", NULL);
}

static void wrong_types(void **state)
{
    (void)state;
    const hid_t opaque = H5Tcreate(H5T_OPAQUE, 2), bf16 = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(bf16, 15, 7, 8, 0, 7);
    H5Tset_size(bf16, 2);
    H5Tset_ebias(bf16, 127);
    hid_t f = new_file("t.h5");
    put(f, "logits", opaque, 4, nchw, NULL, -1, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("t.h5", NULL, SX_EFILE, "2-byte opaque", "bfloat16");
    f = new_file("t.h5");
    put(f, "logits", bf16, 4, nchw, NULL, -1, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("t.h5", NULL, SX_EFILE, "bfloat16", ".half()");
    f = new_file("t.h5");
    put(f, "logits", H5T_STD_U8LE, 4, nchw, NULL, -1, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("t.h5", NULL, SX_EFILE, "/logits is uint8", NULL);
    f = new_file("t.h5");
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
    put_labels(f, "labels", H5T_IEEE_F32LE, NULL);
    H5Fclose(f);
    check_refused("t.h5", NULL, SX_EFILE, "/labels is float32", NULL);
    H5Tclose(opaque);
    H5Tclose(bf16);
}

static void wrong_shapes(void **state)
{
    (void)state;
    static const struct {
        int rank;
        hsize_t dims[5];
        int label_rank;
        hsize_t labels[5];
        const char *layout, *attr;
        sx_err code;
        const char *msg, *hint;
    } list[] = {
        {4, {2, 3, 4, 5}, 3, {2, 4, 6}, NULL, NULL, SX_EFILE, "[2,3,4,5] and /labels [2,4,6]", "segx wants"},
        {4, {2, 3, 4, 5}, 3, {7, 4, 5}, NULL, NULL, SX_EFILE, "do not fit", "2 against 7"},
        {4, {2, 3, 4, 5}, 4, {2, 3, 2, 5}, NULL, NULL, SX_EFILE, "do not fit", "one channel per class"},
        {4, {2, 6, 6, 6}, 3, {2, 6, 6}, NULL, NULL, SX_EFILE, "class axis", "{layout=\"NCHW\"}"},
        {5, {2, 6, 6, 6, 6}, 4, {2, 6, 6, 6}, NULL, NULL, SX_EFILE, "class axis", "{layout=\"NCDHW\"}"},
        {4, {2, 3, 4, 5}, 3, {2, 4, 5}, "NHWC", NULL, SX_EARG, "layout is \"NHWC\"", NULL},
        {4, {2, 3, 4, 5}, 3, {2, 4, 5}, "NXYZQ", NULL, SX_EARG, "\"NXYZQ\"", "NDHWC"},
        {4, {2, 3, 4, 5}, 3, {2, 4, 5}, NULL, "NHWC", SX_EFILE, "attribute layout is \"NHWC\"", "overrides"},
        {4, {2, 4, 3, 5}, 3, {2, 4, 5}, "NHCW", NULL, SX_EARG, "does not fit", "second or the last"},
        {4, {2, 3, 0, 5}, 3, {2, 0, 5}, NULL, NULL, SX_EDATA, "no pixels", NULL},
        {4, {0, 3, 4, 5}, 3, {0, 4, 5}, NULL, NULL, SX_EDATA, "no pixels", NULL},
    };
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
        hid_t f = new_file("x.h5");
        put(f, "logits", H5T_IEEE_F32LE, list[k].rank, list[k].dims, NULL, -1, NULL);
        put(f, "labels", H5T_STD_U8LE, list[k].label_rank, list[k].labels, NULL, -1, NULL);
        if (list[k].attr) {
            hid_t id = H5Dopen2(f, "logits", H5P_DEFAULT);
            attr_text(id, "layout", list[k].attr);
            H5Dclose(id);
        }
        H5Fclose(f);
        const sx_dump_opts o = {.layout = list[k].layout};
        check_refused("x.h5", &o, list[k].code, list[k].msg, list[k].hint);
    }
    /* said, it is no longer ambiguous; the option goes before the attribute */
    static const char *const said[] = {"NCHW", "NHWC"};
    for (int k = 0; k < 4; k++) {
        const hsize_t dims[4] = {2, 6, 6, 6}, y[3] = {2, 6, 6};
        hid_t f = new_file("x.h5");
        put(f, "logits", H5T_IEEE_F32LE, 4, dims, NULL, -1, NULL);
        put(f, "labels", H5T_STD_U8LE, 3, y, NULL, -1, NULL);
        hid_t id = H5Dopen2(f, "logits", H5P_DEFAULT);
        if (k >= 2)
            attr_text(id, "layout", said[k & 1]);
        H5Dclose(id);
        H5Fclose(f);
        const sx_dump_opts o = {.layout = k < 2 ? said[k] : k == 2 ? "NHWC" : NULL};
        sx_dump *d = open_ok("x.h5", &o);
        assert_string_equal(sx_dump_get_info(d)->layout, k == 0 ? "NCHW" : "NHWC");
        sx_dump_close(d);
        unlink(tmp_path("x.h5"));
    }
}

static void wrong_options(void **state)
{
    (void)state;
    H5Fclose(plain_file("p.h5"));
    static const char *const names[3] = {"a", "b", "c"};
    const sx_dump_opts few = {.class_names = names, .n_class_names = 3};
    check_refused("p.h5", &few, SX_EARG, "3 names, but", NULL);
    H5Fclose(plain_file("p.h5"));
    const sx_dump_opts act = {.activation = "relu"};
    check_refused("p.h5", &act, SX_EARG, "\"relu\"", "log_probs");
    hid_t f = plain_file("p.h5");
    attr_text(f, "activation", "tanh");
    H5Fclose(f);
    check_refused("p.h5", NULL, SX_EFILE, "\"tanh\"", "overrides");
    /* one channel of probabilities */
    f = new_file("p.h5");
    put(f, "probs", H5T_IEEE_F32LE, 3, nhw, NULL, -1, NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("p.h5", NULL, SX_EFILE, "one channel of probabilities", "before the sigmoid");
}

static void unknown_filter(void **state)
{
    (void)state;
    hid_t f = new_file("u.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk[4] = {1, C, H, W};
    H5Pset_chunk(p, 4, chunk);
    H5Pset_filter(p, 32015, H5Z_FLAG_OPTIONAL, 0, NULL);
    H5Dclose(put_with(f, "logits", H5T_IEEE_F32LE, 4, nchw, p, -1, NULL));
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    check_refused("u.h5", NULL, SX_EFILE, "/logits uses HDF5 filter 32015 (zstd)", "HDF5_PLUGIN_PATH");
    /* in a field it only costs the field */
    f = plain_file("u.h5");
    put_labels(f, "extra", H5T_STD_U8LE, NULL);
    H5Dclose(put_with(f, "weights", H5T_IEEE_F32LE, 3, nhw, (H5Pset_chunk(p, 3, nhw), p), -1, NULL));
    H5Pclose(p);
    H5Fclose(f);
    sx_dump *d = open_ok("u.h5", NULL);
    assert_int_equal(sx_dump_get_info(d)->n_fields, 1);
    assert_true(has_note(d, "/weights cannot be read"));
    sx_dump_close(d);
    check_file("u.h5", NULL);
}

/* -- Labels --------------------------------------------------------------------------------- */

static void labels_with(const char *name, hid_t type, const int *at, const int *value, int n)
{
    hid_t f = new_file(name);
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
    int *y = all_labels();
    for (int k = 0; k < n; k++)
        y[at[k]] = value[k];
    static const how gz = {"", {2, 4, 5}, 1, 1, 0};
    put(f, "labels", type, 3, nhw, &gz, H5T_NATIVE_INT, y);
    free(y);
    H5Fclose(f);
}

static void labels_outside(void **state)
{
    (void)state;
    const int at[4] = {PX + 2 * W + 3, PX + 2 * W + 4, 3 * PX, 4 * PX + 7};
    static const struct {
        hid_t type;
        int v[4];
        const char *guess, *msg, *hint;
    } list[] = {
        {0, {255, 255, 255, 255}, "255 (4 pixels)", NULL, NULL},
        {1, {-1, -1, -1, -1}, "-1 (4 pixels)", NULL, NULL},
        {2, {-100, -100, -100, -100}, "-100", NULL, NULL},
        {0, {C, C, C, C}, NULL, "holds the label 4, but /logits has 4 classes (0..3)", "{ignore_index=4}"},
        {0, {200, 200, 200, 200}, NULL, "holds the label 200", "ignore_index=200"},
        {0, {255, 254, 255, 255}, NULL, "go up to 255", "ignore_index={255, 254}"},
        {1, {255, -1, 255, 255}, NULL, "from -1 to 255", "ignore_index={255, -1}"},
        {2, {33, 7, 12, 15}, NULL, "go up to 33, but /logits has 4 classes", "ignore_index={33, 7, 12, 15}"},
    };
    const hid_t types[3] = {H5T_STD_U8LE, H5T_STD_I16BE, H5T_STD_I64LE};
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
        labels_with("y.h5", types[list[k].type], at, list[k].v, 4);
        if (list[k].guess) {
            sx_dump *d = open_ok("y.h5", NULL);
            const sx_dump_info *i = sx_dump_get_info(d);
            assert_true(i->ignore_guessed);
            assert_int_equal(i->n_ignore, 1);
            assert_int_equal(i->ignore[0], list[k].v[0]);
            assert_true(has_note(d, list[k].guess));
            assert_int_equal(sx_dump_label_class(d, list[k].v[0]), C);
            sx_dump_close(d);
            unlink(tmp_path("y.h5"));
            continue;
        }
        sx_error er;
        sx_dump *d;
        assert_int_equal(sx_dump_open(tmp_path("y.h5"), NULL, &d, &er), SX_EDATA);
        assert_non_null(strstr(er.msg, "first at image 2 y=2 x=3; 4 pixels (0.63 %) in 3 images"));
        check_refused("y.h5", NULL, SX_EDATA, list[k].msg, list[k].hint);
    }
    /* said, nothing is refused; the engine's own error has the same words */
    const int v[4] = {C, C, 9, 9};
    labels_with("y.h5", H5T_STD_U8LE, at, v, 4);
    const int64_t ignore[2] = {C, 9};
    const sx_dump_opts both = {.has_ignore = true, .ignore = ignore, .n_ignore = 2};
    sx_dump *d = open_ok("y.h5", &both);
    assert_int_equal(sx_dump_label_class(d, 9), C);
    sx_dump_close(d);
    const sx_dump_opts one = {.has_ignore = true, .ignore = ignore, .n_ignore = 1};
    d = open_ok("y.h5", &one);
    assert_int_equal(sx_dump_label_class(d, 9), SIZE_MAX);
    sx_error er;
    assert_int_equal(sx_dump_bad_label(d, 9, 3, 0, 1234567, 2, &er), SX_EDATA);
    assert_non_null(strstr(er.msg, "/labels holds the label 9, but there are 4 classes (0..3)"));
    assert_non_null(strstr(er.msg, "first at image 4 y=0 x=0; 1,234,567 pixels"));
    assert_non_null(strstr(er.hint, "ignore_index={4, 9}"));
    sx_dump_close(d);
    unlink(tmp_path("y.h5"));
}

/* 0 and 255 only: a mask picture, not two classes of which one is missing. */
static void black_and_white(void **state)
{
    (void)state;
    hid_t f = new_file("bw.h5");
    int *y = all_labels();
    for (size_t i = 0; i < N * PX; i++)
        y[i] = y[i] ? 255 : 0;
    put(f, "logits", H5T_IEEE_F32LE, 3, nhw, NULL, -1, NULL);
    put(f, "labels", H5T_STD_U8LE, 3, nhw, NULL, H5T_NATIVE_INT, y);
    H5Fclose(f);
    check_refused("bw.h5", NULL, SX_EDATA, "only 0 and 255", "ignore_index=255");
    free(y);
}

/* -- Damage --------------------------------------------------------------------------------- */

static unsigned char *slurp(const char *name, size_t *n)
{
    FILE *f = fopen(tmp_path(name), "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *p = malloc(*n);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void gzip_file(const char *name, int fletcher)
{
    const how gz = {"", {1, C, H, W}, 4, 1, fletcher}, lab = {"", {1, H, W}, 4, 0, 0};
    hid_t f = new_file(name);
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, &gz);
    put_labels(f, "labels", H5T_STD_U8LE, &lab);
    hid_t id = H5Dopen2(f, "labels", H5P_DEFAULT);
    attr_ints(id, "ignore_index", H5T_STD_I64LE, &(int64_t){255}, 1);
    H5Dclose(id);
    H5Fclose(f);
}

/* Reads all: 1 if it worked, 0 if it was refused properly, -1 if refused without saying why. */
static int reads(const char *name)
{
    sx_error er = {0};
    sx_dump *d = NULL;
    sx_wave w = {0};
    sx_err e = sx_dump_open(tmp_path(name), NULL, &d, &er);
    if (!e)
        e = read_wave(d, 0, sx_dump_get_info(d)->n, 0, &w, &er);
    sx_wave_free(&w);
    sx_dump_close(d);
    return !e ? 1 : er.code == e && strstr(er.msg, name) ? 0 : -1;
}

static void cut_off(void **state)
{
    (void)state;
    gzip_file("c.h5", 0);
    size_t n;
    unsigned char *p = slurp("c.h5", &n);
    for (size_t keep = 0; keep < n; keep += 1 + n / 97) {
        write_bytes("c.h5", p, keep);
        assert_int_equal(reads("c.h5"), 0);
    }
    free(p);
    unlink(tmp_path("c.h5"));
}

/* One chunk overwritten: the message names file, data set and image. */
static void damaged_chunks(void **state)
{
    (void)state;
    for (int fletcher = 0; fletcher < 2; fletcher++) {
        gzip_file("k.h5", fletcher);
        hid_t f = H5Fopen(tmp_path("k.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
        hid_t id = H5Dopen2(f, "logits", H5P_DEFAULT), space = H5Dget_space(id);
        hsize_t at[4] = {2, 0, 0, 0}, size = 0;
        haddr_t addr = 0;
        unsigned mask = 0;
        assert_true(H5Dget_chunk_info_by_coord(id, at, &mask, &addr, &size) >= 0);
        H5Sclose(space);
        H5Dclose(id);
        H5Fclose(f);
        size_t n;
        unsigned char *p = slurp("k.h5", &n);
        p[addr + size / 2] ^= 0x55;
        p[addr + 3] ^= 0xff;
        write_bytes("k.h5", p, n);
        sx_dump *d = open_ok("k.h5", NULL);
        sx_wave w = {0};
        sx_error er;
        assert_int_equal(read_wave(d, 0, 2, 0, &w, &er), SX_EOK);
        assert_int_equal(read_wave(d, 0, N, 0, &w, &er), SX_EFILE);
        assert_non_null(strstr(er.msg, "k.h5: /logits: the chunk at [2,0,0,0] (image 3) is damaged"));
        assert_non_null(strstr(er.msg, fletcher ? "fletcher32" : "gzip"));
        assert_int_equal(read_wave(d, 3, 2, 0, &w, &er), SX_EOK);
        sx_wave_free(&w);
        sx_dump_close(d);
        free(p);
        unlink(tmp_path("k.h5"));
    }
}

/* Any byte anywhere may be wrong: no crash, no hang. In a process of its own, because HDF5 1.10 itself
 * loses memory on some damaged headers, which the leak checker would blame on us. */
static void any_byte(void **state)
{
    (void)state;
    gzip_file("q.h5", 1);
    size_t n;
    unsigned char *p = slurp("q.h5", &n);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int bad = 0;
        for (size_t i = 0; i < n && !bad; i += 7) {
            unsigned char was = p[i];
            p[i] = (unsigned char)(i * 31 + 255 - was);
            FILE *f = fopen(tmp_path("q.h5"), "wb");
            bad = !f || fwrite(p, 1, n, f) != n || fclose(f) != 0 || reads("q.h5") < 0;
            p[i] = was;
        }
        _exit(bad);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    free(p);
    unlink(tmp_path("q.h5"));
}

/* -- Failures of the machine ---------------------------------------------------------------- */

/* The n-th failure for n = 1, 2, ... until nothing fails any more. */
static void fail_everywhere(const char *name, const sx_dump_opts *o, void (*arm)(long), sx_err want)
{
    for (long n = 1;; n++) {
        sx_error er = {0};
        sx_dump *d = NULL;
        sx_wave w = {0};
        arm(n);
        sx_err e = sx_dump_open(tmp_path(name), o, &d, &er);
        for (size_t first = 0; !e && first < sx_dump_get_info(d)->n; first += 2) {
            size_t left = sx_dump_get_info(d)->n - first;
            e = read_wave(d, first, left < 2 ? left : 2, 1, &w, &er);
        }
        int fired = sx_fault_fired();
        arm(0);
        sx_wave_free(&w);
        sx_dump_close(d);
        if (!fired) {
            assert_int_equal(e, SX_EOK);
            assert_true(n > 3);
            break;
        }
        if (e != want)
            fail_msg("failure %ld gave %s: %s", n, sx_err_name(e), er.msg);
        assert_true(er.msg[0] != '\0');
    }
    unlink(tmp_path(name));
}

static void many_kinds(const char *name, int kind)
{
    static const how odd = {"", {2, 3, 5, 4}, 3, 1, 1};
    hid_t f = new_file(name);
    if (kind == 2) {
        for (int k = 0; k < 3; k++) {
            const hsize_t chw[3] = {C, H, W}, hw[2] = {H, W};
            static const how lab = {"", {4, 5}, 1, 1, 0};
            char id[16];
            snprintf(id, sizeof id, "s%d", k);
            hid_t g = H5Gcreate2(f, id, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            put(g, "logits", H5T_IEEE_F32LE, 3, chw, NULL, -1, NULL);
            put(g, "labels", H5T_STD_U8LE, 2, hw, &lab, -1, NULL);
            put(g, "weights", H5T_IEEE_F32LE, 2, hw, NULL, -1, NULL);
            H5Gclose(g);
        }
        H5Fclose(f);
        return;
    }
    hid_t half = half_type(H5T_ORDER_LE);
    put_logits(f, "logits", half, 0, kind ? &odd : NULL);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    put_labels(f, "weights", H5T_STD_U8LE, NULL);
    static const char *const names[C] = {"a", "b", "c", "d"};
    attr_strings(f, "class_names", names, C, 0, H5T_STR_NULLTERM);
    if (kind)
        attr_ints(f, "ignore_index", H5T_STD_I64LE, &(int64_t){255}, 1);
    H5Tclose(half);
    H5Fclose(f);
}

static void failing_memory(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        many_kinds("fm.h5", kind);
        fail_everywhere("fm.h5", NULL, sx_fault_memory, SX_EMEMORY);
    }
}

static void failing_reads(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        many_kinds("fr.h5", kind);
        fail_everywhere("fr.h5", NULL, sx_fault_read, SX_EFILE);
    }
}

/* -- Arrays in memory ----------------------------------------------------------------------- */

static void in_memory(void **state)
{
    (void)state;
    double *v = all_logits(0);
    int32_t *y = all_labels();
    const size_t dims[2] = {H, W};
    sx_error er;
    sx_dump *d = NULL;
    assert_ok(sx_dump_memory("arrays", v, SX_F64, y, SX_I32, N, C, dims, 2, NULL, &d, &er));
    const sx_dump_info *i = sx_dump_get_info(d);
    assert_string_equal(i->layout, "NCHW");
    assert_string_equal(i->class_names[1], "1");
    assert_int_equal(sx_dump_wave_size(d, 1, 1), N - 1);
    const uint64_t before = i->fingerprint;
    check_values(d);
    sx_wave w = {0};
    assert_ok(sx_dump_prepare(d, 0, N, 0, &w, &er));
    assert_int_equal(w.tasks, 0);
    assert_ptr_equal(w.image[1].logits, v + C * PX);
    sx_wave_free(&w);
    sx_dump_close(d);

    v[7] += 1;
    y[5] = 255;
    assert_ok(sx_dump_memory("arrays", v, SX_F64, y, SX_I32, N, C, dims, 2, NULL, &d, &er));
    assert_true(sx_dump_get_info(d)->fingerprint != before);
    assert_true(sx_dump_get_info(d)->ignore_guessed);
    sx_dump_close(d);
    y[5] = C;
    assert_int_equal(sx_dump_memory("arrays", v, SX_F64, y, SX_I32, N, C, dims, 2, NULL, &d, &er),
                     SX_EDATA);
    assert_null(d);
    const sx_dump_opts o = {.has_ignore = true, .ignore = &(int64_t){C}, .n_ignore = 1,
                            .activation = "probs"};
    assert_ok(sx_dump_memory("arrays", v, SX_F64, y, SX_I32, N, C, dims, 2, &o, &d, &er));
    assert_int_equal(sx_dump_get_info(d)->activation, SX_PROBS);
    sx_dump_close(d);
    assert_int_equal(sx_dump_memory("a", v, SX_I32, y, SX_I32, N, C, dims, 2, &o, &d, &er), SX_EARG);
    assert_int_equal(sx_dump_memory("a", v, SX_F64, y, SX_F64, N, C, dims, 2, &o, &d, &er), SX_EARG);
    assert_int_equal(sx_dump_memory("a", v, SX_F64, y, SX_I32, N, C, dims, 4, &o, &d, &er), SX_EARG);
    assert_int_equal(sx_dump_memory("a", v, SX_F64, y, SX_I32, 0, C, dims, 2, &o, &d, &er), SX_EARG);
    for (long n = 1;; n++) {
        sx_fault_memory(n);
        sx_err e = sx_dump_memory("a", v, SX_F64, y, SX_I32, N, C, dims, 2, &o, &d, &er);
        int fired = sx_fault_fired();
        sx_fault_memory(0);
        sx_dump_close(d);
        if (!fired)
            break;
        assert_int_equal(e, SX_EMEMORY);
    }
    free(v);
    free(y);
}

/* -- Writing -------------------------------------------------------------------------------- */

static sx_err write_all(const char *name, const sx_write_opts *o, sx_error *er)
{
    sx_dump_writer *w = NULL;
    sx_err e = sx_dump_create(tmp_path(name), o, &w, er);
    float v[C * PX];
    int32_t y[PX];
    for (size_t n = o->n; n-- > 0 && !e;) {   /* in any order */
        for (size_t p = 0; p < PX; p++) {
            y[p] = label_at(n, p);
            for (size_t c = 0; c < C; c++)
                v[c * PX + p] = (float)logit_at(n, c, p);
        }
        e = sx_dump_write(w, n, v, y, er);
    }
    sx_error ignored;
    sx_err f = w ? sx_dump_finish(w, e ? &ignored : er) : e;
    return e ? e : f;
}

static void written(void **state)
{
    (void)state;
    static const char *const names[C] = {"sky", "road", "longer name", "x"};
    sx_error er;
    for (int t = 0; t < 6; t++) {
        const sx_write_opts o = {.n = N, .classes = C, .n_dims = t == 5 ? 3 : 2,
                                 .dims = {t == 5 ? 3 : H, t == 5 ? 3 : W, W},
                                 .logits_type = (sx_dtype)(t % 3),
                                 .labels_type = t % 2 ? SX_U8 : SX_I64, .gzip = t < 3 ? 0 : 4,
                                 .class_names = t ? names : NULL, .has_ignore = t > 1, .ignore = 255,
                                 .split = t ? "val" : NULL};
        assert_ok(write_all("o.h5", &o, &er));
        sx_dump *d = open_ok("o.h5", NULL);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_string_equal(i->class_names[2], t ? "longer name" : "2");
        assert_int_equal(i->n_ignore, t > 1);
        assert_int_equal(i->n_notes, 0);
        assert_string_equal(i->layout, t == 5 ? "NCDHW" : "NCHW");
        sx_dump_close(d);
        check_file("o.h5", NULL);
    }
    /* nothing is left behind by a writer that gives up */
    const sx_write_opts o = {.n = N, .classes = C, .n_dims = 2, .dims = {H, W}, .logits_type = SX_F32,
                             .labels_type = SX_U8, .gzip = 1};
    sx_dump_writer *w = NULL;
    assert_ok(sx_dump_create(tmp_path("o.h5"), &o, &w, &er));
    float v[C * PX] = {0};
    int32_t y[PX] = {0};
    assert_ok(sx_dump_write(w, 1, v, y, &er));
    assert_int_equal(sx_dump_write(w, N, v, y, &er), SX_EARG);
    y[3] = 256;
    assert_int_equal(sx_dump_write(w, 0, v, y, &er), SX_EARG);
    assert_non_null(strstr(er.msg, "256"));
    assert_int_equal(sx_dump_finish(w, &er), SX_EARG);
    assert_non_null(strstr(er.msg, "image 1 was never written"));
    assert_int_equal(access(tmp_path("o.h5"), F_OK), -1);
    assert_int_equal(sx_dump_create(tmp_path("no/such/dir.h5"), &o, &w, &er), SX_EFILE);
    assert_null(w);
    for (long n = 1;; n++) {
        sx_fault_memory(n);
        sx_err e = write_all("o.h5", &o, &er);
        int fired = sx_fault_fired();
        sx_fault_memory(0);
        if (!fired)
            break;
        assert_true(e == SX_EMEMORY || e == SX_EFILE);
        assert_int_equal(access(tmp_path("o.h5"), F_OK), -1);
    }
    check_file("o.h5", NULL);
}

/* Float to half: every half comes back, halfway points go to the even one, their neighbours apart. */
static void halves(void **state)
{
    (void)state;
    enum { COUNT = 0x7c00 };
    static float v[4 * COUNT];
    static int32_t y[4 * COUNT];
    for (uint32_t h = 0; h < COUNT; h++) {
        float lo = (float)half_value((uint16_t)h);
        float hi = h + 1 < COUNT ? (float)half_value((uint16_t)(h + 1)) : 65536.0f;
        float mid = (lo + hi) / 2;
        v[4 * h] = h & 1 ? -lo : lo;
        v[4 * h + 1] = mid;
        v[4 * h + 2] = nextafterf(mid, lo);
        v[4 * h + 3] = nextafterf(mid, hi);
    }
    const sx_write_opts o = {.n = 1, .classes = 1, .n_dims = 1, .dims = {4 * COUNT},
                             .logits_type = SX_F16, .labels_type = SX_U8};
    sx_error er;
    sx_dump_writer *w = NULL;
    assert_ok(sx_dump_create(tmp_path("i.h5"), &o, &w, &er));
    assert_ok(sx_dump_write(w, 0, v, y, &er));
    assert_ok(sx_dump_finish(w, &er));
    sx_dump *d = open_ok("i.h5", NULL);
    sx_wave wave = {0};
    assert_ok(read_wave(d, 0, 1, 0, &wave, &er));
    const uint16_t *got = wave.image[0].logits;
    for (uint32_t h = 0; h < COUNT; h++) {
        const uint32_t want[4] = {h & 1 ? h | 0x8000u : h, h + (h & 1), h, h + 1};
        for (uint32_t k = 0; k < 4; k++)
            if (got[4 * h + k] != want[k])
                fail_msg("half %04x, case %u: %04x, not %04x", h, k, got[4 * h + k], want[k]);
    }
    sx_wave_free(&wave);
    sx_dump_close(d);
    unlink(tmp_path("i.h5"));
}

/* The fingerprint: the same for the same file, another after any change. */
static void fingerprints(void **state)
{
    (void)state;
    uint64_t seen[4];
    for (int k = 0; k < 4; k++) {
        if (k != 1) {
            static const how gz = {"", {1, C, H, W}, 1, 0, 0};
            hid_t f = new_file("fp.h5");
            put_logits(f, "logits", H5T_IEEE_F32LE, 0, k == 2 ? &gz : NULL);
            int *y = all_labels();
            y[0] = k == 3 ? 1 : y[0];
            put(f, "labels", H5T_STD_U8LE, 3, nhw, NULL, H5T_NATIVE_INT, y);
            free(y);
            H5Fclose(f);
            struct timespec t[2] = {{1000000000, 0}, {1000000000, 0}};
            assert_int_equal(utimensat(AT_FDCWD, tmp_path("fp.h5"), t, 0), 0);
        }
        sx_dump *d = open_ok("fp.h5", NULL);
        seen[k] = sx_dump_get_info(d)->fingerprint;
        sx_dump_close(d);
    }
    assert_true(seen[0] == seen[1]);
    assert_true(seen[0] != seen[2]);
    assert_true(seen[0] != seen[3]);
    unlink(tmp_path("fp.h5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_such_file),   cmocka_unit_test(no_such_set),
        cmocka_unit_test(wrong_types),    cmocka_unit_test(wrong_shapes),
        cmocka_unit_test(wrong_options),  cmocka_unit_test(unknown_filter),
        cmocka_unit_test(labels_outside), cmocka_unit_test(black_and_white),
        cmocka_unit_test(cut_off),        cmocka_unit_test(damaged_chunks),
        cmocka_unit_test(any_byte),       cmocka_unit_test(failing_memory),
        cmocka_unit_test(failing_reads),  cmocka_unit_test(in_memory),
        cmocka_unit_test(written),        cmocka_unit_test(halves),
        cmocka_unit_test(fingerprints),
    };
    return cmocka_run_group_tests_name("dump: refusals", tests, make_tmp, remove_tmp);
}
