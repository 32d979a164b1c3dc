// Convolutions whose output pixels look at places of their own, on the CPU: what the cells of some output pixels see
// is gathered, then multiplied.
#ifndef KDET_COMMON_GATHERED_CONV_H_
#define KDET_COMMON_GATHERED_CONV_H_

#include <algorithm>
#include <type_traits>
#include <vector>

#include "common/instruction_set.h"
#include "common/matrix.h"
#include "common/parallel.h"

namespace kdet {
inline namespace KDET_ISA {

struct GatheredConv {
  int64_t pixels, rows;  // of the output, and those of them that are computed
  int cells, channels, out_channels, groups;  // kernel [cells, channels / groups, out_channels]

  int inputs() const { return channels / groups; }
  int outputs() const { return out_channels / groups; }
};

// Terms of the sums that are gathered at a time: with as many rows of the kernel they fit the second-level cache.
constexpr int kGatheredTerms = 256;

// T is the output's type; kernel is float32, in half precision a copy. gather(row, cell, begin, end, seen, scratch)
// writes what a cell of an output pixel sees of the channels [begin, end), take(first, count, sums) gets the sums
// [count, out_channels] of some rows. That copy and what all tasks keep is three quarters of the output at most, if
// there are more than two tasks.
template <typename T, typename Gather, typename Take>
void gathered_forward(const GatheredConv& p, const float* kernel, const Gather& gather, const Take& take,
                      const ParallelFor& parallel) {
  const int inputs = p.inputs(), outputs = p.outputs();
  const int width = std::min(inputs, kGatheredTerms), cells = std::max(1, kGatheredTerms / std::max(inputs, 1));
  const int64_t terms = int64_t{width} * std::min(cells, p.cells);
  // Eigen packs the rows of the kernel.
  const int64_t bytes = 4 * (kTileRows * (terms + p.out_channels) + terms * outputs);
  int64_t budget = p.pixels * p.out_channels * int64_t{sizeof(T)} / 4 * 3;
  if (!std::is_same_v<T, float>) budget -= int64_t{sizeof(float)} * p.cells * inputs * p.out_channels;
  const int64_t tiles = (p.rows + kTileRows - 1) / kTileRows;
  parallel.within(budget, bytes).blocks(tiles, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> seen(kTileRows * terms), sums(kTileRows * p.out_channels);
    float scratch[kGatheredTerms];
    for (int64_t first = begin * kTileRows; first < std::min(end * kTileRows, p.rows); first += kTileRows) {
      const int64_t count = std::min(kTileRows, p.rows - first);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int g = 0; g < p.groups; ++g) {
        Strided to(sums.data() + g * outputs, count, outputs, Eigen::OuterStride<>(p.out_channels));
        for (int cell = 0; cell < p.cells; cell += cells) {
          const int last = std::min(cell + cells, p.cells);
          for (int from = 0; from < inputs; from += width) {
            const int own = std::min(width, inputs - from), step = (last - cell) * own;
            for (int64_t t = 0; t < count; ++t) {
              for (int c = cell; c < last; ++c) {
                float* row = seen.data() + t * step + (c - cell) * own;
                gather(first + t, c, g * inputs + from, g * inputs + from + own, row, scratch);
              }
            }
            const ConstStrided columns(seen.data(), count, step, Eigen::OuterStride<>(step));
            const ConstStrided weights(kernel + int64_t(cell * inputs + from) * p.out_channels + g * outputs, step,
                                       outputs, Eigen::OuterStride<>(p.out_channels));
            to.noalias() += columns * weights;
          }
        }
      }
      take(first, count, sums.data());
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_COMMON_GATHERED_CONV_H_
