// Fast NMS, once per instruction set.
#include "fast_nms/fast_nms_cpu.h"

namespace kdet {

KDET_COMPILED(FastNmsKernels) = {fast_nms};

}  // namespace kdet
