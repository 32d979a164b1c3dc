// Rounds float32 into an output's own type.
#include "common/cuda.h"

namespace kdet {
namespace {

template <typename T>
__global__ void round_kernel(const float* from, T* to, int64_t count) {
  KDET_EACH(index, count) store(from[index], to + index);
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_round(const float* from, int type, void* to, int64_t count, cudaStream_t stream) {
  KDET_WITH_TYPE(type, kdet::round_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           from, static_cast<Type*>(to), count));
  return cudaGetLastError();
}
