// Deformable convolution on the CPU: gathers what a tile of output pixels sees, then multiplies.
#ifndef KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_
#define KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_

#include <cstring>
#include <vector>

#include "common/floats.h"
#include "common/matrix.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "deform_conv/deform_conv.h"

namespace kdet {
namespace deform_conv {

// Calls visit(pixel of the tile, cell, deform group, first channel, end channel, sample, mask) for the part
// of the channels [begin, end) that each deform group has.
template <typename Visit>
void each_sample(const DeformConv& p, const float* offsets, const float* mask, int64_t first, int64_t count,
                 int begin, int end, const Visit& visit) {
  const int width = p.channels / p.deform_groups;
  for (int64_t t = 0; t < count; ++t) {
    for (int part = begin / width; part <= (end - 1) / width; ++part) {
      const int from = std::max(begin, part * width), to = std::min(end, (part + 1) * width);
      for (int cell = 0; cell < p.cells(); ++cell) {
        const float factor = mask[((first + t) * p.deform_groups + part) * p.cells() + cell];
        visit(t, cell, part, from, to, p.sample(offsets, first + t, part, cell), factor);
      }
    }
  }
}

// What the cells see of the channels [begin, end), times the mask: seen is [count, cells, end - begin].
template <typename T>
void gather(const DeformConv& p, const T* x, const float* offsets, const float* mask, int64_t first,
            int64_t count, int begin, int end, float* seen, float* scratch) {
  const int width = end - begin;
  each_sample(p, offsets, mask, first, count, begin, end,
              [&](int64_t t, int cell, int, int from, int to, const Bilinear& at, float factor) {
                float* row = seen + (t * p.cells() + cell) * width + (from - begin);
                std::memset(row, 0, (to - from) * sizeof(float));
                const int64_t picture = (first + t) / (p.out_height * p.out_width);
                const T* map = x + picture * p.height * p.width * p.channels + from;
                for (int k = 0; k < 4; ++k) {
                  if (at.weight[k] == 0.0f) continue;
                  const float* pixel = as_floats(map + at.pixel[k] * p.channels, to - from, scratch);
                  add_scaled(at.weight[k] * factor, pixel, to - from, row);
                }
              });
}

// kernel is float32 whatever T is.
template <typename T>
void forward(const DeformConv& p, const T* x, const float* kernel, const float* offsets, const float* mask,
             T* out, const ParallelFor& parallel) {
  const int inputs = p.channels / p.groups, outputs = p.out_channels / p.groups;
  const int64_t tiles = (p.pixels() + kTileRows - 1) / kTileRows;
  parallel.blocks(tiles, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> seen(kTileRows * p.cells() * inputs), scratch(p.channels), result(kTileRows * p.out_channels);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kTileRows, count = std::min(kTileRows, p.pixels() - first);
      for (int g = 0; g < p.groups; ++g) {
        gather(p, x, offsets, mask, first, count, g * inputs, (g + 1) * inputs, seen.data(), scratch.data());
        const ConstStrided columns(seen.data(), count, p.cells() * inputs, Eigen::OuterStride<>(p.cells() * inputs));
        const ConstStrided weights(kernel + g * outputs, p.cells() * inputs, outputs,
                                   Eigen::OuterStride<>(p.out_channels));
        Strided to(result.data() + g * outputs, count, outputs, Eigen::OuterStride<>(p.out_channels));
        to.noalias() = columns * weights;
      }
      store_floats(result.data(), count * p.out_channels, out + first * p.out_channels);
    }
  });
}

template <typename T>
struct Gradients {
  T *x, *kernel;                        // as the input and the kernel, written in full
  float *const *offsets, *const *mask;  // one zeroed copy per task, to be summed by the caller
};

// How the backward pass shares out the channels: every shard owns some of one group, every task has some shards.
struct Shards {
  int per_group, width, count, tasks;

  // per_task: shards of each task at least.
  Shards(const DeformConv& p, int threads, int per_task) {
    const int inputs = p.channels / p.groups;
    // As many tasks as threads, but no more copies of offsets and mask than twice the input is large.
    const int64_t copy = p.pixels() * p.deform_groups * p.cells() * 3;
    const int64_t most = 1 + 2 * p.batch * p.height * p.width * p.channels / std::max<int64_t>(copy, 1);
    tasks = int(std::min<int64_t>(threads, most));
    per_group = std::min((tasks * per_task + p.groups - 1) / p.groups, (inputs + 15) / 16);
    width = (inputs + per_group - 1) / per_group;
    count = per_group * p.groups;
    tasks = std::min(tasks, count);
  }
};

