// A product of small matrices on the CPU whose result stays in registers.
#ifndef KDET_COMMON_TILE_PRODUCT_H_
#define KDET_COMMON_TILE_PRODUCT_H_

#include "common/instruction_set.h"
#include "common/lanes.h"

namespace kdet {
inline namespace KDET_ISA {

// Rows of so many vectors that the registers hold besides what the product reads; a row at least twelve vectors need,
// so that the sums need not wait for each other.
template <int Vectors>
constexpr int kProductRows = kRegisters >= 32 || Vectors == 1 ? 12 : 6;

// A matrix whose number (row, column) is values[row * row_step + column * column_step].
struct Strided2d {
  const float* values;
  int64_t row_step, column_step;
};

// out [Rows, Vectors * kLanes] = a [Rows, depth] * b [depth, Vectors * kLanes], plus out where kAdd. The steps are
// from row to row. Always inline, so that steps that are known become part of the instructions. Abreast: so many
// products at a time; every number of `a` is so many next to each other, and lane n belongs to product n % Abreast.
template <int Rows, int Vectors, bool kAdd, int Abreast>
inline __attribute__((always_inline)) void tile_product(const Strided2d& a, const float* b, int64_t b_step, int depth,
                                                        float* out, int64_t out_step) {
  Lanes sums[Rows][Vectors];
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) sums[r][v] = kAdd ? load_lanes(out + r * out_step + v * kLanes) : Lanes{};
  }
  for (int k = 0; k < depth; ++k) {
    Lanes right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = load_lanes(b + k * b_step + v * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Lanes left = repeat_lanes<Abreast>(a.values + r * a.row_step + k * a.column_step);
      for (int v = 0; v < Vectors; ++v) sums[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) store_lanes(sums[r][v], out + r * out_step + v * kLanes);
  }
}

// The same for any number of rows, Rows at a time, then half as many, and so on.
template <int Rows, int Vectors, bool kAdd = false, int Abreast = 1>
inline __attribute__((always_inline)) void tile_products(Strided2d a, const float* b, int64_t b_step, int rows,
                                                         int depth, float* out, int64_t out_step) {
  for (; rows >= Rows; rows -= Rows) {
    tile_product<Rows, Vectors, kAdd, Abreast>(a, b, b_step, depth, out, out_step);
    a.values += Rows * a.row_step;
    out += Rows * out_step;
  }
  if constexpr (Rows > 1) {
    if (rows > 0) tile_products<Rows / 2, Vectors, kAdd, Abreast>(a, b, b_step, rows, depth, out, out_step);
  }
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_TILE_PRODUCT_H_
