// Launchers of the CUDA kernels of deformable convolution; see deform_conv.cu.
#ifndef KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_
#define KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_

#include "common/launch.h"
#include "deform_conv/deform_conv.h"

extern "C" {

// type: kdet::ElementType of x, kernel, upstream and out.
cudaError_t kdet_cuda_deform_conv(const kdet::DeformConv* p, int type, const void* x, const void* kernel,
                                  const float* offsets, const float* mask, void* out, cudaStream_t stream);

// The four gradients are zeroed float32. Sums in no fixed order.
cudaError_t kdet_cuda_deform_conv_grad(const kdet::DeformConv* p, int type, const void* x, const void* kernel,
                                       const float* offsets, const float* mask, const void* upstream, float* for_x,
                                       float* for_kernel, float* for_offsets, float* for_mask, cudaStream_t stream);
}

#endif  // KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_
