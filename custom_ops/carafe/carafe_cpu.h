// CARAFE on the CPU. Both passes only gather, so rows of the output run in parallel.
#ifndef KDET_CARAFE_CARAFE_CPU_H_
#define KDET_CARAFE_CARAFE_CPU_H_

#include <vector>

#include "carafe/carafe.h"
#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/parallel.h"

namespace kdet {
inline namespace KDET_ISA {
namespace carafe {

// Calls visit(cell, pixel) for the cells of the neighborhood of (row, column) that lie on the map.
template <typename Visit>
void each_neighbor(const Carafe& p, int row, int column, const Visit& visit) {
  const int radius = p.kernel / 2;
  for (int cell = 0; cell < p.kernel * p.kernel; ++cell) {
    const int y = row + cell / p.kernel - radius, x = column + cell % p.kernel - radius;
    if (y >= 0 && y < p.height && x >= 0 && x < p.width) visit(cell, int64_t(y) * p.width + x);
  }
}

template <typename T>
void forward(const Carafe& p, const T* features, const T* masks, T* out, const ParallelFor& parallel) {
  const int cells = p.kernel * p.kernel, width = p.channels / p.groups, out_width = p.scale * p.width;
  parallel.blocks(p.batch * p.height * p.scale, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(p.channels), scratch(p.channels);
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / (p.height * p.scale);
      const T* map = features + image * p.height * p.width * p.channels;
      for (int column = 0; column < out_width; ++column) {
        const int64_t to = line * out_width + column;
        const T* weights = masks + to * p.groups * cells;
        std::fill(sum.begin(), sum.end(), 0.0f);
        each_neighbor(p, int(line % (p.height * p.scale)) / p.scale, column / p.scale, [&](int cell, int64_t pixel) {
          const float* row = as_floats(map + pixel * p.channels, p.channels, scratch.data());
          for (int g = 0; g < p.groups; ++g) {
            add_scaled(to_float(weights[g * cells + cell]), row + g * width, width, sum.data() + g * width);
          }
        });
        store_floats(sum.data(), p.channels, out + to * p.channels);
      }
    }
  });
}

// Writes all of both gradients.
template <typename T>
void backward(const Carafe& p, const T* features, const T* masks, const T* upstream, T* for_features, T* for_masks,
              const ParallelFor& parallel) {
  const int cells = p.kernel * p.kernel, width = p.channels / p.groups, out_width = p.scale * p.width;
  const int64_t pixels = int64_t(p.height) * p.width;
  parallel.blocks(p.batch * p.height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(p.channels), scratch(p.channels), up_scratch(p.channels);
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / p.height;
      const int row = int(line % p.height);
      for (int column = 0; column < p.width; ++column) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        // A pixel is cell c of the neighborhood of that neighbor whose own cell is the mirrored one.
        each_neighbor(p, row, column, [&](int mirrored, int64_t center) {
          const int cell = cells - 1 - mirrored;
          for (int part = 0; part < p.scale * p.scale; ++part) {
            const int64_t y = center / p.width * p.scale + part / p.scale;
            const int64_t x = center % p.width * p.scale + part % p.scale;
            const int64_t at = (image * p.height * p.scale + y) * out_width + x;
            const float* up = as_floats(upstream + at * p.channels, p.channels, up_scratch.data());
            for (int g = 0; g < p.groups; ++g) {
              const float weight = to_float(masks[(at * p.groups + g) * cells + cell]);
              add_scaled(weight, up + g * width, width, sum.data() + g * width);
            }
          }
        });
        store_floats(sum.data(), p.channels, for_features + (line * p.width + column) * p.channels);
        for (int part = 0; part < p.scale * p.scale; ++part) {
          const int64_t y = row * p.scale + part / p.scale, x = column * p.scale + part % p.scale;
          const int64_t at = (image * p.height * p.scale + y) * out_width + x;
          const float* up = as_floats(upstream + at * p.channels, p.channels, up_scratch.data());
          T* to = for_masks + at * p.groups * cells;
          for (int k = 0; k < p.groups * cells; ++k) from_float(0.0f, to + k);
          each_neighbor(p, row, column, [&](int cell, int64_t pixel) {
            const T* from = features + (image * pixels + pixel) * p.channels;
            const float* values = as_floats(from, p.channels, scratch.data());
            for (int g = 0; g < p.groups; ++g) {
              from_float(dot(up + g * width, values + g * width, width), to + g * cells + cell);
            }
          });
        }
      }
    }
  });
}

}  // namespace carafe
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_CARAFE_CARAFE_CPU_H_
