// Deformable convolution, once per instruction set.
#include "deform_conv/deform_conv_cpu.h"

namespace kdet {

namespace deform_conv {

template <typename T>
constexpr DeformConvKernels<T> kKernels = {forward<T>, shards_of<T>, backward<T>, columns_forward<T>,
                                           columns_backward<T>};

}  // namespace deform_conv

KDET_COMPILED_FLOATS(DeformConvKernels, deform_conv::kKernels)

}  // namespace kdet
