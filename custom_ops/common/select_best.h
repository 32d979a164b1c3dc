// The best of many scores in order, found by one CUDA block.
#ifndef KDET_COMMON_SELECT_BEST_H_
#define KDET_COMMON_SELECT_BEST_H_

#include "common/cuda.h"
#include "common/running_sum.h"

namespace kdet {

// Keys compare as the candidates do: a higher score is greater, then a lower index. No two are equal, so the best
// are those from some key on. 0: no candidate, which is a score of -infinity or NaN.
__device__ inline uint64_t candidate_key(float score, int index) {
  if (!(score > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(score + 0.0f);  // one pattern for both zeros
  const uint32_t rising = bits >> 31 ? ~bits : bits | 0x80000000u;
  return uint64_t(rising) << 32 | uint32_t(~index);
}

// The least of the `most` greatest keys, or 1 where there are no more keys than that. It is found by its digits from
// the highest on; the last ones stay 0 once all keys that begin like it are wanted.
template <typename Key>
__device__ uint64_t least_of_best(int count, int64_t most, const Key& key_of) {
  constexpr int kDigit = 10;  // bits; a thread of the block for each value
  static_assert(1 << kDigit == kWideBlock, "one bin per thread");
  __shared__ int bins[kWideBlock], digit, above, held;
  if (count <= most) return 1;
  uint64_t least = 0, known = 0;  // known: the bits of `least` that are found
  for (int low = 64 - kDigit;; low = max(low - kDigit, 0)) {
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += kWideBlock) {
      const uint64_t key = key_of(i);
      if (key != 0 && (key & known) == least) atomicAdd(&bins[(key >> low) % kWideBlock], 1);
    }
    __syncthreads();
    const int bin = kWideBlock - 1 - threadIdx.x, own = bins[bin];
    int total;
    const int sum = running_sum(own, &total);  // of this bin and those above
    if (total <= most) return 1;
    if (sum >= most && sum - own < most) {
      digit = bin;
      above = sum - own;
      held = own;
    }
    __syncthreads();
    least |= uint64_t(digit) << low;  // the last digit begins with bits that are known
    known = ~uint64_t(0) << low;
    most -= above;
    if (held == most) return least;
  }
}

// Calls put(rank, index, score) for the best `most` of `count` scores, by any thread in any order, and returns how
// many they are. A score of -infinity or NaN is no candidate; of equal scores the lower index is better. found has
// room for the indices of all of them. To be called by all threads of a block of kWideBlock, once in a kernel.
template <typename Score, typename Put>
__device__ int select_best(int count, int64_t most, const Score& score_of, int* found, const Put& put) {
  __shared__ uint64_t keys[kWideBlock];
  __shared__ int taken;
  if (most <= 0) return 0;
  const auto key_of = [&](int i) { return candidate_key(score_of(i), i); };
  const uint64_t least = least_of_best(count, most, key_of);
  if (threadIdx.x == 0) taken = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += kWideBlock) {
    if (key_of(i) >= least) found[atomicAdd(&taken, 1)] = i;
  }
  __syncthreads();
  for (int start = 0; start < taken; start += kWideBlock) {
    const int own = start + threadIdx.x;
    const uint64_t key = own < taken ? key_of(found[own]) : 0;
    int rank = 0;
    for (int tile = 0; tile < taken; tile += kWideBlock) {
      const int other = tile + threadIdx.x, size = min(kWideBlock, taken - tile);
      __syncthreads();  // the tile before has been read
      if (other < taken) keys[threadIdx.x] = key_of(found[other]);
      __syncthreads();
      for (int k = 0; k < size && own < taken; ++k) rank += keys[k] > key;
    }
    if (own < taken) put(rank, found[own], score_of(found[own]));
  }
  return taken;
}

}  // namespace kdet

#endif  // KDET_COMMON_SELECT_BEST_H_
