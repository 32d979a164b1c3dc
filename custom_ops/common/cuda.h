// What the CUDA kernels share. Nothing here knows TensorFlow.
#ifndef KDET_COMMON_CUDA_H_
#define KDET_COMMON_CUDA_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "common/launch.h"

namespace kdet {

__device__ inline float load(const float* at) { return *at; }
__device__ inline float load(const __half* at) { return __half2float(*at); }
__device__ inline float load(const __nv_bfloat16* at) { return __bfloat162float(*at); }
__device__ inline void store(float value, float* at) { *at = value; }
__device__ inline void store(float value, __half* at) { *at = __float2half_rn(value); }
__device__ inline void store(float value, __nv_bfloat16* at) { *at = __float2bfloat16_rn(value); }

// N numbers that are read or written at once; they lie on a multiple of their size.
template <typename T, int N>
struct alignas(N * sizeof(T)) Vector {
  T values[N];

  __device__ static Vector read(const T* at) { return *reinterpret_cast<const Vector*>(at); }
  __device__ void write(T* at) const { *reinterpret_cast<Vector*>(at) = *this; }
};

constexpr int kThreads = 256;
constexpr int kWideBlock = 1024;  // threads of a block that has something to itself

inline int blocks_for(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return int(blocks < 1 ? 1 : blocks > (1 << 20) ? (1 << 20) : blocks);
}

}  // namespace kdet

// Every thread takes its share of [0, count).
#define KDET_EACH(index, count)                                                                  \
  for (int64_t index = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; index < (count);          \
       index += int64_t(blockDim.x) * gridDim.x)

// Calls body with Type bound to the element type of that number.
#define KDET_WITH_TYPE(number, ...)        \
  switch (number) {                        \
    case kdet::kFloat: {                   \
      using Type = float;                  \
      __VA_ARGS__;                         \
      break;                               \
    }                                      \
    case kdet::kHalf: {                    \
      using Type = __half;                 \
      __VA_ARGS__;                         \
      break;                               \
    }                                      \
    case kdet::kBFloat16: {                \
      using Type = __nv_bfloat16;          \
      __VA_ARGS__;                         \
      break;                               \
    }                                      \
  }

#endif  // KDET_COMMON_CUDA_H_
