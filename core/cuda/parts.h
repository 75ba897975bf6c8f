/* parts.h: the texts that a printed kernel begins with (put into the program by the build), in this order. */
#ifndef SX_CUDA_PARTS_H
#define SX_CUDA_PARTS_H

#include <stddef.h>

#define SX_KERNEL_PART(name) extern const unsigned char sx_text_##name[]; extern const size_t sx_text_##name##_size;
SX_KERNEL_PART(math)      /* core/cpu/math.h */
SX_KERNEL_PART(abi)       /* core/cuda/abi.h, after the definitions of this kernel */
SX_KERNEL_PART(type)
SX_KERNEL_PART(ftype)     /* core/cpu/ftype.h */
SX_KERNEL_PART(fast)
SX_KERNEL_PART(pixel)     /* core/cpu/pixel.h */
SX_KERNEL_PART(kernel)
SX_KERNEL_PART(sums)
#undef SX_KERNEL_PART

#endif
