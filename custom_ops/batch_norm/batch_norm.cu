// Batch normalization in training on CUDA: blocks of some channels and a part of the rows for the sums and for the
// output, some channels and all parts for the statistics. Sums are in float64 and come in an order that depends on
// the size of the map alone, so they are the same in every run.
#include "batch_norm/batch_norm_cuda.h"
#include "common/cuda.h"

namespace kdet {
namespace {

// Blocks that fill a GPU once; rows of a thread that make a block worth its sums; vectors of channels in a block,
// so many that it reads on end.
constexpr int64_t kBlocks = 512, kLeastRows = 4;
constexpr int kMostLanes = 32;

// Channels in a block that adds up the parts: doubles that are read from memory together.
constexpr int kTotalLanes = 8;

template <typename T, int N>
__device__ Vector<T, N> zeros() {
  Vector<T, N> vector;
  for (int n = 0; n < N; ++n) store(0.0f, vector.values + n);
  return vector;
}

// How x is shared out: block (i, part) has the i-th `lanes` vectors of channels and a part of the rows, kThreads /
// lanes of them at a time.
struct Tiles {
  int vector;  // channels of a thread
  int lanes;   // a power of two
  int64_t blocks, parts, part_rows;

  explicit Tiles(const BatchNorm& p) : vector(p.channels % 4 == 0 ? 4 : 1), lanes(1) {
    const int vectors = p.channels / vector;
    while (lanes < vectors && lanes < kMostLanes) lanes *= 2;
    blocks = (vectors + lanes - 1) / lanes;
    const int64_t most = blocks < kBlocks ? kBlocks / blocks : 1, least = kThreads / lanes * kLeastRows;
    const int64_t even = (p.rows() + most - 1) / most;
    part_rows = even > least ? even : least;
    parts = p.rows() > 0 ? (p.rows() + part_rows - 1) / part_rows : 1;
  }
  dim3 grid() const { return dim3(unsigned(blocks), unsigned(parts)); }
};

// What a thread has of x: from `channel` on, the rows begin, begin + step, ... below end. None beyond the channels.
struct Share {
  int channel, step;
  int64_t begin, end;

