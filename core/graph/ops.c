/* ops.c: the op table as data, and the value of each elementwise op on plain doubles. */
#include <math.h>
#include <string.h>

#include "cpu/ftype.h"
#include "cpu/math.h"
#include "graph/graph.h"

typedef struct row {
    const char *name, *doc;
    int args;
    sx_class cls;
} row;

static const row table[SX_OP_COUNT] = {
    [SX_OP_NONE] = {"none", "", 0, SX_CL_LEAF},
#define SX_EW(name, args, value, da, db, dc, probes, doc) [SX_OP_##name] = {#name, doc, args, SX_CL_EW},
#define SX_XX(name, args, cls, doc) [SX_OP_##name] = {#name, doc, args, SX_CL_##cls},
#include "graph/ops.def"
};

const char *sx_op_name(sx_op op) { return op < SX_OP_COUNT ? table[op].name : "?"; }
int sx_op_args(sx_op op) { return op < SX_OP_COUNT ? table[op].args : 0; }
sx_class sx_op_class(sx_op op) { return op < SX_OP_COUNT ? table[op].cls : SX_CL_LEAF; }
const char *sx_op_doc(sx_op op) { return op < SX_OP_COUNT ? table[op].doc : ""; }

sx_op sx_op_find(const char *name)
{
    for (int i = 1; i < SX_OP_COUNT; i++)
        if (strcmp(table[i].name, name) == 0) return (sx_op)i;
    return SX_OP_NONE;
}

static const sx_torch torch_table[SX_OP_COUNT] = {
#define SX_TORCH(name, takes, gives, text) [SX_OP_##name] = {takes, text, gives},
#include "graph/ops.def"
};

const sx_torch *sx_op_torch(sx_op op) { return op < SX_OP_COUNT && torch_table[op].text ? &torch_table[op] : NULL; }

#define T double
#define C(x) ((double)(x))
#define FN(n) sx_##n
#define FN2(n, t) sx_##n##t
#define LN(n) n

double sx_op_eval(sx_op op, double a, double b, double c)
{
    (void)b;
    (void)c;
    switch (op) {
#define SX_EW(name, args, value, da, db, dc, probes, doc) case SX_OP_##name: return value;
#include "graph/ops.def"
    default: return (double)NAN;
    }
}
