// Convolution at marked places: the interface of its kernels.
#ifndef KDET_MASKED_CONV_MASKED_CONV_H_
#define KDET_MASKED_CONV_MASKED_CONV_H_

#include <cstdint>

#include "common/launch.h"

namespace kdet {

struct ParallelFor;

struct MaskedConv {
  int64_t batch;
  int height, width, channels;              // input, NHWC
  int out_height, out_width, out_channels;  // output and, without channels, mask
  int kernel_y, kernel_x;                   // kernel [kernel_y, kernel_x, channels, out_channels]
  int stride_y, stride_x, pad_y, pad_x;

  KDET_HOST_DEVICE int cells() const { return kernel_y * kernel_x; }
  KDET_HOST_DEVICE int64_t pixels() const { return batch * out_height * out_width; }

  // Offset of the values of the input pixel that a cell of an output pixel sees; -1 off the map.
  KDET_HOST_DEVICE int64_t seen(int64_t pixel, int cell) const {
    const int y = int(pixel / out_width % out_height) * stride_y - pad_y + cell / kernel_x;
    const int x = int(pixel % out_width) * stride_x - pad_x + cell % kernel_x;
    if (y < 0 || y >= height || x < 0 || x >= width) return -1;
    return ((pixel / out_width / out_height * height + y) * width + x) * channels;
  }
};

// Forwards kernel and bias are float32 whatever T is. All that is written is written in full.
template <typename T>
struct MaskedConvKernels {
  void (*forward)(const MaskedConv& p, const T* x, const bool* mask, const float* kernel, const float* bias, T* out,
                  const ParallelFor& parallel);
  void (*backward)(const MaskedConv& p, const T* x, const bool* mask, const T* kernel, const T* upstream, T* for_x,
                   T* for_kernel, T* for_bias, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_MASKED_CONV_MASKED_CONV_H_
