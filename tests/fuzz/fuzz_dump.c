/*
 * fuzz_dump.c: opens the bytes that libFuzzer makes up as a dump and reads all of it. Built with
 * -DSEGX_FUZZ=ON and clang:
 *
 *     cmake -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DSEGX_FUZZ=ON && cmake --build build/fuzz
 *     build/release/segx tests/fuzz/seeds.lua build/fuzz/seeds
 *     build/fuzz/fuzz_dump -fork=2 -ignore_crashes=1 -detect_leaks=0 build/fuzz/seeds
 *
 * HDF5 reads the headers, and 1.10 does not survive every one of them: what counts is a trace with a
 * function of ours (sx_...) on top. (Seen in HDF5: H5HL_protect and H5F__accum_read, memcpy to NULL; H5HG_read,
 * overlapping copies; H5O_msg_read of a layout, strlen beyond its end; gigabytes asked for.) Leaks are its own too, hence -detect_leaks=0.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <hdf5.h>

#include "dump/dump.h"

#define MOST_PIXELS ((size_t)1 << 20)   /* a header may promise anything; reading it all is not the point */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t touched;   /* keeps the reads alive */

static void read_all(sx_dump *d, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(d);
    sx_wave w = {0};
    size_t pixels = 0;
    for (size_t first = 0; first < info->n && pixels < MOST_PIXELS;) {
        size_t count = sx_dump_wave_size(d, first, (size_t)1 << 20);
        if (sx_dump_prepare(d, first, count, UINT32_MAX, &w, er))
            break;
        for (size_t t = 0; t < w.tasks; t++)
            if (sx_dump_decode(d, &w, t, 0, er))
                goto done;
        for (size_t i = 0; i < count; i++) {
            const sx_image *im = &w.image[i];
            size_t channels = info->activation == SX_SIGMOID1 ? 1 : info->classes;
            const unsigned char *x = im->logits;
            pixels += im->n_px;
            if (!im->n_px)
                continue;
            touched += x[((channels - 1) * im->c_stride + (im->n_px - 1) * im->p_stride)
                         * sx_dtype_size(info->logits_type)];
            for (size_t p = 0; p < im->n_px; p++)
                touched += sx_dump_label_class(d, sx_label_value(im->labels, info->labels_type, p)) == 0;
        }
        first += count;
    }
done:
    sx_wave_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int quiet;
    char path[64];
    sx_error er = {0};
    sx_dump *d = NULL;
    snprintf(path, sizeof path, "/dev/shm/segx-fuzz-%ld.h5", (long)getpid());
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (!quiet++)
        H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (fd < 0)
        return 0;
    bool written = write(fd, data, size) == (ssize_t)size;
    close(fd);
    if (written && sx_dump_open(path, &(sx_dump_opts){0}, &d, &er) == SX_EOK)
        read_all(d, &er);
    sx_dump_close(d);
    unlink(path);
    return 0;
}
