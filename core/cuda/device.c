/* device.c: an opened GPU: context, memory, compiled kernels, uploads. */
#include "cuda/device.h"

#include <stdio.h>
#include <string.h>

enum { STAGE = 16 << 20, SEGMENT = 256 << 10 };   /* bytes of an upload that go at once; that one worker fills at a time */

/* -- Errors ----------------------------------------------------------------------------------------- */

sx_err sx_cu_check(sx_cuda *d, int rc, const char *what, sx_error *er)
{
    char text[300];
    if (!rc) return SX_EOK;
    d->oom = rc == SX_CU_OUT_OF_MEMORY;
    sx_fail(er, SX_EDEVICE, "GPU %d (%s): %s: %s", d->info.index, d->name, what, sx_driver_text(&d->cu, rc, text, sizeof text));
    if (!d->oom) sx_hint(er, "--device cpu computes the same without the GPU");
    return SX_EDEVICE;
}

bool sx_cuda_no_memory(const sx_cuda *d) { return d->oom; }

/* -- Opening ------------------------------------------------------------------------------------------ */

static sx_err ask_device(sx_cuda *d, int index, sx_error *er)
{
    int major = 0, minor = 0;
    sx_err e = SX_CU(d, er, device_count, &d->info.count);
    if (e) return e;
    if (d->info.count == 0) return sx_fail(er, SX_EDEVICE, "the driver sees no GPU");
    if (index < 0 || index >= d->info.count) {
        sx_fail(er, SX_EDEVICE, "there is no GPU %d: the driver sees %d", index, d->info.count);
        sx_hint(er, "GPUs are counted from 0: --device cuda:0");
        return SX_EDEVICE;
    }
    d->info.index = index;
    if ((e = SX_CU(d, er, device_get, &d->device, index)) || (e = SX_CU(d, er, device_name, d->name, sizeof d->name, d->device)) ||
        (e = SX_CU(d, er, device_attribute, &major, SX_CU_ATTR_MAJOR, d->device)) ||
        (e = SX_CU(d, er, device_attribute, &minor, SX_CU_ATTR_MINOR, d->device)) ||
        (e = SX_CU(d, er, device_attribute, &d->info.sms, SX_CU_ATTR_SMS, d->device)) ||
        (e = SX_CU(d, er, device_attribute, &d->info.l2, SX_CU_ATTR_L2, d->device)) ||
        (e = SX_CU(d, er, device_memory, &d->info.memory, d->device)))
        return e;
    d->name[sizeof d->name - 1] = '\0';
    d->info.cc = 10 * major + minor;
    d->info.driver = d->cu.version;
    if (d->info.sms < 1) d->info.sms = 1;
    return SX_EOK;
}

static sx_err enter(sx_cuda *d, sx_error *er)
{
    sx_err e = SX_CU(d, er, primary_retain, &d->ctx, d->device);
    if (e) return e;
    d->retained = true;
    if ((e = SX_CU(d, er, set_current, d->ctx)) || (e = SX_CU(d, er, stream_new, &d->stream, SX_CU_STREAM_NON_BLOCKING)) ||
        (e = SX_CU(d, er, stream_new, &d->copy, SX_CU_STREAM_NON_BLOCKING)) ||
        (e = SX_CU(d, er, stream_new, &d->back, SX_CU_STREAM_NON_BLOCKING)) ||
        (e = SX_CU(d, er, event_new, &d->copied, SX_CU_EVENT_DISABLE_TIMING)))
        return e;
    for (int i = 0; i < 2; i++)
        if ((e = SX_CU(d, er, event_new, &d->stage[i].copied, SX_CU_EVENT_DISABLE_TIMING)) ||
            (e = SX_CU(d, er, event_new, &d->slot[i].begun, 0)) || (e = SX_CU(d, er, event_new, &d->slot[i].computed, 0)) ||
            (e = SX_CU(d, er, event_new, &d->slot[i].done, SX_CU_EVENT_DISABLE_TIMING)))
            return e;
    return SX_EOK;
}

