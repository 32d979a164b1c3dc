// Mask targets on CUDA: one thread per target pixel.
#include "common/cuda.h"
#include "crop_masks/crop_masks_cuda.h"

namespace kdet {
namespace {

__global__ void crop_kernel(CropMasks p, const uint8_t* masks, const float* boxes, const int* chosen, float* out) {
  const int width = p.width_bytes * 8;
  KDET_EACH(index, p.batch * p.boxes * p.bins_y * p.bins_x) {
    const int64_t r = index / (p.bins_y * p.bins_x);
    const int row = int(index / p.bins_x % p.bins_y), column = int(index % p.bins_x);
    if (chosen[r] < 0 || chosen[r] >= p.instances) {
      out[index] = 0;
      continue;
    }
    const uint8_t* mask = masks + (r / p.boxes * p.instances + chosen[r]) * p.height * p.width_bytes;
    const float *box = boxes + 4 * r, left = box[0] - 0.5f, top = box[1] - 0.5f;
    const float step_y = (box[3] - 0.5f - top) / float(p.bins_y), step_x = (box[2] - 0.5f - left) / float(p.bins_x);
    const int grid_y = int(fminf(ceilf(step_y), 1e5f)), grid_x = int(fminf(ceilf(step_x), 1e5f));
    float sum = 0;
    for (int i = 0; i < grid_y; ++i) {
      float y = top + float(row) * step_y + (float(i) + 0.5f) * step_y / float(grid_y);
      if (y < -1.0f || y > float(p.height)) continue;
      y = fminf(fmaxf(y, 0.0f), float(p.height - 1));
      const int y0 = int(y), y1 = min(y0 + 1, p.height - 1);
      for (int j = 0; j < grid_x; ++j) {
        float x = left + float(column) * step_x + (float(j) + 0.5f) * step_x / float(grid_x);
        if (x < -1.0f || x > float(width)) continue;
        x = fminf(fmaxf(x, 0.0f), float(width - 1));
        const int x0 = int(x), x1 = min(x0 + 1, width - 1);
        const float down = y - float(y0), right = x - float(x0);
        const auto bit = [&](int a, int b) {
          return float(mask[int64_t(a) * p.width_bytes + b / 8] >> (7 - b % 8) & 1);
        };
        sum += (bit(y0, x0) * (1.0f - right) + bit(y0, x1) * right) * (1.0f - down) +
               (bit(y1, x0) * (1.0f - right) + bit(y1, x1) * right) * down;
      }
    }
    out[index] = grid_y > 0 && grid_x > 0 && sum / float(grid_y * grid_x) >= kCovered ? 1.0f : 0.0f;
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_crop_masks(const kdet::CropMasks* p, const uint8_t* masks, const float* boxes,
                                            const int* chosen, float* out, cudaStream_t stream) {
  const int64_t count = p->batch * p->boxes * p->bins_y * p->bins_x;
  kdet::crop_kernel<<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(*p, masks, boxes, chosen, out);
  return cudaGetLastError();
}
