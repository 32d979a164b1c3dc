// Floats that are worked on together: as many as a register of the instruction set holds.
#ifndef KDET_COMMON_LANES_H_
#define KDET_COMMON_LANES_H_

#include <cstdint>
#include <utility>

#ifdef __AVX__
#include <immintrin.h>
#endif

#include "common/floats.h"
#include "common/instruction_set.h"

namespace kdet {
inline namespace KDET_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

// GCC's and clang's vectors.
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));
// The same in memory of one's own, where none should lie across two cache lines.
typedef float AlignedLanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef int Places __attribute__((vector_size(kLanes * sizeof(int))));
using EveryLane = std::make_integer_sequence<int, kLanes>;

inline Lanes load_lanes(const float* from) { return *reinterpret_cast<const Lanes*>(from); }
inline void store_lanes(Lanes value, float* to) { *reinterpret_cast<Lanes*>(to) = value; }
inline Lanes all_lanes(float value) { return value - Lanes{}; }  // minus 0 is nothing to compute, plus 0 is

// N numbers from memory, over and over.
template <int N>
Lanes repeat_lanes(const float* from) {
  if constexpr (N == 1) return all_lanes(*from);
  // Loads that repeat by themselves, which the compiler does not find.
#ifdef __AVX__
  if constexpr (N == 2) {
    int64_t pair;
    std::memcpy(&pair, from, sizeof(pair));
#ifdef __AVX512F__
    return reinterpret_cast<Lanes>(_mm512_set1_epi64(pair));
#else
    return reinterpret_cast<Lanes>(_mm256_set1_epi64x(pair));
#endif
  }
#endif
#ifdef __AVX512F__
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

// Lane k of the result is lane place(k) of `from`; Place is a type with a constexpr function of that name.
template <typename Place, int... K>
Lanes move_lanes(Lanes from, std::integer_sequence<int, K...>) {
#ifdef __clang__
  return __builtin_shufflevector(from, from, Place::place(K)...);
#else
  return __builtin_shuffle(from, Places{Place::place(K)...});
#endif
}

// The first place of the part of N lanes that each lane lies in.
template <int N, int... K>
constexpr Places places_of_parts(std::integer_sequence<int, K...>) {
  return Places{K / N * N...};
}

// Number d of every part of N lanes, N times over.
template <int N>
Lanes spread_lanes(Lanes from, int d) {
#ifdef __clang__
  Lanes to;
  for (int k = 0; k < kLanes; ++k) to[k] = from[k / N * N + d];
  return to;
#else
  return __builtin_shuffle(from, places_of_parts<N>(EveryLane()) + d);
#endif
}

template <int Rows>
struct Transposed {
  static constexpr int kColumns = kLanes / Rows;
  static constexpr int place(int k) { return k % Rows * kColumns + k / Rows; }
};

// The lanes as a matrix of so many rows, transposed: number c of row r becomes number r of row c.
template <int Rows>
Lanes transpose_lanes(Lanes from) {
  if constexpr (Rows == 1 || Rows == kLanes) return from;
  return move_lanes<Transposed<Rows>>(from, EveryLane());
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_LANES_H_