sx_err sx_cuda_open(int index, sx_cuda **out, sx_error *er)
{
    sx_error why = {0};
    sx_cuda *d = sx_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return sx_nomem(er);
    snprintf(d->name, sizeof d->name, "?");
    d->info.name = d->name;
    d->info.index = index;
    sx_err e = sx_driver_open(&d->cu, er);
    if (!e) e = ask_device(d, index, er);
    if (!e) e = enter(d, er);
    if (e) {
        sx_cuda_close(d);
        return e;
    }
    if (sx_nvrtc_find(d->cu.version / 1000, d->nvrtc_path, &why)) {
        d->nvrtc_path[0] = '\0';
        snprintf(d->nvrtc_why, sizeof d->nvrtc_why, "%.590s", why.msg);
    }
    sx_cache_folder(d->cache);
    d->info.driver_path = d->cu.path;
    d->info.nvrtc = d->nvrtc_path;
    d->info.nvrtc_why = d->nvrtc_why;
    d->info.cache = d->cache;
    *out = d;
    return SX_EOK;
}

static void free_modules(sx_cuda *d)
{
    while (d->modules) {
        sx_module *m = d->modules;
        d->modules = m->next;
        if (m->module) d->cu.module_unload(m->module);
        sx_free(m);
    }
}

static void free_event(sx_cuda *d, void *event)
{
    if (event) d->cu.event_free(event);
}

static void free_pin(sx_cuda *d, sx_pin *p)
{
    if (p->p && p->pinned) d->cu.host_free(p->p);
    else sx_free(p->p);
    *p = (sx_pin){0};
}

void sx_cuda_close(sx_cuda *d)
{
    if (!d) return;
    if (d->ctx) d->cu.set_current(d->ctx);
    sx_resident_forget(d, 0);
    free_modules(d);
    sx_cu_drop(d, &d->tables);
    sx_cu_drop(d, &d->records);
    free_pin(d, &d->sent);
    for (int i = 0; i < 2; i++) {
        free_pin(d, &d->stage[i].pin);
        sx_cu_drop(d, &d->slot[i].found);
        free_pin(d, &d->slot[i].results);
        free_event(d, d->stage[i].copied);
        free_event(d, d->slot[i].begun);
        free_event(d, d->slot[i].computed);
        free_event(d, d->slot[i].done);
    }
    free_event(d, d->copied);
    if (d->back) d->cu.stream_free(d->back);
    if (d->copy) d->cu.stream_free(d->copy);
    if (d->stream) d->cu.stream_free(d->stream);
    if (d->retained) d->cu.primary_release(d->device);
    sx_free(d);                  /* the libraries stay open: their threads may still run */
}

const sx_cuda_info *sx_cuda_get_info(const sx_cuda *d) { return &d->info; }
const sx_cuda_counts *sx_cuda_get_counts(const sx_cuda *d) { return &d->counts; }
void sx_cuda_forget(sx_cuda *d, uint64_t dump)
{
    d->cu.set_current(d->ctx);
    sx_resident_forget(d, dump);
}

/* -- Memory ------------------------------------------------------------------------------------------- */

sx_err sx_cu_alloc(sx_cuda *d, uint64_t dump, sx_dptr *p, size_t n, sx_error *er)
{
    *p = 0;
    for (;;) {
        int rc = d->cu.mem_alloc(p, n ? n : 1);
        if (!rc) return SX_EOK;
        *p = 0;
        bool gone = false;
        sx_err e = rc == SX_CU_OUT_OF_MEMORY ? sx_resident_evict(d, dump, &gone, er) : SX_EOK;
        if (e || !gone) return e ? e : sx_cu_check(d, rc, "cuMemAlloc", er);
    }
}

void sx_cu_free(sx_cuda *d, sx_dptr *p)
{
    if (*p) d->cu.mem_free(*p);
    *p = 0;
}

void sx_cu_drop(sx_cuda *d, sx_room *r)
{
    sx_cu_free(d, &r->p);
    r->n = 0;
}

