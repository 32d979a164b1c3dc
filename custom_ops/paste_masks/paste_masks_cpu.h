// Mask pasting on the CPU; masks run in parallel.
#ifndef KDET_PASTE_MASKS_PASTE_MASKS_CPU_H_
#define KDET_PASTE_MASKS_PASTE_MASKS_CPU_H_

#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "paste_masks/paste_masks.h"

namespace kdet {
inline namespace KDET_ISA {

// masks [count, mask_height, mask_width], boxes [count, 4], out [count, height, width] of float or bool.
template <typename T, typename Out>
void paste_masks(const PasteMasks& p, const T* masks, const float* boxes, Out* out, const ParallelFor& parallel) {
  Out outside;
  paste(0.0f, p.threshold, &outside);
  parallel.blocks(p.count, 1, [&](int64_t begin, int64_t end) {
    std::vector<int> cells(p.width);
    std::vector<float> before(p.width), after(p.width), values(p.mask_height * p.mask_width);
    std::vector<float> line(p.mask_width + 2);  // a row of cells between two zeros
    for (int64_t n = begin; n < end; ++n) {
      const float* box = boxes + 4 * n;
      Out* canvas = out + n * p.height * p.width;
      std::fill(canvas, canvas + int64_t{p.height} * p.width, outside);
      int left = p.width, right = 0;  // the columns that the mask reaches
      for (int x = 0; x < p.width; ++x) {
        const PasteTap tap(x, box[0], box[2], p.mask_width);
        if (!tap.any) continue;
        left = std::min(left, x);
        right = x + 1;
        cells[x] = tap.cell + 1;
        before[x] = tap.before;
        after[x] = tap.after;
      }
      const int64_t size = int64_t{p.mask_height} * p.mask_width;
      const float* mask = as_floats(masks + n * size, size, values.data());
      for (int y = 0; y < p.height; ++y) {
        const PasteTap tap(y, box[1], box[3], p.mask_height);
        if (!tap.any) continue;
        std::fill(line.begin(), line.end(), 0.0f);
        if (tap.cell >= 0) add_scaled(tap.before, mask + int64_t{tap.cell} * p.mask_width, p.mask_width, &line[1]);
        if (tap.cell + 1 < p.mask_height) {
          add_scaled(tap.after, mask + int64_t{tap.cell + 1} * p.mask_width, p.mask_width, &line[1]);
        }
        Out* row = canvas + int64_t{y} * p.width;
        for (int x = left; x < right; ++x) {
          paste(before[x] * line[cells[x]] + after[x] * line[cells[x] + 1], p.threshold, row + x);
        }
      }
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_PASTE_MASKS_PASTE_MASKS_CPU_H_
