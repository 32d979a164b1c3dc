// One bilinear sample of a map whose surroundings are 0.
#ifndef KDET_COMMON_BILINEAR_H_
#define KDET_COMMON_BILINEAR_H_

#include <cmath>
#include <cstdint>

#include "common/launch.h"

namespace kdet {

// Derivatives by y and x of a sample on the map, given the dot product of the upstream gradient with each of the four
// pixels around it (0 for pixels off the map) and the fractions past the top left one.
KDET_HOST_DEVICE inline void bilinear_slopes(float down, float right, const float* dots, float* by_y, float* by_x) {
  *by_y = (dots[2] - dots[0]) * (1.0f - right) + (dots[3] - dots[1]) * right;
  *by_x = (dots[1] - dots[0]) * (1.0f - down) + (dots[3] - dots[2]) * down;
}

// The four pixels around (y, x), in the order top left, top right, bottom left, bottom right.
struct Bilinear {
  int64_t pixel[4];  // index row * width + column, 0 where the weight is 0
  float weight[4];   // 0 off the map; NaN where a coordinate is no number
  bool valid[4];     // on the map
  float down, right; // fractions past the top left pixel
  bool inside;       // less than a pixel off the map

  KDET_HOST_DEVICE Bilinear(float y, float x, int height, int width) {
    inside = y > -1.0f && x > -1.0f && y < float(height) && x < float(width);
    const bool number = y - y == 0.0f && x - x == 0.0f;
    const float floor_y = inside ? floorf(y) : 0.0f, floor_x = inside ? floorf(x) : 0.0f;
    down = inside ? y - floor_y : 0.0f;
    right = inside ? x - floor_x : 0.0f;
    const int row = int(floor_y), column = int(floor_x);
    for (int k = 0; k < 4; ++k) {
      const int r = row + k / 2, c = column + k % 2;
      valid[k] = inside && r >= 0 && r < height && c >= 0 && c < width;
      pixel[k] = valid[k] ? int64_t(r) * width + c : 0;
      weight[k] = valid[k] ? (k / 2 ? down : 1.0f - down) * (k % 2 ? right : 1.0f - right) : 0.0f;
      if (!number) weight[k] = NAN;
    }
  }

  // See bilinear_slopes.
  KDET_HOST_DEVICE void slopes(const float* dots, float* by_y, float* by_x) const {
    *by_y = *by_x = 0.0f;
    if (inside) bilinear_slopes(down, right, dots, by_y, by_x);
  }
};

}  // namespace kdet

#endif  // KDET_COMMON_BILINEAR_H_
