// The columns of deformable convolution on CUDA: a block works out where some samples lie, then its threads take their
// channels, neighboring threads neighboring ones.
#include "common/cuda.h"
#include "deform_conv/deform_conv_cuda.h"

namespace kdet {
namespace {

constexpr int kMostLanes = 32;
constexpr int kTile = 64;      // samples that a block works on at a time
constexpr int kGradTile = 32;  // the same backwards, where each takes more of the shared memory

// What all channels of a sample share.
struct Sample {
  int64_t pixel, place[4];  // of the output; of the first channel in x, -1 off the map
  int cell, channel;        // the first channel
  float weight[4], mask, down, right;
};

// number: the sample's place in the mask.
__device__ Sample sample_of(const DeformConv& p, const float* offsets, const float* mask, int64_t number) {
  const int cell = int(number % p.cells()), part = int(number / p.cells() % p.deform_groups);
  const int64_t pixel = number / p.cells() / p.deform_groups, map = p.first_pixel(pixel);
  const Bilinear at = p.sample(offsets, pixel, part, cell);
  Sample sample;
  sample.pixel = pixel;
  sample.cell = cell;
  sample.channel = part * (p.channels / p.deform_groups);
  for (int k = 0; k < 4; ++k) {
    sample.place[k] = at.valid[k] ? (map + at.pixel[k]) * p.channels + sample.channel : -1;
    sample.weight[k] = at.weight[k];
  }
  sample.mask = mask[number];
  sample.down = at.down;
  sample.right = at.right;
  return sample;
}

// lanes: threads that share the channels of a sample, N at a time.
template <typename T, int N>
__global__ void columns_kernel(DeformConv p, int lanes, const T* __restrict__ x, const float* offsets,
                               const float* mask, T* __restrict__ columns) {
  __shared__ Sample samples[kTile];
  const int width = p.channels / p.deform_groups, lane = threadIdx.x % lanes;
  for (int64_t first = int64_t(blockIdx.x) * kTile; first < p.samples(); first += int64_t(gridDim.x) * kTile) {
    const int count = int(min(int64_t(kTile), p.samples() - first));
    __syncthreads();  // nobody needs the samples before any more
    if (threadIdx.x < count) samples[threadIdx.x] = sample_of(p, offsets, mask, first + threadIdx.x);
    __syncthreads();
    for (int s = threadIdx.x / lanes; s < count; s += kThreads / lanes) {
      const Sample at = samples[s];
      for (int c = lane * N; c < width; c += lanes * N) {
        Vector<T, N> seen[4], to;
        float sums[N] = {};
        for (int k = 0; k < 4; ++k) {
          if (at.place[k] < 0 || at.weight[k] == 0.0f) continue;
          seen[k] = Vector<T, N>::read(x + at.place[k] + c);
        }
        for (int k = 0; k < 4; ++k) {
          if (at.weight[k] == 0.0f) continue;  // NaN where the offset is no number
          for (int n = 0; n < N; ++n) {
            sums[n] += at.weight[k] * at.mask * (at.place[k] < 0 ? 0.0f : load(seen[k].values + n));
          }
        }
        for (int n = 0; n < N; ++n) store(sums[n], to.values + n);
        to.write(columns + p.column(at.pixel, at.cell, at.channel + c));
      }
    }
  }
}

// The gradients of offsets and mask are sums over the channels of a sample: the lanes' sums are summed up at the end.
// One channel at a time, so that the threads of a warp add to neighboring numbers of for_x.
template <typename T>
__global__ void gradients_kernel(DeformConv p, int lanes, const T* __restrict__ x, const float* offsets,
                                 const float* mask, const T* __restrict__ upstream, float* for_x, float* for_offsets,
                                 float* for_mask) {
  __shared__ Sample samples[kGradTile];
  __shared__ float parts[3 * kGradTile][kMostLanes + 1];  // by y, by x and by the mask, of every sample and lane
  const int width = p.channels / p.deform_groups, lane = threadIdx.x % lanes;
  for (int64_t first = int64_t(blockIdx.x) * kGradTile; first < p.samples();
       first += int64_t(gridDim.x) * kGradTile) {
    const int count = int(min(int64_t(kGradTile), p.samples() - first));
    if (threadIdx.x < count) samples[threadIdx.x] = sample_of(p, offsets, mask, first + threadIdx.x);
    __syncthreads();
    for (int s = threadIdx.x / lanes; s < count; s += kThreads / lanes) {
      const Sample at = samples[s];
      float dots[4] = {0, 0, 0, 0}, value = 0, by_y, by_x;
      for (int c = lane; c < width; c += lanes) {
        const float wanted = load(upstream + p.column(at.pixel, at.cell, at.channel + c));
        for (int k = 0; k < 4; ++k) {
          if (at.place[k] >= 0) dots[k] += wanted * load(x + at.place[k] + c);
        }
        for (int k = 0; k < 4; ++k) {
          if (at.place[k] < 0 || at.weight[k] == 0.0f) continue;
          atomicAdd(for_x + at.place[k] + c, at.weight[k] * at.mask * wanted);
        }
      }
      for (int k = 0; k < 4; ++k) {
        if (at.place[k] >= 0) value += at.weight[k] * dots[k];
      }
      bilinear_slopes(at.down, at.right, dots, &by_y, &by_x);
      parts[3 * s][lane] = at.mask * by_y;
      parts[3 * s + 1][lane] = at.mask * by_x;
      parts[3 * s + 2][lane] = value;
    }
    __syncthreads();
    if (threadIdx.x < 3 * count) {
      const int s = threadIdx.x / 3, which = threadIdx.x % 3;
      float sum = 0;
      for (int l = 0; l < lanes; ++l) sum += parts[threadIdx.x][l];
      *(which == 2 ? for_mask + first + s : for_offsets + 2 * (first + s) + which) = sum;
    }
  }
}

// The smallest power of two that is enough, or a warp.
int lanes_for(int count) {
  int lanes = 1;
  while (lanes < count && lanes < kMostLanes) lanes *= 2;
  return lanes;
}

int blocks_of(const DeformConv& p, int tile) { return blocks_for((p.samples() + tile - 1) / tile * kThreads); }

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_deform_columns(const kdet::DeformConv* p, int type, const void* x,
                                                const float* offsets, const float* mask, void* columns,
                                                cudaStream_t stream) {
  if (p->samples() == 0) return cudaSuccess;
  const int width = p->channels / p->deform_groups, blocks = kdet::blocks_of(*p, kdet::kTile);
  // A vector lies within a deform group and within a group.
  const bool divides = width % 4 == 0 && p->channels / p->groups % 4 == 0;
  const bool aligned = (reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(columns)) % 16 == 0;
  const int lanes = kdet::lanes_for(divides && aligned ? width / 4 : width);
  KDET_WITH_TYPE(type, {
    const Type* from = static_cast<const Type*>(x);
    Type* to = static_cast<Type*>(columns);
    if (divides && aligned) {
      kdet::columns_kernel<Type, 4><<<blocks, kdet::kThreads, 0, stream>>>(*p, lanes, from, offsets, mask, to);
    } else {
      kdet::columns_kernel<Type, 1><<<blocks, kdet::kThreads, 0, stream>>>(*p, lanes, from, offsets, mask, to);
    }
  });
  return cudaGetLastError();
}

extern "C" cudaError_t kdet_cuda_deform_columns_grad(const kdet::DeformConv* p, int type, const void* x,
                                                     const float* offsets, const float* mask, const void* upstream,
                                                     float* for_x, float* for_offsets, float* for_mask,
                                                     cudaStream_t stream) {
  if (p->samples() == 0) return cudaSuccess;
  const int lanes = kdet::lanes_for(p->channels / p->deform_groups);
  const int blocks = kdet::blocks_of(*p, kdet::kGradTile);
  KDET_WITH_TYPE(type, kdet::gradients_kernel<Type><<<blocks, kdet::kThreads, 0, stream>>>(
                           *p, lanes, static_cast<const Type*>(x), offsets, mask,
                           static_cast<const Type*>(upstream), for_x, for_offsets, for_mask));
  return cudaGetLastError();
}