// upstream is float32 or converted tile by tile.
template <typename T>
void backward_of_shard(const DeformConv& p, const Shards& shards, int shard, const T* x, const T* kernel,
                       const float* offsets, const float* mask, const T* upstream, T* for_x, T* for_kernel,
                       float* for_offsets, float* for_mask) {
  const int inputs = p.channels / p.groups, outputs = p.out_channels / p.groups, cells = p.cells();
  const int group = shard / shards.per_group;
  const int begin = group * inputs + shard % shards.per_group * shards.width;
  const int end = std::min(begin + shards.width, (group + 1) * inputs), width = end - begin;
  if (width <= 0) return;
  std::vector<float> seen(kTileRows * cells * width), wanted(kTileRows * cells * width);
  std::vector<float> rows(kTileRows * outputs), scratch(std::max(p.channels, p.out_channels));
  std::vector<FloatPart<T>> weights(cells);
  std::vector<SummedPart<T>> kernel_sums(cells);
  for (int cell = 0; cell < cells; ++cell) {
    const int64_t place = int64_t(cell * inputs + begin - group * inputs) * p.out_channels + group * outputs;
    weights[cell].read(kernel + place, width, outputs, p.out_channels);
    kernel_sums[cell].start(for_kernel + place, width, outputs, p.out_channels);
  }
  SummedPart<T> x_sums;
  x_sums.start(for_x + begin, p.batch * p.height * p.width, width, p.channels);
  for (int64_t first = 0; first < p.pixels(); first += kTileRows) {
    const int64_t count = std::min(kTileRows, p.pixels() - first);
    for (int64_t t = 0; t < count; ++t) {
      const T* row = upstream + (first + t) * p.out_channels + group * outputs;
      copy_floats(row, outputs, rows.data() + t * outputs);
    }
    gather(p, x, offsets, mask, first, count, begin, end, seen.data(), scratch.data());
    const ConstStrided up(rows.data(), count, outputs, Eigen::OuterStride<>(outputs));
    for (int cell = 0; cell < cells; ++cell) {
      const ConstStrided own(weights[cell].row(0), width, outputs, Eigen::OuterStride<>(weights[cell].step()));
      Strided columns(wanted.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
      columns.noalias() = up * own.transpose();
      const ConstStrided had(seen.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
      Strided sum(kernel_sums[cell].row(0), width, outputs, Eigen::OuterStride<>(kernel_sums[cell].step()));
      sum.noalias() += had.transpose() * up;
    }
    each_sample(p, offsets, mask, first, count, begin, end,
                [&](int64_t t, int cell, int part, int from, int to, const Bilinear& at, float factor) {
                  const float* row = wanted.data() + (t * cells + cell) * width + (from - begin);
                  const int64_t map = (first + t) / (p.out_height * p.out_width) * p.height * p.width;
                  float dots[4] = {0, 0, 0, 0}, value = 0, by_y, by_x;
                  for (int k = 0; k < 4; ++k) {
                    if (!at.valid[k]) continue;
                    const int64_t pixel = map + at.pixel[k];
                    const T* seen_there = x + pixel * p.channels + from;
                    dots[k] = dot(row, as_floats(seen_there, to - from, scratch.data()), to - from);
                    value += at.weight[k] * dots[k];
                    add_scaled(at.weight[k] * factor, row, to - from, x_sums.row(pixel) + (from - begin));
                  }
                  at.slopes(dots, &by_y, &by_x);
                  const int64_t sample = ((first + t) * p.deform_groups + part) * cells + cell;
                  for_offsets[2 * sample] += factor * by_y;
                  for_offsets[2 * sample + 1] += factor * by_x;
                  for_mask[sample] += value;
                });
  }
  for (const SummedPart<T>& sums : kernel_sums) sums.finish();
  x_sums.finish();
}

template <typename T>
void backward(const DeformConv& p, const Shards& shards, const T* x, const T* kernel, const float* offsets,
              const float* mask, const T* upstream, const Gradients<T>& gradients, const ParallelFor& parallel) {
  parallel.run(shards.tasks, [&](int64_t task) {
    for (int shard = int(task); shard < shards.count; shard += shards.tasks) {
      backward_of_shard(p, shards, shard, x, kernel, offsets, mask, upstream, gradients.x, gradients.kernel,
                        gradients.offsets[task], gradients.mask[task]);
    }
  });
}

}  // namespace deform_conv
}  // namespace kdet

#endif  // KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_
