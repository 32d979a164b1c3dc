// Fast NMS: the interface of its kernels.
#ifndef KDET_FAST_NMS_FAST_NMS_H_
#define KDET_FAST_NMS_FAST_NMS_H_

#include "nms/nms.h"

namespace kdet {

struct ParallelFor;

struct FastNms {
  int64_t batch, boxes, classes, top_k, max_output;
  float iou_threshold;    // a better box of a greater IoU drops a box
  float score_threshold;  // candidates have a greater score
};

constexpr float kLeastUnion = 1e-6f;

// See fast_nms_cpu.h.
struct FastNmsKernels {
  void (*fast_nms)(const FastNms& p, const float* boxes, const float* scores, int* indices, int* labels, float* kept,
                   int* counts, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_FAST_NMS_FAST_NMS_H_
