// Multi-scale deformable attention on the CPU.
#ifndef KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CPU_H_
#define KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CPU_H_

#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "ms_deform_attn/ms_deform_attn.h"

namespace kdet {
inline namespace KDET_ISA {

// out [batch, queries, heads, depth]. P: type of the places, that is of locations and weights.
template <typename T, typename P>
void ms_deform_attn_forward(const MsDeformAttn& p, const T* value, const P* locations, const P* weights, T* out,
                            const ParallelFor& parallel) {
  parallel.blocks(p.batch * p.queries, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(p.depth), scratch(p.depth);
    for (int64_t row = begin * p.heads; row < end * p.heads; ++row) {
      const int head = int(row % p.heads);
      const int64_t image = row / p.heads / p.queries;
      std::fill(sum.begin(), sum.end(), 0.0f);
      int64_t s = row * p.levels * p.points;
      for (int level = 0; level < p.levels; ++level) {
        for (int point = 0; point < p.points; ++point, ++s) {
          const Bilinear at = p.sample(to_float(locations[2 * s]), to_float(locations[2 * s + 1]), level);
          const float weight = to_float(weights[s]);
          for (int k = 0; k < 4; ++k) {
            if (at.weight[k] == 0.0f) continue;
            const T* pixel = value + p.row(image, level, at.pixel[k], head);
            add_scaled(at.weight[k] * weight, as_floats(pixel, p.depth, scratch.data()), p.depth, sum.data());
          }
        }
      }
      store_floats(sum.data(), p.depth, out + row * p.depth);
    }
  });
}

// Writes all of the three gradients. Every task owns one head of one image or, where those are too few, some of its
// pixels (of all levels, counted through) and every parts-th query. So nothing is written twice, and sums come in the
// order of the queries whatever the number of threads.
template <typename T, typename P>
void ms_deform_attn_backward(const MsDeformAttn& p, const T* value, const P* locations, const P* weights,
                             const T* upstream, T* for_value, P* for_locations, P* for_weights,
                             const ParallelFor& parallel) {
  const int64_t heads = p.batch * p.heads, wanted = int64_t{parallel.threads} * kPartsPerThread<T>;
  const int64_t parts = heads < 1 || heads >= wanted ? 1 : (wanted + heads - 1) / heads;
  parallel.run(heads * parts, [&](int64_t task) {
    const int64_t part = task % parts, image = task / parts / p.heads;
    const int head = int(task / parts % p.heads);
    const int64_t begin = p.pixels * part / parts, end = p.pixels * (part + 1) / parts;
    const int64_t step = int64_t{p.heads} * p.depth;
    SummedPart<T> pixels;
    pixels.start(for_value + p.row(image, 0, begin, head), end - begin, p.depth, step);
    std::vector<float> scratch(p.depth), up_scratch(p.depth);
    for (int64_t query = 0; query < p.queries; ++query) {
      const bool own = query % parts == part;
      const int64_t row = (image * p.queries + query) * p.heads + head;
      const float* up = as_floats(upstream + row * p.depth, p.depth, up_scratch.data());
      int64_t s = row * p.levels * p.points;
      for (int level = 0; level < p.levels; ++level) {
        for (int point = 0; point < p.points; ++point, ++s) {
          const Bilinear at = p.sample(to_float(locations[2 * s]), to_float(locations[2 * s + 1]), level);
          const float weight = to_float(weights[s]);
          float dots[4] = {0, 0, 0, 0}, total = 0, by_y, by_x;
          for (int k = 0; k < 4; ++k) {
            if (!at.valid[k]) continue;
            const int64_t number = p.start[level] + at.pixel[k];
            if (number >= begin && number < end) {
              add_scaled(at.weight[k] * weight, up, p.depth, pixels.row(number - begin));
            }
            if (!own) continue;
            const T* pixel = value + p.row(image, level, at.pixel[k], head);
            dots[k] = dot(up, as_floats(pixel, p.depth, scratch.data()), p.depth);
            total += at.weight[k] * dots[k];
          }
          if (!own) continue;
          at.slopes(dots, &by_y, &by_x);
          from_float(total, for_weights + s);
          from_float(by_x * weight * float(p.width[level]), for_locations + 2 * s);
          from_float(by_y * weight * float(p.height[level]), for_locations + 2 * s + 1);
        }
      }
    }
    pixels.finish();
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_MS_DEFORM_ATTN_MS_DEFORM_ATTN_CPU_H_