sx_err sx_cu_room(sx_cuda *d, sx_room *r, size_t n, sx_error *er)
{
    if (r->n >= n) return SX_EOK;
    sx_err e = r->n ? SX_CU(d, er, stream_sync, d->stream) : SX_EOK;
    if (e) return e;
    sx_cu_drop(d, r);
    if (!(e = sx_cu_alloc(d, 0, &r->p, n, er))) r->n = n;
    return e;
}

sx_err sx_cu_pin(sx_cuda *d, sx_pin *p, size_t n, sx_error *er)
{
    void *q = NULL;
    if (p->n >= n) return SX_EOK;
    free_pin(d, p);
    p->pinned = d->cu.host_alloc(&q, n, 0) == 0 && q;
    p->p = p->pinned ? q : sx_malloc_aligned(n);
    if (!p->p) return sx_nomem(er);
    p->n = n;
    return SX_EOK;
}

size_t sx_cu_share(const sx_cuda *d, size_t n) { return n < d->limit / 8 ? n : d->limit / 8; }

sx_err sx_cu_quiet(sx_cuda *d, sx_error *er)
{
    void *const all[] = {d->copy, d->stream, d->back};
    sx_err first = SX_EOK;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const sx_err e = SX_CU(d, first ? NULL : er, stream_sync, all[i]);
        if (!first) first = e;
    }
    d->stage[0].busy = d->stage[1].busy = d->uploading = false;
    d->done = d->batch;
    return first;
}

/* -- Kernels ------------------------------------------------------------------------------------------ */

static sx_err compile(sx_cuda *d, const char *text, bool fast, sx_cubin *c, sx_error *er)
{
    char target[16];
    if (!d->nvrtc_path[0]) {
        sx_fail(er, SX_EDEVICE, "%s", d->nvrtc_why);
        sx_hint(er, "pip install nvidia-cuda-nvrtc-cu12, or a CUDA toolkit (11.2 or later), gives it; segx doctor shows what was found");
        return SX_EDEVICE;
    }
    if (!d->nvrtc_open) {
        sx_err e = sx_nvrtc_open(d->nvrtc_path, &d->nvrtc, er);
        if (e) return e;
        d->nvrtc_open = true;
    }
    sx_cuda_target(&d->nvrtc, d->info.cc, target);
    d->counts.compiled++;
    return sx_cuda_compile(&d->nvrtc, text, target, fast, c, NULL, er);
}

static int load(sx_cuda *d, const sx_cubin *c, sx_module *m)
{
    int rc = d->cu.module_load(&m->module, c->data, 0, NULL, NULL);
    if (!rc) rc = d->cu.module_function(&m->pass, m->module, "sx_pass");
    if (!rc) rc = d->cu.module_function(&m->fold, m->module, "sx_fold_tiles");
    if (!rc) rc = d->cu.occupancy(&m->resident[0], m->pass, SX_CUDA_THREADS, 0);
    if (!rc) rc = d->cu.occupancy(&m->resident[1], m->fold, SX_CUDA_THREADS, 0);
    if (rc && m->module) {
        d->cu.module_unload(m->module);
        m->module = NULL;
    }
    return rc;
}

sx_err sx_cu_module(sx_cuda *d, const char *text, bool fast, const sx_module **out, sx_error *er)
{
    char gpu[16];
    sx_cubin c = {0};
    sx_err e = SX_EOK;
    snprintf(gpu, sizeof gpu, "cc %u", (unsigned)d->info.cc % 10000);   /* the target follows from it and from NVRTC's file */
    const sx_cache_key key = sx_cache_key_of(text, gpu, fast, d->nvrtc_path);
    for (sx_module *m = d->modules; m; m = m->next)
        if (m->key.a == key.a && m->key.b == key.b) {
            *out = m;
            return SX_EOK;
        }
    sx_module *m = sx_calloc(1, sizeof *m);
    if (!m) return sx_nomem(er);
    m->key = key;
    int rc = 0;
    if (sx_cache_get(d->cache, key, &c)) {                         /* what the driver does not take is compiled again */
        d->counts.from_cache++;
        rc = load(d, &c, m);
        sx_cubin_free(&c);
    }
    if (!m->module) {
        if ((e = compile(d, text, fast, &c, er))) goto done;
        rc = load(d, &c, m);
        if (rc) e = sx_cu_check(d, rc, "loading a kernel", er);
        else sx_cache_put(d->cache, key, &c, text);
    }
done:
    sx_cubin_free(&c);
    if (e) {
        sx_free(m);
        return e;
    }
    m->next = d->modules;
    d->modules = m;
    *out = m;
    return SX_EOK;
}

