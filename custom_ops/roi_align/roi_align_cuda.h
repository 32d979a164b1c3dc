// Launchers of the CUDA kernels of RoIAlign and deformable RoI pooling; see roi_align.cu.
#ifndef KDET_ROI_ALIGN_ROI_ALIGN_CUDA_H_
#define KDET_ROI_ALIGN_ROI_ALIGN_CUDA_H_

#include "common/launch.h"
#include "roi_align/roi_align.h"

extern "C" {

// offsets null: plain RoIAlign. All pointers are on the device but for the arrays of pointers. type: 0 float,
// 1 half, 2 bfloat16.
cudaError_t kdet_cuda_roi_align(const kdet::RoiAlign* p, int type, const void* const* features, const float* boxes,
                                const int* levels, const float* offsets, float gamma, void* out,
                                cudaStream_t stream);

// gradients: zeroed float32 maps; for_offsets: zeroed, null with offsets null (features may be null then).
// Sums in no fixed order.
cudaError_t kdet_cuda_roi_align_grad(const kdet::RoiAlign* p, int type, const void* upstream,
                                     const void* const* features, const float* boxes, const int* levels,
                                     const float* offsets, float gamma, float* const* gradients,
                                     float* for_offsets, cudaStream_t stream);
}

#endif  // KDET_ROI_ALIGN_ROI_ALIGN_CUDA_H_
