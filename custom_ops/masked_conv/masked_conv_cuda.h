// Launchers of the CUDA kernels of convolution at marked places; see masked_conv.cu.
#ifndef KDET_MASKED_CONV_MASKED_CONV_CUDA_H_
#define KDET_MASKED_CONV_MASKED_CONV_CUDA_H_

#include "common/launch.h"
#include "masked_conv/masked_conv.h"

extern "C" {

// type: kdet::ElementType of x, kernel, bias, upstream and out.
cudaError_t kdet_cuda_masked_conv(const kdet::MaskedConv* p, int type, const void* x, const bool* mask,
                                  const void* kernel, const void* bias, void* out, cudaStream_t stream);

// The three gradients are zeroed float32. Sums in no fixed order.
cudaError_t kdet_cuda_masked_conv_grad(const kdet::MaskedConv* p, int type, const void* x, const bool* mask,
                                       const void* kernel, const void* upstream, float* for_x, float* for_kernel,
                                       float* for_bias, cudaStream_t stream);
}

#endif  // KDET_MASKED_CONV_MASKED_CONV_CUDA_H_
