// What headers need that are read by nvcc and by a plain compiler. The types in which the CUDA launchers are
// declared are stand-ins where the code is compiled without CUDA.
#ifndef KDET_COMMON_LAUNCH_H_
#define KDET_COMMON_LAUNCH_H_

#if defined(KDET_CUDA) || defined(__CUDACC__)
#include <cuda_runtime_api.h>
#else
using cudaStream_t = struct CUstream_st*;
using cudaError_t = int;
#endif

#ifdef __CUDACC__
#define KDET_HOST_DEVICE __host__ __device__
#else
// Part of whatever kernel calls it: on its own it would be the one function of all instruction sets.
#define KDET_HOST_DEVICE __attribute__((always_inline))
#endif

namespace kdet {

// Element types by number, as the launchers take them.
enum ElementType { kFloat = 0, kHalf = 1, kBFloat16 = 2 };

}  // namespace kdet

#endif  // KDET_COMMON_LAUNCH_H_
