// Launchers of the CUDA kernels of multi-scale deformable attention; see ms_deform_attn.cu.
#ifndef KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CUDA_H_
#define KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CUDA_H_

#include "common/launch.h"
#include "ms_deform_attn/ms_deform_attn.h"

extern "C" {

// type: kdet::ElementType of value, upstream and out. place_type: that of locations and weights, the same or float.
cudaError_t kdet_cuda_ms_deform_attn(const kdet::MsDeformAttn* p, int type, const void* value, int place_type,
                                     const void* locations, const void* weights, void* out, cudaStream_t stream);

// All three gradients are zeroed float32. Sums in no fixed order.
cudaError_t kdet_cuda_ms_deform_attn_grad(const kdet::MsDeformAttn* p, int type, const void* value, int place_type,
                                          const void* locations, const void* weights, const void* upstream,
                                          float* for_value, float* for_locations, float* for_weights,
                                          cudaStream_t stream);
}

#endif  // KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CUDA_H_
