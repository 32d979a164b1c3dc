// Convolution at marked places on the CPU: gathers what a tile of them sees, then multiplies.
#ifndef KDET_MASKED_CONV_MASKED_CONV_CPU_H_
#define KDET_MASKED_CONV_MASKED_CONV_CPU_H_

#include <cstring>
#include <vector>

#include "common/floats.h"
#include "common/gathered_conv.h"
#include "common/instruction_set.h"
#include "common/matrix.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "masked_conv/masked_conv.h"

namespace kdet {
inline namespace KDET_ISA {
namespace masked_conv {

// The marked output pixels, in order.
inline std::vector<int64_t> marked(const MaskedConv& p, const bool* mask) {
  std::vector<int64_t> pixels;
  for (int64_t pixel = 0; pixel < p.pixels(); ++pixel) {
    if (mask[pixel]) pixels.push_back(pixel);
  }
  return pixels;
}

// The convolution of the marked pixels.
inline GatheredConv gathered(const MaskedConv& p, const std::vector<int64_t>& pixels) {
  return {p.pixels(), int64_t(pixels.size()), p.cells(), p.channels, p.out_channels, 1};
}

// What a cell of an output pixel sees of the channels [begin, end).
template <typename T>
void gather(const MaskedConv& p, const T* x, int64_t pixel, int cell, int begin, int end, float* seen) {
  const int64_t from = p.seen(pixel, cell);
  if (from < 0) {
    std::fill(seen, seen + (end - begin), 0.0f);
  } else {
    copy_floats(x + from + begin, end - begin, seen);
  }
}

// kernel and bias are float32 whatever T is. Writes all of out, 0 where nothing is marked.
template <typename T>
void forward(const MaskedConv& p, const T* x, const bool* mask, const float* kernel, const float* bias, T* out,
             const ParallelFor& parallel) {
  parallel.blocks(p.pixels() * p.out_channels, 1 << 16,
                  [&](int64_t begin, int64_t end) { std::memset(out + begin, 0, (end - begin) * sizeof(T)); });
  const std::vector<int64_t> pixels = marked(p, mask);
  const auto see = [&](int64_t row, int cell, int begin, int end, float* seen, float*) {
    gather(p, x, pixels[row], cell, begin, end, seen);
  };
  const auto take = [&](int64_t first, int64_t count, float* sums) {
    for (int64_t t = 0; t < count; ++t, sums += p.out_channels) {
      add_scaled(1.0f, bias, p.out_channels, sums);
      store_floats(sums, p.out_channels, out + pixels[first + t] * p.out_channels);
    }
  };
  gathered_forward<T>(gathered(p, pixels), kernel, see, take, parallel);
}

// Writes all of the three gradients. Every task owns a range of input channels (of output channels for the bias), so
// nothing is written twice.
template <typename T>
void backward(const MaskedConv& p, const T* x, const bool* mask, const T* kernel, const T* upstream, T* for_x,
              T* for_kernel, T* for_bias, const ParallelFor& parallel) {
  const std::vector<int64_t> pixels = marked(p, mask);
  const int64_t total = int64_t(pixels.size());
  const int outputs = p.out_channels, cells = p.cells();
  parallel.channels(outputs, 16, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(end - begin);
    SummedPart<T> sums;
    sums.start(for_bias + begin, 1, end - begin, end - begin);
    for (int64_t pixel : pixels) {
      const float* row = as_floats(upstream + pixel * outputs + begin, end - begin, scratch.data());
      add_scaled(1.0f, row, end - begin, sums.row(0));
    }
    sums.finish();
  });
  const int64_t range = std::max<int64_t>(parallel.range_width(p.channels, 16, kPartsPerThread<T>), 1);
  const int64_t in_pixels = p.batch * p.height * p.width, tile = std::min(kTileRows, total);
  const int64_t gradient_bytes = sizeof(T) * p.channels * (in_pixels + int64_t{cells} * outputs);
  int64_t kept = tile * (2 * cells * range + outputs);  // by one task
  if (!std::is_same_v<T, float>) kept += (in_pixels + 2 * cells * outputs) * range;
  const ParallelFor fewer = parallel.within(gradient_bytes / 4 * 3, kept * sizeof(float));
  fewer.run((p.channels + range - 1) / range, [&](int64_t task) {
    const int64_t begin = task * range, end = std::min<int64_t>(begin + range, p.channels);
    const int64_t width = end - begin, cell_size = int64_t{p.channels} * outputs;
    FloatPart<T> weights;  // a row per cell
    SummedPart<T> kernel_sums, x_sums;
    weights.read(kernel + begin * outputs, cells, width * outputs, cell_size);
    kernel_sums.start(for_kernel + begin * outputs, cells, width * outputs, cell_size);
    x_sums.start(for_x + begin, p.batch * p.height * p.width, width, p.channels);
    std::vector<float> seen(kTileRows * cells * width), wanted(kTileRows * cells * width), rows(kTileRows * outputs);
    for (int64_t first = 0; first < total; first += kTileRows) {
      const int64_t count = std::min(kTileRows, total - first);
      for (int64_t t = 0; t < count; ++t) {
        copy_floats(upstream + pixels[first + t] * outputs, outputs, rows.data() + t * outputs);
      }
      for (int64_t t = 0; t < count * cells; ++t) {
        gather(p, x, pixels[first + t / cells], int(t % cells), int(begin), int(end), seen.data() + t * width);
      }
      const ConstStrided up(rows.data(), count, outputs, Eigen::OuterStride<>(outputs));
      for (int cell = 0; cell < cells; ++cell) {
        const ConstStrided own(weights.row(cell), width, outputs, Eigen::OuterStride<>(outputs));
        const ConstStrided had(seen.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
        Strided columns(wanted.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
        Strided sum(kernel_sums.row(cell), width, outputs, Eigen::OuterStride<>(outputs));
        columns.noalias() = up * own.transpose();
        sum.noalias() += had.transpose() * up;
      }
      for (int64_t t = 0; t < count * cells; ++t) {
        const int64_t to = p.seen(pixels[first + t / cells], int(t % cells));
        if (to >= 0) add_scaled(1.0f, wanted.data() + t * width, width, x_sums.row(to / p.channels));
      }
    }
    kernel_sums.finish();
    x_sums.finish();
  });
}

}  // namespace masked_conv
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_MASKED_CONV_MASKED_CONV_CPU_H_
