// Convolution in groups on the CPU: directly, or by Winograd's form where that applies.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_

#include <memory>
#include <type_traits>
#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/lanes.h"
#include "common/parallel.h"
#include "grouped_conv/grouped_conv.h"
#include "grouped_conv/winograd_cpu.h"

namespace kdet {
inline namespace KDET_ISA {
namespace grouped_conv {

// Vectors of channels that are worked on at a time, 64 of these: a few rows of them fit the second-level cache.
constexpr int kMostVectors = 64 / kLanes;

// Some neighboring channels, whole groups of them.
struct Channels {
  int first, count;
  int vectors() const { return (count + kLanes - 1) / kLanes; }
  int lanes(int vector) const { return std::min(kLanes, count - vector * kLanes); }
};

// Some channels of a few rows of a map, in float32 and so that a loop over columns reads on end.
template <typename T>
class Rows {
 public:
  Rows(const T* map, int width, int channels, const Channels& own, int rows)
      : map_(map), width_(width), channels_(channels), own_(own), known_(rows, -1),
        values_(new AlignedLanes[int64_t{rows} * own.vectors() * width]) {}

  // The columns of one vector of row `row`, counted through all images. It stays until so many other rows are read.
  const AlignedLanes* get(int64_t row, int vector) {
    const int64_t slot = row % int64_t(known_.size());
    AlignedLanes* to = values_.get() + slot * own_.vectors() * width_;
    if (known_[slot] != row) {
      known_[slot] = row;
      const T* from = map_ + row * width_ * channels_ + own_.first;
      for (int column = 0; column < width_; ++column, from += channels_) {
        for (int v = 0; v < own_.vectors(); ++v) {
          to[v * width_ + column] = load_lanes(from + v * kLanes, own_.lanes(v));
        }
      }
    }
    return to + vector * width_;
  }

 private:
  const T* map_;
  int width_, channels_;
  Channels own_;
  std::vector<int64_t> known_;
  std::unique_ptr<AlignedLanes[]> values_;
};

// The numbers k in [0, count) for which k * step + shift lies in [0, size).
struct Range {
  int begin, end;
  Range(int count, int step, int shift, int size)
      : begin(shift < 0 ? (step - 1 - shift) / step : 0),
        end(shift < size ? std::min(count, (size - 1 - shift) / step + 1) : 0) {}
};

// Number d of every group of N lanes, N times over; of wider groups N is kLanes.
template <int N>
Lanes spread(const AlignedLanes& from, int d) {
  if constexpr (N == kLanes) return all_lanes(reinterpret_cast<const float*>(&from)[d]);
  return spread_lanes<N>(from, d);
}

// A kernel as vectors [cell, vector of channels, number within the group]. Lane c of a vector belongs to channel
// own.first + vector * kLanes + c.
class Weights {
 public:
  Weights(const GroupedConv& p, const Channels& own)
      : p_(p), own_(own), group_(p.channels / p.groups),
        values_(new AlignedLanes[int64_t{p.kernel_y} * p.kernel_x * own.vectors() * group_]()) {}

  const Channels& own() const { return own_; }
  AlignedLanes* at(int cell, int vector) const { return values_.get() + (cell * own_.vectors() + vector) * group_; }

  // Calls visit(number of the weight's lane, cell, channel, number within the group).
  template <typename Visit>
  void each(const Visit& visit) const {
    for (int cell = 0; cell < p_.kernel_y * p_.kernel_x; ++cell) {
      for (int c = 0; c < own_.count; ++c) {
        float* lane = reinterpret_cast<float*>(at(cell, c / kLanes)) + c % kLanes;
        for (int d = 0; d < group_; ++d) visit(lane[d * kLanes], cell, own_.first + c, d);
      }
    }
  }

 private:
  const GroupedConv& p_;
  Channels own_;
  int group_;
  std::unique_ptr<AlignedLanes[]> values_;
};

// Rows [begin, end), counted through all images, of the output or of the input's gradient: every output pixel sums
// up what it sees, every input pixel what the output pixels that saw it send back. weights are, by channel of `to`
// and channel of `from` within the group, the kernel.
template <int N, bool kForward, typename T>
void gather_rows(const GroupedConv& p, const Weights& weights, const T* from, int64_t begin, int64_t end, T* to) {
  const Channels& own = weights.own();
  const int parts = std::max(1, p.channels / p.groups / kLanes);  // vectors of a group
  const int height = kForward ? p.out_height : p.height, width = kForward ? p.out_width : p.width;
  const int from_height = kForward ? p.height : p.out_height, from_width = kForward ? p.width : p.out_width;
  const int reach = (p.kernel_y - 1) * p.dilation_y;
  Rows<T> rows(from, from_width, p.channels, own, (kForward ? reach : reach / p.stride_y) + 1);
  std::unique_ptr<AlignedLanes[]> line(new AlignedLanes[width]);
  for (int64_t row = begin; row < end; ++row) {
    for (int v = 0; v < own.vectors(); ++v) {
      for (int x = 0; x < width; ++x) line[x] = AlignedLanes{};
      for (int cell = 0; cell < p.kernel_y * p.kernel_x; ++cell) {
        // Output (row, column) saw input (row * stride + up, column * stride + left).
        const int up = cell / p.kernel_x * p.dilation_y - p.pad_y, left = cell % p.kernel_x * p.dilation_x - p.pad_x;
        const int place = int(row % height), down = kForward ? place * p.stride_y + up : place - up;
        if (down < 0 || (!kForward && down % p.stride_y)) continue;
        const int from_row = kForward ? down : down / p.stride_y;
        if (from_row >= from_height) continue;
        const Range columns(p.out_width, p.stride_x, left, p.width);
        for (int part = 0; part < parts; ++part) {
          const AlignedLanes* seen = rows.get(row / height * from_height + from_row, v / parts * parts + part);
          Lanes factors[N];  // a copy, which the compiler may keep in registers
          std::copy_n(weights.at(cell, v) + part * kLanes, N, factors);
          for (int k = columns.begin; k < columns.end; ++k) {
            const int there = k * p.stride_x + left;
            AlignedLanes& sum = line[kForward ? k : there];
            Lanes total = sum;
            for (int d = 0; d < N; ++d) total += spread<N>(seen[kForward ? there : k], d) * factors[d];
            sum = total;
          }
        }
      }
      T* values = to + row * width * p.channels + own.first + v * kLanes;
      for (int x = 0; x < width; ++x, values += p.channels) {
        store_floats(reinterpret_cast<const float*>(line.get() + x), own.lanes(v), values);
      }
    }
  }
}

// The gradient of some channels of the kernel, by output channel and input within the group.
template <int N, typename T>
void add_products(const GroupedConv& p, const T* x, const T* upstream, const Weights& sums) {
  const Channels& own = sums.own();
  const int parts = std::max(1, p.channels / p.groups / kLanes);
  Rows<T> seen(x, p.width, p.channels, own, (p.kernel_y - 1) * p.dilation_y + 1);
  Rows<T> sent(upstream, p.out_width, p.channels, own, 1);
  for (int64_t row = 0; row < p.batch * p.out_height; ++row) {
    for (int v = 0; v < own.vectors(); ++v) {
      const AlignedLanes* up = sent.get(row, v);
      for (int cell = 0; cell < p.kernel_y * p.kernel_x; ++cell) {
        const int y = int(row % p.out_height) * p.stride_y - p.pad_y + cell / p.kernel_x * p.dilation_y;
        if (y < 0 || y >= p.height) continue;
        const int left = cell % p.kernel_x * p.dilation_x - p.pad_x;
        const Range columns(p.out_width, p.stride_x, left, p.width);
        for (int part = 0; part < parts; ++part) {
          const AlignedLanes* from = seen.get(row / p.out_height * p.height + y, v / parts * parts + part) + left;
          AlignedLanes* to = sums.at(cell, v) + part * kLanes;
          Lanes total[N];
          for (int d = 0; d < N; ++d) total[d] = to[d];
          for (int k = columns.begin; k < columns.end; ++k) {
            for (int d = 0; d < N; ++d) total[d] += spread<N>(from[k * p.stride_x], d) * up[k];
          }
          for (int d = 0; d < N; ++d) to[d] = total[d];
        }
      }
    }
  }
}

// Channels of chunk number `number` of so many vectors.
inline Channels chunk_of(const GroupedConv& p, int64_t number, int vectors) {
  const int first = int(number) * vectors * kLanes;
  return {first, std::min(vectors * kLanes, p.channels - first)};
}

// All rows of the output or of the input's gradient.
template <int N, bool kForward, typename T>
void gather(const GroupedConv& p, const float* kernel, const T* from, T* to, const ParallelFor& parallel) {
  const int group = p.channels / p.groups, width = kMostVectors * kLanes;
  std::vector<Weights> weights;
  for (int first = 0; first < p.channels; first += width) {
    weights.emplace_back(p, chunk_of(p, first / width, kMostVectors));
  }
  parallel.run(weights.size(), [&](int64_t chunk) {
    weights[chunk].each([&](float& weight, int cell, int channel, int d) {
      const int input = kForward ? d : channel % group, output = kForward ? channel : channel / group * group + d;
      weight = kernel[(int64_t{cell} * group + input) * p.channels + output];
    });
  });
  parallel.blocks(p.batch * (kForward ? p.out_height : p.height), 1, [&](int64_t begin, int64_t end) {
    for (const Weights& own : weights) gather_rows<N, kForward>(p, own, from, begin, end, to);
  });
}

// The gradient of the whole kernel. Every task owns some channels and so all of a sum.
template <int N, typename T>
void kernel_gradient(const GroupedConv& p, const T* x, const T* upstream, float* for_kernel,
                     const ParallelFor& parallel) {
  const int group = p.channels / p.groups, all = (p.channels + kLanes - 1) / kLanes;
  const int parts = std::max(1, group / kLanes);
  const int vectors = std::clamp(all / parallel.threads / parts * parts, parts, kMostVectors);
  parallel.run((all + vectors - 1) / vectors, [&](int64_t task) {
    const Weights sums(p, chunk_of(p, task, vectors));
    add_products<N>(p, x, upstream, sums);
    sums.each([&](float& sum, int cell, int channel, int d) {
      for_kernel[(int64_t{cell} * group + d) * p.channels + channel] = sum;
    });
  });
}

// Calls run(width of a group) with the width as a type.
template <typename Run>
void with_width(const GroupedConv& p, const Run& run) {
  switch (p.channels / p.groups) {
    case 4:
      return run(std::integral_constant<int, 4>());
    case 8:
      return run(std::integral_constant<int, 8>());
    case 16:
      return run(std::integral_constant<int, 16>());
    case 32:
      return run(std::integral_constant<int, 32>());
    default:
      return run(std::integral_constant<int, 64>());
  }
}

// As many outputs as inputs. out is written in full.
template <typename T>
void forward(const GroupedConv& p, const T* x, const float* kernel, T* out, const ParallelFor& parallel) {
  with_width(p, [&](auto width) {
    if (winograd::applies<width>(p)) return winograd::forward<width>(p, x, kernel, out, parallel);
    gather<std::min<int>(width, kLanes), true>(p, kernel, x, out, parallel);
  });
}

// Both gradients are written in full, that of the kernel as float32.
template <typename T>
void backward(const GroupedConv& p, const T* x, const float* kernel, const T* upstream, T* for_x,
              float* for_kernel, const ParallelFor& parallel) {
  with_width(p, [&](auto width) {
    if (winograd::applies<width>(p)) {
      return winograd::backward<width>(p, x, kernel, upstream, for_x, for_kernel, parallel);
    }
    constexpr int kSpread = std::min<int>(width, kLanes);
    gather<kSpread, false>(p, kernel, upstream, for_x, parallel);
    kernel_gradient<kSpread>(p, x, upstream, for_kernel, parallel);
  });
}

}  // namespace grouped_conv
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_
