// Corner pooling: the interface of its kernels.
#ifndef KDET_CORNER_POOL_CORNER_POOL_H_
#define KDET_CORNER_POOL_CORNER_POOL_H_

#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

// The map as lines of `length` pixels along the pooled axis.
struct CornerPool {
  int64_t batch;
  int height, width, channels;
  bool vertical;  // lines run down the columns, otherwise along the rows
  bool after;     // a pixel looks at those after it, otherwise at those before

  KDET_HOST_DEVICE int64_t lines() const { return batch * (vertical ? width : height); }
  KDET_HOST_DEVICE int length() const { return vertical ? height : width; }

  // Offset of the values of the pixel that the scan of a line meets at step t.
  KDET_HOST_DEVICE int64_t at(int64_t line, int t) const {
    const int place = after ? length() - 1 - t : t;
    const int64_t image = line / (vertical ? width : height), other = line % (vertical ? width : height);
    const int64_t row = vertical ? place : other, column = vertical ? other : place;
    return ((image * height + row) * width + column) * channels;
  }
};

template <typename T>
struct CornerPoolKernels {
  void (*forward)(const CornerPool& p, const T* x, T* out, const ParallelFor& parallel);
  void (*backward)(const CornerPool& p, const T* x, const T* upstream, T* gradient, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_CORNER_POOL_CORNER_POOL_H_
