// What every TensorFlow wrapper needs: threads, element types, checks.
#ifndef KDET_COMMON_TF_OP_H_
#define KDET_COMMON_TF_OP_H_

#include <cmath>

#include "common/floats.h"
#include "common/parallel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kdet {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

inline ParallelFor parallel_of(OpKernelContext* context) {
  auto* workers = context->device()->tensorflow_cpu_worker_threads()->workers;
  return {workers->NumThreads(), [workers](int64_t count, const std::function<void(int64_t)>& task) {
            if (count == 1) return task(0);
            workers->ParallelFor(count, tsl::thread::ThreadPool::SchedulingParams::Fixed(1),
                                 [&](int64_t begin, int64_t end) {
                                   for (int64_t i = begin; i < end; ++i) task(i);
                                 });
          }};
}

// TensorFlow's element type -> the kernels' type of the same bits.
template <typename T>
struct Element;
template <>
struct Element<float> {
  using type = float;
};
template <>
struct Element<Eigen::half> {
  using type = Half;
};
template <>
struct Element<Eigen::bfloat16> {
  using type = BFloat16;
};

template <typename T>
const typename Element<T>::type* data(const Tensor& tensor) {
  return reinterpret_cast<const typename Element<T>::type*>(tensor.tensor_data().data());
}

template <typename T>
typename Element<T>::type* data(Tensor* tensor) {
  return reinterpret_cast<typename Element<T>::type*>(const_cast<char*>(tensor->tensor_data().data()));
}

// A float32 view of the output: the output itself, or a zeroed temporary that `finish` rounds into it.
template <typename T>
class FloatOutput {
 public:
  tensorflow::Status make(OpKernelContext* context, Tensor* output) {
    output_ = output;
    if constexpr (std::is_same_v<T, float>) {
      floats_ = output->flat<float>().data();
    } else {
      auto status = context->allocate_temp(tensorflow::DT_FLOAT, output->shape(), &temporary_);
      if (!status.ok()) return status;
      floats_ = temporary_.flat<float>().data();
    }
    std::memset(floats_, 0, output->NumElements() * sizeof(float));
    return tensorflow::OkStatus();
  }
  float* floats() const { return floats_; }
  void finish(const ParallelFor& parallel) {
    if constexpr (!std::is_same_v<T, float>) {
      parallel.blocks(output_->NumElements(), 1 << 14, [&](int64_t begin, int64_t end) {
        store_floats(floats_ + begin, end - begin, data<T>(output_) + begin);
      });
    }
  }

 private:
  Tensor* output_ = nullptr;
  Tensor temporary_;
  float* floats_ = nullptr;
};

// out = sum of copies [count, size of out], each written by a thread of its own.
inline void sum_copies(const float* copies, int count, Tensor* out, const ParallelFor& parallel) {
  float* to = out->flat<float>().data();
  const int64_t size = out->NumElements();
  parallel.blocks(size, 1 << 14, [&](int64_t begin, int64_t end) {
    std::copy(copies + begin, copies + end, to + begin);
    for (int k = 1; k < count; ++k) add_scaled(1.0f, copies + k * size + begin, end - begin, to + begin);
  });
}

// Boxes must be finite; `what` names the tensor in the message.
inline tensorflow::Status check_finite(const Tensor& tensor, const char* op, const char* what) {
  const auto values = tensor.flat<float>();
  for (int64_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values(i))) {
      return tensorflow::errors::InvalidArgument(op, ": ", what, " of shape ", tensor.shape().DebugString(),
                                                 " holds ", values(i), " at flat index ", i,
                                                 "; boxes and offsets must be finite.");
    }
  }
  return tensorflow::OkStatus();
}

}  // namespace kdet

#define KDET_FLOAT_TYPES(macro) macro(float) macro(Eigen::half) macro(Eigen::bfloat16)

#endif  // KDET_COMMON_TF_OP_H_
