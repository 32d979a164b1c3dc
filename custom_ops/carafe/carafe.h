// CARAFE: the interface of its kernels.
#ifndef KDET_CARAFE_CARAFE_H_
#define KDET_CARAFE_CARAFE_H_

#include <cstdint>

namespace kdet {

struct Carafe {
  int64_t batch;
  int height, width, channels;  // features; the output is scale times as high and wide
  int kernel, groups, scale;    // masks are [batch, scale * height, scale * width, groups, kernel * kernel]
};

}  // namespace kdet

#endif  // KDET_CARAFE_CARAFE_H_
