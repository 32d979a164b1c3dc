// The best of a CUDA block's candidates.
#ifndef KDET_COMMON_BEST_H_
#define KDET_COMMON_BEST_H_

#include "common/cuda.h"

namespace kdet {

struct Best {
  float score;
  int64_t index;  // negative: there is none

  // A higher score wins, then a lower index.
  __device__ bool loses_to(float other, int64_t at) const {
    return index < 0 || other > score || (other == score && at < index);
  }
};

__device__ inline Best nobody() { return {-INFINITY, -1}; }

// The best of what the threads of the block found; all of them must call it, and all get the answer.
__device__ inline Best best_of_block(Best mine) {
  __shared__ Best all[kThreads];
  __syncthreads();  // the answer before this one has been read
  all[threadIdx.x] = mine;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      const Best other = all[threadIdx.x + half];
      if (other.index >= 0 && all[threadIdx.x].loses_to(other.score, other.index)) all[threadIdx.x] = other;
    }
    __syncthreads();
  }
  return all[0];
}

}  // namespace kdet

#endif  // KDET_COMMON_BEST_H_
