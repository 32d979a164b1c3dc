// Sixteen floats that are worked on together.
#ifndef KDET_COMMON_LANES_H_
#define KDET_COMMON_LANES_H_

#include <cstdint>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "common/floats.h"

namespace kdet {

constexpr int kLanes = 16;

// GCC's and clang's vectors, in as many registers as the processor needs for them.
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));
// The same in memory of one's own, where none should lie across two cache lines.
typedef float AlignedLanes __attribute__((vector_size(kLanes * sizeof(float))));

inline Lanes load_lanes(const float* from) { return *reinterpret_cast<const Lanes*>(from); }
inline void store_lanes(Lanes value, float* to) { *reinterpret_cast<Lanes*>(to) = value; }
inline Lanes all_lanes(float value) { return value - Lanes{}; }  // minus 0 is nothing to compute, plus 0 is

// N numbers from memory, over and over.
template <int N>
Lanes repeat_lanes(const float* from) {
  if constexpr (N == 1) return all_lanes(*from);
#ifdef __AVX512F__
  // Loads that repeat by themselves, which the compiler does not find.
  if constexpr (N == 2) {
    int64_t pair;
    std::memcpy(&pair, from, sizeof(pair));
    return reinterpret_cast<Lanes>(_mm512_set1_epi64(pair));
  }
  if constexpr (N == 4) return reinterpret_cast<Lanes>(_mm512_broadcast_f32x4(_mm_loadu_ps(from)));
#endif
  float values[kLanes];
  for (int k = 0; k < kLanes; ++k) values[k] = from[k % N];
  return load_lanes(values);
}

// The first `count` lanes from memory, the others 0.
template <typename T>
Lanes load_lanes(const T* from, int count) {
  alignas(64) float values[kLanes] = {};
  copy_floats(from, count, values);
  return load_lanes(values);
}

template <>
inline Lanes load_lanes(const float* from, int count) {
  if (count == kLanes) return load_lanes(from);
  Lanes value{};
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

// The first `count` lanes into memory.
inline void store_lanes(Lanes value, int count, float* to) {
  if (count == kLanes) return store_lanes(value, to);
  std::memcpy(to, &value, count * sizeof(float));
}

// Number d of every part of N lanes, N times over.
template <int N>
Lanes spread_lanes(Lanes from, int d) {
#ifdef __clang__
  Lanes to;
  for (int k = 0; k < kLanes; ++k) to[k] = from[k / N * N + d];
  return to;
#else
  typedef int Places __attribute__((vector_size(kLanes * sizeof(int))));
  constexpr Places own = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(from, own / N * N + d);
#endif
}

// Whether the next function is quick: where the lanes take several registers, GCC moves them one by one.
#if defined(__AVX512F__) || defined(__clang__)
constexpr bool kQuickTranspose = true;
#else
constexpr bool kQuickTranspose = false;
#endif

// The lanes as a matrix of so many rows, transposed: number c of row r becomes number r of row c.
template <int Rows>
Lanes transpose_lanes(Lanes from) {
  constexpr int kColumns = kLanes / Rows;
  if constexpr (Rows == 1 || kColumns == 1) return from;
#ifdef __clang__
  Lanes to;
#pragma unroll
  for (int k = 0; k < kLanes; ++k) to[k] = from[k % Rows * kColumns + k / Rows];
  return to;
#else
  typedef int Places __attribute__((vector_size(kLanes * sizeof(int))));
  constexpr Places own = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(from, own % Rows * kColumns + own / Rows);
#endif
}

}  // namespace kdet

#endif  // KDET_COMMON_LANES_H_
