// What every TensorFlow wrapper needs: threads, element types, checks.
#ifndef KDET_COMMON_TF_OP_H_
#define KDET_COMMON_TF_OP_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "common/floats.h"
#include "common/instruction_set.h"
#include "common/launch.h"
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

// The CPU kernels for TensorFlow's type T.
template <template <typename> class Kernels, typename T>
const Kernels<typename Element<T>::type>& kernels_of() {
  return kernels<Kernels<typename Element<T>::type>>();
}

// The number by which the CUDA launchers know the type.
template <typename T>
constexpr ElementType element_type() {
  return std::is_same_v<T, float> ? kFloat : std::is_same_v<T, Eigen::half> ? kHalf : kBFloat16;
}

template <typename T>
const typename Element<T>::type* data(const Tensor& tensor) {
  return reinterpret_cast<const typename Element<T>::type*>(tensor.tensor_data().data());
}

template <typename T>
typename Element<T>::type* data(Tensor* tensor) {
  return reinterpret_cast<typename Element<T>::type*>(const_cast<char*>(tensor->tensor_data().data()));
}

// The devices: kernels are templates over `Cpu` and `Gpu` (common/tf_gpu.h) and take one of two launches by
// `Device::kGpu`.
struct Cpu {
  static constexpr bool kGpu = false;

  static tensorflow::Status zero(OpKernelContext* context, float* values, int64_t count) {
    parallel_of(context).blocks(count, 1 << 16, [&](int64_t begin, int64_t end) {
      std::memset(values + begin, 0, (end - begin) * sizeof(float));
    });
    return tensorflow::OkStatus();
  }
};

// An output that is summed up. On the CPU it is the output itself, whose parts the kernel starts and finishes
// (common/parts.h). On CUDA it is zeroed float32: the output, or a temporary that `finish` rounds into it.
template <typename Device, typename T>
class SummedOutput {
 public:
  using Number = std::conditional_t<Device::kGpu, float, typename Element<T>::type>;

  tensorflow::Status make(OpKernelContext* context, Tensor* output) {
    output_ = output;
    if constexpr (!Device::kGpu) {
      numbers_ = data<T>(output);
      return tensorflow::OkStatus();
    } else {
      Tensor* target = output;
      if constexpr (!std::is_same_v<T, float>) {
        TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_FLOAT, output->shape(), &temporary_));
        target = &temporary_;
      }
      numbers_ = target->template flat<float>().data();
      return Device::zero(context, numbers_, output->NumElements());
    }
  }
  Number* numbers() const { return numbers_; }
  tensorflow::Status finish(OpKernelContext* context) {
    if constexpr (Device::kGpu && !std::is_same_v<T, float>) {
      return Device::template round<T>(context, numbers_, output_);
    }
    return tensorflow::OkStatus();
  }

 private:
  Tensor* output_ = nullptr;
  Tensor temporary_;
  Number* numbers_ = nullptr;
};

// A float32 view of an input: the input itself, or converted into `temporary`.
template <typename T>
tensorflow::Status float_input(OpKernelContext* context, const Tensor& input, Tensor* temporary,
                               const float** values) {
  if constexpr (std::is_same_v<T, float>) {
    *values = data<T>(input);
  } else {
    TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_FLOAT, input.shape(), temporary));
    float* numbers = temporary->flat<float>().data();
    kernels_of<FloatKernels, T>().copy(data<T>(input), input.NumElements(), numbers);
    *values = numbers;
  }
  return tensorflow::OkStatus();
}

