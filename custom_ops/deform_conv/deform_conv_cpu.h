// Deformable convolution on the CPU: gathers what a tile of output pixels sees, then multiplies. And the gathering by
// itself, of the columns that someone else multiplies.
#ifndef KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_
#define KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_

#include <cstring>
#include <vector>

#include "common/floats.h"
#include "common/gathered_conv.h"
#include "common/instruction_set.h"
#include "common/parallel.h"
#include "common/parts.h"
#include "deform_conv/deform_conv.h"

namespace kdet {
inline namespace KDET_ISA {
namespace deform_conv {

inline GatheredConv gathered(const DeformConv& p) {
  return {p.pixels(), p.pixels(), p.cells(), p.channels, p.out_channels, p.groups};
}

// Calls visit(from, to, sample, index of the sample) for the part [from, to) of the channels [begin, end) that each
// deform group has.
template <typename Visit>
void each_sample(const DeformConv& p, const float* offsets, int64_t pixel, int cell, int begin, int end,
                 const Visit& visit) {
  const int width = p.channels / p.deform_groups;
  for (int part = begin / width; part <= (end - 1) / width; ++part) {
    visit(std::max(begin, part * width), std::min(end, (part + 1) * width), p.sample(offsets, pixel, part, cell),
          (pixel * p.deform_groups + part) * p.cells() + cell);
  }
}

// What a cell of an output pixel sees of the channels [begin, end). scratch: as many floats.
template <typename T>
void gather(const DeformConv& p, const T* x, const float* offsets, const float* mask, int64_t pixel, int cell,
            int begin, int end, float* seen, float* scratch) {
  const T* map = x + p.first_pixel(pixel) * p.channels;
  std::memset(seen, 0, (end - begin) * sizeof(float));
  each_sample(p, offsets, pixel, cell, begin, end, [&](int from, int to, const Bilinear& at, int64_t sample) {
    for (int k = 0; k < 4; ++k) {
      if (at.weight[k] == 0.0f) continue;
      const float* there = as_floats(map + at.pixel[k] * p.channels + from, to - from, scratch);
      add_scaled(at.weight[k] * mask[sample], there, to - from, seen + (from - begin));
    }
  });
}

// kernel is float32 whatever T is.
template <typename T>
void forward(const DeformConv& p, const T* x, const float* kernel, const float* offsets, const float* mask,
             T* out, const ParallelFor& parallel) {
  const auto own_gather = [&](int64_t pixel, int cell, int begin, int end, float* seen, float* scratch) {
    gather(p, x, offsets, mask, pixel, cell, begin, end, seen, scratch);
  };
  const auto take = [&](int64_t first, int64_t count, const float* sums) {
    store_floats(sums, count * p.out_channels, out + first * p.out_channels);
  };
  gathered_forward<T>(gathered(p), kernel, own_gather, take, parallel);
}

// In half precision there are several shards per task, so that their sums are half the output at most. There are as
// many tasks as threads, or fewer, but two, where these would keep more memory than three quarters of the gradients'.
template <typename T>
DeformShards shards_of(const DeformConv& p, int threads) {
  const int inputs = p.channels / p.groups, finest = (inputs + 15) / 16;
  const int64_t samples = p.pixels() * p.deform_groups * p.cells(), in_pixels = p.batch * p.height * p.width;
  const int64_t numbers = in_pixels * p.channels + int64_t{p.cells()} * inputs * p.out_channels;
  const int64_t gradient_bytes = numbers * sizeof(T) + samples * 3 * sizeof(float);
  for (int tasks = threads;; --tasks) {
    // Narrow shards keep little, but look at every sample again.
    for (int per_group : {std::min((tasks * kPartsPerThread<T> + p.groups - 1) / p.groups, finest), finest}) {
      DeformShards shards;
      shards.per_group = per_group;
      shards.width = (inputs + per_group - 1) / per_group;
      shards.count = per_group * p.groups;
      shards.tasks = std::min(tasks, shards.count);
      const int64_t tile = std::min(kTileRows, p.pixels()), outputs = p.out_channels / p.groups;
      int64_t kept = tile * (2 * p.cells() * shards.width + outputs);
      if (!std::is_same_v<T, float>) kept += (in_pixels + 2 * p.cells() * outputs) * shards.width;
      const int64_t bytes = sizeof(float) * (shards.tasks * kept + (shards.tasks - 1) * samples * 3);
      if (tasks <= 2 || bytes <= gradient_bytes / 4 * 3) return shards;
    }
  }
}

// upstream is float32 or converted tile by tile.
template <typename T>
void backward_of_shard(const DeformConv& p, const DeformShards& shards, int shard, const T* x, const T* kernel,
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
    const ConstStrided up(rows.data(), count, outputs, Eigen::OuterStride<>(outputs));
    for (int cell = 0; cell < cells; ++cell) {
      const ConstStrided own(weights[cell].row(0), width, outputs, Eigen::OuterStride<>(weights[cell].step()));
      Strided columns(wanted.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
      columns.noalias() = up * own.transpose();
    }
    std::fill(seen.begin(), seen.end(), 0.0f);
    for (int64_t t = 0; t < count * cells; ++t) {
      const int64_t map = p.first_pixel(first + t / cells);
      const float* want = wanted.data() + t * width;
      each_sample(p, offsets, first + t / cells, int(t % cells), begin, end,
                  [&](int from, int to, const Bilinear& at, int64_t sample) {
                    const int64_t place = from - begin, n = to - from;
                    const float factor = mask[sample];
                    float dots[4] = {0, 0, 0, 0}, value = 0, by_y, by_x;
                    for (int k = 0; k < 4; ++k) {
                      if (!at.valid[k] && at.weight[k] == 0.0f) continue;
                      const int64_t pixel = map + at.pixel[k];
                      const float* there = as_floats(x + pixel * p.channels + from, n, scratch.data());
                      add_scaled(at.weight[k] * factor, there, n, seen.data() + t * width + place);
                      if (!at.valid[k]) continue;
                      dots[k] = dot(want + place, there, n);
                      value += at.weight[k] * dots[k];
                      add_scaled(at.weight[k] * factor, want + place, n, x_sums.row(pixel) + place);
                    }
                    at.slopes(dots, &by_y, &by_x);
                    for_offsets[2 * sample] += factor * by_y;
                    for_offsets[2 * sample + 1] += factor * by_x;
                    for_mask[sample] += value;
                  });
    }
    for (int cell = 0; cell < cells; ++cell) {
      const ConstStrided had(seen.data() + cell * width, count, width, Eigen::OuterStride<>(cells * width));
      Strided sum(kernel_sums[cell].row(0), width, outputs, Eigen::OuterStride<>(kernel_sums[cell].step()));
      sum.noalias() += had.transpose() * up;
    }
  }
  for (const SummedPart<T>& sums : kernel_sums) sums.finish();
  x_sums.finish();
}

template <typename T>
void backward(const DeformConv& p, const DeformShards& shards, const T* x, const T* kernel, const float* offsets,
              const float* mask, const T* upstream, const DeformGradients<T>& gradients, const ParallelFor& parallel) {
  parallel.run(shards.tasks, [&](int64_t task) {
    for (int shard = int(task); shard < shards.count; shard += shards.tasks) {
      backward_of_shard(p, shards, shard, x, kernel, offsets, mask, upstream, gradients.x, gradients.kernel,
                        gradients.offsets[task], gradients.mask[task]);
    }
  });
}

// Writes the columns, see DeformConv::column.
template <typename T>
void columns_forward(const DeformConv& p, const T* x, const float* offsets, const float* mask, T* columns,
                     const ParallelFor& parallel) {
  const int inputs = p.channels / p.groups;
  parallel.blocks(p.pixels(), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(inputs), scratch(inputs);
    for (int group = 0; group < p.groups; ++group) {
      for (int64_t row = begin * p.cells(); row < end * p.cells(); ++row) {
        const int64_t pixel = row / p.cells();
        const int cell = int(row % p.cells()), from = group * inputs;
        T* to = columns + p.column(pixel, cell, from);
        float* seen = output_floats(to, sums.data());
        gather(p, x, offsets, mask, pixel, cell, from, from + inputs, seen, scratch.data());
        finish_floats(seen, inputs, to);
      }
    }
  });
}

// What is wanted of the channels [begin, end) that a cell of an output pixel sees.
template <typename T>
void read_column(const DeformConv& p, const T* upstream, int64_t pixel, int cell, int begin, int end, float* to) {
  const int inputs = p.channels / p.groups;
  for (int from = begin, next; from < end; from = next) {
    next = std::min(end, (from / inputs + 1) * inputs);
    copy_floats(upstream + p.column(pixel, cell, from), next - from, to + (from - begin));
  }
}

// Writes all of the three gradients; upstream is the columns'. Tasks own output pixels for the gradients of offsets and
// mask, then channels for that of x.
template <typename T>
void columns_backward(const DeformConv& p, const T* x, const float* offsets, const float* mask, const T* upstream,
                      T* for_x, float* for_offsets, float* for_mask, const ParallelFor& parallel) {
  const int cells = p.cells();
  parallel.blocks(p.pixels(), 1, [&](int64_t first, int64_t last) {
    std::vector<float> wanted(p.channels), scratch(p.channels);
    for (int64_t row = first * cells; row < last * cells; ++row) {
      const int64_t pixel = row / cells, map = p.first_pixel(pixel);
      read_column(p, upstream, pixel, int(row % cells), 0, p.channels, wanted.data());
      each_sample(p, offsets, pixel, int(row % cells), 0, p.channels,
                  [&](int from, int to, const Bilinear& at, int64_t sample) {
                    float dots[4] = {0, 0, 0, 0}, value = 0, by_y, by_x;
                    for (int k = 0; k < 4; ++k) {
                      if (!at.valid[k]) continue;
                      const T* there = x + (map + at.pixel[k]) * p.channels + from;
                      dots[k] = dot(wanted.data() + from, as_floats(there, to - from, scratch.data()), to - from);
                      value += at.weight[k] * dots[k];
                    }
                    at.slopes(dots, &by_y, &by_x);
                    for_offsets[2 * sample] = mask[sample] * by_y;
                    for_offsets[2 * sample + 1] = mask[sample] * by_x;
                    for_mask[sample] = value;
                  });
    }
  });
  parallel.channels(p.channels, 16, kPartsPerThread<T>, [&](int64_t begin, int64_t end) {
    std::vector<float> wanted(end - begin);
    SummedPart<T> sums;
    sums.start(for_x + begin, p.batch * p.height * p.width, end - begin, p.channels);
    for (int64_t row = 0; row < p.pixels() * cells; ++row) {
      const int64_t pixel = row / cells, map = p.first_pixel(pixel);
      read_column(p, upstream, pixel, int(row % cells), int(begin), int(end), wanted.data());
      each_sample(p, offsets, pixel, int(row % cells), int(begin), int(end),
                  [&](int from, int to, const Bilinear& at, int64_t sample) {
                    for (int k = 0; k < 4; ++k) {
                      if (!at.valid[k] || at.weight[k] == 0.0f) continue;
                      add_scaled(at.weight[k] * mask[sample], wanted.data() + (from - begin), to - from,
                                 sums.row(map + at.pixel[k]) + (from - begin));
                    }
                  });
    }
    sums.finish();
  });
}

}  // namespace deform_conv
}  // namespace KDET_ISA
}  // namespace kdet

#endif  // KDET_DEFORM_CONV_DEFORM_CONV_CPU_H_
