// Launcher of the CUDA kernels of the backward pass of convolution in narrow groups; see grouped_conv.cu.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_CUDA_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_CUDA_H_

#include "common/launch.h"
#include "grouped_conv/grouped_conv.h"

extern "C" {

// type: kdet::ElementType of x, kernel, upstream and for_x. for_x is written in full; for_kernel is zeroed
// float32, summed in no fixed order.
cudaError_t kdet_cuda_grouped_conv_grad(const kdet::GroupedConv* p, int type, const void* x, const void* kernel,
                                        const void* upstream, void* for_x, float* for_kernel, cudaStream_t stream);
}

#endif  // KDET_GROUPED_CONV_GROUPED_CONV_CUDA_H_
