// Views of rows of numbers as matrices, for products of gathered tiles.
#ifndef KDET_COMMON_MATRIX_H_
#define KDET_COMMON_MATRIX_H_

#include <Eigen/Core>
#include <cstdint>

namespace kdet {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;
using ConstStrided = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

// Output pixels gathered at a time: the gathered tile should stay in the second-level cache.
constexpr int64_t kTileRows = 96;

}  // namespace kdet

#endif  // KDET_COMMON_MATRIX_H_
