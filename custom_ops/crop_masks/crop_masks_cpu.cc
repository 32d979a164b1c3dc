// Mask targets, once per instruction set.
#include "crop_masks/crop_masks_cpu.h"

namespace kdet {

KDET_COMPILED(CropMasksKernels) = {crop_masks};

}  // namespace kdet
