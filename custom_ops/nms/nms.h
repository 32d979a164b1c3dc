// Greedy and soft non-maximum suppression: the interface of their kernels.
#ifndef KDET_NMS_NMS_H_
#define KDET_NMS_NMS_H_

#include <cmath>
#include <cstdint>

#include "common/launch.h"

namespace kdet {

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

// Boxes apart by coordinate; area is (x2 - x1) * (y2 - y1), with no +1. least_union keeps tiny boxes apart.
KDET_HOST_DEVICE inline float box_iou(const float* a, const float* b, float least_union = 0.0f) {
  const float left = a[0] > b[0] ? a[0] : b[0], top = a[1] > b[1] ? a[1] : b[1];
  const float right = a[2] < b[2] ? a[2] : b[2], bottom = a[3] < b[3] ? a[3] : b[3];
  const float width = right - left > 0 ? right - left : 0, height = bottom - top > 0 ? bottom - top : 0;
  const float overlap = width * height;
  const float together = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap;
  return overlap > 0 ? overlap / (together > least_union ? together : least_union) : 0;
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

}  // namespace kdet

#endif  // KDET_NMS_NMS_H_
