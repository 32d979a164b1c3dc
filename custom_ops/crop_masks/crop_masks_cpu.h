// Mask targets on the CPU: RoIAlign (aligned, adaptive) of one bit per pixel, then >= 0.5.
#ifndef KDET_CROP_MASKS_CROP_MASKS_CPU_H_
#define KDET_CROP_MASKS_CROP_MASKS_CPU_H_

#include <array>
#include <vector>

#include "common/instruction_set.h"
#include "common/parallel.h"
#include "crop_masks/crop_masks.h"
#include "roi_align/bin_taps.h"

namespace kdet {
inline namespace KDET_ISA {

// Byte -> its eight bits as floats, most significant first.
inline const std::array<std::array<float, 8>, 256>& bits_as_floats() {
  static const auto table = [] {
    std::array<std::array<float, 8>, 256> rows;
    for (int byte = 0; byte < 256; ++byte) {
      for (int bit = 0; bit < 8; ++bit) rows[byte][bit] = float((byte >> (7 - bit)) & 1);
    }
    return rows;
  }();
  return table;
}

// masks [batch, instances, height, width_bytes], index [batch, boxes] (negative: empty target), out
// [batch, boxes, bins_y, bins_x].
inline void crop_masks(const CropMasks& p, const uint8_t* masks, const float* boxes, const int* index,
                       float* out, const ParallelFor& parallel) {
  const auto& bits = bits_as_floats();
  parallel.blocks(p.batch * p.boxes, 1, [&](int64_t begin, int64_t end) {
    BinTaps y;
    std::vector<BinTaps> x(p.bins_x);
    std::vector<float> line(p.width_bytes * 8);
    for (int64_t r = begin; r < end; ++r) {
      float* to = out + r * p.bins_y * p.bins_x;
      if (index[r] < 0) {
        std::fill(to, to + p.bins_y * p.bins_x, 0.0f);
        continue;
      }
      const float *box = boxes + 4 * r, left = box[0] - 0.5f, top = box[1] - 0.5f;
      const float width = box[2] - 0.5f - left, height = box[3] - 0.5f - top;
      const float step_x = width / float(p.bins_x), step_y = height / float(p.bins_y);
      const float grid_x = samples_per_bin(width, p.bins_x, 0), grid_y = samples_per_bin(height, p.bins_y, 0);
      int first = p.width_bytes, last = -1;  // bytes of a row that the box reaches
      for (int q = 0; q < p.bins_x; ++q) {
        x[q].fill(left + float(q) * step_x, step_x, grid_x, p.width_bytes * 8);
        if (x[q].pixels.empty()) continue;
        first = std::min(first, x[q].pixels.front() / 8);
        last = std::max(last, x[q].pixels.back() / 8);
      }
      const int64_t mask = (r / p.boxes) * p.instances + index[r];
      for (int q = 0; q < p.bins_y; ++q) {
        y.fill(top + float(q) * step_y, step_y, grid_y, p.height);
        if (first <= last) std::fill(line.begin() + first * 8, line.begin() + (last + 1) * 8, 0.0f);
        for (size_t i = 0; i < y.pixels.size(); ++i) {
          const uint8_t* row = masks + (mask * p.height + y.pixels[i]) * p.width_bytes;
          for (int byte = first; byte <= last; ++byte) {
            if (row[byte] == 0) continue;
            for (int bit = 0; bit < 8; ++bit) line[byte * 8 + bit] += y.weights[i] * bits[row[byte]][bit];
          }
        }
        for (const BinTaps& bin : x) {
          float sum = 0;
          for (size_t j = 0; j < bin.pixels.size(); ++j) sum += bin.weights[j] * line[bin.pixels[j]];
          *to++ = sum >= kCovered ? 1.0f : 0.0f;
        }
      }
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_CROP_MASKS_CROP_MASKS_CPU_H_
