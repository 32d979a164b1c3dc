// TensorFlow wrapper of corner pooling.
#include "common/tf_op.h"
#include "corner_pool/corner_pool.h"
#include "corner_pool/corner_pool_cuda.h"

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

template <typename Device, typename T>
class CornerPoolForward : public CornerPoolKernel {
 public:
  using CornerPoolKernel::CornerPoolKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    CornerPool p;
    OP_REQUIRES_OK(context, describe(x, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetCornerPool",
                                             kdet_cuda_corner_pool(&p, element_type<T>(), data<T>(x), data<T>(out),
                                                                   Device::stream(context))));
    } else {
      kernels_of<CornerPoolKernels, T>().forward(p, data<T>(x), data<T>(out), parallel_of(context));
    }
  }
};

template <typename Device, typename T>
class CornerPoolBackward : public CornerPoolKernel {
 public:
  using CornerPoolKernel::CornerPoolKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1);
    CornerPool p;
    OP_REQUIRES_OK(context, describe(x, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, x.shape(), "KdetCornerPoolGrad", "upstream"));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    SummedOutput<Device, T> sums;
    OP_REQUIRES_OK(context, sums.make(context, out));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetCornerPoolGrad",
                                             kdet_cuda_corner_pool_grad(&p, element_type<T>(), data<T>(x),
                                                                        data<T>(upstream), sums.numbers(),
                                                                        Device::stream(context))));
    } else {
      kernels_of<CornerPoolKernels, T>().backward(p, data<T>(x), data<T>(upstream), sums.numbers(),
                                                  parallel_of(context));
    }
    OP_REQUIRES_OK(context, sums.finish(context));
  }
};

KDET_REGISTER_FLOATS("KdetCornerPool", CornerPoolForward)
KDET_REGISTER_FLOATS("KdetCornerPoolGrad", CornerPoolBackward)

}  // namespace
}  // namespace kdet
