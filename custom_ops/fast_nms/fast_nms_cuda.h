// Launcher of the CUDA kernels of fast NMS; see fast_nms.cu.
#ifndef KDET_FAST_NMS_FAST_NMS_CUDA_H_
#define KDET_FAST_NMS_FAST_NMS_CUDA_H_

#include "common/launch.h"
#include "fast_nms/fast_nms.h"

extern "C" {

// As the CPU kernel; found, chosen and left [batch, classes, top_k] are scratch.
cudaError_t kdet_cuda_fast_nms(const kdet::FastNms* p, const float* boxes, const float* scores, int* found,
                               int* chosen, float* left, int* indices, int* labels, float* kept, int* counts,
                               cudaStream_t stream);
}

#endif  // KDET_FAST_NMS_FAST_NMS_CUDA_H_