/* -- Uploads -------------------------------------------------------------------------------------------- */

typedef struct part_fill {
    sx_fill *f;
    char *to;
    size_t off, n;
} part_fill;

static sx_err fill_segment(void *arg, size_t i, int worker, sx_error *er)
{
    const part_fill *p = arg;
    const size_t at = i * SEGMENT, n = p->n - at < SEGMENT ? p->n - at : SEGMENT;
    (void)worker;
    (void)er;
    p->f->fill(p->f, p->to + at, p->off + at, n);
    return SX_EOK;
}

sx_err sx_cu_upload(sx_cuda *d, sx_dptr to, size_t n, sx_fill *f, sx_pool *pool, sx_error *er)
{
    for (size_t off = 0; off < n; off += STAGE) {
        sx_stage *s = &d->stage[d->turn];
        sx_err e = s->busy ? SX_CU(d, er, event_sync, s->copied) : SX_EOK;
        if (!e) e = sx_cu_pin(d, &s->pin, STAGE, er);
        part_fill p = {.f = f, .to = s->pin.p, .off = off, .n = n - off < STAGE ? n - off : STAGE};
        s->busy = false;
        if (!e) e = sx_pool_for(pool, (p.n + SEGMENT - 1) / SEGMENT, fill_segment, &p, er);
        if (!e) e = SX_CU(d, er, to_device, to + off, p.to, p.n, d->copy);
        if (!e) e = SX_CU(d, er, event_record, s->copied, d->copy);
        if (e) return e;
        s->busy = d->uploading = true;
        d->turn = !d->turn;
        d->counts.uploaded += p.n;
    }
    return SX_EOK;
}

sx_err sx_cu_uploaded(sx_cuda *d, sx_error *er)
{
    if (!d->uploading) return SX_EOK;
    sx_err e = SX_CU(d, er, event_record, d->copied, d->copy);
    if (!e) e = SX_CU(d, er, stream_wait, d->stream, d->copied, 0);
    if (!e) d->uploading = false;
    return e;
}

/* -- How fast memory is --------------------------------------------------------------------------------- */

sx_err sx_cuda_copy_speed(sx_cuda *d, double *bytes_per_second, sx_error *er)
{
    sx_dptr a = 0, b = 0;
    void *from = NULL, *to = NULL;
    size_t n = (size_t)1 << 30;
    float best = 0;
    sx_err e;
    while (n > d->info.memory / 8) n /= 2;
    if ((e = sx_cu_alloc(d, 0, &a, n, er)) || (e = sx_cu_alloc(d, 0, &b, n, er)) || (e = SX_CU(d, er, event_new, &from, 0)) ||
        (e = SX_CU(d, er, event_new, &to, 0)))
        goto done;
    for (int i = 0; i < 12; i++) {
        float ms = 0;
        if ((e = SX_CU(d, er, event_record, from, d->stream)) || (e = SX_CU(d, er, copy, b, a, n, d->stream)) ||
            (e = SX_CU(d, er, event_record, to, d->stream)) || (e = SX_CU(d, er, event_sync, to)) ||
            (e = SX_CU(d, er, event_time, &ms, from, to)))
            goto done;
        if (i > 1 && (best == 0 || ms < best)) best = ms;
    }
    *bytes_per_second = best > 0 ? 2.0 * (double)n / ((double)best * 1e-3) : 0;
done:
    if (e) sx_cu_quiet(d, NULL);
    free_event(d, from);
    free_event(d, to);
    sx_cu_free(d, &a);
    sx_cu_free(d, &b);
    return e;
}
