// RoIAlign on the CPU. All maps are NHWC; boxes are [batch, rois, 4] xyxy in image pixels.
#ifndef KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_
#define KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_

#include "common/instruction_set.h"
#include "roi_align/roi_pool_cpu.h"

namespace kdet {
inline namespace KDET_ISA {

// The bins of a RoI: a grid.
class GridTaps {
 public:
  explicit GridTaps(const RoiAlign& p) : p_(&p), y_(p.bins_y), x_(p.bins_x) {}

  void fill(int64_t, const RoiOnMap& roi) {
    fill_axis(roi.y, roi.height, p_->height[roi.level], &y_);
    fill_axis(roi.x, roi.width, p_->width[roi.level], &x_);
  }
  const BinTaps& y(int bin) const { return y_[bin / p_->bins_x]; }
  const BinTaps& x(int bin) const { return x_[bin % p_->bins_x]; }

 private:
  void fill_axis(float start, float extent, int size, std::vector<BinTaps>* bins) const {
    const float step = extent / float(bins->size());
    const float grid = samples_per_bin(extent, int(bins->size()), p_->sampling_ratio);
    for (size_t k = 0; k < bins->size(); ++k) (*bins)[k].fill(start + float(k) * step, step, grid, size);
  }

  const RoiAlign* p_;
  std::vector<BinTaps> y_, x_;
};

// out: [batch, rois, bins_y, bins_x, channels]
template <typename T>
void roi_align_forward(const RoiAlign& p, const T* const* features, const float* boxes, const int* levels,
                       T* out, const ParallelFor& parallel) {
  pool_rois(p, GridTaps(p), features, boxes, levels, out, parallel);
}

// gradients: one map per level, written in full.
template <typename T>
void roi_align_backward(const RoiAlign& p, const T* upstream, const float* boxes, const int* levels,
                        T* const* gradients, const ParallelFor& parallel) {
  scatter_rois(p, GridTaps(p), upstream, boxes, levels, gradients, parallel);
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_ROI_ALIGN_ROI_ALIGN_CPU_H_
