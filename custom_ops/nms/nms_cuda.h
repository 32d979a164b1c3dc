// Launchers of the CUDA kernels of NMS and soft-NMS; see nms.cu.
#ifndef KDET_NMS_NMS_CUDA_H_
#define KDET_NMS_NMS_CUDA_H_

#include "common/launch.h"
#include "nms/nms.h"

extern "C" {

// As the CPU kernel without `move`; labels are never null. Scratch: places [3, batch, boxes] and, at an address of
// whole 16 bytes, kept [batch, boxes, 4].
cudaError_t kdet_cuda_nms(const kdet::Nms* p, const float* boxes, const float* scores, const int* labels, int* places,
                          float* kept, int* indices, int* counts, cudaStream_t stream);

// As the CPU kernel; live [batch, boxes] is scratch.
cudaError_t kdet_cuda_soft_nms(const kdet::SoftNms* p, const float* boxes, const float* scores, float* live,
                               int* indices, float* kept, int* counts, cudaStream_t stream);
}

#endif  // KDET_NMS_NMS_CUDA_H_
