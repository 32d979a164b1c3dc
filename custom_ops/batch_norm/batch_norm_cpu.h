// Batch normalization in training on the CPU: one pass for the sums, one for the output.
#ifndef KDET_BATCH_NORM_BATCH_NORM_CPU_H_
#define KDET_BATCH_NORM_BATCH_NORM_CPU_H_

#include <vector>

#include "batch_norm/batch_norm.h"
#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"

namespace kdet {
inline namespace KDET_ISA {
namespace batch_norm {

// Rows that are added at a time, so that the sums are read and written once for all of them. They lie far apart:
// the processor fetches ahead in each of as many places, and not in many of the same page.
constexpr int kTogether = 4;

// visit(first row, row after the last, whether they count) for the rows [begin, end).
template <typename Visit>
void each_run(const BatchNorm& p, const float* counted, int64_t begin, int64_t end, const Visit& visit) {
  while (begin < end) {
    const int64_t image = begin / p.cells;
    const int64_t stop = counted == nullptr ? end : std::min(end, (image + 1) * p.cells);
    visit(begin, stop, counted == nullptr || counted[image] > 0);
    begin = stop;
  }
}

// sums [2, channels] += sum of a, sum of a * b, over rows.
template <typename T>
void add_rows(const T* a, const T* b, int64_t rows, int channels, float* scratch, double* __restrict sums) {
  float* zeros = scratch + 2 * kTogether * channels;
  const int64_t stride = (rows + kTogether - 1) / kTogether;
  for (int64_t row = 0; row < stride; ++row) {
    const float *left[kTogether], *right[kTogether];
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = (row + k * stride) * channels;
      float* own = scratch + 2 * k * channels;
      left[k] = row + k * stride < rows ? as_floats(a + at, channels, own) : zeros;
      right[k] = a == b ? left[k] : row + k * stride < rows ? as_floats(b + at, channels, own + channels) : zeros;
    }
    double* __restrict products = sums + channels;
    const auto column = [&](int c) {
      double sum = 0, product = 0;
      for (int k = 0; k < kTogether; ++k) {
        sum += left[k][c];
        product += double(left[k][c]) * right[k][c];
      }
      sums[c] += sum;
      products[c] += product;
    };
#pragma omp simd
    for (int c = 0; c < channels; ++c) column(c);
  }
}

// sums [parts, 2, channels]: of a and of a * b, the whole in the first part. all: rows that do not count too.
template <typename T>
void add_up(const BatchNorm& p, const T* a, const T* b, const float* counted, bool all, double* sums,
            const ParallelFor& parallel) {
  const int64_t width = 2 * p.channels;
  parallel.run(p.parts(), [&](int64_t part) {
    std::vector<float> scratch((2 * kTogether + 1) * p.channels);
    double* own = sums + part * width;
    std::fill(own, own + width, 0.0);
    const int64_t begin = part * p.part_rows(), end = std::min(p.rows(), begin + p.part_rows());
    each_run(p, all ? nullptr : counted, begin, end, [&](int64_t first, int64_t last, bool counts) {
      if (!counts) return;
      add_rows(a + first * p.channels, b + first * p.channels, last - first, p.channels, scratch.data(), own);
    });
  });
  for (int64_t part = 1; part < p.parts(); ++part) {
    for (int64_t i = 0; i < width; ++i) sums[i] += sums[part * width + i];
  }
}

// visit(where they begin) for two of the rows [begin, end) at a time, which is quicker for the reason given at
// `kTogether` and reads what belongs to the channels once for both. The last of an odd number comes twice.
template <typename Visit>
void each_pair(int64_t begin, int64_t end, int channels, const Visit& visit) {
  const int64_t stride = (end - begin + 1) / 2;
  for (int64_t row = begin; row < begin + stride; ++row) {
    const int64_t at[] = {row * channels, std::min(row + stride, end - 1) * channels};
    visit(at);
  }
}

// counted: see `BatchNorm::count`. sums: scratch. y like x; mean, variance (unbiased) and inverse (of the deviation)
// are [channels].
template <typename T>
void forward(const BatchNorm& p, const T* x, const float* counted, const float* gamma, const float* beta,
             double* sums, T* y, float* mean, float* variance, float* inverse, const ParallelFor& parallel) {
  const double count = p.count(counted);
  add_up(p, x, x, counted, false, sums, parallel);
  std::vector<float> scales(p.channels);
  for (int c = 0; c < p.channels; ++c) {
    const Moments moments(sums[c], sums[p.channels + c], count, p.epsilon);
    mean[c] = float(moments.mean);
    variance[c] = float(moments.variance * (count / std::max(count - 1, 1.0)));
    inverse[c] = float(moments.inverse);
    scales[c] = float(gamma[c] * moments.inverse);
  }
  parallel.blocks(p.rows(), p.part_rows(), [&](int64_t begin, int64_t end) {
    std::vector<float> in(2 * p.channels), out(2 * p.channels);
    const float* scale = scales.data();
    each_pair(begin, end, p.channels, [&](const int64_t* at) {
      const float* values[2];
      float* to[2];
      for (int k = 0; k < 2; ++k) {
        values[k] = as_floats(x + at[k], p.channels, in.data() + k * p.channels);
        to[k] = output_floats(y + at[k], out.data() + k * p.channels);
      }
#pragma omp simd
      for (int c = 0; c < p.channels; ++c) {
        for (int k = 0; k < 2; ++k) to[k][c] = (values[k][c] - mean[c]) * scale[c] + beta[c];
      }
      for (int k = 0; k < 2; ++k) finish_floats(to[k], p.channels, y + at[k]);
    });
  });
}

// mean, inverse: of `forward`. Rows that do not count pass their gradient on to gamma and beta, but not to the
// statistics' part of for_x.
template <typename T>
void backward(const BatchNorm& p, const T* x, const T* upstream, const float* counted, const float* gamma,
              const float* mean, const float* inverse, double* sums, T* for_x, float* for_gamma, float* for_beta,
              const ParallelFor& parallel) {
  const double count = p.count(counted);
  add_up(p, upstream, x, counted, true, sums, parallel);
  std::vector<float> scales(p.channels), slopes(p.channels), shifts(p.channels);
  for (int c = 0; c < p.channels; ++c) {
    const double sum = sums[c], product = sums[p.channels + c] - mean[c] * sum;
    const GradientLine line(sum, product, count, gamma[c], inverse[c]);
    for_gamma[c] = float(product * inverse[c]);
    for_beta[c] = float(sum);
    scales[c] = line.scale;
    slopes[c] = line.slope;
    shifts[c] = line.shift;
  }
  const std::vector<float> nothing(p.channels);
  parallel.blocks(p.rows(), p.part_rows(), [&](int64_t begin, int64_t end) {
    std::vector<float> in(2 * p.channels), ups(2 * p.channels), out(2 * p.channels);
    each_run(p, counted, begin, end, [&](int64_t first, int64_t last, bool counts) {
      const float *scale = scales.data(), *slope = (counts ? slopes : nothing).data();
      const float* shift = (counts ? shifts : nothing).data();
      each_pair(first, last, p.channels, [&](const int64_t* at) {
        const float *values[2], *up[2];
        float* to[2];
        for (int k = 0; k < 2; ++k) {
          values[k] = as_floats(x + at[k], p.channels, in.data() + k * p.channels);
          up[k] = as_floats(upstream + at[k], p.channels, ups.data() + k * p.channels);
          to[k] = output_floats(for_x + at[k], out.data() + k * p.channels);
        }
#pragma omp simd
        for (int c = 0; c < p.channels; ++c) {
          for (int k = 0; k < 2; ++k) {
            to[k][c] = up[k][c] * scale[c] + ((values[k][c] - mean[c]) * slope[c] + shift[c]);
          }
        }
        for (int k = 0; k < 2; ++k) finish_floats(to[k], p.channels, for_x + at[k]);
      });
    });
  });
}

}  // namespace batch_norm
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_BATCH_NORM_BATCH_NORM_CPU_H_
