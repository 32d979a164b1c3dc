// Conversion of rows, once per instruction set.
#include "common/floats.h"

namespace kdet {

KDET_COMPILED(FloatKernels<Half>) = {copy_floats<Half>};
KDET_COMPILED(FloatKernels<BFloat16>) = {copy_floats<BFloat16>};

}  // namespace kdet
