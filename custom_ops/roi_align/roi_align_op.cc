// TensorFlow wrapper of RoIAlign.
#include "common/tf_op.h"
#include "roi_align/roi_align.h"
#include "roi_align/roi_align_cuda.h"
#include "roi_align/roi_align_tf.h"

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

template <typename Device, typename T>
class RoiAlignForward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    RoiMaps<T> maps;
    OP_REQUIRES_OK(context, maps.read(context));
    const int n = maps.count();
    const Tensor &boxes = context->input(n), &levels = context->input(n + 1);
    RoiAlign p;
    OP_REQUIRES_OK(context, describe<Device>(maps.shapes, boxes, levels, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, pooled_shape(p), &out));
    const float* box = boxes.flat<float>().data();
    const int* level = levels.flat<int32>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetRoiAlign", kdet_cuda_roi_align(
                                                                 &p, element_type<T>(), maps.untyped(), box, level,
                                                                 nullptr, 0.0f, data<T>(out), Device::stream(context))));
    } else {
      Positions positions;
      OP_REQUIRES_OK(context, positions.read(context, boxes, 4));
      kernels_of<RoiAlignKernels, T>().forward(p, maps.pointers.data(), positions.data(), level, data<T>(out),
                                               parallel_of(context));
      positions.fill(NAN, int64_t(p.bins_y) * p.bins_x * p.channels, data<T>(out));
    }
  }
};

template <typename Device, typename T>
class RoiAlignBackward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &boxes = context->input(1), &levels = context->input(2);
    std::vector<TensorShape> shapes(context->num_inputs() - 3);
    for (size_t level = 0; level < shapes.size(); ++level) {
      const Tensor& shape = context->input(3 + level);
      OP_REQUIRES(context, TensorShapeUtils::IsVector(shape.shape()),
                  errors::InvalidArgument("KdetRoiAlignGrad: shapes must be vectors, not of shape ",
                                          shape.shape().DebugString()));
      OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(shape.vec<int32>(), &shapes[level]));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe<Device>(shapes, boxes, levels, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, pooled_shape(p), "KdetRoiAlignGrad", "upstream"));
    RoiGradients<Device, T> gradients;
    OP_REQUIRES_OK(context, gradients.make(context, shapes));
    const float* box = boxes.flat<float>().data();
    const int* level = levels.flat<int32>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context,
                     Device::status("KdetRoiAlignGrad",
                                    kdet_cuda_roi_align_grad(&p, element_type<T>(), data<T>(upstream), nullptr, box,
                                                             level, nullptr, 0.0f, gradients.numbers.data(), nullptr,
                                                             Device::stream(context))));
    } else {
      Positions positions;
      Tensor kept;
      OP_REQUIRES_OK(context, positions.read(context, boxes, 4));
      OP_REQUIRES_OK(context, positions.without_lost<T>(context, upstream,
                                                        int64_t(p.bins_y) * p.bins_x * p.channels, &kept));
      kernels_of<RoiAlignKernels, T>().backward(p, data<T>(kept), positions.data(), level, gradients.numbers.data(),
                                                parallel_of(context));
    }
    OP_REQUIRES_OK(context, gradients.finish(context));
  }
};

KDET_REGISTER_FLOATS("KdetRoiAlign", RoiAlignForward)
KDET_REGISTER_FLOATS("KdetRoiAlignGrad", RoiAlignBackward, .HostMemory("shapes"))

}  // namespace
}  // namespace kdet
