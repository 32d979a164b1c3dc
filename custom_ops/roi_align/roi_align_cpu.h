// RoIAlign on the CPU. All maps are NHWC; boxes are [batch, rois, 4] xyxy in picture pixels.
#ifndef KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_
#define KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_

#include "common/floats.h"
#include "common/parallel.h"
#include "roi_align/bin_taps.h"
#include "roi_align/roi_align.h"

namespace kdet {

// The tap lists of all bins of a RoI.
class RoiTaps {
 public:
  explicit RoiTaps(const RoiAlign& p) : y(p.bins_y), x(p.bins_x) {}

  void fill(const RoiAlign& p, const RoiOnMap& roi) {
    fill_axis(roi.y, roi.height, p.height[roi.level], p.sampling_ratio, &y);
    fill_axis(roi.x, roi.width, p.width[roi.level], p.sampling_ratio, &x);
  }

  std::vector<BinTaps> y, x;

 private:
  static void fill_axis(float start, float extent, int size, int ratio, std::vector<BinTaps>* bins) {
    const float step = extent / float(bins->size()), grid = samples_per_bin(extent, int(bins->size()), ratio);
    for (size_t p = 0; p < bins->size(); ++p) (*bins)[p].fill(start + float(p) * step, step, grid, size);
  }
};

// out: [batch, rois, bins_y, bins_x, channels]
template <typename T>
void roi_align_forward(const RoiAlign& p, const T* const* features, const float* boxes, const int* levels,
                       T* out, const ParallelFor& parallel) {
  parallel.blocks(p.batch * p.rois, 1, [&](int64_t begin, int64_t end) {
    RoiTaps taps(p);
    std::vector<float> sum(p.channels), scratch(p.channels);
    for (int64_t r = begin; r < end; ++r) {
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      taps.fill(p, roi);
      const int64_t width = p.width[roi.level];
      const T* map = features[roi.level] + (r / p.rois) * p.height[roi.level] * width * p.channels;
      T* to = out + r * p.bins_y * p.bins_x * p.channels;
      for (const BinTaps& y : taps.y) {
        for (const BinTaps& x : taps.x) {
          std::fill(sum.begin(), sum.end(), 0.0f);
          for (size_t i = 0; i < y.pixels.size(); ++i) {
            for (size_t j = 0; j < x.pixels.size(); ++j) {
              const T* pixel = map + (y.pixels[i] * width + x.pixels[j]) * p.channels;
              const float* row = as_floats(pixel, p.channels, scratch.data());
              add_scaled(y.weights[i] * x.weights[j], row, p.channels, sum.data());
            }
          }
          store_floats(sum.data(), p.channels, to);
          to += p.channels;
        }
      }
    }
  });
}

// gradients: one zeroed float32 map per level. Every thread owns a range of channels.
template <typename T>
void roi_align_backward(const RoiAlign& p, const T* upstream, const float* boxes, const int* levels,
                        float* const* gradients, const ParallelFor& parallel) {
  parallel.channels(p.channels, 16, [&](int64_t begin, int64_t end, int64_t) {
    RoiTaps taps(p);
    std::vector<float> scratch(end - begin);
    for (int64_t r = 0; r < p.batch * p.rois; ++r) {
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      taps.fill(p, roi);
      const int64_t width = p.width[roi.level];
      float* map = gradients[roi.level] + (r / p.rois) * p.height[roi.level] * width * p.channels + begin;
      const T* from = upstream + r * p.bins_y * p.bins_x * p.channels + begin;
      for (const BinTaps& y : taps.y) {
        for (const BinTaps& x : taps.x) {
          const float* row = as_floats(from, end - begin, scratch.data());
          from += p.channels;
          for (size_t i = 0; i < y.pixels.size(); ++i) {
            for (size_t j = 0; j < x.pixels.size(); ++j) {
              float* pixel = map + (y.pixels[i] * width + x.pixels[j]) * p.channels;
              add_scaled(y.weights[i] * x.weights[j], row, end - begin, pixel);
            }
          }
        }
      }
    }
  });
}

}  // namespace kdet

#endif  // KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_
