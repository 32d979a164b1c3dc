// Convolution at marked places, once per instruction set.
#include "masked_conv/masked_conv_cpu.h"

namespace kdet {

namespace masked_conv {

template <typename T>
constexpr MaskedConvKernels<T> kKernels = {forward<T>, backward<T>};

}  // namespace masked_conv

KDET_COMPILED_FLOATS(MaskedConvKernels, masked_conv::kKernels)

}  // namespace kdet
