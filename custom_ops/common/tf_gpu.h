// What the GPU registrations need on top of tf_op.h. Included only when the CUDA kernels are compiled.
#ifndef KDET_COMMON_TF_GPU_H_
#define KDET_COMMON_TF_GPU_H_

#include <cuda_runtime_api.h>

#include "common/tf_op.h"
#include "tensorflow/core/framework/device_base.h"
#include "xla/stream_executor/stream.h"

// Rounds float32 into an element type (0 float, 1 half, 2 bfloat16).
extern "C" cudaError_t kdet_cuda_round(const float* from, int type, void* to, int64_t count, cudaStream_t stream);

namespace kdet {

template <typename T>
constexpr int element_type() {
  return std::is_same_v<T, float> ? 0 : std::is_same_v<T, Eigen::half> ? 1 : 2;
}

inline cudaStream_t stream_of(OpKernelContext* context) {
  return static_cast<cudaStream_t>(context->op_device_context()->stream()->platform_specific_handle().stream);
}

inline tensorflow::Status cuda_status(cudaError_t error, const char* op) {
  if (error == cudaSuccess) return tensorflow::OkStatus();
  return tensorflow::errors::Internal(op, ": CUDA says ", cudaGetErrorString(error));
}

// The GPU's counterpart of FloatOutput: a zeroed float32 buffer on the device, rounded into the output at the
// end.
template <typename T>
class DeviceFloatOutput {
 public:
  tensorflow::Status make(OpKernelContext* context, Tensor* output) {
    output_ = output;
    Tensor* target = output;
    if constexpr (!std::is_same_v<T, float>) {
      auto status = context->allocate_temp(tensorflow::DT_FLOAT, output->shape(), &temporary_);
      if (!status.ok()) return status;
      target = &temporary_;
    }
    floats_ = target->template flat<float>().data();
    return cuda_status(cudaMemsetAsync(floats_, 0, output->NumElements() * sizeof(float), stream_of(context)),
                       "zeroing a gradient");
  }
  float* floats() const { return floats_; }
  tensorflow::Status finish(OpKernelContext* context) {
    if constexpr (std::is_same_v<T, float>) return tensorflow::OkStatus();
    return cuda_status(kdet_cuda_round(floats_, element_type<T>(), const_cast<char*>(output_->tensor_data().data()),
                                       output_->NumElements(), stream_of(context)),
                       "rounding a gradient");
  }

 private:
  Tensor* output_ = nullptr;
  Tensor temporary_;
  float* floats_ = nullptr;
};

}  // namespace kdet

#endif  // KDET_COMMON_TF_GPU_H_
