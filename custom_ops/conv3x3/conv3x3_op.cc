// TensorFlow wrapper of the 3x3 convolution. Inference on the CPU; the Python face gives the gradient.
#include "common/tf_op.h"
#include "conv3x3/conv3x3.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetConv3x3")
    .Input("x: float")
    .Input("kernel: float")
    .Input("bias: float")
    .Output("out: float")
    .Attr("relu: bool")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, kernel, bias, out;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &kernel));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &bias));
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, c->Dim(kernel, 3), &out));
      c->set_output(0, out);
      return OkStatus();
    });

class Conv3x3Kernel : public OpKernel {
 public:
  explicit Conv3x3Kernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("relu", &relu_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1), &bias = context->input(2);
    OP_REQUIRES(context, x.dims() == 4 && kernel.dims() == 4,
                errors::InvalidArgument("KdetConv3x3: x must be [B,H,W,in] and kernel [3,3,in,out], not ",
                                        x.shape().DebugString(), " and ", kernel.shape().DebugString()));
    const Conv3x3 p{x.dim_size(0), int(x.dim_size(1)), int(x.dim_size(2)), int(x.dim_size(3)),
                    int(kernel.dim_size(3))};
    OP_REQUIRES(context, kernel.shape() == TensorShape({3, 3, p.inputs, p.outputs}),
                errors::InvalidArgument("KdetConv3x3: kernel must be [3,3,", p.inputs, ",out], not ",
                                        kernel.shape().DebugString()));
    OP_REQUIRES(context, bias.shape() == TensorShape({p.outputs}),
                errors::InvalidArgument("KdetConv3x3: bias must be [", p.outputs, "], not ",
                                        bias.shape().DebugString()));
    OP_REQUIRES(context, p.inputs % kChannelStep == 0,
                errors::InvalidArgument("KdetConv3x3: the input channels must be a multiple of ", kChannelStep,
                                        ", not ", p.inputs));
    Tensor *out, packed;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.height, p.width, p.outputs}, &out));
    if (out->NumElements() == 0) return;
    const auto& compiled = kernels<Conv3x3Kernels>();  // one for all: a packed kernel fits its own instruction set
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, {compiled.packed_size(p)}, &packed));
    const ParallelFor parallel = parallel_of(context);
    compiled.pack(p, kernel.flat<float>().data(), packed.flat<float>().data(), parallel);
    compiled.forward(p, x.flat<float>().data(), packed.flat<float>().data(), bias.flat<float>().data(), relu_,
                     out->flat<float>().data(), parallel);
  }

 private:
  bool relu_;
};

REGISTER_KERNEL_BUILDER(Name("KdetConv3x3").Device(DEVICE_CPU), Conv3x3Kernel);

}  // namespace
}  // namespace kdet
