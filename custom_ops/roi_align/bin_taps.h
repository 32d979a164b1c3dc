// The pixels that one bin of a RoI takes from along one axis, and their weights.
#ifndef KDET_ROI_ALIGN_BIN_TAPS_H_
#define KDET_ROI_ALIGN_BIN_TAPS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/instruction_set.h"

namespace kdet {
inline namespace KDET_ISA {

// The mean of bilinear samples is separable, so a bin's value is the double sum over two of these lists.
struct BinTaps {
  std::vector<int> pixels;
  std::vector<float> weights;
  std::vector<float> slopes;  // derivative of the weight by the bin's position

  // Samples of a bin that begins at `low` and is `step` wide, on a map of `size` pixels: `grid` of them,
  // evenly spaced. Samples more than a pixel off the map do not count; those within are clipped to it.
  void fill(float low, float step, float grid, int size, bool with_slopes = false) {
    pixels.clear();
    weights.clear();
    slopes.clear();
    if (!(grid >= 1) || size < 1) return;
    // A RoI far larger than the map has many samples off it: leave those out without looking at each.
    const double spacing = std::max(double(step) / grid, 1e-12);
    const double first = std::floor((-1.0 - low) / spacing - 0.5) - 1;
    const double last = std::ceil((size - double(low)) / spacing - 0.5) + 1;
    const int64_t begin = int64_t(std::clamp(first, 0.0, double(grid)));
    const int64_t end = int64_t(std::clamp(last + 1, 0.0, double(grid)));
    const float share = 1.0f / grid;
    for (int64_t s = begin; s < end; ++s) {
      float position = low + (float(s) + 0.5f) * step / grid;
      if (position < -1.0f || position > float(size)) continue;
      const bool clipped = position < 0.0f || position >= float(size - 1);
      position = std::clamp(position, 0.0f, float(size - 1));
      const int pixel = int(position);
      const float fraction = position - float(pixel);
      const float slope = clipped ? 0.0f : share;
      add(pixel, (1.0f - fraction) * share, with_slopes, -slope);
      if (pixel + 1 < size) add(pixel + 1, fraction * share, with_slopes, slope);
    }
  }

 private:
  void add(int pixel, float weight, bool with_slopes, float slope) {
    // Positions grow, so a known pixel is one of the last two.
    size_t k = pixels.size();
    while (k > 0 && pixels[k - 1] > pixel) --k;
    if (k == 0 || pixels[k - 1] != pixel) {
      pixels.push_back(pixel);
      weights.push_back(weight);
      if (with_slopes) slopes.push_back(slope);
    } else {
      weights[k - 1] += weight;
      if (with_slopes) slopes[k - 1] += slope;
    }
  }
};

// Samples per bin and axis: fixed, or as many as the bin has pixels. A RoI of no extent has none.
inline float samples_per_bin(float extent, int bins, int sampling_ratio) {
  return sampling_ratio > 0 ? float(sampling_ratio) : std::ceil(extent / float(bins));
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_ROI_ALIGN_BIN_TAPS_H_