  __device__ Share(const BatchNorm& p, const Tiles& tiles) : step(kThreads / tiles.lanes) {
    const int64_t first = blockIdx.y * tiles.part_rows;
    channel = (blockIdx.x * tiles.lanes + threadIdx.x % tiles.lanes) * tiles.vector;
    begin = first + threadIdx.x / tiles.lanes;
    end = channel < p.channels ? min(first + tiles.part_rows, p.rows()) : begin;
  }
};

__device__ bool counts(const BatchNorm& p, const float* counted, int64_t row) {
  return counted == nullptr || counted[row / p.cells] > 0;
}

// Adds up what the threads of a block found, by twos and so in a fixed order: every `lanes`-th of them. The sums are
// there for the first `lanes` threads. All threads of the block must call it.
template <int N>
__device__ void add_threads(double (*found)[kThreads], int lanes) {
  for (int half = kThreads / 2; half >= lanes; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    double sums[N];  // so that all of them are read before one is written
    for (int n = 0; n < N; ++n) sums[n] = found[n][threadIdx.x] + found[n][threadIdx.x + half];
    for (int n = 0; n < N; ++n) found[n][threadIdx.x] = sums[n];
  }
}

// sums [parts, 2, channels]: of a and of a * b, or of a * a, over the rows that count.
template <typename T, int N, bool kSquares>
__global__ void sums_kernel(BatchNorm p, Tiles tiles, const T* a, const T* b, const float* counted, double* sums) {
  constexpr int kTogether = kSquares ? 4 : 2;  // rows that are under way at a time
  __shared__ double found[2 * N][kThreads];
  const Share own(p, tiles);
  double sum[N] = {}, products[N] = {};
  for (int64_t row = own.begin; row < own.end; row += kTogether * own.step) {
    Vector<T, N> left[kTogether], right[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = row + k * own.step;
      const bool taken = at < own.end && counts(p, counted, at);
      left[k] = taken ? Vector<T, N>::read(a + at * p.channels + own.channel) : zeros<T, N>();
      if (kSquares) continue;
      right[k] = taken ? Vector<T, N>::read(b + at * p.channels + own.channel) : zeros<T, N>();
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const double value = load(left[k].values + n);
        sum[n] += value;
        products[n] += value * (kSquares ? value : load(right[k].values + n));
      }
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    found[n][threadIdx.x] = sum[n];
    found[N + n][threadIdx.x] = products[n];
  }
  add_threads<2 * N>(found, tiles.lanes);
  if (threadIdx.x >= tiles.lanes || own.channel >= p.channels) return;
  double* to = sums + int64_t(blockIdx.y) * 2 * p.channels + own.channel;
  for (int n = 0; n < N; ++n) {
    to[n] = found[n][threadIdx.x];
    to[p.channels + n] = found[N + n][threadIdx.x];
  }
}

// The channel of a thread in a block that adds up the parts.
__device__ int total_channel() { return blockIdx.x * kTotalLanes + threadIdx.x % kTotalLanes; }

// The sums over all parts, for the first kTotalLanes threads. All threads of the block must call it.
__device__ void total(const BatchNorm& p, int64_t parts, const double* sums, double* sum, double* products) {
  __shared__ double found[2][kThreads];
  const int channel = total_channel();
  double own[2] = {0, 0};
  if (channel < p.channels) {
#pragma unroll 4
    for (int64_t part = threadIdx.x / kTotalLanes; part < parts; part += kThreads / kTotalLanes) {
      const double* from = sums + part * 2 * p.channels + channel;
      own[0] += from[0];
      own[1] += from[p.channels];
    }
  }
  for (int k = 0; k < 2; ++k) found[k][threadIdx.x] = own[k];
  add_threads<2>(found, kTotalLanes);
  *sum = found[0][threadIdx.x];
  *products = found[1][threadIdx.x];
}

__global__ void moments_kernel(BatchNorm p, int64_t parts, const double* sums, const float* counted,
                               const float* gamma, float* scales, float* mean, float* variance, float* inverse) {
  double sum, squares;
  total(p, parts, sums, &sum, &squares);
  const int c = total_channel();
  if (threadIdx.x >= kTotalLanes || c >= p.channels) return;
  const double count = p.count(counted);
  const Moments moments(sum, squares, count, p.epsilon);
  mean[c] = float(moments.mean);
  variance[c] = float(moments.variance * (count / max(count - 1, 1.0)));
  inverse[c] = float(moments.inverse);
  scales[c] = float(gamma[c] * moments.inverse);
}

template <typename T, int N>
__global__ void output_kernel(BatchNorm p, Tiles tiles, const T* x, const float* mean, const float* scales,
                              const float* beta, T* y) {
  using Floats = Vector<float, N>;
  constexpr int kTogether = 4;
  const Share own(p, tiles);
  if (own.begin >= own.end) return;
  const Floats middle = Floats::read(mean + own.channel), scale = Floats::read(scales + own.channel);
  const Floats shift = Floats::read(beta + own.channel);
  for (int64_t row = own.begin; row < own.end; row += kTogether * own.step) {
    Vector<T, N> values[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = row + k * own.step;
      if (at < own.end) values[k] = Vector<T, N>::read(x + at * p.channels + own.channel);
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = row + k * own.step;
      if (at >= own.end) break;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        T* value = values[k].values + n;
        store((load(value) - middle.values[n]) * scale.values[n] + shift.values[n], value);
      }
      values[k].write(y + at * p.channels + own.channel);
    }
  }
}

__global__ void slopes_kernel(BatchNorm p, int64_t parts, const double* sums, const float* counted,
                              const float* gamma, const float* mean, const float* inverse, float* lines,
                              float* for_gamma, float* for_beta) {
  double sum, products;
  total(p, parts, sums, &sum, &products);
  const int c = total_channel();
  if (threadIdx.x >= kTotalLanes || c >= p.channels) return;
  const double product = products - mean[c] * sum;
  const GradientLine line(sum, product, p.count(counted), gamma[c], inverse[c]);
  for_gamma[c] = float(product * inverse[c]);
  for_beta[c] = float(sum);
  lines[c] = line.scale;
  lines[p.channels + c] = line.slope;
  lines[2 * p.channels + c] = line.shift;
}

template <typename T, int N>
__global__ void input_kernel(BatchNorm p, Tiles tiles, const T* x, const T* upstream, const float* counted,
                             const float* mean, const float* lines, T* for_x) {
  using Floats = Vector<float, N>;
  constexpr int kTogether = 2;
  const Share own(p, tiles);
  if (own.begin >= own.end) return;
  const Floats middle = Floats::read(mean + own.channel), scale = Floats::read(lines + own.channel);
  const Floats slope = Floats::read(lines + p.channels + own.channel);
  const Floats shift = Floats::read(lines + 2 * p.channels + own.channel);
  for (int64_t row = own.begin; row < own.end; row += kTogether * own.step) {
    Vector<T, N> values[kTogether], ups[kTogether];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = row + k * own.step;
      if (at >= own.end) continue;
      values[k] = Vector<T, N>::read(x + at * p.channels + own.channel);
      ups[k] = Vector<T, N>::read(upstream + at * p.channels + own.channel);
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t at = row + k * own.step;
      if (at >= own.end) break;
      const bool counting = counts(p, counted, at);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        T* up = ups[k].values + n;
        const float seen = (load(values[k].values + n) - middle.values[n]) * slope.values[n] + shift.values[n];
        store(load(up) * scale.values[n] + (counting ? seen : 0.0f), up);
      }
      ups[k].write(for_x + at * p.channels + own.channel);
    }
  }
}

