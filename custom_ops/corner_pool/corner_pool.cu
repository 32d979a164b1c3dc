// Corner pooling on CUDA: one thread per line and channel.
#include "common/cuda.h"
#include "corner_pool/corner_pool_cuda.h"

namespace kdet {
namespace {

template <typename T>
__global__ void forward_kernel(CornerPool p, const T* x, T* out) {
  KDET_EACH(index, p.lines() * p.channels) {
    const int64_t line = index / p.channels;
    const int channel = int(index % p.channels);
    float best = -INFINITY;
    for (int t = 0; t < p.length(); ++t) {
      const int64_t at = p.at(line, t) + channel;
      const float value = load(x + at);
      if (value >= best || value != value) best = value;
      store(best, out + at);
    }
  }
}

template <typename T>
__global__ void backward_kernel(CornerPool p, const T* x, const T* upstream, float* gradient) {
  KDET_EACH(index, p.lines() * p.channels) {
    const int64_t line = index / p.channels;
    const int channel = int(index % p.channels);
    float best = -INFINITY;
    int64_t taker = p.at(line, 0) + channel;
    for (int t = 0; t < p.length(); ++t) {
      const int64_t at = p.at(line, t) + channel;
      const float value = load(x + at);
      if (value >= best || value != value) {
        best = value;
        taker = at;
      }
      gradient[taker] += load(upstream + at);  // no other thread has this line and channel
    }
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_corner_pool(const kdet::CornerPool* p, int type, const void* x, void* out,
                                             cudaStream_t stream) {
  if (p->length() == 0) return cudaSuccess;
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type>
                           <<<kdet::blocks_for(p->lines() * p->channels), kdet::kThreads, 0, stream>>>(
                               *p, static_cast<const Type*>(x), static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_corner_pool_grad(const kdet::CornerPool* p, int type, const void* x,
                                                  const void* upstream, float* gradient, cudaStream_t stream) {
  if (p->length() == 0) return cudaSuccess;
  KDET_WITH_TYPE(type, kdet::backward_kernel<Type>
                           <<<kdet::blocks_for(p->lines() * p->channels), kdet::kThreads, 0, stream>>>(
                               *p, static_cast<const Type*>(x), static_cast<const Type*>(upstream), gradient));
  return cudaGetLastError();
}
