// Polygons as masks on the CPU; objects run in parallel.
#ifndef KDET_POLYGONS_POLYGONS_CPU_H_
#define KDET_POLYGONS_POLYGONS_CPU_H_

#include <cstring>
#include <utility>
#include <vector>

#include "common/instruction_set.h"
#include "common/parallel.h"
#include "polygons/polygons.h"

namespace kdet {
inline namespace KDET_ISA {

// Object g has the polygons [objects[g], objects[g + 1]), polygon q the points [polygons[q], polygons[q + 1]) of
// points [.., 2] as (x, y); fewer than three make no polygon. out [objects, height, row_bytes], most significant
// bit first, holds the union of each object's polygons.
inline void rasterize_polygons(const Polygons& p, const double* points, const int* polygons, const int* objects,
                               uint8_t* out, const ParallelFor& parallel) {
  const int64_t size = int64_t{p.height} * p.row_bytes();
  parallel.run(p.objects, [&](int64_t object) {
    uint8_t* mask = out + object * size;
    std::memset(mask, 0, size);
    std::vector<std::pair<int, int>> crossings;  // (column, row)
    for (int q = objects[object]; q < objects[object + 1]; ++q) {
      const int begin = polygons[q], end = polygons[q + 1];
      if (end - begin < 3) continue;
      crossings.clear();
      for (int i = begin; i < end; ++i) {
        const FineEdge edge(points + 2 * i, points + 2 * (i + 1 < end ? i + 1 : begin));
        const int first = std::max(std::min(edge.x0, edge.x1) / 5 - 1, 0);
        const int last = std::min(std::max(edge.x0, edge.x1) / 5, p.width - 1);
        for (int column = first; column <= last; ++column) {
          const int row = edge.crossing(column, p.height);
          if (row >= 0) crossings.emplace_back(column, row);
        }
      }
      // A closed line crosses every column an even number of times: between two crossings lies its inside.
      std::sort(crossings.begin(), crossings.end());
      for (size_t k = 0; k + 1 < crossings.size(); k += 2) {
        const auto [column, top] = crossings[k];
        const uint8_t bit = uint8_t(0x80 >> (column % 8));
        uint8_t* byte = mask + int64_t{top} * p.row_bytes() + column / 8;
        for (int row = top; row < crossings[k + 1].second; ++row, byte += p.row_bytes()) *byte |= bit;
      }
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_POLYGONS_POLYGONS_CPU_H_
