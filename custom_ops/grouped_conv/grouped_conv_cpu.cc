// Convolution in groups, once per instruction set.
#include "grouped_conv/grouped_conv_cpu.h"

namespace kdet {
namespace grouped_conv {

template <typename T>
constexpr GroupedConvKernels<T> kKernels = {forward<T>, backward<T>};

}  // namespace grouped_conv

KDET_COMPILED_FLOATS(GroupedConvKernels, grouped_conv::kKernels)

}  // namespace kdet