// A zeroed float32 output with copies of it, one per thread that adds to it; `finish` sums them up.
class CopiedOutput {
 public:
  tensorflow::Status make(OpKernelContext* context, Tensor* output, int count) {
    output_ = output;
    const int64_t size = output->NumElements();
    TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_FLOAT, {count - 1, size}, &others_));
    float *first = output->flat<float>().data(), *others = others_.flat<float>().data();
    copies_ = {first};
    for (int k = 1; k < count; ++k) copies_.push_back(others + (k - 1) * size);
    TF_RETURN_IF_ERROR(Cpu::zero(context, first, size));
    return Cpu::zero(context, others, (count - 1) * size);
  }
  float* const* copies() const { return copies_.data(); }
  void finish(const ParallelFor& parallel) {
    parallel.blocks(output_->NumElements(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (size_t k = 1; k < copies_.size(); ++k) add_scaled(1.0f, copies_[k] + begin, end - begin, copies_[0] + begin);
    });
  }

 private:
  Tensor* output_ = nullptr;
  Tensor others_;
  std::vector<float*> copies_;
};

// `what` names the tensor in the message.
inline tensorflow::Status check_shape(const Tensor& tensor, const tensorflow::TensorShape& expected,
                                      const char* op, const char* what) {
  if (tensor.shape() == expected) return tensorflow::OkStatus();
  return tensorflow::errors::InvalidArgument(op, ": ", what, " must be ", expected.DebugString(), ", not ",
                                             tensor.shape().DebugString());
}

// An attribute of two values (y, x), each of at least `least` and so small that sizes made of them fit an int.
inline tensorflow::Status get_pair(tensorflow::OpKernelConstruction* context, const char* name, int least, int* y,
                                   int* x) {
  std::vector<int> values;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &values));
  constexpr int most = 1 << 16;
  if (values.size() != 2 || std::min(values[0], values[1]) < least || std::max(values[0], values[1]) > most) {
    return tensorflow::errors::InvalidArgument(context->def().op(), ": ", name, " needs two values (y, x) from ",
                                               least, " to ", most, ".");
  }
  *y = values[0];
  *x = values[1];
  return tensorflow::OkStatus();
}

// An input (height, width) of an image.
inline tensorflow::Status get_image_size(const Tensor& size, const char* op, int* height, int* width) {
  if (size.shape() != tensorflow::TensorShape({2})) {
    return tensorflow::errors::InvalidArgument(op, ": size must be [2], not ", size.shape().DebugString());
  }
  *height = size.vec<tensorflow::int32>()(0);
  *width = size.vec<tensorflow::int32>()(1);
  if (*height >= 0 && *width >= 0) return tensorflow::OkStatus();
  return tensorflow::errors::InvalidArgument(op, ": size must not be negative, but is (", *height, ", ", *width, ").");
}

// An output of sizes that a caller names: TensorShape's own constructor ends the program where they are too large.
inline tensorflow::Status allocate_sized(OpKernelContext* context, std::initializer_list<int64_t> sizes, Tensor** out) {
  tensorflow::TensorShape shape;
  TF_RETURN_IF_ERROR(tensorflow::TensorShape::BuildTensorShape(sizes, &shape));
  return context->allocate_output(0, shape, out);
}

// Pixels that a convolution gives along one axis.
inline int extent(int64_t size, int64_t pad, int64_t dilation, int64_t kernel, int stride) {
  const int64_t free = size + 2 * pad - dilation * (kernel - 1) - 1;
  return free < 0 ? 0 : int(free / stride + 1);
}

// What a convolution's struct has from its input [B,H,W,in] and its kernel [kh,kw,in/groups,out].
template <typename Convolution>
void set_convolution_sizes(const Tensor& x, const Tensor& kernel, Convolution* p) {
  p->batch = x.dim_size(0);
  p->height = int(x.dim_size(1));
  p->width = int(x.dim_size(2));
  p->channels = int(x.dim_size(3));
  p->kernel_y = int(kernel.dim_size(0));
  p->kernel_x = int(kernel.dim_size(1));
}

// Boxes or offsets [..., width] on the CPU. A row that holds NaN or infinity is lost: kernels see zeros in its
// place, what they compute of it is overwritten, and what comes back from there does not count.
class Positions {
 public:
  tensorflow::Status read(OpKernelContext* context, const Tensor& given, int64_t width) {
    const auto values = given.flat<float>();
    data_ = values.data();
    for (int64_t row = 0; row < values.size() / width; ++row) {
      const float* first = data_ + row * width;
      if (!std::all_of(first, first + width, [](float value) { return std::isfinite(value); })) lost_.push_back(row);
    }
    if (lost_.empty()) return tensorflow::OkStatus();
    TF_RETURN_IF_ERROR(context->allocate_temp(given.dtype(), given.shape(), &finite_));
    float* copy = finite_.flat<float>().data();
    std::copy(data_, data_ + values.size(), copy);
    for (const int64_t row : lost_) std::fill_n(copy + row * width, width, 0.0f);
    data_ = copy;
    return tensorflow::OkStatus();
  }

