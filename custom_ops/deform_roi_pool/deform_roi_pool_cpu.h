// Deformable RoI pooling on the CPU: aligned RoIAlign whose every bin is moved by an offset.
#ifndef KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_
#define KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_

#include "common/floats.h"
#include "common/parallel.h"
#include "roi_align/bin_taps.h"
#include "roi_align/roi_align.h"

namespace kdet {

// One bin of a RoI, moved by gamma * offset * size of the RoI. offset is (x, y).
struct MovedBin {
  BinTaps y, x;

  void fill(const RoiAlign& p, const RoiOnMap& roi, int bin, const float* offset, float gamma, bool slopes) {
    const float step_y = roi.height / float(p.bins_y), step_x = roi.width / float(p.bins_x);
    const float low_y = roi.y + float(bin / p.bins_x) * step_y + gamma * roi.height * offset[1];
    const float low_x = roi.x + float(bin % p.bins_x) * step_x + gamma * roi.width * offset[0];
    y.fill(low_y, step_y, samples_per_bin(roi.height, p.bins_y, p.sampling_ratio), p.height[roi.level], slopes);
    x.fill(low_x, step_x, samples_per_bin(roi.width, p.bins_x, p.sampling_ratio), p.width[roi.level], slopes);
  }
};

// offsets [batch, rois, bins_y, bins_x, 2]; out [batch, rois, bins_y, bins_x, channels]
template <typename T>
void deform_roi_pool_forward(const RoiAlign& p, float gamma, const T* const* features, const float* boxes,
                             const int* levels, const float* offsets, T* out, const ParallelFor& parallel) {
  const int bins = p.bins_y * p.bins_x;
  parallel.blocks(p.batch * p.rois, 1, [&](int64_t begin, int64_t end) {
    MovedBin moved;
    std::vector<float> sum(p.channels), scratch(p.channels);
    for (int64_t b = begin * bins; b < end * bins; ++b) {
      const int64_t r = b / bins;
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      const int64_t width = p.width[roi.level];
      const T* map = features[roi.level] + (r / p.rois) * p.height[roi.level] * width * p.channels;
      moved.fill(p, roi, int(b % bins), offsets + 2 * b, gamma, false);
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (size_t i = 0; i < moved.y.pixels.size(); ++i) {
        for (size_t j = 0; j < moved.x.pixels.size(); ++j) {
          const T* pixel = map + (moved.y.pixels[i] * width + moved.x.pixels[j]) * p.channels;
          const float* row = as_floats(pixel, p.channels, scratch.data());
          add_scaled(moved.y.weights[i] * moved.x.weights[j], row, p.channels, sum.data());
        }
      }
      store_floats(sum.data(), p.channels, out + b * p.channels);
    }
  });
}

// gradients: one zeroed float32 map per level; for_offsets: one zeroed copy per thread, which owns a range of
// channels.
template <typename T>
void deform_roi_pool_backward(const RoiAlign& p, float gamma, const T* const* features, const float* boxes,
                              const int* levels, const float* offsets, const T* upstream,
                              float* const* gradients, float* const* for_offsets, const ParallelFor& parallel) {
  const int bins = p.bins_y * p.bins_x;
  parallel.channels(p.channels, 16, [&](int64_t begin, int64_t end, int64_t shard) {
    MovedBin moved;
    const int64_t count = end - begin;
    float* to = for_offsets[shard];
    std::vector<float> scratch(count), up_scratch(count);
    for (int64_t b = 0; b < p.batch * p.rois * bins; ++b) {
      const int64_t r = b / bins;
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      const int64_t width = p.width[roi.level], first = (r / p.rois) * p.height[roi.level] * width;
      moved.fill(p, roi, int(b % bins), offsets + 2 * b, gamma, true);
      const float* up = as_floats(upstream + b * p.channels + begin, count, up_scratch.data());
      for (size_t i = 0; i < moved.y.pixels.size(); ++i) {
        for (size_t j = 0; j < moved.x.pixels.size(); ++j) {
          const int64_t pixel = (first + moved.y.pixels[i] * width + moved.x.pixels[j]) * p.channels + begin;
          const float gain = dot(up, as_floats(features[roi.level] + pixel, count, scratch.data()), count);
          to[2 * b] += gamma * roi.width * gain * moved.y.weights[i] * moved.x.slopes[j];
          to[2 * b + 1] += gamma * roi.height * gain * moved.y.slopes[i] * moved.x.weights[j];
          add_scaled(moved.y.weights[i] * moved.x.weights[j], up, count, gradients[roi.level] + pixel);
        }
      }
    }
  });
}

}  // namespace kdet

#endif  // KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_
