// Multi-scale deformable attention on CUDA: one thread per output number.
#include "common/cuda.h"
#include "ms_deform_attn/ms_deform_attn.h"
#include "ms_deform_attn/ms_deform_attn_cuda.h"

namespace kdet {
namespace {

template <typename T>
__global__ void forward_kernel(MsDeformAttn p, const T* value, const float* locations, const float* weights, T* out) {
  KDET_EACH(index, p.batch * p.queries * p.heads * p.depth) {
    const int64_t row = index / p.depth;
    const int channel = int(index % p.depth), head = int(row % p.heads);
    const int64_t picture = row / p.heads / p.queries;
    float sum = 0;
    int64_t s = row * p.levels * p.points;
    for (int level = 0; level < p.levels; ++level) {
      for (int point = 0; point < p.points; ++point, ++s) {
        const Bilinear at = p.sample(locations, s, level);
        for (int k = 0; k < 4; ++k) {
          if (at.weight[k] == 0.0f) continue;
          sum += weights[s] * at.weight[k] * load(value + p.row(picture, level, at.pixel[k], head) + channel);
        }
      }
    }
    store(sum, out + index);
  }
}

template <typename T>
__global__ void backward_kernel(MsDeformAttn p, const T* value, const float* locations, const float* weights,
                                const T* upstream, float* for_value, float* for_locations, float* for_weights) {
  KDET_EACH(index, p.batch * p.queries * p.heads * p.depth) {
    const int64_t row = index / p.depth;
    const int channel = int(index % p.depth), head = int(row % p.heads);
    const int64_t picture = row / p.heads / p.queries;
    const float up = load(upstream + index);
    int64_t s = row * p.levels * p.points;
    for (int level = 0; level < p.levels; ++level) {
      for (int point = 0; point < p.points; ++point, ++s) {
        const Bilinear at = p.sample(locations, s, level);
        float gains[4] = {0, 0, 0, 0}, total = 0, by_y, by_x;
        for (int k = 0; k < 4; ++k) {
          if (!at.valid[k]) continue;
          const int64_t place = p.row(picture, level, at.pixel[k], head) + channel;
          gains[k] = up * load(value + place);
          total += at.weight[k] * gains[k];
          atomicAdd(for_value + place, at.weight[k] * weights[s] * up);
        }
        at.slopes(gains, &by_y, &by_x);
        atomicAdd(for_weights + s, total);
        atomicAdd(for_locations + 2 * s, by_x * weights[s] * float(p.width[level]));
        atomicAdd(for_locations + 2 * s + 1, by_y * weights[s] * float(p.height[level]));
      }
    }
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_ms_deform_attn(const kdet::MsDeformAttn* p, int type, const void* value,
                                                const float* locations, const float* weights, void* out,
                                                cudaStream_t stream) {
  const int64_t count = p->batch * p->queries * p->heads * p->depth;
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(value), locations, weights, static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_ms_deform_attn_grad(const kdet::MsDeformAttn* p, int type, const void* value,
                                                     const float* locations, const float* weights,
                                                     const void* upstream, float* for_value, float* for_locations,
                                                     float* for_weights, cudaStream_t stream) {
  const int64_t count = p->batch * p->queries * p->heads * p->depth;
  KDET_WITH_TYPE(type, kdet::backward_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(value), locations, weights,
                           static_cast<const Type*>(upstream), for_value, for_locations, for_weights));
  return cudaGetLastError();
}
