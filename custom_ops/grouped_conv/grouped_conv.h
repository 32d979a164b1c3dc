// Convolution in groups: the interface of its kernels.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_H_

#include <cstdint>

namespace kdet {

struct GroupedConv {
  int64_t batch;
  int height, width, channels;  // input, NHWC
  int out_height, out_width;    // output, with as many channels
  int kernel_y, kernel_x;       // kernel [kernel_y, kernel_x, channels / groups, channels]
  int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
  int groups;
};

}  // namespace kdet

#endif  // KDET_GROUPED_CONV_GROUPED_CONV_H_
