// NMS and soft-NMS on the CPU; pictures run in parallel.
#ifndef KDET_NMS_NMS_CPU_H_
#define KDET_NMS_NMS_CPU_H_

#include <limits>
#include <unordered_map>
#include <vector>

#include "common/parallel.h"
#include "nms/nms.h"

namespace kdet {

// Kept boxes of one class, one array per coordinate so that the comparison runs over many at once.
class KeptBoxes {
 public:
  void add(const float* box) {
    for (int k = 0; k < 4; ++k) corner_[k].push_back(box[k]);
    area_.push_back((box[2] - box[0]) * (box[3] - box[1]));
  }

  // Whether any kept box overlaps this one by more than the threshold.
  bool suppress(const float* box, float threshold) const {
    const float area = (box[2] - box[0]) * (box[3] - box[1]);
    const float x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
    const int64_t count = int64_t(area_.size());
    constexpr int64_t kBlock = 64;  // looks for an early end once per block
    for (int64_t begin = 0; begin < count; begin += kBlock) {
      const int64_t end = std::min(count, begin + kBlock);
      int hits = 0;
#pragma omp simd reduction(+ : hits)
      for (int64_t i = begin; i < end; ++i) {
        const float width = std::max(std::min(x2, corner_[2][i]) - std::max(x1, corner_[0][i]), 0.0f);
        const float height = std::max(std::min(y2, corner_[3][i]) - std::max(y1, corner_[1][i]), 0.0f);
        const float overlap = width * height;
        hits += overlap / (area_[i] + area - overlap) > threshold ? 1 : 0;
      }
      if (hits) return true;
    }
    return false;
  }

 private:
  std::vector<float> corner_[4], area_;
};

// boxes [batch, n, 4] already moved apart by class; labels [batch, n] or null; indices [batch, max_output]
// and counts [batch] are written in full.
inline void nms(const Nms& p, const float* boxes, const float* scores, const int* labels, int* indices,
                int* counts, const ParallelFor& parallel) {
  parallel.run(p.batch, [&](int64_t b) {
    const float *box = boxes + 4 * b * p.boxes, *score = scores + b * p.boxes;
    std::vector<int> order;
    for (int64_t i = 0; i < p.boxes; ++i) {
      if (score[i] > p.score_threshold) order.push_back(int(i));
    }
    // A heap gives the best candidates one by one: few are looked at when the output fills up early.
    const auto worse = [score](int a, int b) { return score[a] < score[b] || (score[a] == score[b] && a > b); };
    std::make_heap(order.begin(), order.end(), worse);
    std::unordered_map<int, KeptBoxes> kept;
    int* to = indices + b * p.max_output;
    int64_t count = 0;
    for (auto end = order.end(); end != order.begin() && count < p.max_output; --end) {
      std::pop_heap(order.begin(), end, worse);
      const int i = *(end - 1);
      KeptBoxes& rivals = kept[labels ? labels[b * p.boxes + i] : 0];
      if (rivals.suppress(box + 4 * i, p.iou_threshold)) continue;
      rivals.add(box + 4 * i);
      to[count++] = i;
    }
    std::fill(to + count, to + p.max_output, 0);
    counts[b] = int(count);
  });
}

// Scores of -inf are no candidates. Output as of `nms`, with the lowered scores.
inline void soft_nms(const SoftNms& p, const float* boxes, const float* scores, int* indices, float* kept,
                     int* counts, const ParallelFor& parallel) {
  constexpr float kGone = -std::numeric_limits<float>::infinity();
  parallel.run(p.batch, [&](int64_t b) {
    const float* box = boxes + 4 * b * p.boxes;
    std::vector<int> live;
    std::vector<float> score;
    for (int64_t i = 0; i < p.boxes; ++i) {
      if (scores[b * p.boxes + i] > kGone) {
        live.push_back(int(i));
        score.push_back(scores[b * p.boxes + i]);
      }
    }
    int64_t count = 0;
    while (!live.empty() && count < p.max_output) {
      const size_t best = std::max_element(score.begin(), score.end()) - score.begin();
      const int taken = live[best];
      indices[b * p.max_output + count] = taken;
      kept[b * p.max_output + count] = score[best];
      ++count;
      size_t left = 0;  // keeps the order, so that ties go to the lower index
      for (size_t i = 0; i < live.size(); ++i) {
        if (i == best) continue;
        const float overlap = box_iou(box + 4 * taken, box + 4 * live[i]);
        const float lowered = lowered_score(p, score[i], overlap);
        if (lowered == kGone) continue;
        live[left] = live[i];
        score[left++] = lowered;
      }
      live.resize(left);
      score.resize(left);
    }
    std::fill(indices + b * p.max_output + count, indices + (b + 1) * p.max_output, 0);
    std::fill(kept + b * p.max_output + count, kept + (b + 1) * p.max_output, 0.0f);
    counts[b] = int(count);
  });
}

}  // namespace kdet

#endif  // KDET_NMS_NMS_CPU_H_
