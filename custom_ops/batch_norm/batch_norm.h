// Batch normalization in training: the interface of its kernels.
#ifndef KDET_BATCH_NORM_BATCH_NORM_H_
#define KDET_BATCH_NORM_BATCH_NORM_H_

#include <cmath>
#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

// Sums are made of parts of the rows and the parts added in their order. The parts depend on the size of the
// map alone, so the sums are the same on any number of threads.
struct BatchNorm {
  int64_t batch, cells;  // x is [batch, cells, channels]
  int channels;
  float epsilon;

  KDET_HOST_DEVICE int64_t rows() const { return batch * cells; }
  KDET_HOST_DEVICE int64_t part_rows() const {
    const int64_t enough = (kPartValues + channels - 1) / (channels > 0 ? channels : 1);
    const int64_t even = (rows() + kParts - 1) / kParts;
    const int64_t least = enough > kPartRows ? enough : kPartRows;
    return even > least ? even : least;
  }
  KDET_HOST_DEVICE int64_t parts() const {  // at least one
    return rows() > 0 ? (rows() + part_rows() - 1) / part_rows() : 1;
  }
  // Values that the statistics of a channel are made of. counted: [batch], above 0 for what counts, or null.
  KDET_HOST_DEVICE double count(const float* counted) const {
    if (counted == nullptr) return double(rows());
    int64_t images = 0;
    for (int64_t i = 0; i < batch; ++i) images += counted[i] > 0;
    return double(images * cells);
  }
  // Doubles that a pass sums into: [parts, 2, channels].
  int64_t sums() const { return parts() * 2 * channels; }

 private:
  // The sums of a part take as much memory as four float32 rows, which should not show.
  static constexpr int64_t kParts = 64, kPartValues = 1 << 14, kPartRows = 128;
};

// Statistics of one channel, in double precision.
struct Moments {
  double mean, variance, inverse;  // the variance is the biased one; inverse of the deviation

  // Squares of float32 are exact in double precision, so their sum may hold the square of the mean: what is
  // lost in the difference is less than the numbers themselves were rounded by.
  KDET_HOST_DEVICE Moments(double sum, double squares, double count, float epsilon) {
    mean = count > 0 ? sum / count : 0;
    variance = count > 0 ? squares / count - mean * mean : 0;
    if (variance < 0) variance = 0;
    inverse = 1 / sqrt(variance + epsilon);
  }
};

// One channel of the gradient of x: upstream * scale, and where a row counted + (x - mean) * slope + shift.
struct GradientLine {
  float scale, slope, shift;

  // product: sum of upstream * (x - mean)
  KDET_HOST_DEVICE GradientLine(double sum, double product, double count, float gamma, float inverse)
      : scale(gamma * inverse),
        slope(count > 0 ? float(-double(scale) * inverse * inverse * product / count) : 0),
        shift(count > 0 ? float(-double(scale) * sum / count) : 0) {}
};

// See batch_norm_cpu.h.
template <typename T>
struct BatchNormKernels {
  void (*forward)(const BatchNorm& p, const T* x, const float* counted, const float* gamma, const float* beta,
                  double* sums, T* y, float* mean, float* variance, float* inverse, const ParallelFor& parallel);
  void (*backward)(const BatchNorm& p, const T* x, const T* upstream, const float* counted, const float* gamma,
                   const float* mean, const float* inverse, double* sums, T* for_x, float* for_gamma,
                   float* for_beta, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_BATCH_NORM_BATCH_NORM_H_
