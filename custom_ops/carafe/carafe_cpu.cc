// CARAFE, once per instruction set.
#include "carafe/carafe_cpu.h"

namespace kdet {

namespace carafe {

template <typename T>
constexpr CarafeKernels<T> kKernels = {forward<T>, backward<T>};

}  // namespace carafe

KDET_COMPILED_FLOATS(CarafeKernels, carafe::kKernels)

}  // namespace kdet
