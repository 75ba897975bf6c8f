/* Dumps: every storage, number type and layout decodes to the values that were written. */
#include "dump_files.h"

#include <math.h>

#include "base/pool.h"

/* -- Storage -------------------------------------------------------------------------------- */

static void storages(void **state)
{
    (void)state;
    static const how list[] = {
        {"contiguous", {0}, 0, 0, 0},
        {"image chunks", {1, C, H, W}, 0, 0, 0},
        {"gzip", {1, C, H, W}, 4, 0, 0},
        {"shuffle gzip", {1, C, H, W}, 4, 1, 0},
        {"shuffle gzip fletcher", {1, C, H, W}, 4, 1, 1},
        {"shuffle alone", {1, C, H, W}, 0, 1, 0},
        {"fletcher alone", {1, C, H, W}, 0, 0, 1},
        {"one class", {1, 1, H, W}, 1, 1, 0},
        {"rows", {1, 1, 3, W}, 1, 1, 0},
        {"rows, edge", {1, 1, 4, W}, 1, 1, 0},
        {"odd", {2, 3, 5, 4}, 3, 1, 1},
        {"odd, plain", {2, 3, 5, 4}, 0, 0, 0},
        {"some classes", {1, 2, H, W}, 2, 1, 0},
        {"all images", {N, C, H, W}, 2, 1, 0},
        {"two images", {2, C, H, W}, 2, 1, 0},
    };
    const hid_t half_le = half_type(H5T_ORDER_LE), half_be = half_type(H5T_ORDER_BE);
    const struct {
        hid_t type;
        sx_dtype as;
    } types[] = {{half_le, SX_F16}, {half_be, SX_F16}, {H5T_IEEE_F32LE, SX_F32},
                 {H5T_IEEE_F32BE, SX_F32}, {H5T_IEEE_F64LE, SX_F64}, {H5T_IEEE_F64BE, SX_F64}};
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++)
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            hid_t f = new_file("s.h5");
            put_logits(f, "logits", types[t].type, 0, &list[k]);
            how labels = list[k];
            labels.chunk[1] = list[k].chunk[2];
            labels.chunk[2] = list[k].chunk[3];
            put_labels(f, "labels", t % 2 ? H5T_STD_I16BE : H5T_STD_U8LE, &labels);
            H5Fclose(f);
            sx_dump *d = open_ok("s.h5", NULL);
            const sx_dump_info *i = sx_dump_get_info(d);
            assert_int_equal(i->logits_type, types[t].as);
            assert_string_equal(i->layout, "NCHW");
            assert_int_equal(i->n_dims, 2);
            assert_int_equal(i->dims[0], H);
            assert_int_equal(i->dims[1], W);
            assert_true(i->bytes > 0);
            assert_true(i->same_shape);
            check_values(d);
            sx_dump_close(d);
        }
    unlink(tmp_path("s.h5"));
    H5Tclose(half_le);
    H5Tclose(half_be);
}

static void storage_in_words(void **state)
{
    (void)state;
    static const how gz = {"", {1, C, H, W}, 4, 1, 0};
    hid_t f = new_file("w.h5");
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, &gz);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    sx_dump *d = open_ok("w.h5", NULL);
    assert_string_equal(sx_dump_get_info(d)->storage, "chunked 1x4x9x14, gzip+shuffle");
    assert_string_equal(sx_dump_get_info(d)->logits_path, "/logits");
    sx_dump_close(d);
    check_file("w.h5", NULL);
}

static void label_types(void **state)
{
    (void)state;
    const hid_t types[] = {H5T_STD_I8LE, H5T_STD_U8LE, H5T_STD_I16LE, H5T_STD_U16BE, H5T_STD_I32LE,
                           H5T_STD_I32BE, H5T_STD_U32LE, H5T_STD_I64LE, H5T_STD_U64BE};
    const sx_dtype as[] = {SX_I8, SX_U8, SX_I16, SX_U16, SX_I32, SX_I32, SX_U32, SX_I64, SX_U64};
    for (size_t t = 0; t < sizeof as / sizeof as[0]; t++) {
        hid_t f = new_file("l.h5");
        put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
        put_labels(f, "labels", types[t], NULL);
        H5Fclose(f);
        sx_dump *d = open_ok("l.h5", NULL);
        assert_int_equal(sx_dump_get_info(d)->labels_type, as[t]);
        sx_dump_close(d);
        check_file("l.h5", NULL);
    }
    /* [N,1,H,W], and numbers that HDF5 has to unpack: 3 bytes, 12 bits of 16, an enumeration */
    int *v = all_labels();
    const hid_t odd[] = {H5Tcopy(H5T_STD_I32LE), H5Tcopy(H5T_STD_U16LE), H5Tenum_create(H5T_STD_I16BE)};
    H5Tset_size(odd[0], 3);
    H5Tset_precision(odd[1], 12);
    for (short k = 0; k < C; k++) {
        char name[8];
        short be = (short)(k << 8);
        snprintf(name, sizeof name, "c%d", k);
        H5Tenum_insert(odd[2], name, &be);
    }
    for (size_t t = 0; t < 3; t++) {
        static const how chunked = {"", {2, 1, 5, W}, 1, 0, 0};
        const hsize_t n1hw[4] = {N, 1, H, W};
        for (int store = 0; store < 2; store++) {
            hid_t f = new_file("o.h5");
            put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
            int16_t small[N * PX];
            for (size_t k = 0; k < N * PX; k++)
                small[k] = (int16_t)(v[k] << 8);
            put(f, "labels", odd[t], 4, n1hw, store ? &chunked : NULL, t == 2 ? odd[2] : H5T_NATIVE_INT,
                t == 2 ? (const void *)small : v);
            H5Fclose(f);
            check_file("o.h5", NULL);
        }
        H5Tclose(odd[t]);
    }
    free(v);
}

