// Deformable convolution, plain and modulated: the interface of its kernels.
#ifndef KDET_DEFORM_CONV_DEFORM_CONV_H_
#define KDET_DEFORM_CONV_DEFORM_CONV_H_

#include <cstdint>

#include "common/bilinear.h"

namespace kdet {

struct ParallelFor;

struct DeformConv {
  int64_t batch;
  int height, width, channels;                 // input, NHWC
  int out_height, out_width, out_channels;     // output, NHWC
  int kernel_y, kernel_x;                      // kernel [kernel_y, kernel_x, channels / groups, out_channels]
  int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
  int groups, deform_groups;

  KDET_HOST_DEVICE int cells() const { return kernel_y * kernel_x; }
  KDET_HOST_DEVICE int64_t pixels() const { return batch * out_height * out_width; }
  KDET_HOST_DEVICE int64_t samples() const { return pixels() * deform_groups * cells(); }

  // The index of the first pixel of the image that an output pixel belongs to.
  KDET_HOST_DEVICE int64_t first_pixel(int64_t pixel) const {
    return pixel / (int64_t(out_height) * out_width) * height * width;
  }

  // Where the columns [groups, pixels, cells, channels / groups] hold a channel of what a cell of a pixel sees.
  KDET_HOST_DEVICE int64_t column(int64_t pixel, int cell, int channel) const {
    const int inputs = channels / groups, group = groups == 1 ? 0 : channel / inputs;
    return (pixel * cells() + cell) * inputs + channel + group * (pixels() * cells() - 1) * inputs;
  }

  // Where a kernel cell of an output pixel looks, for one deform group. Offsets are
  // [pixels, deform_groups, cells, 2] as (y, x).
  KDET_HOST_DEVICE Bilinear sample(const float* offsets, int64_t pixel, int part, int cell) const {
    const int column = int(pixel % out_width), row = int(pixel / out_width % out_height);
    const float* offset = offsets + ((pixel * deform_groups + part) * cells() + cell) * 2;
    const float y = float(row * stride_y - pad_y + cell / kernel_x * dilation_y) + offset[0];
    const float x = float(column * stride_x - pad_x + cell % kernel_x * dilation_x) + offset[1];
    return Bilinear(y, x, height, width);
  }
};

// How the backward pass shares out the channels: every shard owns some of one group, every task has some shards.
struct DeformShards {
  int per_group, width, count, tasks;
};

template <typename T>
struct DeformGradients {
  T *x, *kernel;                        // as the input and the kernel, written in full
  float *const *offsets, *const *mask;  // one zeroed copy per task, to be summed by the caller
};

// Forwards kernel is float32 whatever T is.
template <typename T>
struct DeformConvKernels {
  void (*forward)(const DeformConv& p, const T* x, const float* kernel, const float* offsets, const float* mask,
                  T* out, const ParallelFor& parallel);
  DeformShards (*shards)(const DeformConv& p, int threads);
  void (*backward)(const DeformConv& p, const DeformShards& shards, const T* x, const T* kernel,
                   const float* offsets, const float* mask, const T* upstream, const DeformGradients<T>& gradients,
                   const ParallelFor& parallel);
  void (*columns_forward)(const DeformConv& p, const T* x, const float* offsets, const float* mask, T* columns,
                          const ParallelFor& parallel);
  void (*columns_backward)(const DeformConv& p, const T* x, const float* offsets, const float* mask,
                           const T* upstream, T* for_x, float* for_offsets, float* for_mask,
                           const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_DEFORM_CONV_DEFORM_CONV_H_
