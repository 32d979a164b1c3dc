// Launchers of the CUDA kernels of corner pooling; see corner_pool.cu.
#ifndef KDET_CORNER_POOL_CORNER_POOL_CUDA_H_
#define KDET_CORNER_POOL_CORNER_POOL_CUDA_H_

#include "common/launch.h"
#include "corner_pool/corner_pool.h"

extern "C" {

// type: kdet::ElementType.
cudaError_t kdet_cuda_corner_pool(const kdet::CornerPool* p, int type, const void* x, void* out, cudaStream_t stream);

// gradient: zeroed float32.
cudaError_t kdet_cuda_corner_pool_grad(const kdet::CornerPool* p, int type, const void* x, const void* upstream,
                                       float* gradient, cudaStream_t stream);
}

#endif  // KDET_CORNER_POOL_CORNER_POOL_CUDA_H_
