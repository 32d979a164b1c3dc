// The backward pass of convolution in narrow groups on the CPU.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_

#include <vector>

#include "common/floats.h"
#include "common/lanes.h"
#include "common/parallel.h"
#include "grouped_conv/grouped_conv.h"

namespace kdet {
namespace grouped_conv {

// Channels that are worked on at a time: their sums and weights fit the caches, and pixels lie in few pieces.
constexpr int kChunk = 256;

// Some channels of all pixels, in vectors. Groups of N lanes lie within one vector.
template <int N>
struct Chunk {
  int first, count;  // channels

  int vectors() const { return (count + kLanes - 1) / kLanes; }
  int lanes(int vector) const { return std::min(kLanes, count - vector * kLanes); }

  // The pixel's numbers spread: spread[vector * N + d] holds number d of every group, N times over.
  template <typename T>
  void read(const T* pixel, AlignedLanes* spread) const {
    for (int v = 0; v < vectors(); ++v) {
      const Lanes values = load_lanes(pixel + first + v * kLanes, lanes(v));
      for (int d = 0; d < N; ++d) spread[v * N + d] = spread_lanes<N>(values, d);
    }
  }
};

// The gradient of the input: every output pixel gives to the input pixels that it saw. turned holds the kernel as
// [cell, vector, output within the group], by input channel.
template <int N, typename T>
void input_gradient(const GroupedConv& p, const Chunk<N>& chunk, const AlignedLanes* turned, const T* upstream,
                    float* for_x) {
  AlignedLanes ups[kChunk / kLanes * N];
  const int vectors = chunk.vectors();
  int64_t pixel = 0;
  for (int64_t picture = 0; picture < p.batch; ++picture) {
    for (int row = 0; row < p.out_height; ++row) {
      for (int column = 0; column < p.out_width; ++column, ++pixel) {
        chunk.read(upstream + pixel * p.channels, ups);
        for (int i = 0; i < p.kernel_y; ++i) {
          const int y = row * p.stride_y - p.pad_y + i * p.dilation_y;
          if (y < 0 || y >= p.height) continue;
          for (int j = 0; j < p.kernel_x; ++j) {
            const int x = column * p.stride_x - p.pad_x + j * p.dilation_x;
            if (x < 0 || x >= p.width) continue;
            float* to = for_x + ((picture * p.height + y) * p.width + x) * p.channels + chunk.first;
            const AlignedLanes* weights = turned + (i * p.kernel_x + j) * vectors * N;
            for (int v = 0; v < vectors; ++v) {
              Lanes sum = load_lanes(to + v * kLanes, chunk.lanes(v));
              for (int d = 0; d < N; ++d) sum += ups[v * N + d] * weights[v * N + d];
              store_lanes(sum, chunk.lanes(v), to + v * kLanes);
            }
          }
        }
      }
    }
  }
}

// The gradient of the kernel as sums [cell, vector, input within the group], by output channel: every input pixel
// meets the output pixels that saw it.
template <int N, typename T>
void kernel_gradient(const GroupedConv& p, const Chunk<N>& chunk, const T* x, const T* upstream, AlignedLanes* sums) {
  AlignedLanes values[kChunk / kLanes * N];
  const int vectors = chunk.vectors();
  int64_t pixel = 0;
  for (int64_t picture = 0; picture < p.batch; ++picture) {
    for (int y = 0; y < p.height; ++y) {
      for (int column = 0; column < p.width; ++column, ++pixel) {
        chunk.read(x + pixel * p.channels, values);
        for (int i = 0; i < p.kernel_y; ++i) {
          const int down = y + p.pad_y - i * p.dilation_y;
          if (down < 0 || down % p.stride_y || down / p.stride_y >= p.out_height) continue;
          for (int j = 0; j < p.kernel_x; ++j) {
            const int right = column + p.pad_x - j * p.dilation_x;
            if (right < 0 || right % p.stride_x || right / p.stride_x >= p.out_width) continue;
            const int64_t at = (picture * p.out_height + down / p.stride_y) * p.out_width + right / p.stride_x;
            const T* from = upstream + at * p.channels + chunk.first;
            AlignedLanes* to = sums + (i * p.kernel_x + j) * vectors * N;
            for (int v = 0; v < vectors; ++v) {
              const Lanes up = load_lanes(from + v * kLanes, chunk.lanes(v));
              for (int d = 0; d < N; ++d) to[v * N + d] += values[v * N + d] * up;
            }
          }
        }
      }
    }
  }
}

template <int N, typename T>
void backward_of_width(const GroupedConv& p, const T* x, const float* kernel, const T* upstream, float* for_x,
                       float* for_kernel, const ParallelFor& parallel) {
  const int cells = p.kernel_y * p.kernel_x;
  parallel.channels(p.channels, kLanes, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t first = begin; first < end; first += kChunk) {
      const Chunk<N> chunk = {int(first), int(std::min<int64_t>(kChunk, end - first))};
      std::vector<AlignedLanes> turned(cells * chunk.vectors() * N), sums(turned.size());
      // Lane c of vector (cell, v, d) belongs to the channel v * kLanes + c.
      const auto each_weight = [&](const auto& visit) {
        for (int cell = 0; cell < cells; ++cell) {
          for (int d = 0; d < N; ++d) {
            for (int c = 0; c < chunk.count; ++c) visit(cell, d, c, (cell * chunk.vectors() + c / kLanes) * N + d);
          }
        }
      };
      each_weight([&](int cell, int d, int c, int vector) {
        turned[vector][c % kLanes] = kernel[(int64_t{cell} * N + c % N) * p.channels + first + c / N * N + d];
      });
      input_gradient<N>(p, chunk, turned.data(), upstream, for_x);
      kernel_gradient<N>(p, chunk, x, upstream, sums.data());
      each_weight([&](int cell, int d, int c, int vector) {
        for_kernel[(int64_t{cell} * N + d) * p.channels + first + c] = sums[vector][c % kLanes];
      });
    }
  });
}

// Whether the kernel knows groups of this width.
inline bool supports(int width) { return width == 4 || width == 8 || width == 16; }

// As many outputs as inputs. for_x and for_kernel are zeroed float32. Every thread owns some groups, so
// nothing is written twice.
template <typename T>
void backward(const GroupedConv& p, const T* x, const float* kernel, const T* upstream, float* for_x,
              float* for_kernel, const ParallelFor& parallel) {
  switch (p.channels / p.groups) {
    case 4:
      return backward_of_width<4>(p, x, kernel, upstream, for_x, for_kernel, parallel);
    case 8:
      return backward_of_width<8>(p, x, kernel, upstream, for_x, for_kernel, parallel);
    case 16:
      return backward_of_width<16>(p, x, kernel, upstream, for_x, for_kernel, parallel);
  }
}

}  // namespace grouped_conv
}  // namespace kdet

#endif  // KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_
