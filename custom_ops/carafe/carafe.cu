// CARAFE on CUDA: one thread per number of the output or of a gradient.
#include "carafe/carafe_cuda.h"
#include "common/cuda.h"

namespace kdet {
namespace {

template <typename T>
__global__ void forward_kernel(Carafe p, const T* features, const T* masks, T* out) {
  const int cells = p.kernel * p.kernel, radius = p.kernel / 2, group_width = p.channels / p.groups;
  KDET_EACH(index, p.batch * p.height * p.width * p.scale * p.scale * p.channels) {
    const int channel = int(index % p.channels);
    const int64_t at = index / p.channels;
    const int column = int(at % (p.width * p.scale)) / p.scale;
    const int row = int(at / (p.width * p.scale) % (p.height * p.scale)) / p.scale;
    const int64_t image = at / (int64_t(p.width) * p.scale * p.height * p.scale);
    const T* weights = masks + (at * p.groups + channel / group_width) * cells;
    float sum = 0;
    for (int cell = 0; cell < cells; ++cell) {
      const int y = row + cell / p.kernel - radius, x = column + cell % p.kernel - radius;
      if (y < 0 || y >= p.height || x < 0 || x >= p.width) continue;
      const int64_t pixel = (image * p.height + y) * p.width + x;
      sum += load(weights + cell) * load(features + pixel * p.channels + channel);
    }
    store(sum, out + index);
  }
}

template <typename T>
__global__ void features_kernel(Carafe p, const T* masks, const T* upstream, T* for_features) {
  const int cells = p.kernel * p.kernel, radius = p.kernel / 2, group_width = p.channels / p.groups;
  KDET_EACH(index, p.batch * p.height * p.width * p.channels) {
    const int channel = int(index % p.channels);
    const int64_t pixel = index / p.channels;
    const int column = int(pixel % p.width), row = int(pixel / p.width % p.height);
    const int64_t image = pixel / p.width / p.height;
    float sum = 0;
    for (int cell = 0; cell < cells; ++cell) {
      const int y = row - cell / p.kernel + radius, x = column - cell % p.kernel + radius;
      if (y < 0 || y >= p.height || x < 0 || x >= p.width) continue;
      for (int part = 0; part < p.scale * p.scale; ++part) {
        const int64_t line = (image * p.height + y) * p.scale + part / p.scale;
        const int64_t at = line * p.width * p.scale + x * p.scale + part % p.scale;
        const float weight = load(masks + (at * p.groups + channel / group_width) * cells + cell);
        sum += weight * load(upstream + at * p.channels + channel);
      }
    }
    store(sum, for_features + index);
  }
}

template <typename T>
__global__ void masks_kernel(Carafe p, const T* features, const T* upstream, T* for_masks) {
  const int cells = p.kernel * p.kernel, radius = p.kernel / 2, group_width = p.channels / p.groups;
  KDET_EACH(index, p.batch * p.height * p.width * p.scale * p.scale * p.groups * cells) {
    const int cell = int(index % cells), group = int(index / cells % p.groups);
    const int64_t at = index / cells / p.groups;
    const int x = int(at % (p.width * p.scale)) / p.scale + cell % p.kernel - radius;
    const int y = int(at / (p.width * p.scale) % (p.height * p.scale)) / p.scale + cell / p.kernel - radius;
    const int64_t image = at / (int64_t(p.width) * p.scale * p.height * p.scale);
    float sum = 0;
    if (y >= 0 && y < p.height && x >= 0 && x < p.width) {
      const T* up = upstream + at * p.channels + group * group_width;
      const T* values = features + ((image * p.height + y) * p.width + x) * p.channels + group * group_width;
      for (int c = 0; c < group_width; ++c) sum += load(up + c) * load(values + c);
    }
    store(sum, for_masks + index);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_carafe(const kdet::Carafe* p, int type, const void* features, const void* masks,
                                        void* out, cudaStream_t stream) {
  const int64_t count = p->batch * p->height * p->width * p->scale * p->scale * p->channels;
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(features), static_cast<const Type*>(masks),
                           static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_carafe_grad(const kdet::Carafe* p, int type, const void* features,
                                             const void* masks, const void* upstream, void* for_features,
                                             void* for_masks, cudaStream_t stream) {
  const int64_t pixels = p->batch * p->height * p->width, weights = p->groups * p->kernel * p->kernel;
  KDET_WITH_TYPE(type, {
    kdet::features_kernel<Type><<<kdet::blocks_for(pixels * p->channels), kdet::kThreads, 0, stream>>>(
        *p, static_cast<const Type*>(masks), static_cast<const Type*>(upstream),
        static_cast<Type*>(for_features));
    kdet::masks_kernel<Type><<<kdet::blocks_for(pixels * p->scale * p->scale * weights), kdet::kThreads, 0,
                               stream>>>(*p, static_cast<const Type*>(features),
                                         static_cast<const Type*>(upstream), static_cast<Type*>(for_masks));
  });
  return cudaGetLastError();
}
