// Boxes to compare another box with.
#ifndef KDET_NMS_KEPT_BOXES_H_
#define KDET_NMS_KEPT_BOXES_H_

#include <cstdint>
#include <vector>

#include "common/instruction_set.h"
#include "common/lanes.h"
#include "nms/nms.h"

namespace kdet {
inline namespace KDET_ISA {

// Kept boxes of one class, sixteen at a time and one array per coordinate, so that a box is compared with many at
// once.
class KeptBoxes {
 public:
  void add(const float* box) {
    if (count_ % kLanes == 0) groups_.emplace_back();
    Group& group = groups_.back();
    const int lane = int(count_++ % kLanes);
    for (int k = 0; k < 4; ++k) group.corner[k][lane] = box[k];
  }

  int64_t groups() const { return int64_t(groups_.size()); }
  int64_t full_groups() const { return count_ / kLanes; }

  // Whether any box of the groups [first, last) overlaps this one by more than the threshold. least_union keeps tiny
  // boxes apart.
  bool suppress(const float* box, float threshold, int64_t first, int64_t last, float least_union = 0.0f) const {
    const float x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
    for (int64_t g = first; g < last; ++g) {
      const Group& kept = groups_[g];
      int hits = 0;
#pragma omp simd reduction(+ : hits)
      for (int i = 0; i < kLanes; ++i) {
        const float iou = corners_iou(kept.corner[0][i], kept.corner[1][i], kept.corner[2][i], kept.corner[3][i], x1,
                                      y1, x2, y2, least_union);
        hits += iou > threshold ? 1 : 0;
      }
      if (hits) return true;
    }
    return false;
  }

 private:
  struct Group {
    float corner[4][kLanes] = {};  // boxes that are not there yet have no area and so overlap nothing
  };
  std::vector<Group> groups_;
  int64_t count_ = 0;
};

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_NMS_KEPT_BOXES_H_
