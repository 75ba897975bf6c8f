/*
 * pixel.h: the arithmetic of one pixel that takes more than an expression of ops.def: the target-out softmax and what is
 * read off its state. Included once for each type T by a place that defines T, NAME(x), C(x) and the functions of ftype.h;
 * the loops of kernels.inc and the kernels that core/cuda prints call it, so both have the same bits.
 */

/* From m' (the largest logit but the label's), x (the label's) and S (the sum of exp(. - m') without the label): d = m' - x;
 * z, with which 1 + z is the whole sum relative to its largest term; the label's own term e; what turns exp(. - m') into a
 * probability, f. */
SX_M void NAME(px_target)(T m, T x, T S, T *d, T *z, T *e, T *f)
{
    const T hi = m - x, bb = hi - m;          /* hi + lo = m' - x exactly */
    T lo = (m - (hi - bb)) - (x + bb);
    lo = lo == lo ? lo : C(0);
    const int pos = hi > C(0);
    const T e0 = F_EXP(pos ? -hi : hi);       /* down to subnormals: margins beyond 87 */
    const T al = pos ? -lo : lo;
    const T ex = e0 + e0 * al;
    const T zz = pos ? (S - C(1)) + ex : S * ex;
    *d = hi;
    *z = zz;
    *e = pos ? ex : C(1);
    *f = (pos ? C(1) : ex) / (C(1) + zz);
}

SX_M T NAME(px_ce)(T d, T z) { return (d > C(0) ? d : C(0)) + F_LOG1P_POS(z); }
SX_M T NAME(px_u)(T d, T z, T S) { return F_OVER(d > C(0) ? S : z, C(1) + z); }
SX_M T NAME(px_pt)(T z, T e) { return F_OVER(e, C(1) + z); }

/* log u: from p_t where u is the larger, else d + log S - log(1 + r). */
SX_M T NAME(px_logu)(T d, T z, T S, T e)
{
    const T p = F_OVER(e, C(1) + z);
    const T far = F_LOG1P(-(p < C(0.5) ? p : C(0.5)));
    const T near = (d < C(0) ? d : C(0)) + F_LOG(S) - F_LOG1P_POS(z);
    return p < C(0.5) ? far : near;
}

/* Of the direction: what turns exp(. - m') of another class into it. S = 0: no other class. */
SX_M T NAME(px_dir_by)(T S) { return C(-1) / (S > C(0) ? S : C(1)); }
