// Batch normalisation in training on CUDA: one thread per channel and part of the rows for the sums, one per
// channel for the statistics, one per value for the output. The sums come in the same order in every run.
#include "batch_norm/batch_norm_cuda.h"
#include "common/cuda.h"

namespace kdet {
namespace {

__device__ bool counts(const BatchNorm& p, const float* counted, int64_t row) {
  return counted == nullptr || counted[row / p.cells] > 0;
}

// sums [parts, 2, channels]: of a and of a * b, over the rows that count.
template <typename T>
__global__ void sums_kernel(BatchNorm p, const T* a, const T* b, const float* counted, double* sums) {
  KDET_EACH(index, p.parts() * p.channels) {
    const int64_t part = index / p.channels, end = min((part + 1) * p.part_rows(), p.rows());
    const int channel = int(index % p.channels);
    double sum = 0, products = 0;
    for (int64_t row = part * p.part_rows(); row < end; ++row) {
      if (!counts(p, counted, row)) continue;
      const double value = load(a + row * p.channels + channel);
      sum += value;
      products += value * load(b + row * p.channels + channel);
    }
    double* own = sums + part * 2 * p.channels + channel;
    own[0] = sum;
    own[p.channels] = products;
  }
}

__device__ double total(const BatchNorm& p, const double* sums) {
  double sum = 0;
  for (int64_t part = 0; part < p.parts(); ++part) sum += sums[part * 2 * p.channels];
  return sum;
}

__global__ void moments_kernel(BatchNorm p, const double* sums, const float* counted, const float* gamma,
                               float* scales, float* mean, float* variance, float* inverse) {
  KDET_EACH(c, p.channels) {
    const double count = p.count(counted);
    const Moments moments(total(p, sums + c), total(p, sums + p.channels + c), count, p.epsilon);
    mean[c] = float(moments.mean);
    variance[c] = float(moments.variance * (count / max(count - 1, 1.0)));
    inverse[c] = float(moments.inverse);
    scales[c] = float(gamma[c] * moments.inverse);
  }
}

template <typename T>
__global__ void output_kernel(BatchNorm p, const T* x, const float* mean, const float* scales, const float* beta,
                              T* y) {
  KDET_EACH(index, p.rows() * p.channels) {
    const int64_t c = index % p.channels;
    store((load(x + index) - mean[c]) * scales[c] + beta[c], y + index);
  }
}

__global__ void slopes_kernel(BatchNorm p, const double* sums, const float* counted, const float* gamma,
                              const float* mean, const float* inverse, float* lines, float* for_gamma,
                              float* for_beta) {
  KDET_EACH(c, p.channels) {
    const double sum = total(p, sums + c), product = total(p, sums + p.channels + c) - mean[c] * sum;
    const GradientLine line(sum, product, p.count(counted), gamma[c], inverse[c]);
    for_gamma[c] = float(product * inverse[c]);
    for_beta[c] = float(sum);
    lines[c] = line.scale;
    lines[p.channels + c] = line.slope;
    lines[2 * p.channels + c] = line.shift;
  }
}

template <typename T>
__global__ void input_kernel(BatchNorm p, const T* x, const T* upstream, const float* counted, const float* mean,
                             const float* lines, T* for_x) {
  KDET_EACH(index, p.rows() * p.channels) {
    const int64_t c = index % p.channels;
    float value = load(upstream + index) * lines[c];
    if (counts(p, counted, index / p.channels)) {
      value += (load(x + index) - mean[c]) * lines[p.channels + c] + lines[2 * p.channels + c];
    }
    store(value, for_x + index);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_batch_norm(const kdet::BatchNorm* p, int type, const void* x, const float* counted,
                                            const float* gamma, const float* beta, double* sums, float* scales,
                                            void* y, float* mean, float* variance, float* inverse,
                                            cudaStream_t stream) {
  const int per_part = kdet::blocks_for(p->parts() * p->channels);
  KDET_WITH_TYPE(type, {
    const Type* values = static_cast<const Type*>(x);
    kdet::sums_kernel<Type><<<per_part, kdet::kThreads, 0, stream>>>(*p, values, values, counted, sums);
    kdet::moments_kernel<<<kdet::blocks_for(p->channels), kdet::kThreads, 0, stream>>>(
        *p, sums, counted, gamma, scales, mean, variance, inverse);
    kdet::output_kernel<Type><<<kdet::blocks_for(p->rows() * p->channels), kdet::kThreads, 0, stream>>>(
        *p, values, mean, scales, beta, static_cast<Type*>(y));
  });
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_batch_norm_grad(const kdet::BatchNorm* p, int type, const void* x,
                                                 const void* upstream, const float* counted, const float* gamma,
                                                 const float* mean, const float* inverse, double* sums,
                                                 float* lines, void* for_x, float* for_gamma, float* for_beta,
                                                 cudaStream_t stream) {
  const int per_part = kdet::blocks_for(p->parts() * p->channels);
  KDET_WITH_TYPE(type, {
    const Type *values = static_cast<const Type*>(x), *ups = static_cast<const Type*>(upstream);
    kdet::sums_kernel<Type><<<per_part, kdet::kThreads, 0, stream>>>(*p, ups, values, nullptr, sums);
    kdet::slopes_kernel<<<kdet::blocks_for(p->channels), kdet::kThreads, 0, stream>>>(
        *p, sums, counted, gamma, mean, inverse, lines, for_gamma, for_beta);
    kdet::input_kernel<Type><<<kdet::blocks_for(p->rows() * p->channels), kdet::kThreads, 0, stream>>>(
        *p, values, ups, counted, mean, lines, static_cast<Type*>(for_x));
  });
  return cudaGetLastError();
}
