// Views of rows of numbers as matrices, for products of gathered tiles.
#ifndef KDET_COMMON_MATRIX_H_
#define KDET_COMMON_MATRIX_H_

#include <cstdint>

#include "common/instruction_set.h"

// Eigen's functions differ by the instruction set too, but not by their names.
#define KDET_JOINED(a, b) KDET_JOINED_NAMES(a, b)
#define KDET_JOINED_NAMES(a, b) a##_##b
#define Eigen KDET_JOINED(Eigen, KDET_ISA)
#include <Eigen/Core>

namespace kdet {
inline namespace KDET_ISA {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;
using ConstStrided = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

// Output pixels gathered at a time: the gathered tile should stay in the second-level cache.
constexpr int64_t kTileRows = 96;

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_MATRIX_H_
