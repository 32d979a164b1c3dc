// Deformable RoI pooling: the interface of its CPU kernels. Its sizes are those of RoIAlign.
#ifndef KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_H_
#define KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_H_

#include "roi_align/roi_align.h"

namespace kdet {

// See deform_roi_pool_cpu.h.
template <typename T>
struct DeformRoiPoolKernels {
  void (*forward)(const RoiAlign& p, float gamma, const T* const* features, const float* boxes, const int* levels,
                  const float* offsets, T* out, const ParallelFor& parallel);
  void (*backward)(const RoiAlign& p, float gamma, const T* const* features, const float* boxes, const int* levels,
                   const float* offsets, const T* upstream, T* const* gradients, float* for_offsets,
                   const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_H_
