/* ftype_float.h: the functions that op expressions name, for T = float. No guard: included per type. */
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
#define F_EXP(x) sx_expf(x)
#define F_EXPM1(x) sx_expm1f(x)
#define F_LOG(x) sx_logf(x)
#define F_LOG1P(x) sx_log1pf(x)
#define F_TANH(x) sx_tanhf(x)
#define F_SIGMOID(x) sx_sigmoidf(x)
#define F_SOFTPLUS(x) sx_softplusf(x)
#define F_POW(x, y) sx_powf(x, y)
#define F_SQRT(x) sqrtf(x)
#define F_ABS(x) fabsf(x)
#define F_FLOOR(x) floorf(x)
#undef F_EXP_NEG
#undef F_LOG1P_POS
#define F_EXP_NEG(x) sx_expf_neg(x)
#define F_LOG1P_POS(x) sx_log1pf_pos(x)
