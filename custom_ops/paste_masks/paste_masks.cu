// Mask pasting on CUDA: one thread per pixel.
#include "common/cuda.h"
#include "paste_masks/paste_masks_cuda.h"

namespace kdet {
namespace {

template <typename T, typename Out>
__global__ void paste_kernel(PasteMasks p, const T* masks, const float* boxes, Out* out) {
  KDET_EACH(index, p.count * p.height * p.width) {
    const int64_t n = index / (int64_t(p.height) * p.width);
    const float* box = boxes + 4 * n;
    const PasteTap x(int(index % p.width), box[0], box[2], p.mask_width);
    const PasteTap y(int(index / p.width % p.height), box[1], box[3], p.mask_height);
    const T* mask = masks + n * p.mask_height * p.mask_width;
    float sum = 0;
    for (int k = 0; k < 4 && x.any && y.any; ++k) {
      const float weight = (k / 2 ? y.after : y.before) * (k % 2 ? x.after : x.before);
      if (weight > 0.0f) sum += weight * load(mask + (y.cell + k / 2) * p.mask_width + x.cell + k % 2);
    }
    paste(sum, p.threshold, out + index);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_paste_masks(const kdet::PasteMasks* p, int type, const void* masks,
                                             const float* boxes, bool binary, void* out, cudaStream_t stream) {
  const int64_t count = p->count * p->height * p->width;
  if (binary) {
    KDET_WITH_TYPE(type, kdet::paste_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                             *p, static_cast<const Type*>(masks), boxes, static_cast<bool*>(out)));
  } else {
    KDET_WITH_TYPE(type, kdet::paste_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                             *p, static_cast<const Type*>(masks), boxes, static_cast<float*>(out)));
  }
  return cudaGetLastError();
}
