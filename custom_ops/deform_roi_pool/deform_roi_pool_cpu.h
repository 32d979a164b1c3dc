// Deformable RoI pooling on the CPU: aligned RoIAlign whose every bin is moved by an offset.
#ifndef KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_
#define KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_

#include "common/instruction_set.h"
#include "deform_roi_pool/deform_roi_pool.h"
#include "roi_align/roi_pool_cpu.h"

namespace kdet {
inline namespace KDET_ISA {

// The bins of a RoI, each moved by gamma * offset * size of the RoI. offsets [batch, rois, bins_y, bins_x, 2]
// are (x, y).
class MovedTaps {
 public:
  MovedTaps(const RoiAlign& p, float gamma, const float* offsets, bool with_slopes = false)
      : p_(&p), gamma_(gamma), offsets_(offsets), with_slopes_(with_slopes), y_(p.bins_y * p.bins_x), x_(y_.size()) {}

  void fill(int64_t r, const RoiOnMap& roi) {
    const float step_y = roi.height / float(p_->bins_y), step_x = roi.width / float(p_->bins_x);
    const float grid_y = samples_per_bin(roi.height, p_->bins_y, p_->sampling_ratio);
    const float grid_x = samples_per_bin(roi.width, p_->bins_x, p_->sampling_ratio);
    const float* offset = offsets_ + 2 * r * int64_t(y_.size());
    for (int bin = 0; bin < int(y_.size()); ++bin, offset += 2) {
      const float low_y = roi.y + float(bin / p_->bins_x) * step_y + gamma_ * roi.height * offset[1];
      const float low_x = roi.x + float(bin % p_->bins_x) * step_x + gamma_ * roi.width * offset[0];
      y_[bin].fill(low_y, step_y, grid_y, p_->height[roi.level], with_slopes_);
      x_[bin].fill(low_x, step_x, grid_x, p_->width[roi.level], with_slopes_);
    }
  }
  const BinTaps& y(int bin) const { return y_[bin]; }
  const BinTaps& x(int bin) const { return x_[bin]; }

 private:
  const RoiAlign* p_;
  float gamma_;
  const float* offsets_;
  bool with_slopes_;
  std::vector<BinTaps> y_, x_;
};

// out [batch, rois, bins_y, bins_x, channels]
template <typename T>
void deform_roi_pool_forward(const RoiAlign& p, float gamma, const T* const* features, const float* boxes,
                             const int* levels, const float* offsets, T* out, const ParallelFor& parallel) {
  pool_rois(p, MovedTaps(p, gamma, offsets), features, boxes, levels, out, parallel);
}

// gradients: one zeroed float32 map per level; for_offsets is written in full.
template <typename T>
void deform_roi_pool_backward(const RoiAlign& p, float gamma, const T* const* features, const float* boxes,
                              const int* levels, const float* offsets, const T* upstream,
                              T* const* gradients, float* for_offsets, const ParallelFor& parallel) {
  const int bins = p.bins_y * p.bins_x;
  parallel.blocks(p.batch * p.rois, 1, [&](int64_t begin, int64_t end) {
    MovedTaps taps(p, gamma, offsets, true);
    std::vector<float> scratch(p.channels), up_scratch(p.channels);
    for (int64_t r = begin; r < end; ++r) {
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      taps.fill(r, roi);
      const int64_t width = p.width[roi.level], first = (r / p.rois) * p.height[roi.level] * width;
      for (int bin = 0; bin < bins; ++bin) {
        const BinTaps &y = taps.y(bin), &x = taps.x(bin);
        const float* up = as_floats(upstream + (r * bins + bin) * p.channels, p.channels, up_scratch.data());
        float by_x = 0, by_y = 0;
        for (size_t i = 0; i < y.pixels.size(); ++i) {
          for (size_t j = 0; j < x.pixels.size(); ++j) {
            const int64_t pixel = (first + y.pixels[i] * width + x.pixels[j]) * p.channels;
            const float gain = dot(up, as_floats(features[roi.level] + pixel, p.channels, scratch.data()), p.channels);
            by_x += gain * y.weights[i] * x.slopes[j];
            by_y += gain * y.slopes[i] * x.weights[j];
          }
        }
        for_offsets[2 * (r * bins + bin)] = gamma * roi.width * by_x;
        for_offsets[2 * (r * bins + bin) + 1] = gamma * roi.height * by_y;
      }
    }
  });
  scatter_rois(p, MovedTaps(p, gamma, offsets), upstream, boxes, levels, gradients, parallel);
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_DEFORM_ROI_POOL_DEFORM_ROI_POOL_CPU_H_
