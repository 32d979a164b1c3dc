// Greedy non-maximum suppression: the interface of its kernels.
#ifndef KDET_NMS_NMS_H_
#define KDET_NMS_NMS_H_

#include <cstdint>

namespace kdet {

struct Nms {
  int64_t batch, boxes, max_output;
  float iou_threshold;    // an IoU above it suppresses
  float score_threshold;  // candidates have a greater score
};

// Boxes apart by coordinate; area is (x2 - x1) * (y2 - y1), with no +1.
#ifdef __CUDACC__
__host__ __device__
#endif
inline float box_iou(const float* a, const float* b) {
  const float left = a[0] > b[0] ? a[0] : b[0], top = a[1] > b[1] ? a[1] : b[1];
  const float right = a[2] < b[2] ? a[2] : b[2], bottom = a[3] < b[3] ? a[3] : b[3];
  const float width = right - left > 0 ? right - left : 0, height = bottom - top > 0 ? bottom - top : 0;
  const float overlap = width * height;
  const float together = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap;
  return overlap > 0 ? overlap / together : 0;
}

}  // namespace kdet

#endif  // KDET_NMS_NMS_H_
