// TensorFlow wrapper of CARAFE.
#include "carafe/carafe.h"
#include "carafe/carafe_cuda.h"
#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetCarafe")
    .Input("features: T")
    .Input("masks: T")
    .Output("out: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("kernel_size: int >= 1")
    .Attr("groups: int >= 1")
    .Attr("scale: int >= 1")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle features, masks;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &features));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &masks));
      c->set_output(0, c->MakeShape({c->Dim(features, 0), c->Dim(masks, 1), c->Dim(masks, 2),
                                     c->Dim(features, 3)}));
      return OkStatus();
    });

REGISTER_OP("KdetCarafeGrad")
    .Input("upstream: T")
    .Input("features: T")
    .Input("masks: T")
    .Output("for_features: T")
    .Output("for_masks: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("kernel_size: int >= 1")
    .Attr("groups: int >= 1")
    .Attr("scale: int >= 1")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      return OkStatus();
    });

class CarafeKernel : public OpKernel {
 public:
  explicit CarafeKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("kernel_size", &p_.kernel));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &p_.groups));
    OP_REQUIRES_OK(context, context->GetAttr("scale", &p_.scale));
  }

 protected:
  Status describe(const Tensor& features, const Tensor& masks, Carafe* p) const {
    *p = p_;
    if (features.dims() == 4) {
      p->batch = features.dim_size(0);
      p->height = int(features.dim_size(1));
      p->width = int(features.dim_size(2));
      p->channels = int(features.dim_size(3));
      const int64_t scale = p->scale, kernel = p->kernel;
      TensorShape expected;
      TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape(
          {p->batch, p->height * scale, p->width * scale, p->groups * kernel * kernel}, &expected));
      if (masks.shape() == expected && p->channels % p->groups == 0 && p->kernel % 2 == 1) return OkStatus();
    }
    return errors::InvalidArgument("KdetCarafe: features ", features.shape().DebugString(), " and masks ",
                                   masks.shape().DebugString(), " do not fit kernel_size ", p->kernel,
                                   " (odd), groups ", p->groups, " and scale ", p->scale, ".");
  }

  static TensorShape output_shape(const Carafe& p) {
    return {p.batch, int64_t(p.height) * p.scale, int64_t(p.width) * p.scale, p.channels};
  }

 private:
  Carafe p_;
};

template <typename Device, typename T>
class CarafeForward : public CarafeKernel {
 public:
  using CarafeKernel::CarafeKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &features = context->input(0), &masks = context->input(1);
    Carafe p;
    OP_REQUIRES_OK(context, describe(features, masks, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(p), &out));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetCarafe", kdet_cuda_carafe(&p, element_type<T>(), data<T>(features),
                                                                            data<T>(masks), data<T>(out),
                                                                            Device::stream(context))));
    } else {
      kernels_of<CarafeKernels, T>().forward(p, data<T>(features), data<T>(masks), data<T>(out), parallel_of(context));
    }
  }
};

template <typename Device, typename T>
class CarafeBackward : public CarafeKernel {
 public:
  using CarafeKernel::CarafeKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &features = context->input(1), &masks = context->input(2);
    Carafe p;
    OP_REQUIRES_OK(context, describe(features, masks, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, output_shape(p), "KdetCarafeGrad", "upstream"));
    Tensor *for_features, *for_masks;
    OP_REQUIRES_OK(context, context->allocate_output(0, features.shape(), &for_features));
    OP_REQUIRES_OK(context, context->allocate_output(1, masks.shape(), &for_masks));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context,
                     Device::status("KdetCarafeGrad", kdet_cuda_carafe_grad(
                                                          &p, element_type<T>(), data<T>(features), data<T>(masks),
                                                          data<T>(upstream), data<T>(for_features),
                                                          data<T>(for_masks), Device::stream(context))));
    } else {
      kernels_of<CarafeKernels, T>().backward(p, data<T>(features), data<T>(masks), data<T>(upstream),
                                              data<T>(for_features), data<T>(for_masks), parallel_of(context));
    }
  }
};

KDET_REGISTER_FLOATS("KdetCarafe", CarafeForward)
KDET_REGISTER_FLOATS("KdetCarafeGrad", CarafeBackward)

}  // namespace
}  // namespace kdet