template <typename T, int N>
void forward(const BatchNorm& p, const Tiles& tiles, const T* x, const float* counted, const float* gamma,
             const float* beta, double* sums, float* scales, T* y, float* mean, float* variance, float* inverse,
             cudaStream_t stream) {
  sums_kernel<T, N, true><<<tiles.grid(), kThreads, 0, stream>>>(p, tiles, x, x, counted, sums);
  moments_kernel<<<(p.channels + kTotalLanes - 1) / kTotalLanes, kThreads, 0, stream>>>(
      p, tiles.parts, sums, counted, gamma, scales, mean, variance, inverse);
  output_kernel<T, N><<<tiles.grid(), kThreads, 0, stream>>>(p, tiles, x, mean, scales, beta, y);
}

template <typename T, int N>
void backward(const BatchNorm& p, const Tiles& tiles, const T* x, const T* upstream, const float* counted,
              const float* gamma, const float* mean, const float* inverse, double* sums, float* lines, T* for_x,
              float* for_gamma, float* for_beta, cudaStream_t stream) {
  sums_kernel<T, N, false><<<tiles.grid(), kThreads, 0, stream>>>(p, tiles, upstream, x, nullptr, sums);
  slopes_kernel<<<(p.channels + kTotalLanes - 1) / kTotalLanes, kThreads, 0, stream>>>(
      p, tiles.parts, sums, counted, gamma, mean, inverse, lines, for_gamma, for_beta);
  input_kernel<T, N><<<tiles.grid(), kThreads, 0, stream>>>(p, tiles, x, upstream, counted, mean, lines, for_x);
}

}  // namespace
}  // namespace kdet

extern "C" int64_t kdet_cuda_batch_norm_sums(const kdet::BatchNorm* p) {
  return kdet::Tiles(*p).parts * 2 * p->channels;
}

extern "C" cudaError_t kdet_cuda_batch_norm(const kdet::BatchNorm* p, int type, const void* x, const float* counted,
                                            const float* gamma, const float* beta, double* sums, float* scales,
                                            void* y, float* mean, float* variance, float* inverse,
                                            cudaStream_t stream) {
  if (p->channels == 0) return cudaSuccess;
  const kdet::Tiles tiles(*p);
  KDET_WITH_TYPE(type, {
    const auto run = tiles.vector == 4 ? kdet::forward<Type, 4> : kdet::forward<Type, 1>;
    run(*p, tiles, static_cast<const Type*>(x), counted, gamma, beta, sums, scales, static_cast<Type*>(y), mean,
        variance, inverse, stream);
  });
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_batch_norm_grad(const kdet::BatchNorm* p, int type, const void* x,
                                                 const void* upstream, const float* counted, const float* gamma,
                                                 const float* mean, const float* inverse, double* sums,
                                                 float* lines, void* for_x, float* for_gamma, float* for_beta,
                                                 cudaStream_t stream) {
  if (p->channels == 0) return cudaSuccess;
  const kdet::Tiles tiles(*p);
  KDET_WITH_TYPE(type, {
    const auto run = tiles.vector == 4 ? kdet::backward<Type, 4> : kdet::backward<Type, 1>;
    run(*p, tiles, static_cast<const Type*>(x), static_cast<const Type*>(upstream), counted, gamma, mean, inverse,
        sums, lines, static_cast<Type*>(for_x), for_gamma, for_beta, stream);
  });
  return cudaGetLastError();
}
