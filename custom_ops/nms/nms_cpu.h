// NMS and soft-NMS on the CPU.
#ifndef KDET_NMS_NMS_CPU_H_
#define KDET_NMS_NMS_CPU_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "nms/kept_boxes.h"
#include "nms/nms.h"

namespace kdet {
inline namespace KDET_ISA {

// The candidates of an image by falling score, the lower index first where scores are equal. They are sorted some
// at a time: few are looked at where the output fills up early.
class Ranking {
 public:
  Ranking(const float* scores, int64_t count, float threshold) {
    for (int64_t i = 0; i < count; ++i) {
      if (scores[i] > threshold) keys_.push_back(uint64_t(~rising_bits(scores[i])) << 32 | uint64_t(i));
    }
  }

  // The next candidates, at most `most`.
  std::vector<int> next(int64_t most) {
    const auto begin = keys_.begin() + taken_;
    const auto end = begin + std::min<int64_t>(most, keys_.end() - begin);
    if (end != keys_.end()) std::nth_element(begin, end, keys_.end());
    std::sort(begin, end);
    taken_ = end - keys_.begin();
    return std::vector<int>(begin, end);  // the lower half of a key is the index
  }

 private:
  // Bits of numbers that compare as the floats do; no two for zero.
  static uint32_t rising_bits(float value) {
    const uint32_t bits = float_to_bits(value + 0.0f);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
  }

  std::vector<uint64_t> keys_;
  int64_t taken_ = 0;
};

// An image's boxes, of which every class is moved to where it meets no other: by `label * (m + 1)`, with m the largest
// coordinate of the candidates. `apart` says whether boxes of different classes certainly do not meet, so that they
// need not be compared.
inline std::vector<float> move_classes(const Nms& p, const float* boxes, const float* scores, const int* labels,
                                       bool* apart) {
  constexpr float kExact = 1 << 21;  // coordinates below are exact to a quarter of a pixel; classes are further apart
  constexpr float kFurthest = std::numeric_limits<float>::max();
  float lowest = kFurthest, highest = -kFurthest;
  double most = 0;  // of the labels
  bool any = false;
  for (int64_t i = 0; i < p.boxes; ++i) {
    if (!(scores[i] > p.score_threshold)) continue;
    any = true;
    for (int k = 0; k < 4; ++k) {
      lowest = std::min(lowest, boxes[4 * i + k]);
      highest = std::max(highest, boxes[4 * i + k]);
    }
    most = std::max(most, std::abs(double(labels[i])));
  }
  const float step = (any ? highest : 0.0f) + 1.0f;
  *apart = lowest >= 0.0f && (float(most) + 1.0f) * step < kExact;
  std::vector<float> moved(4 * p.boxes);
  for (int64_t i = 0; i < p.boxes; ++i) {
    // Rounded once as a product and once as a sum, as the portable form does: no fused product that adds.
    const float shift = float(double(float(labels[i])) * step);
    for (int k = 0; k < 4; ++k) moved[4 * i + k] = boxes[4 * i + k] + shift;
  }
  return moved;
}

// boxes [batch, n, 4]; labels [batch, n] or null: boxes of different labels are not compared, or with `move` where they
// do not meet when they are moved apart. indices [batch, max_output] and counts [batch] are written in full. Images
// run in parallel; of a single image the comparisons of the next
// candidates with the boxes kept so far do, where there are many. Those of the candidates among each other come one
// by one.
inline void nms(const Nms& p, const float* boxes, const float* scores, const int* labels, bool move, int* indices,
                int* counts, const ParallelFor& parallel) {
  constexpr int64_t kFewest = 128, kMost = 2048;  // candidates at a time: the first are often enough
  constexpr int64_t kWorthATask = 1 << 18;        // comparisons, which take as long as to wake up a thread
  struct Candidate {
    int index;
    KeptBoxes* rivals;
    int64_t compared;  // groups of its rivals
    bool dropped;
  };
  const ParallelFor within = p.batch > 1 ? serial() : parallel;  // threads must not wait for each other twice
  parallel.run(p.batch, [&](int64_t b) {
    const float *box = boxes + 4 * b * p.boxes, *score = scores + b * p.boxes;
    const int* label = labels ? labels + b * p.boxes : nullptr;
    std::vector<float> moved;
    if (move) {
      bool apart;
      moved = move_classes(p, box, score, label, &apart);
      box = moved.data();
      if (!apart) label = nullptr;
    }
    Ranking ranking(score, p.boxes, p.score_threshold);
    std::unordered_map<int, KeptBoxes> kept;
    std::vector<Candidate> next;
    int* to = indices + b * p.max_output;
    int64_t count = 0;
    for (int64_t most = kFewest; count < p.max_output; most = std::min(2 * most, kMost)) {
      next.clear();
      for (int i : ranking.next(std::clamp(p.max_output - count, kFewest, most))) {
        next.push_back({i, &kept[label ? label[i] : 0], 0, false});
      }
      if (next.empty()) break;
      const int64_t least = kWorthATask * int64_t(kept.size()) / (count + 1);
      if (within.threads > 1 && int64_t(next.size()) > least) {
        within.blocks(next.size(), least, [&](int64_t begin, int64_t end) {
          for (int64_t k = begin; k < end; ++k) {
            Candidate& c = next[k];
            c.compared = c.rivals->full_groups();
            c.dropped = c.rivals->suppress(box + 4 * c.index, p.iou_threshold, 0, c.compared);
          }
        });
      }
      for (const Candidate& c : next) {
        if (count == p.max_output) break;
        const float* own = box + 4 * c.index;
        if (c.dropped || c.rivals->suppress(own, p.iou_threshold, c.compared, c.rivals->groups())) continue;
        c.rivals->add(own);
        to[count++] = c.index;
      }
    }
    std::fill(to + count, to + p.max_output, 0);
    counts[b] = int(count);
  });
}

// The first place of the largest number; negative where there is none.
inline int64_t first_of_largest(const float* values, int64_t count) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
  const float* place = std::find(values, values + count, largest);
  return place == values + count ? -1 : place - values;
}

// Scores of -inf are no candidates. Output as of `nms`, with the lowered scores.
inline void soft_nms(const SoftNms& p, const float* boxes, const float* scores, int* indices, float* kept,
                     int* counts, const ParallelFor& parallel) {
  constexpr float kGone = -std::numeric_limits<float>::infinity();
  parallel.run(p.batch, [&](int64_t b) {
    const float* box = boxes + 4 * b * p.boxes;
    std::vector<float> score(scores + b * p.boxes, scores + (b + 1) * p.boxes), corner[4], overlap(p.boxes);
    for (int k = 0; k < 4; ++k) {
      for (int64_t i = 0; i < p.boxes; ++i) corner[k].push_back(box[4 * i + k]);
    }
    int64_t count = 0;
    for (; count < p.max_output; ++count) {
      const int64_t best = first_of_largest(score.data(), p.boxes);
      if (best < 0 || !(score[best] > kGone)) break;
      indices[b * p.max_output + count] = int(best);
      kept[b * p.max_output + count] = score[best];
      score[best] = kGone;
      const float *x1 = corner[0].data(), *y1 = corner[1].data(), *x2 = corner[2].data(), *y2 = corner[3].data();
      const float left = x1[best], top = y1[best], right = x2[best], bottom = y2[best];
      float* ious = overlap.data();
#pragma omp simd
      for (int64_t i = 0; i < p.boxes; ++i) {
        ious[i] = corners_iou(left, top, right, bottom, x1[i], y1[i], x2[i], y2[i]);
      }
      for (int64_t i = 0; i < p.boxes; ++i) {
        score[i] = score[i] > kGone ? lowered_score(p, score[i], overlap[i]) : kGone;
      }
    }
    std::fill(indices + b * p.max_output + count, indices + (b + 1) * p.max_output, 0);
    std::fill(kept + b * p.max_output + count, kept + (b + 1) * p.max_output, 0.0f);
    counts[b] = int(count);
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_NMS_NMS_CPU_H_
