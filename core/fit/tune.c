/* tune.c: see tune.h. */
#include "fit/tune.h"

#include <math.h>
#include <string.h>

#define ROUNDS 20

typedef struct change {
    float at;                  /* from this bias on the pixel is predicted c */
    int32_t from, label;
} change;

typedef struct tuner {
    size_t C, n;               /* classes, pixels that count */
    double *x;                 /* [n][C] */
    int32_t *label;
    change *change, *other;    /* [n] */
    int64_t *tp, *predicted, *labelled;
    double *score;             /* of each class; NaN: not defined */
    sx_metric metric;
} tuner;

static sx_err gather(tuner *t, sx_dump *d, sx_error *er)
{
    const sx_dump_info *info = sx_dump_get_info(d);
    sx_wave w = {0};
    sx_err e = sx_dump_prepare(d, 0, info->n, 0, &w, er);
    size_t all = 0;
    if (e) return e;
    if (w.tasks || (info->logits_type != SX_F32 && info->logits_type != SX_F64)) {
        sx_wave_free(&w);
        return sx_fail(er, SX_EBUG, "tune: a sample in memory expected");
    }
    for (size_t i = 0; i < info->n; i++) all += w.image[i].n_px;
    t->x = sx_malloc((all * t->C + 1) * sizeof *t->x);
    t->label = sx_malloc((all + 1) * sizeof *t->label);
    t->change = sx_malloc((all + 1) * sizeof *t->change);
    t->other = sx_malloc((all + 1) * sizeof *t->other);
    if (!t->x || !t->label || !t->change || !t->other) e = sx_nomem(er);
    for (size_t i = 0; !e && i < info->n; i++)
        for (size_t p = 0; p < w.image[i].n_px; p++) {
            const sx_image *im = &w.image[i];
            const size_t c = sx_dump_label_class(d, sx_label_value(im->labels, info->labels_type, p));
            if (c >= t->C) continue;
            for (size_t k = 0; k < t->C; k++) {
                const size_t at = k * im->c_stride + p * im->p_stride;
                t->x[t->n * t->C + k] = info->logits_type == SX_F32 ? (double)((const float *)im->logits)[at]
                                                                   : ((const double *)im->logits)[at];
            }
            t->label[t->n++] = (int32_t)c;
            t->labelled[c]++;
        }
    sx_wave_free(&w);
    return e;
}

static void rescore(tuner *t, size_t c)
{
    const double tp = (double)t->tp[c], sum = (double)(t->predicted[c] + t->labelled[c]);
    t->score[c] = t->metric == SX_DICE ? 2 * tp / sum : t->metric == SX_IOU ? tp / (sum - tp) : tp;
}

static double metric_of(const tuner *t)
{
    double sum = 0;
    size_t n = 0;
    for (size_t c = 0; c < t->C; c++)
        if (!isnan(t->score[c])) {
            sum += t->score[c];
            n++;
        }
    return t->metric == SX_ACCURACY ? sum / (double)t->n : sum / (double)n;
}

/* Largest of x + b but for class c; ties go to the lowest. */
static size_t best_but(const double *x, const double *b, size_t C, size_t c, double *value)
{
    size_t best = SIZE_MAX;
    for (size_t k = 0; k < C; k++) {
        const double v = x[k] + b[k];
        if (k == c || (best != SIZE_MAX && !(v > *value))) continue;
        *value = v;
        best = k;
    }
    return best;
}

static void count_all(tuner *t, const double *b)
{
    memset(t->tp, 0, t->C * sizeof *t->tp);
    memset(t->predicted, 0, t->C * sizeof *t->predicted);
    for (size_t i = 0; i < t->n; i++) {
        double v;
        const size_t k = best_but(t->x + i * t->C, b, t->C, SIZE_MAX, &v);
        t->predicted[k]++;
        t->tp[k] += (size_t)t->label[i] == k;
    }
    for (size_t c = 0; c < t->C; c++) rescore(t, c);
}

