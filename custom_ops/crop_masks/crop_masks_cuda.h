// Launchers of the CUDA kernels of the mask targets; see crop_masks.cu.
#ifndef KDET_CROP_MASKS_CROP_MASKS_CUDA_H_
#define KDET_CROP_MASKS_CROP_MASKS_CUDA_H_

#include "common/launch.h"
#include "crop_masks/crop_masks.h"

extern "C" {

// See the CPU kernel. An index past the masks gives an empty target.
cudaError_t kdet_cuda_crop_masks(const kdet::CropMasks* p, const uint8_t* masks, const float* boxes,
                                 const int* chosen, float* out, cudaStream_t stream);
}

#endif  // KDET_CROP_MASKS_CROP_MASKS_CUDA_H_
