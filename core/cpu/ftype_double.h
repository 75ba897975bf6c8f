/* ftype_double.h: the functions that op expressions name, for T = double. No guard: included per type. */
#undef F_EXP
#undef F_EXPM1
#undef F_LOG
#undef F_LOG1P
#undef F_TANH
#undef F_SIGMOID
#undef F_SOFTPLUS
#undef F_POW
#undef F_SQRT
#undef F_ABS
#undef F_FLOOR
#define F_EXP(x) sx_exp(x)
#define F_EXPM1(x) sx_expm1(x)
#define F_LOG(x) sx_log(x)
#define F_LOG1P(x) sx_log1p(x)
#define F_TANH(x) sx_tanh(x)
#define F_SIGMOID(x) sx_sigmoid(x)
#define F_SOFTPLUS(x) sx_softplus(x)
#define F_POW(x, y) sx_pow(x, y)
#define F_SQRT(x) sqrt(x)
#define F_ABS(x) fabs(x)
#define F_FLOOR(x) floor(x)
#undef F_EXP_NEG
#undef F_LOG1P_POS
#define F_EXP_NEG(x) sx_exp_neg(x)
#define F_LOG1P_POS(x) sx_log1p(x)
