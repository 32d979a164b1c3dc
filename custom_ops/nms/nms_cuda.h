// Launchers of the CUDA kernels of NMS and soft-NMS; see nms.cu.
#ifndef KDET_NMS_NMS_CUDA_H_
#define KDET_NMS_NMS_CUDA_H_

#include "common/launch.h"
#include "nms/nms.h"

extern "C" {

// As the CPU kernels; live [batch, boxes] is scratch.
cudaError_t kdet_cuda_nms(const kdet::Nms* p, const float* boxes, const float* scores, const int* labels,
                          float* live, int* indices, int* counts, cudaStream_t stream);

cudaError_t kdet_cuda_soft_nms(const kdet::SoftNms* p, const float* boxes, const float* scores, float* live,
                               int* indices, float* kept, int* counts, cudaStream_t stream);
}

#endif  // KDET_NMS_NMS_CUDA_H_
