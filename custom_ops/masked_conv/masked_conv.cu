// Convolution at marked places on CUDA: matrix products that read the input in place. A tile of pixels of which
// none is marked costs nothing but its zeros.
#include "common/product.h"
#include "masked_conv/masked_conv_cuda.h"

namespace kdet {
namespace {

// Pixels that one block of the kernel's gradient, or one thread of the bias's, sums over.
constexpr int64_t kChunk = 2048;

// Whether any pixel of the block's tile is marked.
__device__ bool tile_is_marked(const MaskedConv& p, const bool* mask) {
  const int64_t first = int64_t(blockIdx.x) * kSide;
  for (int64_t pixel = first; pixel < min(first + kSide, p.pixels()); ++pixel) {
    if (mask[pixel]) return true;
  }
  return false;
}

// Number `term` of (cell, channel) of what a pixel sees.
template <typename T>
__device__ float seen(const MaskedConv& p, const T* x, int64_t pixel, int64_t term) {
  const int64_t from = p.seen(pixel, int(term / p.channels));
  return from < 0 ? 0.0f : load(x + from + term % p.channels);
}

template <typename T>
__global__ void forward_kernel(MaskedConv p, const T* x, const bool* mask, const T* kernel, const T* bias, T* out) {
  const int64_t terms = tile_is_marked(p, mask) ? int64_t(p.cells()) * p.channels : 0;
  product(
      p.pixels(), p.out_channels, 0, terms, [&](int64_t pixel, int64_t term) { return seen(p, x, pixel, term); },
      [&](int64_t term, int64_t n) { return load(kernel + term * p.out_channels + n); },
      [&](int64_t pixel, int64_t n, float sum) {
        store(mask[pixel] ? sum + load(bias + n) : 0.0f, out + pixel * p.out_channels + n);
      });
}

template <typename T>
__global__ void input_kernel(MaskedConv p, const bool* mask, const T* kernel, const T* upstream, float* for_x) {
  if (!tile_is_marked(p, mask)) return;
  product(
      p.pixels(), int64_t(p.cells()) * p.channels, 0, p.out_channels,
      [&](int64_t pixel, int64_t n) { return load(upstream + pixel * p.out_channels + n); },
      [&](int64_t n, int64_t term) { return load(kernel + term * p.out_channels + n); },
      [&](int64_t pixel, int64_t term, float sum) {
        const int64_t to = mask[pixel] ? p.seen(pixel, int(term / p.channels)) : -1;
        if (to >= 0) atomicAdd(for_x + to + term % p.channels, sum);
      });
}

template <typename T>
__global__ void kernel_kernel(MaskedConv p, const T* x, const bool* mask, const T* upstream, float* for_kernel) {
  const int64_t first = blockIdx.z * kChunk;
  product(
      int64_t(p.cells()) * p.channels, p.out_channels, first, min(first + kChunk, p.pixels()),
      [&](int64_t term, int64_t pixel) { return mask[pixel] ? seen(p, x, pixel, term) : 0.0f; },
      [&](int64_t pixel, int64_t n) { return mask[pixel] ? load(upstream + pixel * p.out_channels + n) : 0.0f; },
      [&](int64_t term, int64_t n, float sum) { atomicAdd(for_kernel + term * p.out_channels + n, sum); });
}

template <typename T>
__global__ void bias_kernel(MaskedConv p, const bool* mask, const T* upstream, float* for_bias) {
  KDET_EACH(index, p.out_channels * ((p.pixels() + kChunk - 1) / kChunk)) {
    const int64_t n = index % p.out_channels, first = index / p.out_channels * kChunk;
    float sum = 0;
    for (int64_t pixel = first; pixel < min(first + kChunk, p.pixels()); ++pixel) {
      if (mask[pixel]) sum += load(upstream + pixel * p.out_channels + n);
    }
    atomicAdd(for_bias + n, sum);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_masked_conv(const kdet::MaskedConv* p, int type, const void* x, const bool* mask,
                                             const void* kernel, const void* bias, void* out, cudaStream_t stream) {
  if (p->pixels() == 0 || p->out_channels == 0) return cudaSuccess;
  const dim3 blocks = kdet::tiles_for(p->pixels(), p->out_channels, 1);
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type><<<blocks, kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(x), mask, static_cast<const Type*>(kernel),
                           static_cast<const Type*>(bias), static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_masked_conv_grad(const kdet::MaskedConv* p, int type, const void* x,
                                                  const bool* mask, const void* kernel, const void* upstream,
                                                  float* for_x, float* for_kernel, float* for_bias,
                                                  cudaStream_t stream) {
  const int64_t terms = int64_t(p->cells()) * p->channels;
  const int64_t chunks = (p->pixels() + kdet::kChunk - 1) / kdet::kChunk;
  if (p->pixels() == 0 || p->out_channels == 0 || terms == 0) return cudaSuccess;
  const dim3 for_inputs = kdet::tiles_for(p->pixels(), terms, 1);
  const dim3 for_weights = kdet::tiles_for(terms, p->out_channels, chunks);
  const int for_biases = kdet::blocks_for(chunks * p->out_channels);
  KDET_WITH_TYPE(type, {
    const Type *up = static_cast<const Type*>(upstream), *from = static_cast<const Type*>(x);
    const Type* weights = static_cast<const Type*>(kernel);
    kdet::input_kernel<Type><<<for_inputs, kdet::kThreads, 0, stream>>>(*p, mask, weights, up, for_x);
    kdet::kernel_kernel<Type><<<for_weights, kdet::kThreads, 0, stream>>>(*p, from, mask, up, for_kernel);
    kdet::bias_kernel<Type><<<for_biases, kdet::kThreads, 0, stream>>>(*p, mask, up, for_bias);
  });
  return cudaGetLastError();
}
