// The sampling of deformable convolution on CUDA. The matrix products are the caller's: what the cells see
// times the kernel forward; upstream times the kernel's transpose, and the seen's transpose times upstream,
// backward.
#include "common/cuda.h"
#include "deform_conv/deform_conv.h"

namespace kdet {
namespace {

// seen [pixels, cells, channels], one thread per number.
template <typename T>
__global__ void gather_kernel(DeformConv p, const T* x, const float* offsets, const float* mask, T* seen) {
  KDET_EACH(index, p.pixels() * p.cells() * p.channels) {
    const int channel = int(index % p.channels), cell = int(index / p.channels % p.cells());
    const int64_t pixel = index / p.channels / p.cells();
    const int part = channel / (p.channels / p.deform_groups);
    const int64_t picture = pixel / (int64_t(p.out_height) * p.out_width);
    const Bilinear at = p.sample(offsets, pixel, part, cell);
    float sum = 0;
    for (int k = 0; k < 4; ++k) {
      if (at.weight[k] == 0.0f) continue;
      const int64_t from = (picture * p.height * p.width + at.pixel[k]) * p.channels + channel;
      sum += at.weight[k] * load(x + from);
    }
    store(sum * mask[(pixel * p.deform_groups + part) * p.cells() + cell], seen + index);
  }
}

// wanted [pixels, cells, channels]: the gradient of seen. One thread per number.
template <typename T>
__global__ void scatter_kernel(DeformConv p, const T* x, const float* offsets, const float* mask, const T* wanted,
                               float* for_x, float* for_offsets, float* for_mask) {
  KDET_EACH(index, p.pixels() * p.cells() * p.channels) {
    const int channel = int(index % p.channels), cell = int(index / p.channels % p.cells());
    const int64_t pixel = index / p.channels / p.cells();
    const int part = channel / (p.channels / p.deform_groups);
    const int64_t picture = pixel / (int64_t(p.out_height) * p.out_width);
    const int64_t sample = (pixel * p.deform_groups + part) * p.cells() + cell;
    const Bilinear at = p.sample(offsets, pixel, part, cell);
    const float up = load(wanted + index);
    float gains[4] = {0, 0, 0, 0}, total = 0, by_y, by_x;
    for (int k = 0; k < 4; ++k) {
      if (!at.valid[k]) continue;
      const int64_t place = (picture * p.height * p.width + at.pixel[k]) * p.channels + channel;
      gains[k] = up * load(x + place);
      total += at.weight[k] * gains[k];
      atomicAdd(for_x + place, at.weight[k] * mask[sample] * up);
    }
    at.slopes(gains, &by_y, &by_x);
    atomicAdd(for_mask + sample, total);
    atomicAdd(for_offsets + 2 * sample, mask[sample] * by_y);
    atomicAdd(for_offsets + 2 * sample + 1, mask[sample] * by_x);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_deform_gather(const kdet::DeformConv* p, int type, const void* x,
                                               const float* offsets, const float* mask, void* seen,
                                               cudaStream_t stream) {
  const int64_t count = p->pixels() * p->cells() * p->channels;
  KDET_WITH_TYPE(type, kdet::gather_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(x), offsets, mask, static_cast<Type*>(seen)));
  return cudaGetLastError();
}

// The three gradients are zeroed float32. Sums in no fixed order.
extern "C" cudaError_t kdet_cuda_deform_scatter(const kdet::DeformConv* p, int type, const void* x,
                                                const float* offsets, const float* mask, const void* wanted,
                                                float* for_x, float* for_offsets, float* for_mask,
                                                cudaStream_t stream) {
  const int64_t count = p->pixels() * p->cells() * p->channels;
  KDET_WITH_TYPE(type, kdet::scatter_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(x), offsets, mask, static_cast<const Type*>(wanted),
                           for_x, for_offsets, for_mask));
  return cudaGetLastError();
}
