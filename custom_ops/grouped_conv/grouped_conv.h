// Convolution in groups: the interface of its kernels.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_H_

#include <cstdint>

namespace kdet {

struct ParallelFor;

struct GroupedConv {
  int64_t batch;
  int height, width, channels;  // input, NHWC
  int out_height, out_width;    // output, with as many channels
  int kernel_y, kernel_x;       // kernel [kernel_y, kernel_x, channels / groups, channels]
  int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
  int groups;
};

// Whether the kernels know groups of this width.
inline bool supports_width(int width) {
  return width == 4 || width == 8 || width == 16 || width == 32 || width == 64;
}

// As many outputs as inputs. kernel and its gradient are float32 whatever T is; all that is written is written in full.
template <typename T>
struct GroupedConvKernels {
  void (*forward)(const GroupedConv& p, const T* x, const float* kernel, T* out, const ParallelFor& parallel);
  void (*backward)(const GroupedConv& p, const T* x, const float* kernel, const T* upstream, T* for_x,
                   float* for_kernel, const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_GROUPED_CONV_GROUPED_CONV_H_
