// Mask targets from bit-packed masks: the interface of its kernels.
#ifndef KDET_CROP_MASKS_CROP_MASKS_H_
#define KDET_CROP_MASKS_CROP_MASKS_H_

#include <cstdint>

namespace kdet {

struct ParallelFor;

// A target pixel is set from here on. Boxes on whole pixels give exact halves, which the sums may miss by a
// rounding.
constexpr float kCovered = 0.5f - 1e-6f;

struct CropMasks {
  int64_t batch, instances, boxes;  // per image
  int height, width_bytes;          // a mask is [height, width_bytes], eight pixels per byte
  int bins_y, bins_x;
};

struct CropMasksKernels {
  void (*crop)(const CropMasks& p, const uint8_t* masks, const float* boxes, const int* index, float* out,
               const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_CROP_MASKS_CROP_MASKS_H_
