// TensorFlow wrapper of corner pooling.
#include "corner_pool/corner_pool_cpu.h"

#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

Status same_shape(InferenceContext* c) {
  ShapeHandle shape;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &shape));
  c->set_output(0, shape);
  return OkStatus();
}

REGISTER_OP("KdetCornerPool")
    .Input("x: T")
    .Output("out: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("vertical: bool")
    .Attr("after: bool")
    .SetShapeFn(same_shape);

REGISTER_OP("KdetCornerPoolGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Output("for_x: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("vertical: bool")
    .Attr("after: bool")
    .SetShapeFn(same_shape);

class CornerPoolKernel : public OpKernel {
 public:
  explicit CornerPoolKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("vertical", &vertical_));
    OP_REQUIRES_OK(context, context->GetAttr("after", &after_));
  }

 protected:
  Status describe(const Tensor& x, CornerPool* p) const {
    if (x.dims() != 4) {
      return errors::InvalidArgument("KdetCornerPool: x must be [B,H,W,C], not ", x.shape().DebugString());
    }
    *p = {x.dim_size(0), int(x.dim_size(1)), int(x.dim_size(2)), int(x.dim_size(3)), vertical_, after_};
    return OkStatus();
  }

 private:
  bool vertical_, after_;
};

template <typename T>
class CornerPoolForward : public CornerPoolKernel {
 public:
  using CornerPoolKernel::CornerPoolKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    CornerPool p;
    OP_REQUIRES_OK(context, describe(x, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    corner_pool_forward(p, data<T>(x), data<T>(out), parallel_of(context));
  }
};

template <typename T>
class CornerPoolBackward : public CornerPoolKernel {
 public:
  using CornerPoolKernel::CornerPoolKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1);
    CornerPool p;
    OP_REQUIRES_OK(context, describe(x, &p));
    OP_REQUIRES(context, upstream.shape() == x.shape(),
                errors::InvalidArgument("KdetCornerPoolGrad: upstream must be as x ", x.shape().DebugString(),
                                        ", not ", upstream.shape().DebugString()));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    FloatOutput<T> floats;
    OP_REQUIRES_OK(context, floats.make(context, out));
    const ParallelFor parallel = parallel_of(context);
    corner_pool_backward(p, data<T>(x), data<T>(upstream), floats.floats(), parallel);
    floats.finish(parallel);
  }
};

#define REGISTER(T)                                                                                 \
  REGISTER_KERNEL_BUILDER(Name("KdetCornerPool").Device(DEVICE_CPU).TypeConstraint<T>("T"),         \
                          CornerPoolForward<T>);                                                    \
  REGISTER_KERNEL_BUILDER(Name("KdetCornerPoolGrad").Device(DEVICE_CPU).TypeConstraint<T>("T"),     \
                          CornerPoolBackward<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

}  // namespace
}  // namespace kdet
