// Deformable convolution on CUDA: matrix products that sample the input while they read it, so that nothing is
// gathered in memory.
#include "common/product.h"
#include "deform_conv/deform_conv_cuda.h"

namespace kdet {
namespace {

// Pixels that one block of the kernel's gradient sums over.
constexpr int64_t kChunk = 2048;

// One of the inputs that an output pixel sees: number `term` of (cell, channel of the group).
struct Seen {
  int64_t first;   // offset of the picture's values of the channel
  int64_t sample;  // place in the mask, half the place in the offsets
  Bilinear at;

  __device__ Seen(const DeformConv& p, const float* offsets, int group, int64_t pixel, int64_t term)
      : Seen(p, offsets, pixel, int(term / inputs(p)), group * inputs(p) + int(term % inputs(p))) {}

  __device__ static int inputs(const DeformConv& p) { return p.channels / p.groups; }

  // The sampled value, without the mask.
  template <typename T>
  __device__ float value(const DeformConv& p, const T* x) const {
    float sum = 0;
    for (int k = 0; k < 4; ++k) {
      if (at.weight[k] != 0.0f) sum += at.weight[k] * load(x + first + at.pixel[k] * p.channels);
    }
    return sum;
  }

 private:
  __device__ Seen(const DeformConv& p, const float* offsets, int64_t pixel, int cell, int channel)
      : first(pixel / (int64_t(p.out_height) * p.out_width) * p.height * p.width * p.channels + channel),
        sample((pixel * p.deform_groups + part(p, channel)) * p.cells() + cell),
        at(p.sample(offsets, pixel, part(p, channel), cell)) {}

  __device__ static int part(const DeformConv& p, int channel) { return channel / (p.channels / p.deform_groups); }
};

template <typename T>
__global__ void forward_kernel(DeformConv p, const T* x, const T* kernel, const float* offsets, const float* mask,
                               T* out) {
  const int group = blockIdx.z, outputs = p.out_channels / p.groups, begin = group * outputs;
  const int64_t terms = int64_t(p.cells()) * Seen::inputs(p);
  product(
      p.pixels(), outputs, 0, terms,
      [&](int64_t pixel, int64_t term) {
        const Seen seen(p, offsets, group, pixel, term);
        return mask[seen.sample] * seen.value(p, x);
      },
      [&](int64_t term, int64_t n) { return load(kernel + term * p.out_channels + begin + n); },
      [&](int64_t pixel, int64_t n, float sum) { store(sum, out + pixel * p.out_channels + begin + n); });
}

// What the inputs of every output pixel should have been more of, handed on to x, offsets and mask.
template <typename T>
__global__ void inputs_kernel(DeformConv p, const T* x, const T* kernel, const float* offsets, const float* mask,
                              const T* upstream, float* for_x, float* for_offsets, float* for_mask) {
  const int group = blockIdx.z, outputs = p.out_channels / p.groups, begin = group * outputs;
  const int64_t terms = int64_t(p.cells()) * Seen::inputs(p);
  product(
      p.pixels(), terms, 0, outputs,
      [&](int64_t pixel, int64_t n) { return load(upstream + pixel * p.out_channels + begin + n); },
      [&](int64_t n, int64_t term) { return load(kernel + term * p.out_channels + begin + n); },
      [&](int64_t pixel, int64_t term, float wanted) {
        const Seen seen(p, offsets, group, pixel, term);
        const Bilinear& at = seen.at;
        const float factor = mask[seen.sample];
        float gains[4] = {0, 0, 0, 0}, total = 0, by_y, by_x;
        for (int k = 0; k < 4; ++k) {
          if (!at.valid[k]) continue;
          const int64_t place = seen.first + at.pixel[k] * p.channels;
          gains[k] = wanted * load(x + place);
          total += at.weight[k] * gains[k];
          atomicAdd(for_x + place, at.weight[k] * factor * wanted);
        }
        at.slopes(gains, &by_y, &by_x);
        atomicAdd(for_mask + seen.sample, total);
        atomicAdd(for_offsets + 2 * seen.sample, factor * by_y);
        atomicAdd(for_offsets + 2 * seen.sample + 1, factor * by_x);
      });
}

template <typename T>
__global__ void kernel_kernel(DeformConv p, const T* x, const float* offsets, const float* mask, const T* upstream,
                              float* for_kernel) {
  const int group = blockIdx.z % p.groups, outputs = p.out_channels / p.groups, begin = group * outputs;
  const int64_t terms = int64_t(p.cells()) * Seen::inputs(p), first = blockIdx.z / p.groups * kChunk;
  product(
      terms, outputs, first, min(first + kChunk, p.pixels()),
      [&](int64_t term, int64_t pixel) {
        const Seen seen(p, offsets, group, pixel, term);
        return mask[seen.sample] * seen.value(p, x);
      },
      [&](int64_t pixel, int64_t n) { return load(upstream + pixel * p.out_channels + begin + n); },
      [&](int64_t term, int64_t n, float sum) { atomicAdd(for_kernel + term * p.out_channels + begin + n, sum); });
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_deform_conv(const kdet::DeformConv* p, int type, const void* x, const void* kernel,
                                             const float* offsets, const float* mask, void* out,
                                             cudaStream_t stream) {
  const dim3 blocks = kdet::tiles_for(p->pixels(), p->out_channels / p->groups, p->groups);
  if (p->pixels() == 0 || p->out_channels == 0) return cudaSuccess;
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type><<<blocks, kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(x), static_cast<const Type*>(kernel), offsets, mask,
                           static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_deform_conv_grad(const kdet::DeformConv* p, int type, const void* x,
                                                  const void* kernel, const float* offsets, const float* mask,
                                                  const void* upstream, float* for_x, float* for_kernel,
                                                  float* for_offsets, float* for_mask, cudaStream_t stream) {
  const int64_t terms = int64_t(p->cells()) * p->channels / p->groups;
  const int64_t chunks = (p->pixels() + kdet::kChunk - 1) / kdet::kChunk;
  const dim3 for_inputs = kdet::tiles_for(p->pixels(), terms, p->groups);
  const dim3 for_weights = kdet::tiles_for(terms, p->out_channels / p->groups, p->groups * chunks);
  if (p->pixels() == 0 || p->out_channels == 0) return cudaSuccess;
  KDET_WITH_TYPE(type, {
    kdet::inputs_kernel<Type><<<for_inputs, kdet::kThreads, 0, stream>>>(
        *p, static_cast<const Type*>(x), static_cast<const Type*>(kernel), offsets, mask,
        static_cast<const Type*>(upstream), for_x, for_offsets, for_mask);
    kdet::kernel_kernel<Type><<<for_weights, kdet::kThreads, 0, stream>>>(
        *p, static_cast<const Type*>(x), offsets, mask, static_cast<const Type*>(upstream), for_kernel);
  });
  return cudaGetLastError();
}
