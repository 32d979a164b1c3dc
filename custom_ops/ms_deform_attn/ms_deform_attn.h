// Multi-scale deformable attention: the interface of its kernels.
#ifndef KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_H_
#define KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_H_

#include <cstdint>

#include "common/bilinear.h"

namespace kdet {

struct ParallelFor;

constexpr int kMostAttentionLevels = 16;

struct MsDeformAttn {
  int64_t batch, pixels, queries;  // pixels: of all levels together
  int heads, depth, levels, points;
  int height[kMostAttentionLevels], width[kMostAttentionLevels];
  int64_t start[kMostAttentionLevels];  // first pixel of the level

  // Sample s = ((image * queries + query) * heads + head) * levels * points + level * points + point;
  // locations [samples, 2] as (x, y) relative to the level. Here at x and y of a level:
  KDET_HOST_DEVICE Bilinear sample(float x, float y, int level) const {
    return Bilinear(y * float(height[level]) - 0.5f, x * float(width[level]) - 0.5f, height[level], width[level]);
  }

  // Offset of a pixel's values of one head in value [batch, pixels, heads, depth].
  KDET_HOST_DEVICE int64_t row(int64_t image, int level, int64_t pixel, int head) const {
    return ((image * pixels + start[level] + pixel) * heads + head) * depth;
  }
};

// P: type of the places, that is of locations and weights. All that is written is written in full.
template <typename T, typename P>
struct MsDeformAttnKernels {
  void (*forward)(const MsDeformAttn& p, const T* value, const P* locations, const P* weights, T* out,
                  const ParallelFor& parallel);
  void (*backward)(const MsDeformAttn& p, const T* value, const P* locations, const P* weights, const T* upstream,
                   T* for_value, P* for_locations, P* for_weights, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_H_
