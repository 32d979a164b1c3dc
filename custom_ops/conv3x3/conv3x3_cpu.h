// 3x3 convolution by Winograd's F(4x4, 3x3) on CPU threads.
#ifndef KDET_CONV3X3_CONV3X3_CPU_H_
#define KDET_CONV3X3_CONV3X3_CPU_H_

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/instruction_set.h"
#include "common/parallel.h"
#include "common/tile_product.h"
#include "conv3x3/conv3x3.h"

namespace kdet {
inline namespace KDET_ISA {
namespace conv3x3_detail {

constexpr int kTile = 4;           // side of an output tile
constexpr int kPatch = kTile + 2;  // side of the input patch it sees
constexpr int kPoints = kPatch * kPatch;
constexpr int kPanel = 2 * kLanes;  // outputs of one panel of the packed weights

inline int tiles_y(const Conv3x3& p) { return (p.height + kTile - 1) / kTile; }
inline int tiles_x(const Conv3x3& p) { return (p.width + kTile - 1) / kTile; }
inline int64_t tiles(const Conv3x3& p) { return p.batch * tiles_y(p) * tiles_x(p); }
inline int panels(const Conv3x3& p) { return (p.outputs + kPanel - 1) / kPanel; }
inline int padded_outputs(const Conv3x3& p) { return panels(p) * kPanel; }

// The transforms along one axis, for the points 0, 1, -1, 2, -2 and infinity.
inline void transform_input(const Lanes* d, Lanes* out) {
  out[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
  out[1] = d[3] + d[4] - 4.0f * (d[1] + d[2]);
  out[2] = d[4] - d[3] + 4.0f * (d[1] - d[2]);
  out[3] = 2.0f * (d[3] - d[1]) - d[2] + d[4];
  out[4] = 2.0f * (d[1] - d[3]) - d[2] + d[4];
  out[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

inline void transform_output(const Lanes* m, Lanes* out) {
  const Lanes near_sum = m[1] + m[2], near_gap = m[1] - m[2];
  const Lanes far_sum = m[3] + m[4], far_gap = m[3] - m[4];
  out[0] = m[0] + near_sum + far_sum;
  out[1] = near_gap + 2.0f * far_gap;
  out[2] = near_sum + 4.0f * far_sum;
  out[3] = near_gap + 8.0f * far_gap + m[5];
}

inline void transform_kernel(const Lanes* g, Lanes* out) {
  const Lanes ends = g[0] + g[2], wide = g[0] / 24.0f + g[2] / 6.0f;
  out[0] = g[0] / 4.0f;
  out[1] = (ends + g[1]) / -6.0f;
  out[2] = (ends - g[1]) / -6.0f;
  out[3] = wide + g[1] / 12.0f;
  out[4] = wide - g[1] / 12.0f;
  out[5] = g[2];
}

// out [count, panels * kPanel] = a [count, depth] * weights [panels, depth, kPanel].
inline void multiply(const float* a, const float* weights, int count, int depth, int panels, float* out) {
  const int64_t stride = static_cast<int64_t>(panels) * kPanel;
  for (int n = 0; n < panels; ++n) {
    const float* panel = weights + static_cast<int64_t>(n) * depth * kPanel;
    tile_products<kProductRows<2>, 2>({a, depth, 1}, panel, kPanel, count, depth, out + n * kPanel, stride);
  }
}

// Corner of a tile in its image.
struct Place {
  int64_t image;
  int y, x;
  Place(const Conv3x3& p, int64_t tile) {
    const int64_t per_image = int64_t{1} * tiles_y(p) * tiles_x(p);
    image = tile / per_image;
    y = static_cast<int>(tile % per_image / tiles_x(p)) * kTile;
    x = static_cast<int>(tile % tiles_x(p)) * kTile;
  }
};

// The 36 transformed values of one tile's patch, `stride` apart, for all input channels.
inline void scatter_patch(const Conv3x3& p, const float* x, const Place& at, int64_t stride, float* out) {
  const float* image = x + at.image * p.height * p.width * p.inputs;
  for (int c = 0; c < p.inputs; c += kLanes) {
    Lanes half[kPatch][kPatch];
    for (int j = 0; j < kPatch; ++j) {
      Lanes column[kPatch], done[kPatch];
      const int from_x = at.x + j - 1;
      for (int i = 0; i < kPatch; ++i) {
        const int from_y = at.y + i - 1;
        const bool inside = from_y >= 0 && from_y < p.height && from_x >= 0 && from_x < p.width;
        column[i] =
            inside ? load_lanes(image + (int64_t{from_y} * p.width + from_x) * p.inputs + c) : Lanes{};
      }
      transform_input(column, done);
      for (int i = 0; i < kPatch; ++i) half[i][j] = done[i];
    }
    for (int i = 0; i < kPatch; ++i) {
      Lanes done[kPatch];
      transform_input(half[i], done);
      for (int j = 0; j < kPatch; ++j) store_lanes(done[j], out + (i * kPatch + j) * stride + c);
    }
  }
}

// The 4x4 outputs of one tile from its 36 products, with bias and activation.
inline void gather_tile(const Conv3x3& p, const float* products, int64_t stride, const Place& at,
                        const float* bias, bool relu, float* out) {
  float* image = out + at.image * p.height * p.width * p.outputs;
  for (int c = 0; c < p.outputs; c += kLanes) {
    const int lanes = std::min(kLanes, p.outputs - c);
    Lanes shift{}, half[kTile][kPatch];
    std::memcpy(&shift, bias + c, lanes * sizeof(float));
    for (int j = 0; j < kPatch; ++j) {
      Lanes column[kPatch], done[kTile];
      for (int i = 0; i < kPatch; ++i) column[i] = load_lanes(products + (i * kPatch + j) * stride + c);
      transform_output(column, done);
      for (int i = 0; i < kTile; ++i) half[i][j] = done[i];
    }
    for (int i = 0; i < kTile && at.y + i < p.height; ++i) {
      Lanes done[kTile];
      transform_output(half[i], done);
      for (int j = 0; j < kTile && at.x + j < p.width; ++j) {
        Lanes value = done[j] + shift;
        if (relu) value = value > 0.0f ? value : Lanes{};
        std::memcpy(image + (int64_t{at.y + i} * p.width + at.x + j) * p.outputs + c, &value,
                    lanes * sizeof(float));
      }
    }
  }
}

}  // namespace conv3x3_detail

inline int64_t conv3x3_packed_size(const Conv3x3& p) {
  using namespace conv3x3_detail;  // NOLINT
  return int64_t{kPoints} * p.inputs * padded_outputs(p);
}

// kernel [3,3,inputs,outputs] -> packed [36, panels, inputs, kPanel], zero beyond the outputs.
inline void conv3x3_pack(const Conv3x3& p, const float* kernel, float* packed, const ParallelFor& parallel) {
  using namespace conv3x3_detail;  // NOLINT
  const int64_t point = int64_t{1} * panels(p) * p.inputs * kPanel;
  parallel.blocks(p.inputs, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      for (int n = 0; n < padded_outputs(p); n += kLanes) {
        const int lanes = std::clamp(p.outputs - n, 0, kLanes);
        Lanes half[kPatch][3];
        for (int j = 0; j < 3; ++j) {
          Lanes column[3] = {}, done[kPatch];
          for (int i = 0; i < 3; ++i) {
            const float* from = kernel + ((i * 3 + j) * int64_t{p.inputs} + c) * p.outputs + n;
            if (lanes > 0) std::memcpy(&column[i], from, lanes * sizeof(float));
          }
          transform_kernel(column, done);
          for (int i = 0; i < kPatch; ++i) half[i][j] = done[i];
        }
        float* to = packed + (int64_t{n / kPanel} * p.inputs + c) * kPanel + n % kPanel;
        for (int i = 0; i < kPatch; ++i) {
          Lanes done[kPatch];
          transform_kernel(half[i], done);
          for (int j = 0; j < kPatch; ++j) store_lanes(done[j], to + (i * kPatch + j) * point);
        }
      }
    }
  });
}

// x [batch,height,width,inputs] -> out [batch,height,width,outputs]; packed of conv3x3_pack.
inline void conv3x3_forward(const Conv3x3& p, const float* x, const float* packed, const float* bias,
                            bool relu, float* out, const ParallelFor& parallel) {
  using namespace conv3x3_detail;  // NOLINT
  // Tiles that are worked on together: the packed kernel, which does not fit the second-level cache, is read once for
  // all of them. Fewer where there are not enough for all threads.
  constexpr int64_t kStep = 12, kMost = 48;
  const int64_t even = (tiles(p) + parallel.threads - 1) / parallel.threads;
  const int group = static_cast<int>(std::clamp((even + kStep - 1) / kStep * kStep, kStep, kMost));
  const int64_t point = int64_t{1} * panels(p) * p.inputs * kPanel;
  parallel.blocks((tiles(p) + group - 1) / group, 1, [&](int64_t begin, int64_t end) {
    const int64_t in_stride = int64_t{group} * p.inputs, out_stride = int64_t{group} * padded_outputs(p);
    thread_local std::vector<float> scratch;
    scratch.resize(kPoints * (in_stride + out_stride));
    float *patches = scratch.data(), *products = patches + kPoints * in_stride;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * group;
      const int count = static_cast<int>(std::min<int64_t>(group, tiles(p) - first));
      for (int t = 0; t < count; ++t) {
        scatter_patch(p, x, Place(p, first + t), in_stride, patches + int64_t{t} * p.inputs);
      }
      for (int k = 0; k < kPoints; ++k) {
        multiply(patches + k * in_stride, packed + k * point, count, p.inputs, panels(p),
                 products + k * out_stride);
      }
      for (int t = 0; t < count; ++t) {
        gather_tile(p, products + int64_t{t} * padded_outputs(p), out_stride, Place(p, first + t), bias, relu,
                    out);
      }
    }
  });
}

}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_CONV3X3_CONV3X3_CPU_H_
