// RoIAlign and deformable RoI pooling on CUDA: one thread per output number.
#include "common/cuda.h"
#include "roi_align/roi_align.h"
#include "roi_align/roi_align_cuda.h"

namespace kdet {
namespace {

struct Maps {
  const void* at[kMostLevels];
};
struct Gradients {
  float* at[kMostLevels];
};

// A bilinear sample inside a RoI: positions up to a pixel off the map are clipped to it, others count as 0.
struct RoiSample {
  int64_t pixel[4];
  float weight[4];
  float down, right;
  bool counts, free_y, free_x;  // whether the position is not clipped

  __device__ RoiSample(float y, float x, int height, int width) {
    counts = y >= -1.0f && x >= -1.0f && y <= float(height) && x <= float(width);
    free_y = y >= 0.0f && y < float(height - 1);
    free_x = x >= 0.0f && x < float(width - 1);
    y = fminf(fmaxf(y, 0.0f), float(height - 1));
    x = fminf(fmaxf(x, 0.0f), float(width - 1));
    const int row = int(y), column = int(x);
    const int below = min(row + 1, height - 1), beside = min(column + 1, width - 1);
    down = y - float(row);
    right = x - float(column);
    for (int k = 0; k < 4; ++k) {
      pixel[k] = int64_t(k / 2 ? below : row) * width + (k % 2 ? beside : column);
      weight[k] = counts ? (k / 2 ? down : 1.0f - down) * (k % 2 ? right : 1.0f - right) : 0.0f;
    }
  }
};

// The samples of one bin. offset is null or (x, y) of the bin.
struct Bin {
  RoiOnMap roi;
  int64_t map;  // first pixel of the image's map
  int height, width, grid_y, grid_x;
  float low_y, low_x, step_y, step_x;

  __device__ Bin(const RoiAlign& p, const float* boxes, const int* levels, int64_t bin, const float* offset,
                 float gamma)
      : roi(p, boxes + 4 * (bin / (p.bins_y * p.bins_x)), level_of(p, levels[bin / (p.bins_y * p.bins_x)])) {
    const int64_t r = bin / (p.bins_y * p.bins_x);
    const int row = int(bin / p.bins_x % p.bins_y), column = int(bin % p.bins_x);
    height = p.height[roi.level];
    width = p.width[roi.level];
    map = r / p.rois * height * width;
    step_y = roi.height / float(p.bins_y);
    step_x = roi.width / float(p.bins_x);
    low_y = roi.y + float(row) * step_y + (offset ? gamma * roi.height * offset[1] : 0.0f);
    low_x = roi.x + float(column) * step_x + (offset ? gamma * roi.width * offset[0] : 0.0f);
    grid_y = samples(roi.height, p.bins_y, p.sampling_ratio);
    grid_x = samples(roi.width, p.bins_x, p.sampling_ratio);
    if (height < 1 || width < 1) grid_y = grid_x = 0;
  }

  // A level that does not exist must not reach past the maps.
  __device__ static int level_of(const RoiAlign& p, int level) { return min(max(level, 0), p.levels - 1); }

  __device__ static int samples(float extent, int bins, int ratio) {
    if (ratio > 0) return ratio;
    const float count = ceilf(extent / float(bins));
    return count >= 1.0f ? int(fminf(count, 1e6f)) : 0;
  }

  __device__ RoiSample sample(int i, int j) const {
    return RoiSample(low_y + (float(i) + 0.5f) * step_y / float(grid_y),
                     low_x + (float(j) + 0.5f) * step_x / float(grid_x), height, width);
  }

