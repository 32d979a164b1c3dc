// Multi-scale deformable attention, once per instruction set.
#include "ms_deform_attn/ms_deform_attn_cpu.h"

namespace kdet {

inline namespace KDET_ISA {

template <typename T, typename P>
constexpr MsDeformAttnKernels<T, P> kMsDeformAttnKernels = {ms_deform_attn_forward<T, P>,
                                                            ms_deform_attn_backward<T, P>};

}  // namespace KDET_ISA

#define KDET_ATTENTION(T, P) KDET_COMPILED(MsDeformAttnKernels<T, P>) = kMsDeformAttnKernels<T, P>;
KDET_ATTENTION(float, float)
KDET_ATTENTION(Half, Half)
KDET_ATTENTION(Half, float)
KDET_ATTENTION(BFloat16, BFloat16)
KDET_ATTENTION(BFloat16, float)

}  // namespace kdet
