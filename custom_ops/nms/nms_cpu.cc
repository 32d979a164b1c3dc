// NMS and soft-NMS, once per instruction set.
#include "nms/nms_cpu.h"

namespace kdet {

KDET_COMPILED(NmsKernels) = {nms, soft_nms};

}  // namespace kdet
