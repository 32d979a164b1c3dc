// Corner pooling, once per instruction set.
#include "corner_pool/corner_pool_cpu.h"

namespace kdet {

inline namespace KDET_ISA {

template <typename T>
constexpr CornerPoolKernels<T> kCornerPoolKernels = {corner_pool_forward<T>, corner_pool_backward<T>};

}  // namespace KDET_ISA

KDET_COMPILED_FLOATS(CornerPoolKernels, kCornerPoolKernels)

}  // namespace kdet