/* A number that is ordered as the bias is. */
static uint32_t key_of(const change *p)
{
    uint32_t u;
    memcpy(&u, &p->at, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* By place, equal ones in their order: counting sort by 11 bits, three times. */
static void sort(tuner *t)
{
    for (unsigned shift = 0; shift < 33; shift += 11) {
        size_t start[2049] = {0};
        for (size_t i = 0; i < t->n; i++) start[(key_of(&t->change[i]) >> shift & 2047) + 1]++;
        for (size_t k = 1; k < 2048; k++) start[k] += start[k - 1];
        for (size_t i = 0; i < t->n; i++) t->other[start[key_of(&t->change[i]) >> shift & 2047]++] = t->change[i];
        change *sorted = t->other;
        t->other = t->change;
        t->change = sorted;
    }
}

/* The best bias of class c; now: the metric as it is. True: it is better by something. */
static bool ascend(tuner *t, double *b, size_t c, double now)
{
    double best = now, place = b[c];
    bool better = false;
    memset(t->tp, 0, t->C * sizeof *t->tp);
    memset(t->predicted, 0, t->C * sizeof *t->predicted);
    for (size_t i = 0; i < t->n; i++) {              /* at a bias of -inf nothing is predicted c */
        const double *x = t->x + i * t->C;
        double v = 0;
        const size_t k = best_but(x, b, t->C, c, &v);
        t->change[i] = (change){(float)(v - x[c]), (int32_t)k, t->label[i]};
        t->predicted[k]++;
        t->tp[k] += (size_t)t->label[i] == k;
    }
    for (size_t k = 0; k < t->C; k++) rescore(t, k);
    sort(t);
    for (size_t i = 0; i < t->n; i++) {
        const change *p = &t->change[i];
        t->predicted[p->from]--;
        t->predicted[c]++;
        t->tp[p->from] -= p->label == p->from;
        t->tp[c] += (size_t)p->label == c;
        rescore(t, (size_t)p->from);
        rescore(t, c);
        if (i + 1 < t->n && !(t->change[i + 1].at > p->at)) continue;
        const double m = metric_of(t);
        if (!(m > best + 1e-9)) continue;
        const double next = i + 1 < t->n ? (double)t->change[i + 1].at : (double)p->at + 1, middle = 0.5 * ((double)p->at + next);
        if (!(fabs(middle) < 50)) continue;          /* from -inf logits, or all of it */
        best = m;
        place = middle;
        better = true;
    }
    b[c] = place;
    return better;
}

sx_err sx_tune(sx_dump *d, sx_metric metric, double *b, double *before, double *after, sx_error *er)
{
    tuner t = {.C = sx_dump_get_info(d)->classes, .metric = metric};
    sx_err e = SX_EOK;
    t.tp = sx_calloc(t.C, sizeof *t.tp);
    t.predicted = sx_calloc(t.C, sizeof *t.predicted);
    t.labelled = sx_calloc(t.C, sizeof *t.labelled);
    t.score = sx_calloc(t.C, sizeof *t.score);
    if (!t.tp || !t.predicted || !t.labelled || !t.score) e = sx_nomem(er);
    if (!e && t.C < 2) e = sx_fail(er, SX_EARG, "tune: at least two classes are needed");
    if (!e) e = gather(&t, d, er);
    if (e) goto done;
    count_all(&t, b);
    *before = *after = metric_of(&t);
    for (size_t r = 0; r < ROUNDS; r++) {
        const double last = *after;
        for (size_t c = 0; c < t.C; c++) {
            if (sx_interrupted()) {
                e = sx_fail(er, SX_EINTR, "interrupted");
                goto done;
            }
            if (ascend(&t, b, c, *after)) {
                count_all(&t, b);
                *after = metric_of(&t);
            }
        }
        if (!(*after > last + 1e-5)) break;
    }
done:
    sx_free(t.x);
    sx_free(t.label);
    sx_free(t.change);
    sx_free(t.other);
    sx_free(t.tp);
    sx_free(t.predicted);
    sx_free(t.labelled);
    sx_free(t.score);
    return e;
}
