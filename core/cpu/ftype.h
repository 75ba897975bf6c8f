/*
 * ftype.h: the functions that op expressions name, for the type T of the place that includes this. That place defines
 * FN(name) = sx_name or sx_namef, FN2(name, tail) with the f between, and LN(name) for the C library's exact ones.
 */
#ifndef SX_FTYPE_H
#define SX_FTYPE_H

#define F_EXP(x) FN(exp)(x)
#define F_EXP_NEG(x) FN2(exp, _neg)(x)
#define F_EXPM1(x) FN(expm1)(x)
#define F_LOG(x) FN(log)(x)
#define F_LOG1P(x) FN(log1p)(x)
#define F_LOG1P_POS(x) FN2(log1p, _pos)(x)
#define F_OVER(a, b) ((a) / (b))       /* b: at least 1 */
#define F_TANH(x) FN(tanh)(x)
#define F_SIGMOID(x) FN(sigmoid)(x)
#define F_SOFTPLUS(x) FN(softplus)(x)
#define F_POW(x, y) FN(pow)(x, y)
#define F_SQRT(x) LN(sqrt)(x)
#define F_ABS(x) LN(fabs)(x)
#define F_FLOOR(x) LN(floor)(x)

#endif
