// Launchers of the CUDA kernels of batch normalization; see batch_norm.cu.
#ifndef KDET_BATCH_NORM_BATCH_NORM_CUDA_H_
#define KDET_BATCH_NORM_BATCH_NORM_CUDA_H_

#include "batch_norm/batch_norm.h"
#include "common/launch.h"

extern "C" {

// Doubles of the scratch `sums`: CUDA has more parts than the CPU.
int64_t kdet_cuda_batch_norm_sums(const kdet::BatchNorm* p);

// Arguments as in batch_norm_cpu.h, but counted, null or [batch], lies on the device. type: kdet::ElementType of
// x, y, upstream and for_x. scales [channels] and lines [3, channels]: scratch. Where channels divide by 4, all
// that is read or written by channel lies on 16 bytes, as TensorFlow's tensors do.
cudaError_t kdet_cuda_batch_norm(const kdet::BatchNorm* p, int type, const void* x, const float* counted,
                                 const float* gamma, const float* beta, double* sums, float* scales, void* y,
                                 float* mean, float* variance, float* inverse, cudaStream_t stream);

cudaError_t kdet_cuda_batch_norm_grad(const kdet::BatchNorm* p, int type, const void* x, const void* upstream,
                                      const float* counted, const float* gamma, const float* mean,
                                      const float* inverse, double* sums, float* lines, void* for_x,
                                      float* for_gamma, float* for_beta, cudaStream_t stream);
}

#endif  // KDET_BATCH_NORM_BATCH_NORM_CUDA_H_
