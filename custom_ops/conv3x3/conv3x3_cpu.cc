// The 3x3 convolution, once per instruction set.
#include "conv3x3/conv3x3_cpu.h"

namespace kdet {
KDET_COMPILED(Conv3x3Kernels) = {conv3x3_packed_size, conv3x3_pack, conv3x3_forward};

}  // namespace kdet
