/* epilogue.c: the arithmetic on kept sums, in double. Arrays are [sweep axes ascending][L][C]. */
#include <string.h>

#include "cpu/kernels.h"
#include "cpu/math.h"
#include "pass/plan_impl.h"

#define MAX_DIM (SX_MAX_SWEEP + 2)

/* Dimensions of a set of axes; where[i] = which axis bit dimension i is. */
typedef struct dims {
    int n;
    sx_axes ax[MAX_DIM];
    size_t size[MAX_DIM];
} dims;

/* Where values are: the graph, its classes, the part of the sweep. */
typedef struct place {
    const sx_graph *g;
    size_t classes;
    const sx_box *box;
} place;

static void dims_of(const place *p, sx_axes axes, dims *d)
{
    d->n = 0;
    for (int i = 0; i < sx_graph_axes(p->g); i++)
        if (axes & SX_AX_SWEEP(i)) {
            d->ax[d->n] = SX_AX_SWEEP(i);
            d->size[d->n++] = sx_box_axis(p->g, p->box, i);
        }
    for (sx_axes a = SX_AX_L; a; a = a == SX_AX_L ? SX_AX_C : 0)
        if (axes & a) {
            d->ax[d->n] = a;
            d->size[d->n++] = p->classes;
        }
}

/* Strides of an operand along the result's dimensions; 0 where it does not have the axis. */
static void strides_of(const place *p, sx_axes axes, const dims *d, size_t *stride)
{
    dims own;
    dims_of(p, axes, &own);
    for (int i = 0; i < d->n; i++) stride[i] = 0;
    size_t s = 1;
    for (int j = own.n - 1; j >= 0; j--) {
        for (int i = 0; i < d->n; i++)
            if (d->ax[i] == own.ax[j]) stride[i] = s;
        s *= own.size[j];
    }
}

/* Elementwise: the last dimension in one kernel call (an operand moves along it by 1 or not at all), the others by counting. */
static void elementwise(const place *p, const sx_node *n, double *const *value, double *dst)
{
    const sx_kernels *k = sx_kernels_get(sx_isa_best(), true);
    dims d;
    size_t stride[3][MAX_DIM], at[MAX_DIM] = {0}, total = 1;
    const double *x[3] = {NULL, NULL, NULL};
    dims_of(p, n->axes, &d);
    for (int i = 0; i < d.n; i++) total *= d.size[i];
    size_t inner = d.n ? d.size[d.n - 1] : 1;
    unsigned scalars = 0;
    for (int a = 0; a < n->n_arg; a++) {
        const int from = value[n->arg[a]] || n->op != SX_OP_where ? a : 3 - a;
        x[a] = value[n->arg[from]];
        strides_of(p, sx_node_get(p->g, n->arg[from])->axes, &d, stride[a]);
        if (!d.n || stride[a][d.n - 1] == 0) scalars |= 1u << a;
    }
    for (size_t done = 0; done < total; done += inner) {
        k->ew[n->op](dst + done, x[0], x[1], x[2], inner, scalars);
        for (int i = d.n - 2; i >= 0; i--) {
            at[i]++;
            for (int a = 0; a < n->n_arg; a++) x[a] += stride[a][i];
            if (at[i] < d.size[i]) break;
            for (int a = 0; a < n->n_arg; a++) x[a] -= stride[a][i] * d.size[i];
            at[i] = 0;
        }
    }
}

/* Runs f over vectors of C numbers, `step` apart inside a vector. */
static double reduce(sx_op op, const double *x, size_t classes, size_t step)
{
    double r = x[0], s = 0;
    size_t best = 0;
    switch (op) {
    case SX_OP_csum:
    case SX_OP_lsum:
        for (size_t c = 1; c < classes; c++) r += x[c * step];
        return r;
    case SX_OP_argmax:
        for (size_t c = 1; c < classes; c++)
            if (x[c * step] > x[best * step]) best = c;
        return (double)best;
    default: break;
    }
    for (size_t c = 1; c < classes; c++) r = x[c * step] > r ? x[c * step] : r;
    if (op == SX_OP_cmax) return r;
    for (size_t c = 0; c < classes; c++) s += sx_exp(x[c * step] - r);
    return r + sx_log(s);
}

static void over_classes(size_t classes, const sx_node *n, const double *x, size_t total, double *dst)
{
    const sx_op op = (sx_op)n->op;
    const sx_class cl = sx_op_class(op);
    for (size_t i = 0; i < total; i++) {
        if (cl == SX_CL_CRED) {
            dst[i] = reduce(op, x + i * classes, classes, 1);
        } else if (cl == SX_CL_LRED) {             /* [..][L][C] to [..][C], or [..][L] to [..] */
            size_t inner = n->axes & SX_AX_C ? classes : 1;
            dst[i] = reduce(op, x + i / inner * classes * inner + i % inner, classes, inner);
        } else {                                   /* softmax, log_softmax: i counts vectors */
            const double *v = x + i * classes;
            double *y = dst + i * classes, lse = reduce(SX_OP_logsumexp, v, classes, 1);
            for (size_t c = 0; c < classes; c++)
                y[c] = op == SX_OP_softmax ? sx_exp(v[c] - lse) : v[c] - lse;
        }
    }
}

static void exchange(size_t classes, const sx_node *arg, const double *x, size_t total, double *dst)
{
    const sx_axes both = SX_AX_C | SX_AX_L;
    if ((arg->axes & both) != both) {
        memcpy(dst, x, total * sizeof *dst);
        return;
    }
    for (size_t m = 0; m < total; m += classes * classes)
        for (size_t i = 0; i < classes; i++)
            for (size_t j = 0; j < classes; j++) dst[m + j * classes + i] = x[m + i * classes + j];
}

sx_err sx_epilogue_node(const sx_graph *g, size_t classes, const sx_box *box, sx_id id, double *const *value, double *dst,
                        sx_error *er)
{
    const sx_node *n = sx_node_get(g, id);
    const place p = {g, classes, box};
    size_t total = sx_value_len(g, classes, box, id);
    switch (sx_op_class((sx_op)n->op)) {
    case SX_CL_EW: elementwise(&p, n, value, dst); break;
    case SX_CL_CRED:
    case SX_CL_LRED: over_classes(classes, n, value[n->arg[0]], total, dst); break;
    case SX_CL_CMAP: over_classes(classes, n, value[n->arg[0]], total / classes, dst); break;
    case SX_CL_TRANS: exchange(classes, sx_node_get(g, n->arg[0]), value[n->arg[0]], total, dst); break;
    case SX_CL_LEAF:
        if (n->op == SX_OP_data) sx_box_copy(g, box, n->axes, n->data, n->n_data, dst);
        else if (n->op == SX_OP_classes)
            for (size_t i = 0; i < total; i++) dst[i] = (double)i;
        else return sx_fail(er, SX_EBUG, "%s in an epilogue", sx_op_name((sx_op)n->op));
        break;
    default: return sx_fail(er, SX_EBUG, "%s in an epilogue", sx_op_name((sx_op)n->op));
    }
    return SX_EOK;
}
