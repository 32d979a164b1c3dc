// Masks in the frames of their boxes, pasted into the image: the interface of the kernels.
#ifndef KDET_PASTE_MASKS_PASTE_MASKS_H_
#define KDET_PASTE_MASKS_PASTE_MASKS_H_

#include <cmath>
#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

struct PasteMasks {
  int64_t count;                // masks of all images
  int mask_height, mask_width;  // cells of a mask
  int height, width;            // of the image
  float threshold;              // binary masks are true from here on
};

// The cells that a pixel takes from along one axis: `cell` with the weight `before` and the next one with
// `after`. Cells off the mask have the weight 0.
struct PasteTap {
  int cell;  // -1 .. cells - 1
  float before, after;
  bool any;  // whether a weight may be above 0

  KDET_HOST_DEVICE PasteTap(int pixel, float low, float high, int cells) {
    const float extent = high - low > 1e-6f ? high - low : 1e-6f;
    const float place = (float(pixel) + 0.5f - low) / extent * float(cells) - 0.5f;
    any = high > low && place > -1.0f && place < float(cells);
    cell = any ? int(floorf(place)) : -1;
    before = any && cell >= 0 ? 1.0f - (place - float(cell)) : 0.0f;
    after = any && cell + 1 < cells ? 1.0f - (float(cell + 1) - place) : 0.0f;
  }
};

KDET_HOST_DEVICE inline void paste(float value, float, float* out) { *out = value; }
KDET_HOST_DEVICE inline void paste(float value, float threshold, bool* out) { *out = value >= threshold; }

// masks [count, mask_height, mask_width] and boxes [count, 4] -> out [count, height, width].
template <typename T>
struct PasteMasksKernels {
  void (*numbers)(const PasteMasks& p, const T* masks, const float* boxes, float* out, const ParallelFor& parallel);
  void (*binary)(const PasteMasks& p, const T* masks, const float* boxes, bool* out, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_PASTE_MASKS_PASTE_MASKS_H_
