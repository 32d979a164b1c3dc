// Multi-scale deformable attention on CUDA: one thread per output number.
#include "common/cuda.h"
#include "ms_deform_attn/ms_deform_attn.h"
#include "ms_deform_attn/ms_deform_attn_cuda.h"

namespace kdet {
namespace {

template <typename T, typename P>
__global__ void forward_kernel(MsDeformAttn p, const T* value, const P* locations, const P* weights, T* out) {
  KDET_EACH(index, p.batch * p.queries * p.heads * p.depth) {
    const int64_t row = index / p.depth;
    const int channel = int(index % p.depth), head = int(row % p.heads);
    const int64_t image = row / p.heads / p.queries;
    float sum = 0;
    int64_t s = row * p.levels * p.points;
    for (int level = 0; level < p.levels; ++level) {
      for (int point = 0; point < p.points; ++point, ++s) {
        const Bilinear at = p.sample(load(locations + 2 * s), load(locations + 2 * s + 1), level);
        for (int k = 0; k < 4; ++k) {
          if (at.weight[k] == 0.0f) continue;
          sum += load(weights + s) * at.weight[k] * load(value + p.row(image, level, at.pixel[k], head) + channel);
        }
      }
    }
    store(sum, out + index);
  }
}

template <typename T, typename P>
__global__ void backward_kernel(MsDeformAttn p, const T* value, const P* locations, const P* weights,
                                const T* upstream, float* for_value, float* for_locations, float* for_weights) {
  KDET_EACH(index, p.batch * p.queries * p.heads * p.depth) {
    const int64_t row = index / p.depth;
    const int channel = int(index % p.depth), head = int(row % p.heads);
    const int64_t image = row / p.heads / p.queries;
    const float up = load(upstream + index);
    int64_t s = row * p.levels * p.points;
    for (int level = 0; level < p.levels; ++level) {
      for (int point = 0; point < p.points; ++point, ++s) {
        const Bilinear at = p.sample(load(locations + 2 * s), load(locations + 2 * s + 1), level);
        const float weight = load(weights + s);
        float gains[4] = {0, 0, 0, 0}, total = 0, by_y, by_x;
        for (int k = 0; k < 4; ++k) {
          if (!at.valid[k]) continue;
          const int64_t place = p.row(image, level, at.pixel[k], head) + channel;
          gains[k] = up * load(value + place);
          total += at.weight[k] * gains[k];
          atomicAdd(for_value + place, at.weight[k] * weight * up);
        }
        at.slopes(gains, &by_y, &by_x);
        atomicAdd(for_weights + s, total);
        atomicAdd(for_locations + 2 * s, by_x * weight * float(p.width[level]));
        atomicAdd(for_locations + 2 * s + 1, by_y * weight * float(p.height[level]));
      }
    }
  }
}

}  // namespace
}  // namespace kdet

// Calls body with Type bound to the element type of that number and Place to that of the places.
#define KDET_WITH_PLACES(number, place_number, ...)    \
  KDET_WITH_TYPE(number, if (place_number == number) { \
    using Place = Type;                                \
    __VA_ARGS__;                                       \
  } else {                                             \
    using Place = float;                               \
    __VA_ARGS__;                                       \
  })

extern "C" cudaError_t kdet_cuda_ms_deform_attn(const kdet::MsDeformAttn* p, int type, const void* value,
                                                int place_type, const void* locations, const void* weights,
                                                void* out, cudaStream_t stream) {
  const int64_t count = p->batch * p->queries * p->heads * p->depth;
  KDET_WITH_PLACES(type, place_type,
                   kdet::forward_kernel<Type, Place><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                       *p, static_cast<const Type*>(value), static_cast<const Place*>(locations),
                       static_cast<const Place*>(weights), static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_ms_deform_attn_grad(const kdet::MsDeformAttn* p, int type, const void* value,
                                                     int place_type, const void* locations, const void* weights,
                                                     const void* upstream, float* for_value, float* for_locations,
                                                     float* for_weights, cudaStream_t stream) {
  const int64_t count = p->batch * p->queries * p->heads * p->depth;
  KDET_WITH_PLACES(type, place_type,
                   kdet::backward_kernel<Type, Place><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                       *p, static_cast<const Type*>(value), static_cast<const Place*>(locations),
                       static_cast<const Place*>(weights), static_cast<const Type*>(upstream), for_value,
                       for_locations, for_weights));
  return cudaGetLastError();
}
