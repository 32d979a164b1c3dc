// Running sums over the threads of a CUDA block.
#ifndef KDET_COMMON_RUNNING_SUM_H_
#define KDET_COMMON_RUNNING_SUM_H_

#include "common/cuda.h"

namespace kdet {

// The sum of the values of all threads up to this one; total: of all. All threads of the block must call it.
__device__ inline int running_sum(int value, int* total) {
  __shared__ int sums[2][kWideBlock];
  const int own = threadIdx.x, threads = blockDim.x;
  int side = 0;
  __syncthreads();  // the answer before this one has been read
  sums[side][own] = value;
  __syncthreads();
  for (int step = 1; step < threads; step *= 2) {
    value += own >= step ? sums[side][own - step] : 0;
    side = 1 - side;
    sums[side][own] = value;
    __syncthreads();
  }
  *total = sums[side][threads - 1];
  return value;
}

}  // namespace kdet

#endif  // KDET_COMMON_RUNNING_SUM_H_
