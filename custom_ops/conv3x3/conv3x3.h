// 3x3 convolution with stride 1 and padding 1 by Winograd's F(4x4, 3x3) (Lavin & Gray, 2016): the
// interface of its kernels.
//
// Every 4x4 tile of the output needs 36 products per pair of channels instead of 144. The price is a
// rounding error some ten times that of the direct sum (about 5e-6 of the largest value).
#ifndef KDET_CONV3X3_CONV3X3_H_
#define KDET_CONV3X3_CONV3X3_H_

#include <cstdint>

#include "common/lanes.h"

namespace kdet {

constexpr int kTile = 4;              // side of an output tile
constexpr int kPatch = kTile + 2;     // side of the input patch it sees
constexpr int kPoints = kPatch * kPatch;
constexpr int kPanel = 2 * kLanes;    // outputs of one panel of the packed weights

struct Conv3x3 {
  int64_t batch;
  int height, width, inputs, outputs;  // inputs: a multiple of kLanes

  int tiles_y() const { return (height + kTile - 1) / kTile; }
  int tiles_x() const { return (width + kTile - 1) / kTile; }
  int64_t tiles() const { return batch * tiles_y() * tiles_x(); }
  int panels() const { return (outputs + kPanel - 1) / kPanel; }
  int padded_outputs() const { return panels() * kPanel; }
};

}  // namespace kdet

#endif  // KDET_CONV3X3_CONV3X3_H_
