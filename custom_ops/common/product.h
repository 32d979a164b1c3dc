// A matrix product for CUDA kernels that reads its operands and hands over its result through functions, so
// that nothing needs to be laid out as a matrix first.
#ifndef KDET_COMMON_PRODUCT_H_
#define KDET_COMMON_PRODUCT_H_

#include "common/cuda.h"

namespace kdet {

constexpr int kSide = 64;   // side of the tile of the result that a block of kThreads threads works on
constexpr int kStep = 16;   // terms that are loaded at a time
constexpr int kLane = 16;   // kThreads = kLane * kLane; a thread has every kLane-th row and column

// take(m, n, sum over k in [begin, end) of a(m, k) * b(k, n)) for the tile (blockIdx.x, blockIdx.y) of a result
// of rows x columns. All threads of the block must call it.
template <typename A, typename B, typename Take>
__device__ void product(int64_t rows, int64_t columns, int64_t begin, int64_t end, const A& a, const B& b,
                        const Take& take) {
  __shared__ float left[kStep][kSide + 1], right[kStep][kSide + 1];
  const int64_t first_row = int64_t(blockIdx.x) * kSide, first_column = int64_t(blockIdx.y) * kSide;
  const int own_row = threadIdx.x / kLane, own_column = threadIdx.x % kLane;
  constexpr int kOwn = kSide / kLane;
  float sums[kOwn][kOwn] = {};
  for (int64_t first = begin; first < end; first += kStep) {
    for (int e = threadIdx.x; e < kSide * kStep; e += kThreads) {
      const int64_t m = first_row + e / kStep, n = first_column + e % kSide;
      const int64_t for_left = first + e % kStep, for_right = first + e / kSide;
      left[e % kStep][e / kStep] = m < rows && for_left < end ? a(m, for_left) : 0.0f;
      right[e / kSide][e % kSide] = n < columns && for_right < end ? b(for_right, n) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kStep; ++k) {
      for (int i = 0; i < kOwn; ++i) {
        for (int j = 0; j < kOwn; ++j) sums[i][j] += left[k][own_row + i * kLane] * right[k][own_column + j * kLane];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < kOwn; ++i) {
    for (int j = 0; j < kOwn; ++j) {
      const int64_t m = first_row + own_row + i * kLane, n = first_column + own_column + j * kLane;
      if (m < rows && n < columns) take(m, n, sums[i][j]);
    }
  }
}

// The blocks for a result of rows x columns, `layers` times.
inline dim3 tiles_for(int64_t rows, int64_t columns, int64_t layers) {
  return dim3(unsigned((rows + kSide - 1) / kSide), unsigned((columns + kSide - 1) / kSide), unsigned(layers));
}

}  // namespace kdet

#endif  // KDET_COMMON_PRODUCT_H_
