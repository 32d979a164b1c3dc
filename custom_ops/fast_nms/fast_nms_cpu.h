// Fast NMS on the CPU; classes run in parallel, then images.
#ifndef KDET_FAST_NMS_FAST_NMS_CPU_H_
#define KDET_FAST_NMS_FAST_NMS_CPU_H_

#include <algorithm>
#include <vector>

#include "common/instruction_set.h"
#include "common/parallel.h"
#include "fast_nms/fast_nms.h"
#include "nms/kept_boxes.h"

namespace kdet {
inline namespace KDET_ISA {
namespace fast_nms_detail {

struct Candidate {
  float score;
  int64_t place;  // breaks ties
  int box;

  bool operator<(const Candidate& other) const {
    return score > other.score || (score == other.score && place < other.place);
  }
};

// The best `most` of all, in order.
inline void keep_best(std::vector<Candidate>* all, int64_t most) {
  const int64_t count = std::min<int64_t>(most, int64_t(all->size()));
  std::partial_sort(all->begin(), all->begin() + count, all->end());
  all->resize(count);
}

// Drops every candidate that overlaps a better one. They come in order; scores says who is left.
inline void drop_overlapping(const float* boxes, float threshold, std::vector<Candidate>* all) {
  KeptBoxes better;
  std::vector<Candidate> left;
  for (const Candidate& candidate : *all) {
    const float* box = boxes + 4 * candidate.box;
    if (!better.suppress(box, threshold, 0, better.groups(), kLeastUnion)) left.push_back(candidate);
    better.add(box);
  }
  all->swap(left);
}

}  // namespace fast_nms_detail

// boxes [batch, n, 4], scores [batch, n, classes]; indices, labels and kept [batch, max_output] and counts
// [batch] are written in full.
inline void fast_nms(const FastNms& p, const float* boxes, const float* scores, int* indices, int* labels,
                     float* kept, int* counts, const ParallelFor& parallel) {
  using fast_nms_detail::Candidate;
  std::vector<std::vector<Candidate>> of_class(p.batch * p.classes);
  parallel.run(p.batch * p.classes, [&](int64_t task) {
    const int64_t image = task / p.classes, label = task % p.classes;
    std::vector<Candidate>& all = of_class[task];
    for (int64_t i = 0; i < p.boxes; ++i) {
      const float score = scores[(image * p.boxes + i) * p.classes + label];
      if (score > p.score_threshold) all.push_back({score, i, int(i)});
    }
    fast_nms_detail::keep_best(&all, p.top_k);
    fast_nms_detail::drop_overlapping(boxes + 4 * image * p.boxes, p.iou_threshold, &all);
  });
  parallel.run(p.batch, [&](int64_t image) {
    std::vector<Candidate> all;
    for (int64_t label = 0; label < p.classes; ++label) {
      const std::vector<Candidate>& own = of_class[image * p.classes + label];
      for (size_t k = 0; k < own.size(); ++k) {
        all.push_back({own[k].score, label * p.boxes + int64_t(k), own[k].box});
      }
    }
    fast_nms_detail::keep_best(&all, p.max_output);
    counts[image] = int(all.size());
    for (int64_t k = 0; k < p.max_output; ++k) {
      const bool real = k < int64_t(all.size());
      const int64_t to = image * p.max_output + k;
      indices[to] = real ? all[k].box : 0;
      kept[to] = real ? all[k].score : 0.0f;
      labels[to] = real ? int(all[k].place / p.boxes) : 0;
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_FAST_NMS_FAST_NMS_CPU_H_