static void through_hdf5(void **state)
{
    (void)state;
    double *v = all_logits(0);
    int *y = all_labels();
    float *v32 = malloc(sizeof *v32 * N * C * PX);
    for (size_t i = 0; i < (size_t)N * C * PX; i++)
        v32[i] = (float)v[i];

    /* compact labels */
    hid_t f = new_file("h.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, NULL);
    H5Pset_layout(p, H5D_COMPACT);
    H5Dclose(put_with(f, "labels", H5T_STD_U8LE, 3, nhw, p, H5T_NATIVE_INT, y));
    H5Pclose(p);
    H5Fclose(f);
    check_file("h.h5", NULL);

    /* scale-offset labels, chunks of several images: a filter that only HDF5 knows */
    f = new_file("h.h5");
    p = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t lc[3] = {2, 4, 5};
    H5Pset_chunk(p, 3, lc);
    H5Pset_scaleoffset(p, H5Z_SO_INT, H5Z_SO_INT_MINBITS_DEFAULT);
    put_logits(f, "logits", H5T_IEEE_F32BE, 0, NULL);
    H5Dclose(put_with(f, "labels", H5T_STD_I32BE, 3, nhw, p, H5T_NATIVE_INT, y));
    H5Pclose(p);
    H5Fclose(f);
    sx_dump *d = open_ok("h.h5", NULL);
    assert_true(has_note(d, "read through HDF5"));
    sx_dump_close(d);
    check_file("h.h5", NULL);

    /* logits in another file; two packers in a row */
    f = new_file("h.h5");
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(p, tmp_path("h.raw"), 0, sizeof(float) * N * C * PX);
    H5Dclose(put_with(f, "logits", H5T_IEEE_F32LE, 4, nchw, p, H5T_NATIVE_FLOAT, v32));
    H5Pclose(p);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 3, lc);
    H5Pset_deflate(p, 1);
    H5Pset_deflate(p, 9);
    H5Dclose(put_with(f, "labels", H5T_STD_U8LE, 3, nhw, p, H5T_NATIVE_INT, y));
    H5Pclose(p);
    H5Fclose(f);
    check_file("h.h5", NULL);
    unlink(tmp_path("h.raw"));

    /* a virtual data set made of two others, in half precision of the other byte order */
    f = new_file("h.h5");
    hid_t half = half_type(H5T_ORDER_BE), all = H5Screate_simple(4, nchw, NULL);
    p = H5Pcreate(H5P_DATASET_CREATE);
    for (hsize_t k = 0, from = 0; k < 2; k++) {
        const hsize_t dims[4] = {k ? N - 2 : 2, C, H, W}, start[4] = {from, 0, 0, 0};
        const char *name = k ? "part_b" : "part_a";
        put(f, name, half, 4, dims, NULL, H5T_NATIVE_DOUBLE, v + from * C * PX);
        hid_t src = H5Screate_simple(4, dims, NULL);
        H5Sselect_hyperslab(all, H5S_SELECT_SET, start, NULL, dims, NULL);
        assert_true(H5Pset_virtual(p, all, ".", name, src) >= 0);
        H5Sclose(src);
        from += dims[0];
    }
    H5Dclose(put_with(f, "logits", half, 4, nchw, p, half, NULL));
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Tclose(half);
    H5Sclose(all);
    H5Pclose(p);
    H5Fclose(f);
    check_file("h.h5", NULL);

    /* a user block in front of everything: addresses are not trusted */
    hid_t fcpl = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_userblock(fcpl, 1024);
    f = H5Fcreate(tmp_path("h.h5"), H5F_ACC_TRUNC, fcpl, H5P_DEFAULT);
    static const how odd = {"", {2, 3, 5, 4}, 3, 1, 0};
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, &odd);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Pclose(fcpl);
    H5Fclose(f);
    check_file("h.h5", NULL);

    /* more chunks than may be asked for one by one; the newest file format */
    for (int newest = 0; newest < 2; newest++) {
        hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
        if (newest)
            H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
        f = H5Fcreate(tmp_path("h.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
        static const how tiny = {"", {1, 1, 1, 1}, 0, 0, 0};
        put_logits(f, "logits", H5T_IEEE_F32LE, 0, newest ? &odd : &tiny);
        put_labels(f, "labels", H5T_STD_U8LE, NULL);
        H5Pclose(fapl);
        H5Fclose(f);
        check_file("h.h5", NULL);
    }
    /* the newest format may leave edge chunks unfiltered */
    f = new_file("h.h5");
    p = plist(&odd, 4);
    H5Pset_chunk_opts(p, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
    H5Dclose(put_with(f, "logits", H5T_IEEE_F32LE, 4, nchw, p, H5T_NATIVE_DOUBLE, v));
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Pclose(p);
    H5Fclose(f);
    check_file("h.h5", NULL);
    free(v32);
    free(v);
    free(y);
}

/* -- Raw chunks ----------------------------------------------------------------------------- */

/* Image chunks written raw: LZF, with and without shuffle, and single filters switched off by the
 * chunk's mask. */
static void lzf_and_masks(void **state)
{
    (void)state;
    enum { BYTES = C * PX * 4 };
    unsigned char plain[BYTES], shuffled[BYTES], packed[2 * BYTES];
    double *v = all_logits(0);
    hid_t f = new_file("z.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk[4] = {1, C, H, W};
    H5Pset_chunk(p, 4, chunk);
    H5Pset_shuffle(p);
    assert_true(H5Pset_filter(p, 32000, H5Z_FLAG_OPTIONAL, 0, NULL) >= 0);
    hid_t id = put_with(f, "logits", H5T_IEEE_F32LE, 4, nchw, p, -1, NULL);
    for (hsize_t n = 0; n < N; n++) {
        float *to = (float *)(void *)plain;
        for (size_t i = 0; i < C * PX; i++)
            to[i] = (float)v[n * C * PX + i];
        shuffle_bytes(plain, shuffled, BYTES, 4);
        /* image 0: both filters; 1: no shuffle; 2: no LZF; 3: neither; 4: never written below */
        const unsigned mask = (unsigned)n & 3;
        const unsigned char *from = mask & 1 ? plain : shuffled;
        size_t size = BYTES;
        if (!(mask & 2)) {
            size = lzf_pack(from, BYTES, packed);
            from = packed;
        }
        const hsize_t at[4] = {n, 0, 0, 0};
        assert_true(H5Dwrite_chunk(id, H5P_DEFAULT, mask, at, size, from) >= 0);
    }
    H5Dclose(id);
    H5Pclose(p);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    sx_dump *d = open_ok("z.h5", NULL);
    assert_string_equal(sx_dump_get_info(d)->storage, "chunked 1x4x9x14, lzf+shuffle");
    sx_dump_close(d);
    check_file("z.h5", NULL);
    free(v);
}

/* Filters in unusual orders. */
static void filter_order(void **state)
{
    (void)state;
    double *v = all_logits(0);
    for (int k = 0; k < 3; k++) {
        hid_t f = new_file("fo.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
        const hsize_t chunk[4] = {1, k == 1 ? 3 : C, H, W};
        H5Pset_chunk(p, 4, chunk);
        H5Pset_fletcher32(p);
        if (k == 2)
            H5Pset_deflate(p, 3);
        H5Pset_shuffle(p);
        if (k < 2)
            H5Pset_deflate(p, 3);
        H5Pset_fletcher32(p);
        H5Dclose(put_with(f, "logits", H5T_IEEE_F32LE, 4, nchw, p, H5T_NATIVE_DOUBLE, v));
        H5Pclose(p);
        put_labels(f, "labels", H5T_STD_U8LE, NULL);
        H5Fclose(f);
        check_file("fo.h5", NULL);
    }
    free(v);
}

/* Chunks that were never written hold the fill value. */
static void fill_values(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        hid_t f = new_file("f.h5"), p = H5Pcreate(H5P_DATASET_CREATE);
        const hsize_t chunk[4] = {2, C, 5, W};
        const float fill = 2.5f;
        if (order < 2)
            H5Pset_chunk(p, 4, chunk);
        H5Pset_fill_value(p, H5T_NATIVE_FLOAT, &fill);
        hid_t id = put_with(f, "logits", order ? H5T_IEEE_F32BE : H5T_IEEE_F32LE, 4, nchw, p, -1, NULL);
        if (order < 2) {   /* rows 5 .. 8 of image 3 alone */
            const hsize_t from[4] = {3, 0, 5, 0}, size[4] = {1, C, 4, W};
            hid_t space = H5Dget_space(id), mem = H5Screate_simple(4, size, NULL);
            H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, size, NULL);
            float ones[C * 4 * W];
            for (size_t i = 0; i < C * 4 * W; i++)
                ones[i] = 1;
            assert_true(H5Dwrite(id, H5T_NATIVE_FLOAT, mem, space, H5P_DEFAULT, ones) >= 0);
            H5Sclose(space);
            H5Sclose(mem);
        }
        H5Dclose(id);
        H5Pclose(p);
        put_labels(f, "labels", H5T_STD_U8LE, NULL);
        H5Fclose(f);
        sx_dump *d = open_ok("f.h5", NULL);
        sx_wave w = {0};
        sx_error er;
        assert_ok(read_wave(d, 1, 3, 0, &w, &er));
        for (size_t n = 0; n < 3; n++)
            for (size_t c = 0; c < C; c++)
                for (size_t q = 0; q < PX; q++) {
                    float got = ((const float *)w.image[n].logits)[c * PX + q];
                    float want = order < 2 && n == 2 && q / W >= 5 ? 1.0f : 2.5f;
                    if (got != want)
                        fail_msg("image %zu: %g, not %g", n + 1, (double)got, (double)want);
                }
        sx_wave_free(&w);
        sx_dump_close(d);
        unlink(tmp_path("f.h5"));
    }
}

/* Chunks larger than a set that can grow, and a set that was larger once. */
static void resizable(void **state)
{
    (void)state;
    for (int newest = 0; newest < 2; newest++) {
        hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
        if (newest)
            H5Pset_libver_bounds(fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
        hid_t f = H5Fcreate(tmp_path("r.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
        const hsize_t big[4] = {N + 3, C + 1, H + 4, W + 9}, chunk[4] = {3, C + 2, H - 2, W + 5};
        const hsize_t max[4] = {H5S_UNLIMITED, C + 9, H5S_UNLIMITED, H5S_UNLIMITED};
        hid_t p = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(4, big, max);
        H5Pset_chunk(p, 4, chunk);
        H5Pset_deflate(p, 1);
        hid_t id = H5Dcreate2(f, "logits", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
        const size_t n_big = (N + 3) * (C + 1) * (H + 4) * (W + 9);
        double *rubbish = calloc(n_big, sizeof *rubbish), *v = all_logits(0);
        assert_true(H5Dwrite(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, rubbish) >= 0);
        assert_true(H5Dset_extent(id, nchw) >= 0);
        assert_true(H5Dwrite(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) >= 0);
        free(rubbish);
        free(v);
        H5Dclose(id);
        H5Pclose(p);
        H5Sclose(space);
        put_labels(f, "labels", H5T_STD_U8LE, NULL);
        H5Fclose(f);
        H5Pclose(fapl);
        check_file("r.h5", NULL);
    }
}

/* -- Layouts -------------------------------------------------------------------------------- */

static void class_axis_last(void **state)
{
    (void)state;
    static const how list[] = {{"", {0}, 0, 0, 0}, {"", {1, 4, 7, C}, 2, 1, 0}, {"", {2, H, W, 3}, 2, 0, 0}};
    for (size_t k = 0; k < 3; k++) {
        hid_t f = new_file("n.h5");
        put_logits(f, "predictions", H5T_IEEE_F32LE, 1, &list[k]);
        put_labels(f, "mask", H5T_STD_I64LE, NULL);
        H5Fclose(f);
        sx_dump *d = open_ok("n.h5", NULL);
        assert_string_equal(sx_dump_get_info(d)->layout, "NHWC");
        assert_true(has_note(d, "/predictions") || has_note(d, "from predictions"));
        assert_true(has_note(d, "layout NHWC"));
        sx_dump_close(d);
        check_file("n.h5", NULL);
    }
}

/* The same numbers as volumes, lines, one image without an image axis, and one list of pixels. */
static void other_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *layout;
        int rank;
        hsize_t dims[5];
        int label_rank;
        hsize_t labels[4];
        size_t n, n_dims;
        int last;
    } list[] = {
        {"NCDHW", 5, {N, C, 3, 3, W}, 4, {N, 3, 3, W}, N, 3, 0},
        {"NDHWC", 5, {N, 3, 3, W, C}, 4, {N, 3, 3, W}, N, 3, 1},
        {"NCW", 3, {N, C, PX}, 2, {N, PX}, N, 1, 0},
        {"CHW", 3, {C, N * H, W}, 2, {N * H, W}, 1, 2, 0},
        {"WC", 2, {N * PX, C}, 1, {N * PX}, 1, 1, 1},
    };
    int *y = all_labels();
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
        double *v = all_logits(list[k].last);
        hid_t f = new_file("d.h5");
        put(f, "logits", H5T_IEEE_F64LE, list[k].rank, list[k].dims, NULL, H5T_NATIVE_DOUBLE, v);
        put(f, "labels", H5T_STD_U8LE, list[k].label_rank, list[k].labels, NULL, H5T_NATIVE_INT, y);
        H5Fclose(f);
        sx_dump *d = open_ok("d.h5", NULL);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_string_equal(i->layout, list[k].layout);
        assert_int_equal(i->n, list[k].n);
        assert_int_equal(i->n_dims, list[k].n_dims);
        if (i->n == N) {
            check_values(d);
        } else {
            sx_wave w = {0};
            sx_error er;
            assert_ok(read_wave(d, 0, 1, 0, &w, &er));
            assert_int_equal(w.image[0].n_px, N * PX);
            assert_memory_equal(w.image[0].logits, v, sizeof *v * N * C * PX);
            assert_int_equal(w.image[0].c_stride, list[k].last ? 1 : N * PX);
            assert_int_equal(w.image[0].p_stride, list[k].last ? C : 1);
            sx_wave_free(&w);
        }
        sx_dump_close(d);
        unlink(tmp_path("d.h5"));
        free(v);
    }
    free(y);
}

static void one_channel(void **state)
{
    (void)state;
    double *v = all_logits(0);
    int y[N * PX];
    for (size_t i = 0; i < N * PX; i++)
        y[i] = (int)(i % 3 == 0);
    for (int k = 0; k < 3; k++) {
        const hsize_t n1hw[4] = {N, 1, H, W}, nhw1[4] = {N, H, W, 1};
        hid_t f = new_file("1.h5");
        put(f, "logits", H5T_IEEE_F64LE, k ? 4 : 3, k == 1 ? n1hw : k == 2 ? nhw1 : nhw, NULL,
            H5T_NATIVE_DOUBLE, v);
        put(f, "labels", H5T_STD_U8LE, k ? 4 : 3, k ? n1hw : nhw, NULL, H5T_NATIVE_INT, y);
        const char *const names[1] = {"vessel"};
        attr_strings(f, "class_names", names, 1, 0, H5T_STR_NULLTERM);
        H5Fclose(f);
        sx_dump *d = open_ok("1.h5", NULL);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_int_equal(i->classes, 2);
        assert_int_equal(i->activation, SX_SIGMOID1);
        assert_string_equal(i->layout, k == 0 ? "NHW" : k == 1 ? "NCHW" : "NHWC");
        assert_string_equal(i->class_names[0], "background");
        assert_string_equal(i->class_names[1], "vessel");
        assert_true(has_note(d, "sigmoid"));
        sx_wave w = {0};
        sx_error er;
        assert_ok(read_wave(d, 2, 1, 0, &w, &er));
        for (size_t p = 0; p < PX; p++)
            assert_true(((const double *)w.image[0].logits)[p * w.image[0].p_stride] == v[2 * PX + p]);
        sx_wave_free(&w);
        sx_dump_close(d);
        unlink(tmp_path("1.h5"));
    }
    free(v);
}

/* /samples/<id>/logits, every sample its own size; "10" comes after "9". */
static void groups(void **state)
{
    (void)state;
    static const char *const container[] = {"samples", "", "cases"};
    for (int k = 0; k < 3; k++) {
        hid_t f = new_file("g.h5"), all = f;
        if (container[k][0])
            all = H5Gcreate2(f, container[k], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        enum { SAMPLES = 11 };
        static const how odd = {"", {3, 2, 5}, 3, 1, 0}, lab = {"", {2, 3}, 3, 1, 0};
        for (size_t s = 0; s < SAMPLES; s++) {
            char name[16];
            snprintf(name, sizeof name, "%zu", s);
            hid_t g = H5Gcreate2(all, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            const hsize_t chw[3] = {C, 4 + s, 7}, hw[2] = {4 + s, 7};
            double v[C * 16 * 7];
            int y[16 * 7];
            const size_t px = (4 + s) * 7;
            for (size_t p = 0; p < px; p++) {
                y[p] = label_at(s, p);
                for (size_t c = 0; c < C; c++)
                    v[c * px + p] = logit_at(s, c, p);
            }
            put(g, k == 2 ? "scores" : "logits", H5T_IEEE_F32LE, 3, chw, s % 2 ? &odd : NULL,
                H5T_NATIVE_DOUBLE, v);
            put(g, "labels", H5T_STD_U8LE, 2, hw, s % 3 ? &lab : NULL, H5T_NATIVE_INT, y);
            put(g, "weights", H5T_IEEE_F32LE, 2, hw, NULL, H5T_NATIVE_DOUBLE, v);
            H5Gclose(g);
        }
        const char *const names[C] = {"a", "b", "c", "d"};
        attr_strings(all, "class_names", names, C, 0, H5T_STR_NULLTERM);
        if (all != f)
            H5Gclose(all);
        H5Fclose(f);
        const sx_dump_opts o = {.logits = k == 2 ? "cases/*/scores" : NULL};
        sx_dump *d = open_ok("g.h5", &o);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_int_equal(i->n, SAMPLES);
        assert_false(i->same_shape);
        assert_int_equal(i->max_px, 14 * 7);
        assert_string_equal(i->layout, "CHW");
        assert_string_equal(i->class_names[3], "d");
        assert_string_equal(sx_dump_image_name(d, 10), "10");
        assert_int_equal(i->n_fields, 1);
        assert_string_equal(i->field_names[0], "weights");
        sx_wave w = {0};
        sx_error er;
        for (size_t first = 0; first < SAMPLES; first += 3) {
            size_t count = SAMPLES - first < 3 ? SAMPLES - first : 3;
            assert_ok(read_wave(d, first, count, 1, &w, &er));
            for (size_t s = 0; s < count; s++) {
                const sx_image *im = &w.image[s];
                assert_int_equal(im->n_px, (4 + first + s) * 7);
                assert_int_equal(sx_dump_n_px(d, first + s), im->n_px);
                for (size_t p = 0; p < im->n_px; p++) {
                    assert_int_equal(sx_label_value(im->labels, SX_U8, p), label_at(first + s, p));
                    assert_true((double)((const float *)im->field[0])[p] ==
                                logit_at(first + s, 0, p));
                    for (size_t c = 0; c < C; c++)
                        assert_true(value_of(im->logits, SX_F32, c * im->c_stride + p) ==
                                    logit_at(first + s, c, p));
                }
            }
        }
        size_t dims[3];
        sx_dump_dims(d, 10, dims);
        assert_int_equal(dims[0], 14);
        assert_int_equal(dims[1], 7);
        sx_wave_free(&w);
        sx_dump_close(d);
        unlink(tmp_path("g.h5"));
    }
}

/* -- Attributes, names, fields ---------------------------------------------------------------- */

static void attributes(void **state)
{
    (void)state;
    static const char *const names[C] = {"sky", "street and more", "car", "é"};
    for (int k = 0; k < 4; k++) {   /* variable, fixed with each padding; on root, logits, labels */
        hid_t f = plain_file("a.h5");
        hid_t obj = k == 0 ? f : H5Dopen2(f, k == 1 ? "logits" : "labels", H5P_DEFAULT);
        attr_strings(obj, "class_names", names, C, k ? 16 : 0,
                     k == 1 ? H5T_STR_NULLTERM : k == 2 ? H5T_STR_NULLPAD : H5T_STR_SPACEPAD);
        const int64_t ignore[3] = {255, -1, 17};
        attr_ints(obj, "ignore_index", k ? H5T_STD_I16BE : H5T_STD_I64LE, ignore, k ? 3 : 1);
        if (obj != f)
            H5Dclose(obj);
        H5Fclose(f);
        sx_dump *d = open_ok("a.h5", NULL);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_true(i->named);
        for (size_t c = 0; c < C; c++)
            assert_string_equal(i->class_names[c], names[c]);
        assert_int_equal(i->n_ignore, k ? 3 : 1);
        assert_int_equal(i->ignore[0], 255);
        assert_false(i->ignore_guessed);
        assert_int_equal(sx_dump_label_class(d, 255), C);
        assert_int_equal(sx_dump_label_class(d, -1), k ? C : SIZE_MAX);
        assert_int_equal(sx_dump_label_class(d, 2), 2);
        assert_int_equal(sx_dump_label_class(d, C), SIZE_MAX);
        assert_int_equal(has_note(d, "-1 cannot occur: the labels are uint8"), k != 0);
        sx_dump_close(d);
        check_file("a.h5", NULL);
    }
    /* options go before the file */
    hid_t f = plain_file("a.h5");
    attr_strings(f, "class_names", names, C, 0, H5T_STR_NULLTERM);
    attr_ints(f, "ignore_index", H5T_STD_I64LE, &(int64_t){255}, 1);
    attr_text(f, "activation", "probs");
    H5Fclose(f);
    static const char *const mine[C] = {"0th", "1st", "2nd", "3rd"};
    const int64_t ignore[1] = {2};
    const sx_dump_opts o = {.class_names = mine, .n_class_names = C, .has_ignore = true,
                            .ignore = ignore, .n_ignore = 1, .activation = "log_probs",
                            .skip_nonfinite = true};
    sx_dump *d = open_ok("a.h5", &o);
    const sx_dump_info *i = sx_dump_get_info(d);
    assert_string_equal(i->class_names[2], "2nd");
    assert_int_equal(i->ignore[0], 2);
    assert_int_equal(i->n_ignore, 1);
    assert_int_equal(i->activation, SX_LOG_PROBS);
    assert_true(i->skip_nonfinite);
    assert_int_equal(sx_dump_label_class(d, 2), C);
    assert_true(has_note(d, "is also class \"2nd\""));
    sx_dump_close(d);
    d = open_ok("a.h5", NULL);
    assert_int_equal(sx_dump_get_info(d)->activation, SX_PROBS);
    sx_dump_close(d);
    const sx_dump_opts none = {.has_ignore = true};
    d = open_ok("a.h5", &none);
    assert_int_equal(sx_dump_get_info(d)->n_ignore, 0);
    sx_dump_close(d);
    check_file("a.h5", NULL);
    /* no names at all; and one too many */
    f = plain_file("a.h5");
    H5Fclose(f);
    d = open_ok("a.h5", NULL);
    assert_false(sx_dump_get_info(d)->named);
    assert_string_equal(sx_dump_get_info(d)->class_names[3], "3");
    assert_int_equal(sx_dump_get_info(d)->n_ignore, 0);
    sx_dump_close(d);
    f = plain_file("a.h5");
    static const char *const five[5] = {"a", "b", "c", "d", "void"};
    attr_strings(f, "class_names", five, 5, 0, H5T_STR_NULLTERM);
    attr_ints(f, "ignore_index", H5T_STD_I64LE, NULL, 0);
    H5Fclose(f);
    d = open_ok("a.h5", NULL);
    assert_string_equal(sx_dump_get_info(d)->class_names[3], "d");
    assert_true(has_note(d, "void"));
    sx_dump_close(d);
    check_file("a.h5", NULL);
}

static void names_and_fields(void **state)
{
    (void)state;
    for (int fixed = 0; fixed < 2; fixed++) {
        hid_t f = plain_file("m.h5");
        const hsize_t n = N, other[3] = {N, H, W + 1}, rgb[4] = {N, H, W, 3};
        hid_t t = H5Tcopy(H5T_C_S1);
        H5Tset_size(t, fixed ? 8 : H5T_VARIABLE);
        static const char *const v[N] = {"one", "two", "three", "four", "five"};
        char buf[N][8] = {"one", "two", "three", "four", "five"};
        put(f, fixed ? "ids" : "names", t, 1, &n, NULL, t, fixed ? (const void *)buf : v);
        H5Tclose(t);
        double *w0 = all_logits(0);
        static const how gz = {"", {2, 5, 6}, 3, 1, 0};
        put(f, "weights", H5T_IEEE_F32BE, 3, nhw, &gz, H5T_NATIVE_DOUBLE, w0);
        int *y = all_labels();
        put(f, "region", H5T_STD_I16LE, 3, nhw, NULL, H5T_NATIVE_INT, y);
        put(f, "other", H5T_STD_I16LE, 3, other, NULL, H5T_NATIVE_INT, NULL);
        put(f, "images", H5T_STD_U8LE, 4, rgb, NULL, H5T_NATIVE_INT, NULL);
        H5Fclose(f);
        sx_dump *d = open_ok("m.h5", NULL);
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_string_equal(sx_dump_image_name(d, 2), "three");
        char where[200];
        assert_string_equal(sx_dump_where(d, 2, 3 * W + 5, where, sizeof where),
                            "image 3 \"three\" y=3 x=5");
        assert_int_equal(i->n_fields, 2);
        assert_string_equal(i->field_names[0], "region");
        assert_string_equal(i->field_names[1], "weights");
        sx_wave w = {0};
        sx_error er;
        for (uint32_t want = 0; want < 4; want++) {
            assert_ok(read_wave(d, 1, 4, want, &w, &er));
            for (size_t k = 0; k < 4; k++)
                for (size_t p = 0; p < PX; p++) {
                    const sx_image *im = &w.image[k];
                    if (want & 1)
                        assert_true(value_of(im->field[0], im->field_type[0], p) ==
                                    label_at(k + 1, p));
                    if (want & 2)
                        assert_true(value_of(im->field[1], im->field_type[1], p) ==
                                    w0[(k + 1) * PX + p]);
                }
        }
        sx_wave_free(&w);
        sx_dump_close(d);
        check_file("m.h5", NULL);
        free(w0);
        free(y);
    }
}

/* -- Waves ---------------------------------------------------------------------------------- */

typedef struct job {
    sx_dump *d;
    sx_wave *w;
} job;

static sx_err decode_task(void *arg, size_t i, int worker, sx_error *er)
{
    job *j = arg;
    return sx_dump_decode(j->d, j->w, i, worker, er);
}

/* Many workers at once, chunks that touch the same images. */
static void threads(void **state)
{
    (void)state;
    static const how odd = {"", {2, 3, 5, 4}, 3, 1, 1}, lab = {"", {3, 4, 5}, 1, 0, 0};
    hid_t f = new_file("th.h5"), half = half_type(H5T_ORDER_BE);
    put_logits(f, "logits", half, 0, &odd);
    put_labels(f, "labels", H5T_STD_I16BE, &lab);
    H5Tclose(half);
    H5Fclose(f);
    sx_error er;
    sx_pool *pool = NULL;
    sx_dump *d = open_ok("th.h5", NULL);
    sx_wave w = {0};
    assert_ok(sx_pool_new(4, &pool, &er));
    for (int round = 0; round < 5; round++) {
        assert_ok(sx_dump_prepare(d, 0, N, 0, &w, &er));
        job j = {d, &w};
        assert_ok(sx_pool_for(pool, w.tasks, decode_task, &j, &er));
        for (size_t n = 0; n < N; n++)
            for (size_t p = 0; p < PX; p++) {
                assert_int_equal(sx_label_value(w.image[n].labels, SX_I16, p), label_at(n, p));
                for (size_t c = 0; c < C; c++)
                    assert_true(value_of(w.image[n].logits, SX_F16, c * PX + p) == logit_at(n, c, p));
            }
    }
    sx_wave_free(&w);
    sx_dump_close(d);
    sx_pool_free(pool);
    unlink(tmp_path("th.h5"));
}

static void wave_sizes(void **state)
{
    (void)state;
    static const how two = {"", {2, C, H, W}, 1, 1, 0};
    hid_t f = new_file("v.h5");
    put_logits(f, "logits", H5T_IEEE_F32LE, 0, &two);
    put_labels(f, "labels", H5T_STD_U8LE, NULL);
    H5Fclose(f);
    sx_dump *d = open_ok("v.h5", NULL);
    const size_t one = C * PX * 4 + PX;
    assert_int_equal(sx_dump_wave_size(d, 0, 1), 1);
    assert_int_equal(sx_dump_wave_size(d, 0, one * 3), 2);   /* ends where a chunk ends */
    assert_int_equal(sx_dump_wave_size(d, 1, one * 2), 1);
    assert_int_equal(sx_dump_wave_size(d, 0, one * 4), 4);
    assert_int_equal(sx_dump_wave_size(d, 0, one * 100), N);
    assert_int_equal(sx_dump_wave_size(d, 4, one * 100), 1);
    assert_int_equal(sx_dump_wave_size(d, N, one), 0);
    sx_wave w = {0};
    sx_error er;
    assert_int_equal(sx_dump_prepare(d, 3, 3, 0, &w, &er), SX_EBUG);
    assert_int_equal(sx_dump_prepare(d, 0, 1, 0, &w, &er), SX_EOK);
    assert_int_equal(sx_dump_decode(d, &w, w.tasks, 0, &er), SX_EBUG);
    sx_wave_free(&w);
    sx_dump_close(d);
    unlink(tmp_path("v.h5"));
}

/* The counts of the published dumps, when somebody has them. */
static void real_dumps(void **state)
{
    (void)state;
    const char *dir = getenv("SEGX_DUMPS");
    if (!dir) {
        print_message("SEGX_DUMPS is not set: no real dumps are read\n");
        skip();
    }
    static const struct {
        const char *file;
        size_t classes;
        uint64_t counts[12];   /* by class, then what is left out */
    } list[] = {
        {"camvid_val.h5", 11, {143858, 405877, 8753, 448838, 134643, 254194, 14033, 47890, 26598,
                               10038, 34269, 26209}},
        {"drive_test.h5", 2, {1964161, 301714, 1033725}},
        {"dubai_sat.h5", 5, {159934, 677574, 101313, 65655, 96909, 2487}},
        {"em_volume.h5", 2, {1059195, 251525, 0}},
        {"variants/v09_groups_varied_size.h5", 5, {138155, 251160, 66185, 29460, 50749, 6968}},
        {"variants/v15_sigmoid_1ch_f32.h5", 2, {120353, 22750, 57601}},
        {"variants/v16_sigmoid_nochannel_f32.h5", 2, {120353, 22750, 57601}},
    };
    sx_error er;
    sx_pool *pool = NULL;
    assert_ok(sx_pool_new(2, &pool, &er));
    for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", dir, list[k].file);
        sx_dump *d = NULL;
        assert_ok(sx_dump_open(path, NULL, &d, &er));
        const sx_dump_info *i = sx_dump_get_info(d);
        assert_int_equal(i->classes, list[k].classes);
        uint64_t counts[12] = {0};
        sx_wave w = {0};
        for (size_t first = 0; first < i->n; first += w.count) {
            assert_ok(sx_dump_prepare(d, first, sx_dump_wave_size(d, first, 8 << 20), 0, &w, &er));
            job j = {d, &w};
            assert_ok(sx_pool_for(pool, w.tasks, decode_task, &j, &er));
            for (size_t n = 0; n < w.count; n++)
                for (size_t p = 0; p < w.image[n].n_px; p++) {
                    size_t c = sx_dump_label_class(d, sx_label_value(w.image[n].labels,
                                                                     i->labels_type, p));
                    assert_true(c <= i->classes);
                    counts[c]++;
                }
        }
        assert_memory_equal(counts, list[k].counts, sizeof counts);
        sx_wave_free(&w);
        sx_dump_close(d);
    }
    /* twelve ways to store the same six images: the same numbers */
    static const char *const same[] = {"v01_gzip_shuffle_f16", "v02_lzf_f16", "v03_contiguous_f32",
                                       "v04_nhwc_f32", "v05_labels_int64", "v06_predictions_targets",
                                       "v08_sample_groups", "v10_newest_format", "v11_odd_chunks_f32",
                                       "v12_bigendian_f32", "v13_no_attributes",
                                       "v14_resizable_i32"};
    double *first_values = NULL;
    for (size_t k = 0; k < sizeof same / sizeof same[0]; k++) {
        char path[600];
        snprintf(path, sizeof path, "%s/variants/%s.h5", dir, same[k]);
        const int64_t eleven = 11;
        const sx_dump_opts o = {.has_ignore = true, .ignore = &eleven, .n_ignore = 1};
        sx_dump *d = NULL;
        if (strstr(path, "v13")) {
            assert_int_equal(sx_dump_open(path, NULL, &d, &er), SX_EDATA);
            assert_non_null(strstr(er.hint, "ignore_index=11"));
        }
        assert_ok(sx_dump_open(path, strstr(path, "v13") ? &o : NULL, &d, &er));
        const sx_dump_info *i = sx_dump_get_info(d);
        sx_wave w = {0};
        assert_int_equal(i->n, 6);
        assert_ok(read_wave(d, 0, 6, 0, &w, &er));
        const size_t px = 90 * 120;
        double *v = malloc(sizeof *v * 6 * 12 * px), *to = v;
        for (size_t n = 0; n < 6; n++)
            for (size_t p = 0; p < px; p++) {
                const sx_image *im = &w.image[n];
                for (size_t c = 0; c < 11; c++)
                    *to++ = value_of(im->logits, i->logits_type, c * im->c_stride + p * im->p_stride);
                *to++ = (double)sx_dump_label_class(d, sx_label_value(im->labels, i->labels_type, p));
            }
        if (first_values) {
            assert_memory_equal(v, first_values, sizeof *v * 6 * 12 * px);
            free(v);
        } else {
            first_values = v;
        }
        sx_wave_free(&w);
        sx_dump_close(d);
    }
    free(first_values);
    sx_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storages),        cmocka_unit_test(storage_in_words),
        cmocka_unit_test(label_types),     cmocka_unit_test(through_hdf5),
        cmocka_unit_test(lzf_and_masks),   cmocka_unit_test(fill_values),
        cmocka_unit_test(filter_order),    cmocka_unit_test(resizable),
           cmocka_unit_test(class_axis_last),
        cmocka_unit_test(other_shapes),    cmocka_unit_test(one_channel),
        cmocka_unit_test(groups),          cmocka_unit_test(attributes),
        cmocka_unit_test(names_and_fields), cmocka_unit_test(wave_sizes),
        cmocka_unit_test(threads),         cmocka_unit_test(real_dumps),
    };
    return cmocka_run_group_tests_name("dump", tests, make_tmp, remove_tmp);
}