  const float* data() const { return data_; }

  // Writes a value into the `each` outputs that every lost row has.
  template <typename T>
  void fill(float value, int64_t each, T* out) const {
    for (const int64_t row : lost_) {
      for (int64_t i = row * each; i < (row + 1) * each; ++i) from_float(value, out + i);
    }
  }

  // The tensor, or a copy with zeros in the `each` numbers that every lost row has.
  template <typename T>
  tensorflow::Status without_lost(OpKernelContext* context, const Tensor& upstream, int64_t each,
                                  Tensor* kept) const {
    *kept = upstream;
    if (lost_.empty()) return tensorflow::OkStatus();
    TF_RETURN_IF_ERROR(context->allocate_temp(upstream.dtype(), upstream.shape(), kept));
    std::memcpy(const_cast<char*>(kept->tensor_data().data()), upstream.tensor_data().data(),
                upstream.tensor_data().size());
    fill(0.0f, each, kdet::data<T>(kept));
    return tensorflow::OkStatus();
  }

 private:
  std::vector<int64_t> lost_;
  Tensor finite_;
  const float* data_ = nullptr;
};

}  // namespace kdet

#ifdef KDET_CUDA
#define KDET_IF_GPU(...) __VA_ARGS__
#include "common/tf_gpu.h"
#else
#define KDET_IF_GPU(...)
#endif

// Registers Kernel<Device> on every device; what follows the kernel are further calls on the builder.
#define KDET_REGISTER(op, Kernel, ...)                                          \
  REGISTER_KERNEL_BUILDER(Name(op).Device(DEVICE_CPU) __VA_ARGS__, Kernel<Cpu>); \
  KDET_IF_GPU(REGISTER_KERNEL_BUILDER(Name(op).Device(DEVICE_GPU) __VA_ARGS__, Kernel<Gpu>);)

// Registers Kernel<Device, T> on every device, for every float type of the attribute T.
#define KDET_REGISTER_FLOATS(op, Kernel, ...)             \
  KDET_REGISTER_TYPE(op, Kernel, float, __VA_ARGS__)       \
  KDET_REGISTER_TYPE(op, Kernel, Eigen::half, __VA_ARGS__) \
  KDET_REGISTER_TYPE(op, Kernel, Eigen::bfloat16, __VA_ARGS__)
#define KDET_REGISTER_TYPE(op, Kernel, T, ...)                                                                  \
  REGISTER_KERNEL_BUILDER(Name(op).Device(DEVICE_CPU).TypeConstraint<T>("T") __VA_ARGS__, Kernel<Cpu, T>); \
  KDET_IF_GPU(                                                                                             \
      REGISTER_KERNEL_BUILDER(Name(op).Device(DEVICE_GPU).TypeConstraint<T>("T") __VA_ARGS__, Kernel<Gpu, T>);)

// Registers Kernel<T> on the CPU alone, for every float type of the attribute T.
#define KDET_REGISTER_CPU_FLOATS(op, Kernel)      \
  KDET_REGISTER_CPU_TYPE(op, Kernel, float)       \
  KDET_REGISTER_CPU_TYPE(op, Kernel, Eigen::half) \
  KDET_REGISTER_CPU_TYPE(op, Kernel, Eigen::bfloat16)
#define KDET_REGISTER_CPU_TYPE(op, Kernel, T) \
  REGISTER_KERNEL_BUILDER(Name(op).Device(DEVICE_CPU).TypeConstraint<T>("T"), Kernel<T>);

#endif  // KDET_COMMON_TF_OP_H_
