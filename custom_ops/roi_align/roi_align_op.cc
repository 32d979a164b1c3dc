// TensorFlow wrapper of RoIAlign.
#include "roi_align/roi_align_cpu.h"

#include "common/tf_op.h"
#include "roi_align/roi_align_tf.h"

#ifdef KDET_CUDA
#include "common/tf_gpu.h"
#include "roi_align/roi_align_cuda.h"
#endif

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetRoiAlign")
    .Input("features: L * T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Output("pooled: T")
    .KDET_ROI_ATTRIBUTES.SetShapeFn(roi_align_shape);

REGISTER_OP("KdetRoiAlignGrad")
    .Input("upstream: T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Input("shapes: L * int32")
    .Output("gradients: L * T")
    .KDET_ROI_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      for (int level = 0; level < c->num_outputs(); ++level) {
        ShapeHandle shape;
        TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(3 + level, &shape));
        c->set_output(level, shape);
      }
      return OkStatus();
    });

template <typename T>
class RoiAlignForward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    OpInputList features;
    OP_REQUIRES_OK(context, context->input_list("features", &features));
    const Tensor &boxes = context->input(features.size()), &levels = context->input(features.size() + 1);
    std::vector<TensorShape> maps;
    std::vector<const typename Element<T>::type*> pointers;
    for (const Tensor& map : features) {
      maps.push_back(map.shape());
      pointers.push_back(data<T>(map));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    OP_REQUIRES_OK(context, check_values(p, boxes, levels));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {p.batch, p.rois, p.bins_y, p.bins_x, p.channels}, &out));
    roi_align_forward(p, pointers.data(), boxes.flat<float>().data(), levels.flat<int32>().data(),
                      data<T>(out), parallel_of(context));
  }
};

template <typename T>
class RoiAlignBackward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &boxes = context->input(1), &levels = context->input(2);
    const int count = context->num_inputs() - 3;
    std::vector<TensorShape> maps(count);
    for (int level = 0; level < count; ++level) {
      OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(context->input(3 + level).vec<int32>(), &maps[level]));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    OP_REQUIRES_OK(context, check_values(p, boxes, levels));
    const TensorShape expected({p.batch, p.rois, p.bins_y, p.bins_x, p.channels});
    OP_REQUIRES(context, upstream.shape() == expected,
                errors::InvalidArgument("KdetRoiAlignGrad: upstream must be ", expected.DebugString(), ", not ",
                                        upstream.shape().DebugString()));
    std::vector<FloatOutput<T>> outputs(count);
    std::vector<float*> pointers(count);
    for (int level = 0; level < count; ++level) {
      Tensor* out;
      OP_REQUIRES_OK(context, context->allocate_output(level, maps[level], &out));
      OP_REQUIRES_OK(context, outputs[level].make(context, out));
      pointers[level] = outputs[level].floats();
    }
    const ParallelFor parallel = parallel_of(context);
    roi_align_backward(p, data<T>(upstream), boxes.flat<float>().data(), levels.flat<int32>().data(),
                       pointers.data(), parallel);
    for (auto& output : outputs) output.finish(parallel);
  }
};

#define REGISTER(T)                                                                         \
  REGISTER_KERNEL_BUILDER(Name("KdetRoiAlign").Device(DEVICE_CPU).TypeConstraint<T>("T"),   \
                          RoiAlignForward<T>);                                              \
  REGISTER_KERNEL_BUILDER(                                                                  \
      Name("KdetRoiAlignGrad").Device(DEVICE_CPU).TypeConstraint<T>("T").HostMemory("shapes"), \
      RoiAlignBackward<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

#ifdef KDET_CUDA

template <typename T>
class RoiAlignForwardGpu : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    OpInputList features;
    OP_REQUIRES_OK(context, context->input_list("features", &features));
    const Tensor &boxes = context->input(features.size()), &levels = context->input(features.size() + 1);
    std::vector<TensorShape> maps;
    std::vector<const void*> pointers;
    for (const Tensor& map : features) {
      maps.push_back(map.shape());
      pointers.push_back(data<T>(map));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {p.batch, p.rois, p.bins_y, p.bins_x, p.channels}, &out));
    OP_REQUIRES_OK(context, cuda_status(kdet_cuda_roi_align(&p, element_type<T>(), pointers.data(),
                                                            boxes.flat<float>().data(),
                                                            levels.flat<int32>().data(), nullptr, 0.0f,
                                                            data<T>(out), stream_of(context)),
                                        "KdetRoiAlign"));
  }
};

template <typename T>
class RoiAlignBackwardGpu : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &boxes = context->input(1), &levels = context->input(2);
    const int count = context->num_inputs() - 3;
    std::vector<TensorShape> maps(count);
    for (int level = 0; level < count; ++level) {
      OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(context->input(3 + level).vec<int32>(), &maps[level]));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    std::vector<DeviceFloatOutput<T>> outputs(count);
    std::vector<float*> pointers(count);
    for (int level = 0; level < count; ++level) {
      Tensor* out;
      OP_REQUIRES_OK(context, context->allocate_output(level, maps[level], &out));
      OP_REQUIRES_OK(context, outputs[level].make(context, out));
      pointers[level] = outputs[level].floats();
    }
    OP_REQUIRES_OK(context, cuda_status(kdet_cuda_roi_align_grad(
                                            &p, element_type<T>(), data<T>(upstream), nullptr,
                                            boxes.flat<float>().data(), levels.flat<int32>().data(), nullptr, 0.0f,
                                            pointers.data(), nullptr, stream_of(context)),
                                        "KdetRoiAlignGrad"));
    for (auto& output : outputs) OP_REQUIRES_OK(context, output.finish(context));
  }
};

#define REGISTER(T)                                                                           \
  REGISTER_KERNEL_BUILDER(Name("KdetRoiAlign").Device(DEVICE_GPU).TypeConstraint<T>("T"),     \
                          RoiAlignForwardGpu<T>);                                             \
  REGISTER_KERNEL_BUILDER(                                                                    \
      Name("KdetRoiAlignGrad").Device(DEVICE_GPU).TypeConstraint<T>("T").HostMemory("shapes"), \
      RoiAlignBackwardGpu<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

#endif  // KDET_CUDA

}  // namespace
}  // namespace kdet
