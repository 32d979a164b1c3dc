// Polygons as masks by COCO's rule: the interface of the kernels.
//
// COCO rounds corners to fifths of a pixel and draws every edge through whole fifths. A column of pixels is
// what lies between the fifths 5k and 5k + 4; where an edge passes its middle, from 5k + 2 to 5k + 3, the
// pixels from the edge's row on change sides.
#ifndef KDET_POLYGONS_POLYGONS_H_
#define KDET_POLYGONS_POLYGONS_H_

#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

constexpr double kMostCoordinate = 1e8;  // fifths of larger ones would not fit an int

struct Polygons {
  int64_t objects;
  int height, width;

  KDET_HOST_DEVICE int row_bytes() const { return width / 8 + (width % 8 != 0); }
};

// The product as it is rounded on its own: fused with the addition that follows it, it would move ties.
KDET_HOST_DEVICE inline double rounded_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  const volatile double product = a * b;
  return product;
#endif
}

struct FineEdge {
  int x0, y0, x1, y1;  // in fifths of a pixel

  // The edge between two points (x, y).
  KDET_HOST_DEVICE FineEdge(const double* from, const double* to)
      : x0(fine(from[0])), y0(fine(from[1])), x1(fine(to[0])), y1(fine(to[1])) {}

  // Whether the edge passes the middle of any column of [begin, end).
  KDET_HOST_DEVICE bool meets(int begin, int end) const {
    return (x0 < x1 ? x0 : x1) <= 5 * (end - 1) + 2 && (x0 < x1 ? x1 : x0) >= 5 * begin + 3;
  }

  // The first row of `column` that changes sides, `height` where none does, -1 where the edge does not meet it.
  KDET_HOST_DEVICE int crossing(int column, int height) const {
    if (!meets(column, column + 1)) return -1;
    const int left = 5 * column + 2, dx = distance(x0, x1), dy = distance(y0, y1);
    int y;
    if (dx >= dy) {  // from the left end one step per fifth
      const bool turned = x0 > x1;
      const int x = turned ? x1 : x0, first = turned ? y1 : y0, last = turned ? y0 : y1;
      const double slope = double(last - first) / dx;
      const int a = along(first, slope, left - x), b = along(first, slope, left + 1 - x);
      y = a < b ? a : b;
    } else {  // from the upper end one step per fifth, until the column's middle is passed
      const bool turned = y0 > y1;
      const int top = turned ? y1 : y0, first = turned ? x1 : x0, last = turned ? x0 : x1;
      const double slope = double(last - first) / dy, estimate = (left + 0.5 - first) / slope;
      const bool begins_left = first <= left;
      int step = estimate > 2.0 ? int(estimate) - 2 : 0;  // the estimate is off by rounding only
      while (step < dy && (along(first, slope, step) <= left) == begins_left) ++step;
      y = top + step - 1;
    }
    const int row = ((y > 0 ? y : 0) + 2) / 5;
    return row < height ? row : height;
  }

 private:
  KDET_HOST_DEVICE static int fine(double value) { return int(rounded_product(5.0, value) + 0.5); }
  KDET_HOST_DEVICE static int distance(int a, int b) { return a < b ? b - a : a - b; }
  KDET_HOST_DEVICE static int along(int first, double slope, int step) {
    return int(first + rounded_product(slope, step) + 0.5);
  }
};

// See polygons_cpu.h.
struct PolygonKernels {
  void (*rasterize)(const Polygons& p, const double* points, const int* polygons, const int* objects, uint8_t* out,
                    const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_POLYGONS_POLYGONS_H_
