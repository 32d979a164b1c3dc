// What RoIAlign and deformable RoI pooling share on the CPU: bins that read from maps and that add to them.
#ifndef KDET_ROI_ALIGN_ROI_POOL_CPU_H_
#define KDET_ROI_ALIGN_ROI_POOL_CPU_H_

#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "roi_align/bin_taps.h"
#include "roi_align/roi_align.h"

namespace kdet {
inline namespace KDET_ISA {

// `Taps` below stands for the bins of one RoI: fill(r, roi) places them, y(bin) and x(bin) are their BinTaps.

// Calls visit(pixel of the map, weight) for all that a bin takes of the map's rows [begin, end).
template <typename Visit>
void each_tap(const BinTaps& y, const BinTaps& x, int begin, int end, int64_t width, const Visit& visit) {
  for (size_t i = 0; i < y.pixels.size(); ++i) {
    if (y.pixels[i] < begin || y.pixels[i] >= end) continue;
    for (size_t j = 0; j < x.pixels.size(); ++j) {
      visit(y.pixels[i] * width + x.pixels[j], y.weights[i] * x.weights[j]);
    }
  }
}

// out: [batch, rois, bins_y, bins_x, channels]
template <typename T, typename Taps>
void pool_rois(const RoiAlign& p, const Taps& unplaced, const T* const* features, const float* boxes,
               const int* levels, T* out, const ParallelFor& parallel) {
  const int bins = p.bins_y * p.bins_x;
  parallel.blocks(p.batch * p.rois, 1, [&](int64_t begin, int64_t end) {
    Taps taps = unplaced;
    std::vector<float> sum(p.channels), scratch(p.channels);
    for (int64_t r = begin; r < end; ++r) {
      const RoiOnMap roi(p, boxes + 4 * r, levels[r]);
      taps.fill(r, roi);
      const int height = p.height[roi.level], width = p.width[roi.level];
      const T* map = features[roi.level] + (r / p.rois) * height * width * p.channels;
      for (int bin = 0; bin < bins; ++bin) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        each_tap(taps.y(bin), taps.x(bin), 0, height, width, [&](int64_t pixel, float weight) {
          const float* row = as_floats(map + pixel * p.channels, p.channels, scratch.data());
          add_scaled(weight, row, p.channels, sum.data());
        });
        store_floats(sum.data(), p.channels, out + (r * bins + bin) * p.channels);
      }
    }
  });
}

struct RowRange {
  int begin, end;
};

// The rows of its map that a RoI takes from.
template <typename Taps>
RowRange rows_of(const Taps& taps, int bins) {
  RowRange rows = {0, 0};
  for (int bin = 0; bin < bins; ++bin) {
    for (int row : taps.y(bin).pixels) {
      const bool none = rows.begin == rows.end;
      rows = {none ? row : std::min(rows.begin, row), none ? row + 1 : std::max(rows.end, row + 1)};
    }
  }
  return rows;
}

// Adds up what the bins send back to the maps they took from. gradients: one map per level, written in full. Every
// task owns some rows of one map, so nothing is written twice, and every pixel sums up in the order of the RoIs
// whatever the number of threads. (Owning channels of all pixels does not scale: neighboring channels share
// what the processor fetches ahead.)
template <typename T, typename Taps>
void scatter_rois(const RoiAlign& p, const Taps& unplaced, const T* upstream, const float* boxes, const int* levels,
                  T* const* gradients, const ParallelFor& parallel) {
  const int bins = p.bins_y * p.bins_x;
  std::vector<RowRange> rows(p.batch * p.rois);
  parallel.blocks(p.batch * p.rois, 1, [&](int64_t begin, int64_t end) {
    Taps taps = unplaced;
    for (int64_t r = begin; r < end; ++r) {
      taps.fill(r, RoiOnMap(p, boxes + 4 * r, levels[r]));
      rows[r] = rows_of(taps, bins);
    }
  });
  const int64_t strips = std::max(2, kPartsPerThread<T>) * parallel.threads;  // of every map
  parallel.run(p.batch * p.levels * strips, [&](int64_t task) {
    const int level = int(task / strips % p.levels), height = p.height[level], width = p.width[level];
    const int64_t image = task / strips / p.levels, strip = task % strips;
    const int begin = int(height * strip / strips), end = int(height * (strip + 1) / strips);
    const int64_t first = int64_t(begin) * width;
    SummedPart<T> pixels;
    pixels.start(gradients[level] + (image * height * width + first) * p.channels, int64_t(end - begin) * width,
                 p.channels, p.channels);
    Taps taps = unplaced;
    std::vector<float> scratch(p.channels);
    for (int64_t r = image * p.rois; r < (image + 1) * p.rois; ++r) {
      if (levels[r] != level || rows[r].end <= begin || rows[r].begin >= end) continue;
      taps.fill(r, RoiOnMap(p, boxes + 4 * r, level));
      for (int bin = 0; bin < bins; ++bin) {
        const float* row = as_floats(upstream + (r * bins + bin) * p.channels, p.channels, scratch.data());
        each_tap(taps.y(bin), taps.x(bin), begin, end, width, [&](int64_t pixel, float weight) {
          add_scaled(weight, row, p.channels, pixels.row(pixel - first));
        });
      }
    }
    pixels.finish();
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_ROI_ALIGN_ROI_POOL_CPU_H_
