// Batch normalization, once per instruction set.
#include "batch_norm/batch_norm_cpu.h"

namespace kdet {

namespace batch_norm {

template <typename T>
constexpr BatchNormKernels<T> kKernels = {forward<T>, backward<T>};

}  // namespace batch_norm

KDET_COMPILED_FLOATS(BatchNormKernels, batch_norm::kKernels)

}  // namespace kdet
