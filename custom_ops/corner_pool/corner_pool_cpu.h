// Corner pooling on the CPU: one scan per line.
#ifndef KDET_CORNER_POOL_CORNER_POOL_CPU_H_
#define KDET_CORNER_POOL_CORNER_POOL_CPU_H_

#include <limits>
#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "corner_pool/corner_pool.h"

namespace kdet {
inline namespace KDET_ISA {

template <typename T>
void corner_pool_forward(const CornerPool& p, const T* x, T* out, const ParallelFor& parallel) {
  parallel.blocks(p.lines(), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> best(p.channels), scratch(p.channels);
    for (int64_t line = begin; line < end; ++line) {
      std::fill(best.begin(), best.end(), -std::numeric_limits<float>::infinity());
      for (int t = 0; t < p.length(); ++t) {
        const int64_t at = p.at(line, t);
        const float* row = as_floats(x + at, p.channels, scratch.data());
        for (int c = 0; c < p.channels; ++c) best[c] = row[c] >= best[c] || row[c] != row[c] ? row[c] : best[c];
        store_floats(best.data(), p.channels, out + at);
      }
    }
  });
}

// Writes all of the gradient. Among equal values the one nearest to the output takes the gradient.
template <typename T>
void corner_pool_backward(const CornerPool& p, const T* x, const T* upstream, T* gradient,
                          const ParallelFor& parallel) {
  parallel.blocks(p.lines(), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> best(p.channels);
    std::vector<float*> taker(p.channels);
    SummedPart<T> sums;
    for (int64_t line = begin; line < end; ++line) {
      const int64_t first = p.at(line, 0);
      sums.start(gradient + first, p.length(), p.channels, p.at(line, 1) - first);
      for (int t = 0; t < p.length(); ++t) {
        const int64_t at = p.at(line, t);
        for (int c = 0; c < p.channels; ++c) {
          const float value = to_float(x[at + c]);
          if (t == 0 || value >= best[c] || value != value) {
            best[c] = value;
            taker[c] = sums.row(t) + c;
          }
          *taker[c] += to_float(upstream[at + c]);
        }
      }
      sums.finish();
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_CORNER_POOL_CORNER_POOL_CPU_H_
