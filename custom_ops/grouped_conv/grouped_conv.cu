// The backward pass of convolution in narrow groups on CUDA: one thread per number of the input's gradient, and
// per number of the kernel's gradient and part of the pixels.
#include "common/cuda.h"
#include "grouped_conv/grouped_conv_cuda.h"

namespace kdet {
namespace {

// Output pixels that one thread of the kernel's gradient sums over.
constexpr int64_t kChunk = 512;

template <typename T>
__global__ void input_kernel(GroupedConv p, const T* kernel, const T* upstream, T* for_x) {
  const int width = p.channels / p.groups;
  KDET_EACH(index, p.batch * p.height * p.width * p.channels) {
    const int channel = int(index % p.channels), first = channel / width * width;
    const int column = int(index / p.channels % p.width), row = int(index / p.channels / p.width % p.height);
    const int64_t picture = index / p.channels / p.width / p.height;
    float sum = 0;
    for (int cell = 0; cell < p.kernel_y * p.kernel_x; ++cell) {
      const int down = row + p.pad_y - cell / p.kernel_x * p.dilation_y;
      const int right = column + p.pad_x - cell % p.kernel_x * p.dilation_x;
      if (down < 0 || down % p.stride_y || down / p.stride_y >= p.out_height) continue;
      if (right < 0 || right % p.stride_x || right / p.stride_x >= p.out_width) continue;
      const int64_t at = (picture * p.out_height + down / p.stride_y) * p.out_width + right / p.stride_x;
      const T* weights = kernel + (int64_t(cell) * width + channel - first) * p.channels + first;
      for (int n = 0; n < width; ++n) sum += load(upstream + at * p.channels + first + n) * load(weights + n);
    }
    store(sum, for_x + index);
  }
}

template <typename T>
__global__ void kernel_kernel(GroupedConv p, const T* x, const T* upstream, float* for_kernel) {
  const int width = p.channels / p.groups;
  const int64_t numbers = int64_t(p.kernel_y) * p.kernel_x * width * p.channels;
  const int64_t pixels = p.batch * p.out_height * p.out_width, chunks = (pixels + kChunk - 1) / kChunk;
  KDET_EACH(index, numbers * chunks) {
    const int64_t number = index % numbers, first = index / numbers * kChunk;
    const int channel = int(number % p.channels), input = channel / width * width + int(number / p.channels % width);
    const int cell = int(number / p.channels / width);
    float sum = 0;
    for (int64_t pixel = first; pixel < min(first + kChunk, pixels); ++pixel) {
      const int row = int(pixel / p.out_width % p.out_height), column = int(pixel % p.out_width);
      const int y = row * p.stride_y - p.pad_y + cell / p.kernel_x * p.dilation_y;
      const int left = column * p.stride_x - p.pad_x + cell % p.kernel_x * p.dilation_x;
      if (y < 0 || y >= p.height || left < 0 || left >= p.width) continue;
      const int64_t from = (pixel / p.out_width / p.out_height * p.height + y) * p.width + left;
      sum += load(x + from * p.channels + input) * load(upstream + pixel * p.channels + channel);
    }
    atomicAdd(for_kernel + number, sum);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_grouped_conv_grad(const kdet::GroupedConv* p, int type, const void* x,
                                                   const void* kernel, const void* upstream, void* for_x,
                                                   float* for_kernel, cudaStream_t stream) {
  const int64_t inputs = p->batch * p->height * p->width * p->channels;
  const int64_t chunks = (p->batch * p->out_height * p->out_width + kdet::kChunk - 1) / kdet::kChunk;
  const int64_t sums = int64_t(p->kernel_y) * p->kernel_x * p->channels / p->groups * p->channels * chunks;
  KDET_WITH_TYPE(type, {
    kdet::input_kernel<Type><<<kdet::blocks_for(inputs), kdet::kThreads, 0, stream>>>(
        *p, static_cast<const Type*>(kernel), static_cast<const Type*>(upstream), static_cast<Type*>(for_x));
    kdet::kernel_kernel<Type><<<kdet::blocks_for(sums), kdet::kThreads, 0, stream>>>(
        *p, static_cast<const Type*>(x), static_cast<const Type*>(upstream), for_kernel);
  });
  return cudaGetLastError();
}
