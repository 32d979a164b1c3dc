// 3x3 convolution with stride 1 in groups on the CPU, by Winograd's F(2x2, 3x3) (Lavin & Gray, 2016).
//
// Every 2x2 tile of the output needs 16 products per pair of channels instead of 36, and its sums are shorter: in
// groups of 8 channels and more they are, on all but the smallest maps, no less exact than the direct ones. The
// gradient for the input is the same convolution with the kernel turned around; that for the kernel is the adjoint,
// transform by transform.
#ifndef KDET_GROUPED_CONV_WINOGRAD_CPU_H_
#define KDET_GROUPED_CONV_WINOGRAD_CPU_H_

#include <algorithm>
#include <memory>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/lanes.h"
#include "common/parallel.h"
#include "common/tile_product.h"
#include "grouped_conv/grouped_conv.h"

namespace kdet {
inline namespace KDET_ISA {
namespace grouped_conv {
namespace winograd {

constexpr int kTile = 2;           // side of an output tile
constexpr int kPatch = kTile + 2;  // side of the input patch it sees
constexpr int kPoints = kPatch * kPatch;
constexpr int kTogether = 24;  // tiles of a row that are worked on together, at most

// Groups narrower than a vector share one. Their channels lie in turn, the first of each, then the second of each, so
// that one load repeats what all of them need of the left side of a product.
template <int Group>
constexpr int kAbreast = std::max(kLanes / Group, 1);

// Channels that are worked on together.
template <int Group>
constexpr int kBlock = kAbreast<Group> * Group;

// Channels of a task, at most: their transformed kernel, 128 or 256 KB, fits the second cache.
template <int Group>
constexpr int kChannels = std::max(2048 / Group, 64);

// Vectors of a block that a product takes at a time.
template <int Group>
constexpr int kVectors = Group > kLanes ? 2 : 1;

template <int Group>
bool applies(const GroupedConv& p) {
  const bool plain = p.stride_y == 1 && p.stride_x == 1 && p.dilation_y == 1 && p.dilation_x == 1;
  return plain && p.kernel_y == 3 && p.kernel_x == 3 && p.channels % kBlock<Group> == 0;
}

// The transforms along one axis for the points 0, 1, -1 and infinity.
inline void points_of_patch(const Lanes* d, Lanes* out) {
  out[0] = d[0] - d[2];
  out[1] = d[1] + d[2];
  out[2] = d[2] - d[1];
  out[3] = d[3] - d[1];
}

inline void points_of_kernel(const Lanes* g, Lanes* out) {
  const Lanes ends = g[0] + g[2];
  out[0] = g[0];
  out[1] = 0.5f * (ends + g[1]);
  out[2] = 0.5f * (ends - g[1]);
  out[3] = g[2];
}

inline void tile_of_points(const Lanes* m, Lanes* out) {
  out[0] = m[0] + (m[1] + m[2]);
  out[1] = (m[1] - m[2]) + m[3];
}

// The adjoints of the last two.
inline void points_of_tile(const Lanes* u, Lanes* out) {
  out[0] = u[0];
  out[1] = u[0] + u[1];
  out[2] = u[0] - u[1];
  out[3] = u[1];
}

inline void kernel_of_points(const Lanes* m, Lanes* out) {
  const Lanes sum = 0.5f * (m[1] + m[2]);
  out[0] = m[0] + sum;
  out[1] = 0.5f * (m[1] - m[2]);
  out[2] = sum + m[3];
}

using Along = void (*)(const Lanes*, Lanes*);

// Points lie `step` numbers apart.
inline void store_row(const Lanes* row, int i, int64_t step, float* points) {
  for (int j = 0; j < kPatch; ++j) store_lanes(row[j], points + (i * kPatch + j) * step);
}

// What a transform along both axes makes of points.
template <Along along, int Side>
inline __attribute__((always_inline)) void of_points(const float* points, int64_t step, Lanes (&out)[Side][Side]) {
  Lanes half[Side][kPatch];
  for (int j = 0; j < kPatch; ++j) {
    Lanes column[kPatch], done[Side];
    for (int i = 0; i < kPatch; ++i) column[i] = load_lanes(points + (i * kPatch + j) * step);
    along(column, done);
    for (int i = 0; i < Side; ++i) half[i][j] = done[i];
  }
  for (int i = 0; i < Side; ++i) along(half[i], out[i]);
}

// Maps [batch, height, width, channels].
template <typename T>
struct Maps {
  T* values;
  int64_t batch;
  int height, width, channels;

  T* pixel(int64_t image, int y, int x) const { return values + ((image * height + y) * width + x) * channels; }
  int64_t tile_rows() const { return (height + kTile - 1) / kTile; }  // of an image
};

// Neighboring tiles of a row, by the corner of the first.
struct Tiles {
  int64_t image;
  int y, x, count;
};

// visit(tiles) for the rows of tiles [begin, end), counted through all images.
template <typename T, typename Visit>
void each_tiles(const Maps<T>& maps, int64_t begin, int64_t end, const Visit& visit) {
  const int columns = (maps.width + kTile - 1) / kTile, parts = (columns + kTogether - 1) / kTogether;
  for (int64_t row = begin; row < end; ++row) {
    for (int part = 0; part < parts; ++part) {
      const int first = part * columns / parts, last = (part + 1) * columns / parts;
      visit(Tiles{row / maps.tile_rows(), int(row % maps.tile_rows()) * kTile, first * kTile, last - first});
    }
  }
}

// points [kPoints, tiles, block] of the windows of Side x Side pixels that begin at the tiles less the padding.
template <int Group, int Side, Along along, typename T>
void scatter(const Maps<const T>& maps, const Tiles& tiles, int pad_y, int pad_x, int channel, float* points) {
  constexpr int kShared = Side - kTile;  // columns that neighboring windows share
  const T* rows[Side];
  for (int i = 0; i < Side; ++i) {
    const int y = tiles.y - pad_y + i;
    rows[i] = y >= 0 && y < maps.height ? maps.pixel(tiles.image, y, 0) + channel : nullptr;
  }
  for (int c = 0; c < kBlock<Group>; c += kLanes) {
    Lanes half[kPatch][Side];
    const auto take_column = [&](int x, int j) {
      Lanes column[Side], done[kPatch];
      for (int i = 0; i < Side; ++i) {
        const bool inside = rows[i] != nullptr && x >= 0 && x < maps.width;
        column[i] = inside ? load_lanes(rows[i] + int64_t{x} * maps.channels + c, kLanes) : Lanes{};
        column[i] = transpose_lanes<kAbreast<Group>>(column[i]);
      }
      along(column, done);
      for (int i = 0; i < kPatch; ++i) half[i][j] = done[i];
    };
    int x = tiles.x - pad_x;
    for (int j = 0; j < kShared; ++j) take_column(x++, kTile + j);
    for (int t = 0; t < tiles.count; ++t) {
      for (int i = 0; i < kPatch; ++i) {
        for (int j = 0; j < kShared; ++j) half[i][j] = half[i][kTile + j];
      }
      for (int j = 0; j < kTile; ++j) take_column(x++, kShared + j);
      for (int i = 0; i < kPatch; ++i) {
        Lanes row[kPatch];
        along(half[i], row);
        store_row(row, i, int64_t{tiles.count} * kBlock<Group>, points + t * kBlock<Group> + c);
      }
    }
  }
}

// Writes the tiles whose points [kPoints, tiles, block] these are.
template <int Group, typename T>
void gather(const float* points, const Tiles& tiles, int channel, const Maps<T>& maps) {
  for (int t = 0; t < tiles.count; ++t) {
    for (int c = 0; c < kBlock<Group>; c += kLanes) {
      Lanes tile[kTile][kTile];
      of_points<tile_of_points>(points + t * kBlock<Group> + c, int64_t{tiles.count} * kBlock<Group>, tile);
      for (int k = 0; k < kTile * kTile; ++k) {
        const int y = tiles.y + k / kTile, x = tiles.x + t * kTile + k % kTile;
        if (y >= maps.height || x >= maps.width) continue;
        const Lanes pixel = transpose_lanes<kLanes / kAbreast<Group>>(tile[k / kTile][k % kTile]);
        store_floats(reinterpret_cast<const float*>(&pixel), kLanes, maps.pixel(tiles.image, y, x) + channel + c);
      }
    }
  }
}

// points [kPoints, inputs of a group, block] of the kernel of the block at `channel`. turned: of the one that goes the
// other way.
template <int Group>
void scatter_kernel(const float* kernel, int channels, int channel, bool turned, float* points) {
  alignas(64) float cells[9][Group][kBlock<Group>];
  for (int cell = 0; cell < 9; ++cell) {
    for (int d = 0; d < Group; ++d) {
      const float* from = kernel + (int64_t{cell} * Group + d) * channels + channel;
      for (int c = 0; c < kBlock<Group>; ++c) {
        const int n = c % Group, member = c / Group;
        float* row = turned ? cells[8 - cell][n] : cells[cell][d];
        row[(turned ? d : n) * kAbreast<Group> + member] = from[c];
      }
    }
  }
  for (int at = 0; at < Group * kBlock<Group>; at += kLanes) {
    Lanes half[kPatch][3];
    for (int j = 0; j < 3; ++j) {
      Lanes column[3], done[kPatch];
      for (int i = 0; i < 3; ++i) column[i] = load_lanes(&cells[i * 3 + j][0][0] + at);
      points_of_kernel(column, done);
      for (int i = 0; i < kPatch; ++i) half[i][j] = done[i];
    }
    for (int i = 0; i < kPatch; ++i) {
      Lanes row[kPatch];
      points_of_kernel(half[i], row);
      store_row(row, i, Group * kBlock<Group>, points + at);
    }
  }
}

template <int Group>
void gather_kernel(const float* points, int channels, int channel, float* kernel) {
  for (int d = 0; d < Group; ++d) {
    for (int n = 0; n < kBlock<Group>; n += kLanes) {
      Lanes cells[3][3];
      of_points<kernel_of_points>(points + d * kBlock<Group> + n, Group * kBlock<Group>, cells);
      for (int cell = 0; cell < 9; ++cell) {
        store_lanes(transpose_lanes<kLanes / kAbreast<Group>>(cells[cell / 3][cell % 3]),
                    kernel + (int64_t{cell} * Group + d) * channels + channel + n);
      }
    }
  }
}

// Numbers for every point.
class Points {
 public:
  explicit Points(int64_t count) : lanes_(new AlignedLanes[kPoints * count / kLanes]) {}
  float* get() const { return reinterpret_cast<float*>(lanes_.get()); }

 private:
  std::unique_ptr<AlignedLanes[]> lanes_;
};

// `to` = `from` convolved with the kernel, or with the turned one.
template <int Group, typename T>
void convolve(const Maps<const T>& from, const float* kernel, bool turned, int pad_y, int pad_x, const Maps<T>& to,
              const ParallelFor& parallel) {
  constexpr int kWidth = kBlock<Group>, kTake = kVectors<Group>;
  // A task owns some channels of some rows. Rows are split where there are few channels.
  const int64_t rows = to.batch * to.tile_rows(), chunks = (to.channels + kChannels<Group> - 1) / kChannels<Group>;
  const int64_t parts = std::min(rows, (4 * parallel.threads + chunks - 1) / chunks);
  parallel.run(chunks * parts, [&](int64_t task) {
    const int64_t part = task / chunks;
    const int first = int(task % chunks) * kChannels<Group>, last = std::min(first + kChannels<Group>, to.channels);
    const Points weights(Group * (last - first)), patches(kTogether * kWidth), products(kTogether * kWidth);
    const auto weights_of = [&](int channel) { return weights.get() + (channel - first) * Group * kPoints; };
    for (int channel = first; channel < last; channel += kWidth) {
      scatter_kernel<Group>(kernel, to.channels, channel, turned, weights_of(channel));
    }
    each_tiles(to, part * rows / parts, (part + 1) * rows / parts, [&](const Tiles& tiles) {
      for (int channel = first; channel < last; channel += kWidth) {
        scatter<Group, kPatch, points_of_patch>(from, tiles, pad_y, pad_x, channel, patches.get());
        for (int k = 0; k < kPoints; ++k) {
          const int64_t at = int64_t{k} * tiles.count * kWidth;
          const float* own = weights_of(channel) + k * Group * kWidth;
          for (int n = 0; n < kWidth; n += kTake * kLanes) {
            tile_products<kProductRows<kTake>, kTake, false, kAbreast<Group>>(
                {patches.get() + at, kWidth, kAbreast<Group>}, own + n, kWidth, tiles.count, Group,
                products.get() + at + n, kWidth);
          }
        }
        gather<Group>(products.get(), tiles, channel, to);
      }
    });
  });
}

// The gradient of the kernel. Every task owns some groups and so all of a sum.
template <int Group, typename T>
void kernel_gradient(const Maps<const T>& x, const Maps<const T>& upstream, int pad_y, int pad_x, float* for_kernel,
                     const ParallelFor& parallel) {
  constexpr int kWidth = kBlock<Group>, kTake = kVectors<Group>;
  constexpr int kRows = kProductRows<kTake> / 3 * 2;  // so many divide a group
  const int width = std::clamp(x.channels / parallel.threads / kWidth * kWidth, kWidth, kChannels<Group>);
  parallel.run((x.channels + width - 1) / width, [&](int64_t task) {
    const int first = int(task) * width, last = std::min(first + width, x.channels);
    const Points sums(Group * (last - first)), patches(kTogether * kWidth), sent(kTogether * kWidth);
    const auto sums_of = [&](int channel) { return sums.get() + (channel - first) * Group * kPoints; };
    std::fill_n(sums.get(), kPoints * Group * (last - first), 0.0f);
    each_tiles(upstream, 0, upstream.batch * upstream.tile_rows(), [&](const Tiles& tiles) {
      for (int channel = first; channel < last; channel += kWidth) {
        scatter<Group, kPatch, points_of_patch>(x, tiles, pad_y, pad_x, channel, patches.get());
        scatter<Group, kTile, points_of_tile>(upstream, tiles, 0, 0, channel, sent.get());
        for (int k = 0; k < kPoints; ++k) {
          const int64_t at = int64_t{k} * tiles.count * kWidth;
          float* own = sums_of(channel) + k * Group * kWidth;
          for (int n = 0; n < kWidth; n += kTake * kLanes) {
            tile_products<kRows, kTake, true, kAbreast<Group>>({patches.get() + at, kAbreast<Group>, kWidth},
                                                               sent.get() + at + n, kWidth, Group, tiles.count,
                                                               own + n, kWidth);
          }
        }
      }
    });
    for (int channel = first; channel < last; channel += kWidth) {
      gather_kernel<Group>(sums_of(channel), x.channels, channel, for_kernel);
    }
  });
}

template <int Group, typename T>
void forward(const GroupedConv& p, const T* x, const float* kernel, T* out, const ParallelFor& parallel) {
  const Maps<const T> from{x, p.batch, p.height, p.width, p.channels};
  const Maps<T> to{out, p.batch, p.out_height, p.out_width, p.channels};
  convolve<Group>(from, kernel, false, p.pad_y, p.pad_x, to, parallel);
}

template <int Group, typename T>
void backward(const GroupedConv& p, const T* x, const float* kernel, const T* upstream, T* for_x, float* for_kernel,
              const ParallelFor& parallel) {
  const Maps<const T> from{x, p.batch, p.height, p.width, p.channels};
  const Maps<const T> sent{upstream, p.batch, p.out_height, p.out_width, p.channels};
  const Maps<T> back{for_x, p.batch, p.height, p.width, p.channels};
  convolve<Group>(sent, kernel, true, 2 - p.pad_y, 2 - p.pad_x, back, parallel);
  kernel_gradient<Group>(from, sent, p.pad_y, p.pad_x, for_kernel, parallel);
}

}  // namespace winograd
}  // namespace grouped_conv
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_GROUPED_CONV_WINOGRAD_CPU_H_
