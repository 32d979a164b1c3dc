// TensorFlow wrapper of convolution at marked places. There is no GPU kernel: cuDNN's convolution, dense, times the mask
// is quicker there.
#include "common/tf_op.h"
#include "masked_conv/masked_conv.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

#define KDET_MASKED_CONV_ATTRIBUTES \
  Attr("T: {half, bfloat16, float}").Attr("strides: list(int) = [1, 1]").Attr("padding: list(int) = [0, 0]")

REGISTER_OP("KdetMaskedConv")
    .Input("x: T")
    .Input("mask: bool")
    .Input("kernel: T")
    .Input("bias: T")
    .Output("out: T")
    .KDET_MASKED_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, mask, kernel, bias;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &mask));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &kernel));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 1, &bias));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), c->Dim(mask, 1), c->Dim(mask, 2), c->Dim(kernel, 3)}));
      return OkStatus();
    });

REGISTER_OP("KdetMaskedConvGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("mask: bool")
    .Input("kernel: T")
    .Output("for_x: T")
    .Output("for_kernel: T")
    .Output("for_bias: T")
    .KDET_MASKED_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      ShapeHandle kernel;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 4, &kernel));
      c->set_output(0, c->input(1));
      c->set_output(1, kernel);
      c->set_output(2, c->MakeShape({c->Dim(kernel, 3)}));
      return OkStatus();
    });

class MaskedConvKernel : public OpKernel {
 public:
  explicit MaskedConvKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, get_pair(context, "strides", 1, &p_.stride_y, &p_.stride_x));
    OP_REQUIRES_OK(context, get_pair(context, "padding", 0, &p_.pad_y, &p_.pad_x));
  }

 protected:
  Status describe(const Tensor& x, const Tensor& mask, const Tensor& kernel, MaskedConv* p) const {
    *p = p_;
    if (x.dims() != 4 || kernel.dims() != 4 || kernel.dim_size(2) != x.dim_size(3)) {
      return errors::InvalidArgument("KdetMaskedConv: x must be [B,H,W,in] and kernel [kh,kw,in,out], not ",
                                     x.shape().DebugString(), " and ", kernel.shape().DebugString());
    }
    set_convolution_sizes(x, kernel, p);
    p->out_channels = int(kernel.dim_size(3));
    p->out_height = extent(p->height, p->pad_y, 1, p->kernel_y, p->stride_y);
    p->out_width = extent(p->width, p->pad_x, 1, p->kernel_x, p->stride_x);
    return check_shape(mask, {p->batch, p->out_height, p->out_width}, "KdetMaskedConv", "mask");
  }

  static TensorShape output_shape(const MaskedConv& p) {
    return {p.batch, p.out_height, p.out_width, p.out_channels};
  }

 private:
  MaskedConv p_;
};

template <typename T>
class MaskedConvForward : public MaskedConvKernel {
 public:
  using MaskedConvKernel::MaskedConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &mask = context->input(1), &kernel = context->input(2),
                 &bias = context->input(3);
    MaskedConv p;
    OP_REQUIRES_OK(context, describe(x, mask, kernel, &p));
    OP_REQUIRES_OK(context, check_shape(bias, {p.out_channels}, "KdetMaskedConv", "bias"));
    Tensor *out, kernel_floats, bias_floats;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(p), &out));
    const float *weights, *shifts;
    OP_REQUIRES_OK(context, float_input<T>(context, kernel, &kernel_floats, &weights));
    OP_REQUIRES_OK(context, float_input<T>(context, bias, &bias_floats, &shifts));
    kernels_of<MaskedConvKernels, T>().forward(p, data<T>(x), mask.flat<bool>().data(), weights, shifts, data<T>(out),
                                               parallel_of(context));
  }
};

template <typename T>
class MaskedConvBackward : public MaskedConvKernel {
 public:
  using MaskedConvKernel::MaskedConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &mask = context->input(2),
                 &kernel = context->input(3);
    MaskedConv p;
    OP_REQUIRES_OK(context, describe(x, mask, kernel, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, output_shape(p), "KdetMaskedConvGrad", "upstream"));
    Tensor *for_x, *for_kernel, *for_bias;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    OP_REQUIRES_OK(context, context->allocate_output(2, {p.out_channels}, &for_bias));
    kernels_of<MaskedConvKernels, T>().backward(p, data<T>(x), mask.flat<bool>().data(), data<T>(kernel),
                                                data<T>(upstream), data<T>(for_x), data<T>(for_kernel),
                                                data<T>(for_bias), parallel_of(context));
  }
};

KDET_REGISTER_CPU_FLOATS("KdetMaskedConv", MaskedConvForward)
KDET_REGISTER_CPU_FLOATS("KdetMaskedConvGrad", MaskedConvBackward)

}  // namespace
}  // namespace kdet
