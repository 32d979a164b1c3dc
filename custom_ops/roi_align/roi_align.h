// RoIAlign over the levels of a pyramid: the interface of its CPU and CUDA kernels.
#ifndef KDET_ROI_ALIGN_ROI_ALIGN_H_
#define KDET_ROI_ALIGN_ROI_ALIGN_H_

#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

constexpr int kMostLevels = 16;

struct RoiAlign {
  int levels;                // maps; map l is [batch, height[l], width[l], channels]
  int height[kMostLevels];
  int width[kMostLevels];
  float scale[kMostLevels];  // map pixels per image pixel
  int64_t batch;
  int64_t rois;              // per image
  int channels;
  int bins_y, bins_x;
  int sampling_ratio;        // samples per bin and axis, 0 adapts to the RoI
  bool aligned;              // shift by half a pixel
};

// One RoI on its map.
struct RoiOnMap {
  int level;
  float x, y, width, height;  // corner and extent in map pixels

  KDET_HOST_DEVICE RoiOnMap(const RoiAlign& p, const float* box, int level_)
      : level(level_) {
    const float scale = p.scale[level], shift = p.aligned ? 0.5f : 0.0f;
    x = box[0] * scale - shift;
    y = box[1] * scale - shift;
    width = box[2] * scale - shift - x;
    height = box[3] * scale - shift - y;
    if (!p.aligned) {
      width = width > 1.0f ? width : 1.0f;
      height = height > 1.0f ? height : 1.0f;
    }
  }
};

// features and gradients: one map per level; see roi_align_cpu.h.
template <typename T>
struct RoiAlignKernels {
  void (*forward)(const RoiAlign& p, const T* const* features, const float* boxes, const int* levels, T* out,
                  const ParallelFor& parallel);
  void (*backward)(const RoiAlign& p, const T* upstream, const float* boxes, const int* levels, T* const* gradients,
                   const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_ROI_ALIGN_ROI_ALIGN_H_
