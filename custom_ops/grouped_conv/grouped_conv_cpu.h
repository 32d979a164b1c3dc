// The backward pass of convolution in narrow groups on the CPU.
#ifndef KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_
#define KDET_GROUPED_CONV_GROUPED_CONV_CPU_H_

#include <vector>

#include "common/floats.h"
#include "common/parallel.h"
#include "grouped_conv/grouped_conv.h"

namespace kdet {
namespace grouped_conv {

// A row of parts of N numbers -> N rows; row d holds number d of each part, N times over. With it a product
// within groups is a product of whole rows.
template <int N>
void spread(const float* __restrict row, int channels, float* __restrict rows) {
  for (int d = 0; d < N; ++d) {
    for (int g = 0; g < channels; g += N) {
      for (int k = 0; k < N; ++k) rows[d * channels + g + k] = row[g + d];
    }
  }
}

// to[c] += sum over d of a[d][c] * b[d][c]
template <int N>
void add_products(const float* __restrict a, const float* __restrict b, int channels, float* __restrict to) {
  for (int c = 0; c < channels; ++c) {
    float sum = to[c];
    for (int d = 0; d < N; ++d) sum += a[d * channels + c] * b[d * channels + c];
    to[c] = sum;
  }
}

// The channels [first, first + count) of the gradient of the input: every output pixel gives to those that it
// saw. turned is the kernel as [cell, output within the group, input channel].
template <int N, typename T>
void input_gradient(const GroupedConv& p, int64_t first, int count, const float* turned, const T* upstream,
                    float* for_x) {
  std::vector<float> scratch(count), rows(N * count);
  int64_t pixel = 0;
  for (int64_t picture = 0; picture < p.batch; ++picture) {
    for (int row = 0; row < p.out_height; ++row) {
      for (int column = 0; column < p.out_width; ++column, ++pixel) {
        spread<N>(as_floats(upstream + pixel * p.channels + first, count, scratch.data()), count, rows.data());
        for (int i = 0; i < p.kernel_y; ++i) {
          const int y = row * p.stride_y - p.pad_y + i * p.dilation_y;
          if (y < 0 || y >= p.height) continue;
          for (int j = 0; j < p.kernel_x; ++j) {
            const int x = column * p.stride_x - p.pad_x + j * p.dilation_x;
            if (x < 0 || x >= p.width) continue;
            float* to = for_x + ((picture * p.height + y) * p.width + x) * p.channels + first;
            add_products<N>(rows.data(), turned + int64_t(i * p.kernel_x + j) * N * count, count, to);
          }
        }
      }
    }
  }
}

// The same channels of the gradient of the kernel, as sums [cell, input within the group, output channel]:
// every input pixel meets the output pixels that saw it.
template <int N, typename T>
void kernel_gradient(const GroupedConv& p, int64_t first, int count, const T* x, const T* upstream, float* sums) {
  std::vector<float> scratch(count), up_scratch(count), rows(N * count);
  int64_t pixel = 0;
  for (int64_t picture = 0; picture < p.batch; ++picture) {
    for (int y = 0; y < p.height; ++y) {
      for (int column = 0; column < p.width; ++column, ++pixel) {
        spread<N>(as_floats(x + pixel * p.channels + first, count, scratch.data()), count, rows.data());
        for (int i = 0; i < p.kernel_y; ++i) {
          const int down = y + p.pad_y - i * p.dilation_y;
          if (down < 0 || down % p.stride_y || down / p.stride_y >= p.out_height) continue;
          for (int j = 0; j < p.kernel_x; ++j) {
            const int right = column + p.pad_x - j * p.dilation_x;
            if (right < 0 || right % p.stride_x || right / p.stride_x >= p.out_width) continue;
            const int64_t at = (picture * p.out_height + down / p.stride_y) * p.out_width + right / p.stride_x;
            const float* up = as_floats(upstream + at * p.channels + first, count, up_scratch.data());
            float* to = sums + int64_t(i * p.kernel_x + j) * N * count;
            for (int d = 0; d < N; ++d) {
              const float* a = rows.data() + d * count;
              for (int c = 0; c < count; ++c) to[d * count + c] += a[c] * up[c];
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
  parallel.channels(p.channels, std::max(N, 16), [&](int64_t first, int64_t last, int64_t) {
    const int count = int(last - first);
    std::vector<float> turned(int64_t(cells) * N * count), sums(turned.size());
    for (int64_t k = 0; k < int64_t(cells) * N; ++k) {
      for (int c = 0; c < count; ++c) {
        const int64_t cell = k / N, input = c / N * N + k % N;
        turned[(cell * N + c % N) * count + input] = kernel[k * p.channels + first + c];
      }
    }
    input_gradient<N>(p, first, count, turned.data(), upstream, for_x);
    kernel_gradient<N>(p, first, count, x, upstream, sums.data());
    for (int64_t k = 0; k < int64_t(cells) * N; ++k) {
      std::copy(sums.begin() + k * count, sums.begin() + (k + 1) * count, for_kernel + k * p.channels + first);
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