  __device__ float share() const { return 1.0f / float(max(grid_y * grid_x, 1)); }
};

template <typename T>
__global__ void forward_kernel(RoiAlign p, Maps maps, const float* boxes, const int* levels, const float* offsets,
                               float gamma, T* out) {
  KDET_EACH(index, p.batch * p.rois * p.bins_y * p.bins_x * p.channels) {
    const int64_t number = index / p.channels;
    const int channel = int(index % p.channels);
    const Bin bin(p, boxes, levels, number, offsets ? offsets + 2 * number : nullptr, gamma);
    const T* map = static_cast<const T*>(maps.at[bin.roi.level]) + bin.map * p.channels + channel;
    float sum = 0;
    for (int i = 0; i < bin.grid_y; ++i) {
      for (int j = 0; j < bin.grid_x; ++j) {
        const RoiSample at = bin.sample(i, j);
        if (!at.counts) continue;
        for (int k = 0; k < 4; ++k) sum += at.weight[k] * load(map + at.pixel[k] * p.channels);
      }
    }
    store(sum * bin.share(), out + index);
  }
}

template <typename T>
__global__ void backward_kernel(RoiAlign p, const T* upstream, Maps maps, const float* boxes, const int* levels,
                                const float* offsets, float gamma, Gradients gradients, float* for_offsets) {
  KDET_EACH(index, p.batch * p.rois * p.bins_y * p.bins_x * p.channels) {
    const int64_t number = index / p.channels;
    const int channel = int(index % p.channels);
    const Bin bin(p, boxes, levels, number, offsets ? offsets + 2 * number : nullptr, gamma);
    const float up = load(upstream + index) * bin.share();
    const T* map = static_cast<const T*>(maps.at[bin.roi.level]);
    float by_y = 0, by_x = 0;
    for (int i = 0; i < bin.grid_y; ++i) {
      for (int j = 0; j < bin.grid_x; ++j) {
        const RoiSample at = bin.sample(i, j);
        if (!at.counts) continue;
        float value[4];
        for (int k = 0; k < 4; ++k) {
          const int64_t place = (bin.map + at.pixel[k]) * p.channels + channel;
          atomicAdd(gradients.at[bin.roi.level] + place, at.weight[k] * up);
          if (for_offsets) value[k] = load(map + place);
        }
        if (!for_offsets) continue;
        if (at.free_y) by_y += (value[2] - value[0]) * (1.0f - at.right) + (value[3] - value[1]) * at.right;
        if (at.free_x) by_x += (value[1] - value[0]) * (1.0f - at.down) + (value[3] - value[2]) * at.down;
      }
    }
    if (for_offsets) {
      atomicAdd(for_offsets + 2 * number, by_x * up * gamma * bin.roi.width);
      atomicAdd(for_offsets + 2 * number + 1, by_y * up * gamma * bin.roi.height);
    }
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_roi_align(const kdet::RoiAlign* p, int type, const void* const* features,
                                           const float* boxes, const int* levels, const float* offsets,
                                           float gamma, void* out, cudaStream_t stream) {
  kdet::Maps maps = {};
  for (int level = 0; level < p->levels; ++level) maps.at[level] = features[level];
  const int64_t count = p->batch * p->rois * p->bins_y * p->bins_x * p->channels;
  KDET_WITH_TYPE(type, kdet::forward_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, maps, boxes, levels, offsets, gamma, static_cast<Type*>(out)));
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_roi_align_grad(const kdet::RoiAlign* p, int type, const void* upstream,
                                                const void* const* features, const float* boxes,
                                                const int* levels, const float* offsets, float gamma,
                                                float* const* gradients, float* for_offsets,
                                                cudaStream_t stream) {
  kdet::Maps maps = {};
  kdet::Gradients to = {};
  for (int level = 0; level < p->levels; ++level) {
    maps.at[level] = features ? features[level] : nullptr;
    to.at[level] = gradients[level];
  }
  const int64_t count = p->batch * p->rois * p->bins_y * p->bins_x * p->channels;
  KDET_WITH_TYPE(type, kdet::backward_kernel<Type><<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(
                           *p, static_cast<const Type*>(upstream), maps, boxes, levels, offsets, gamma, to,
                           for_offsets));
  return cudaGetLastError();
}
