// CUDA's threads on one CPU thread, so that kernels can be checked where there is no GPU.
//
// A kernel's blocks run one after the other. Its threads are fibers that run until they meet a barrier or end;
// then the next one runs. Every other round runs them backwards, so that a missing barrier shows. What this
// cannot show: races of blocks, the memory model, speed. Launches `f<<<blocks, threads, 0, stream>>>(...)` must
// be rewritten to emulate(blocks, threads, [&] { f(...); }).
#ifndef KDET_CUDA_ON_CPU_CUDA_RUNTIME_H_
#define KDET_CUDA_ON_CPU_CUDA_RUNTIME_H_

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

template <typename T>
cudaError_t cudaMalloc(T** at, size_t bytes) {
  *at = static_cast<T*>(std::malloc(bytes));
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* at) {
  std::free(at);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

template <typename T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at += value;
  return before;
}
template <typename T>
T atomicAnd(T* at, T value) {
  const T before = *at;
  *at &= value;
  return before;
}
template <typename T>
T atomicOr(T* at, T value) {
  const T before = *at;
  *at |= value;
  return before;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

namespace cuda_on_cpu {

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  bool waiting, ended;
};

inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline size_t current;
inline std::function<void()> body;

inline void run_fiber() {
  body();
  fibers[current].ended = true;
}

inline void run_block(unsigned threads) {
  if (fibers.size() < threads) fibers.resize(threads);
  for (size_t t = 0; t < threads; ++t) {
    Fiber& fiber = fibers[t];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    fiber.ended = false;
    makecontext(&fiber.context, run_fiber, 0);
  }
  size_t ended = 0;
  for (int round = 0; ended < threads; ++round) {
    size_t waiting = 0;
    for (size_t k = 0; k < threads; ++k) {
      current = round % 2 ? threads - 1 - k : k;
      Fiber& fiber = fibers[current];
      if (fiber.ended) continue;
      threadIdx.x = unsigned(current);
      fiber.waiting = false;
      swapcontext(&scheduler, &fiber.context);
      waiting += fiber.waiting;
      ended += fiber.ended;
    }
    if (waiting && ended) {
      std::printf("FAILED: %zu threads wait at a barrier that %zu have left out\n", waiting, ended);
      std::exit(1);
    }
  }
}

}  // namespace cuda_on_cpu

inline void __syncthreads() {
  cuda_on_cpu::Fiber& fiber = cuda_on_cpu::fibers[cuda_on_cpu::current];
  fiber.waiting = true;
  swapcontext(&fiber.context, &cuda_on_cpu::scheduler);
}

inline void emulate(dim3 blocks, dim3 threads, std::function<void()> kernel) {
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0) {
    std::printf("FAILED: a launch of no blocks\n");
    std::exit(1);
  }
  cuda_on_cpu::body = kernel;
  gridDim = blocks;
  blockDim = threads;
  for (blockIdx.z = 0; blockIdx.z < blocks.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < blocks.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < blocks.x; ++blockIdx.x) cuda_on_cpu::run_block(threads.x);
    }
  }
}

#endif  // KDET_CUDA_ON_CPU_CUDA_RUNTIME_H_
