// Greedy and soft non-maximum suppression: the interface of their kernels.
#ifndef KDET_NMS_NMS_H_
#define KDET_NMS_NMS_H_

#include <cmath>
#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

struct Nms {
  int64_t batch, boxes, max_output;
  float iou_threshold;    // an IoU above it suppresses
  float score_threshold;  // candidates have a greater score
};

struct SoftNms {
  int64_t batch, boxes, max_output;
  float iou_threshold, sigma, min_score;
  bool gaussian;
};

// IoU of two boxes x1, y1, x2, y2; area is (x2 - x1) * (y2 - y1), with no +1. least_union keeps tiny boxes apart.
// (The corners come by value: where they come by std::min and std::max the compiler does not take many at a time.)
KDET_HOST_DEVICE inline float corners_iou(float ax1, float ay1, float ax2, float ay2, float bx1, float by1, float bx2,
                                          float by2, float least_union = 0.0f) {
  const float left = ax1 > bx1 ? ax1 : bx1, top = ay1 > by1 ? ay1 : by1;
  const float right = ax2 < bx2 ? ax2 : bx2, bottom = ay2 < by2 ? ay2 : by2;
  const float width = right - left > 0 ? right - left : 0, height = bottom - top > 0 ? bottom - top : 0;
  const float overlap = width * height;
  const float together = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - overlap;
  const float ratio = overlap / (together > least_union ? together : least_union);
  return overlap > 0 ? ratio : 0;
}

KDET_HOST_DEVICE inline float box_iou(const float* a, const float* b, float least_union = 0.0f) {
  return corners_iou(a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], least_union);
}

// Whether the IoU is above the threshold. Most boxes do not meet; they skip the division, which is slow of 0 on a GPU.
KDET_HOST_DEVICE inline bool iou_exceeds(const float* a, const float* b, float threshold, float least_union = 0.0f) {
  const bool beside = (a[2] <= b[0]) | (b[2] <= a[0]), above = (a[3] <= b[1]) | (b[3] <= a[1]);
  if (beside | above) return 0.0f > threshold;
  return box_iou(a, b, least_union) > threshold;
}

// What soft-NMS leaves of a score after a box of this IoU was taken; -infinity where the box is dropped.
KDET_HOST_DEVICE inline float lowered_score(const SoftNms& p, float score, float overlap) {
  if (p.gaussian) {
    score *= expf(-overlap * overlap / p.sigma);
  } else if (overlap >= p.iou_threshold) {
    score *= 1.0f - overlap;
  }
  return score < p.min_score ? -INFINITY : score;
}

// See nms_cpu.h.
struct NmsKernels {
  void (*nms)(const Nms& p, const float* boxes, const float* scores, const int* labels, bool move, int* indices,
              int* counts, const ParallelFor& parallel);
  void (*soft_nms)(const SoftNms& p, const float* boxes, const float* scores, int* indices, float* kept, int* counts,
                   const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_NMS_NMS_H_
