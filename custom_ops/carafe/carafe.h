// CARAFE: the interface of its kernels.
#ifndef KDET_CARAFE_CARAFE_H_
#define KDET_CARAFE_CARAFE_H_

#include <cstdint>

namespace kdet {

struct ParallelFor;

struct Carafe {
  int64_t batch;
  int height, width, channels;  // features; the output is scale times as high and wide
  int kernel, groups, scale;    // masks are [batch, scale * height, scale * width, groups, kernel * kernel]
};

// All that is written is written in full.
template <typename T>
struct CarafeKernels {
  void (*forward)(const Carafe& p, const T* features, const T* masks, T* out, const ParallelFor& parallel);
  void (*backward)(const Carafe& p, const T* features, const T* masks, const T* upstream, T* for_features,
                   T* for_masks, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_CARAFE_CARAFE_H_
