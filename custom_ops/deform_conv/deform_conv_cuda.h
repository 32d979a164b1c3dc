// Launchers of the CUDA kernels of deformable convolution; see deform_conv.cu.
#ifndef KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_
#define KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_

#include "common/launch.h"
#include "deform_conv/deform_conv.h"

extern "C" {

// Writes the columns, see kdet::DeformConv::column. p->out_channels does not count.
// type: kdet::ElementType of x, columns and upstream.
cudaError_t kdet_cuda_deform_columns(const kdet::DeformConv* p, int type, const void* x, const float* offsets,
                                     const float* mask, void* columns, cudaStream_t stream);

// upstream is the columns'. for_x is zeroed float32, summed up in no fixed order; the others are written.
cudaError_t kdet_cuda_deform_columns_grad(const kdet::DeformConv* p, int type, const void* x, const float* offsets,
                                          const float* mask, const void* upstream, float* for_x, float* for_offsets,
                                          float* for_mask, cudaStream_t stream);
}

#endif  // KDET_DEFORM_CONV_DEFORM_CONV_CUDA_H_
