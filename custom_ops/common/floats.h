// Rows of float32, float16 and bfloat16 numbers. Kernels compute in float32 whatever they read and write.
#ifndef KDET_COMMON_FLOATS_H_
#define KDET_COMMON_FLOATS_H_

#include <cstdint>
#include <cstring>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "common/instruction_set.h"

namespace kdet {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// What the TensorFlow wrappers need of the functions below.
template <typename T>
struct FloatKernels {
  // The numbers of a row as float32, in a place of their own.
  void (*copy)(const T* row, int64_t n, float* to);
};

inline namespace KDET_ISA {

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float to_float(float value) { return value; }

inline float to_float(BFloat16 value) { return bits_to_float(uint32_t(value.bits) << 16); }

inline float to_float(Half value) {
#ifdef __F16C__
  return _cvtsh_ss(value.bits);
#else
  const uint32_t sign = uint32_t(value.bits & 0x8000) << 16, rest = value.bits & 0x7fff;
  // Scaling by 2^112 moves the exponent's bias from 15 to 127, subnormal numbers included.
  const float scaled = bits_to_float(rest << 13) * bits_to_float(0x77800000u);
  const uint32_t bits = rest >= 0x7c00 ? (0x7f800000u | (rest << 13)) : float_to_bits(scaled);
  return bits_to_float(sign | bits);
#endif
}

inline void from_float(float value, float* out) { *out = value; }

inline void from_float(float value, BFloat16* out) {
  const uint32_t bits = float_to_bits(value);
  const bool nan = (bits & 0x7fffffff) > 0x7f800000u;
  out->bits = nan ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline void from_float(float value, Half* out) {
#ifdef __F16C__
  out->bits = uint16_t(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
#else
  const uint32_t bits = float_to_bits(value), sign = (bits >> 16) & 0x8000;
  const uint32_t rest = bits & 0x7fffffff;
  if (rest > 0x7f800000u) {
    out->bits = uint16_t(sign | 0x7e00);
  } else if (rest >= 0x47800000u) {  // 2^16 and above
    out->bits = uint16_t(sign | 0x7c00);
  } else if (rest < 0x38800000u) {  // below 2^-14: let the addition round to a subnormal
    const uint32_t shifted = float_to_bits(bits_to_float(rest) + 0.5f) - 0x3f000000u;
    out->bits = uint16_t(sign | shifted);
  } else {
    out->bits = uint16_t(sign | ((rest - 0x38000000u + 0xfff + ((rest >> 13) & 1)) >> 13));
  }
#endif
}

// The row as floats: the row itself, or converted into scratch (at least n floats).
inline const float* as_floats(const float* row, int64_t, float*) { return row; }

template <typename T>
const float* as_floats(const T* row, int64_t n, float* scratch) {
  for (int64_t i = 0; i < n; ++i) scratch[i] = to_float(row[i]);
  return scratch;
}

#ifdef __F16C__
// Eight at a time, which the compiler does not do by itself.
inline const float* as_floats(const Half* row, int64_t n, float* scratch) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(scratch + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i))));
  }
  for (; i < n; ++i) scratch[i] = to_float(row[i]);
  return scratch;
}
#endif

// The row as floats, in a place of its own.
inline void copy_floats(const float* row, int64_t n, float* to) { std::memcpy(to, row, n * 4); }

template <typename T>
void copy_floats(const T* row, int64_t n, float* to) {
  as_floats(row, n, to);
}

inline void store_floats(const float* values, int64_t n, float* out) { std::memcpy(out, values, n * 4); }

template <typename T>
void store_floats(const float* values, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) from_float(values[i], out + i);
}

#ifdef __F16C__
inline void store_floats(const float* values, int64_t n, Half* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), halves);
  }
  for (; i < n; ++i) from_float(values[i], out + i);
}
#endif

// Where the floats of an output row are made: the row itself, or scratch that `finish_floats` rounds into it.
inline float* output_floats(float* row, float*) { return row; }

template <typename T>
float* output_floats(T*, float* scratch) {
  return scratch;
}

inline void finish_floats(const float*, int64_t, float*) {}

template <typename T>
void finish_floats(const float* values, int64_t n, T* row) {
  store_floats(values, n, row);
}

// out += factor * row
inline void add_scaled(float factor, const float* __restrict row, int64_t n, float* __restrict out) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * row[i];
}

inline float dot(const float* __restrict a, const float* __restrict b, int64_t n) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < n; ++i) total += a[i] * b[i];
  return total;
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_FLOATS_H_
