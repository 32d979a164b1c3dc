// The GPU as the wrappers see it. Included by tf_op.h when the CUDA kernels are compiled.
#ifndef KDET_COMMON_TF_GPU_H_
#define KDET_COMMON_TF_GPU_H_

#include "common/tf_op.h"
#include "tensorflow/core/framework/device_base.h"
#include "xla/stream_executor/stream.h"

// Rounds float32 into an element type (kdet::ElementType).
extern "C" cudaError_t kdet_cuda_round(const float* from, int type, void* to, int64_t count, cudaStream_t stream);

namespace kdet {

// See `Cpu`.
struct Gpu {
  static constexpr bool kGpu = true;

  static cudaStream_t stream(OpKernelContext* context) {
    return static_cast<cudaStream_t>(
        context->op_device_context()->stream()->platform_specific_handle().stream);
  }

  static tensorflow::Status status(const char* op, cudaError_t error) {
    if (error == cudaSuccess) return tensorflow::OkStatus();
    return tensorflow::errors::Internal(op, ": CUDA says ", cudaGetErrorString(error));
  }

  static tensorflow::Status zero(OpKernelContext* context, void* values, int64_t count, size_t size = 4) {
    return status("zeroing a buffer", cudaMemsetAsync(values, 0, count * size, stream(context)));
  }

  template <typename T>
  static tensorflow::Status round(OpKernelContext* context, const float* values, Tensor* out) {
    return status("rounding a gradient", kdet_cuda_round(values, element_type<T>(), data<T>(out),
                                                         out->NumElements(), stream(context)));
  }
};

}  // namespace kdet

#endif  // KDET_COMMON_TF_GPU_H_
