// 3x3 convolution with stride 1 and padding 1 by Winograd's F(4x4, 3x3) (Lavin & Gray, 2016): the
// interface of its kernels.
//
// Every 4x4 tile of the output needs 36 products per pair of channels instead of 144. The price is a
// rounding error some ten times that of the direct sum (about 5e-6 of the largest value).
#ifndef KDET_CONV3X3_CONV3X3_H_
#define KDET_CONV3X3_CONV3X3_H_

#include <cstdint>

namespace kdet {

struct ParallelFor;

constexpr int kChannelStep = 16;  // inputs are a multiple of it: of the lanes of any instruction set

struct Conv3x3 {
  int64_t batch;
  int height, width, inputs, outputs;
};

struct Conv3x3Kernels {
  // Numbers of the packed kernel.
  int64_t (*packed_size)(const Conv3x3& p);
  // kernel [3,3,inputs,outputs]
  void (*pack)(const Conv3x3& p, const float* kernel, float* packed, const ParallelFor& parallel);
  // x [batch,height,width,inputs] -> out [batch,height,width,outputs]; packed of `pack`.
  void (*forward)(const Conv3x3& p, const float* x, const float* packed, const float* bias, bool relu, float* out,
                  const ParallelFor& parallel);
};

}  // namespace kdet

#endif  // KDET_CONV3X3_CONV3X3_H_
