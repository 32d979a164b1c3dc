// TensorFlow wrapper of the backward pass of convolution in narrow groups.
#include "grouped_conv/grouped_conv_cpu.h"

#include "common/tf_op.h"
#include "grouped_conv/grouped_conv_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;

REGISTER_OP("KdetGroupedConvGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("kernel: T")
    .Output("for_x: T")
    .Output("for_kernel: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("strides: list(int)")
    .Attr("padding: list(int)")
    .Attr("dilations: list(int)")
    .Attr("groups: int >= 1")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      return OkStatus();
    });

template <typename Device, typename T>
class GroupedConvBackward : public OpKernel {
 public:
  explicit GroupedConvBackward(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, get_pair(context, "strides", 1, &p_.stride_y, &p_.stride_x));
    OP_REQUIRES_OK(context, get_pair(context, "padding", 0, &p_.pad_y, &p_.pad_x));
    OP_REQUIRES_OK(context, get_pair(context, "dilations", 1, &p_.dilation_y, &p_.dilation_x));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &p_.groups));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &kernel = context->input(2);
    OP_REQUIRES(context, upstream.dims() == 4 && x.dims() == 4 && kernel.dims() == 4,
                errors::InvalidArgument("KdetGroupedConvGrad: upstream, x and kernel must have rank 4."));
    GroupedConv p = p_;
    set_convolution_sizes(x, kernel, &p);
    p.out_height = int(upstream.dim_size(1));
    p.out_width = int(upstream.dim_size(2));
    const int64_t width = kernel.dim_size(2);
    OP_REQUIRES(context,
                upstream.dim_size(0) == p.batch && upstream.dim_size(3) == p.channels &&
                    kernel.dim_size(3) == p.channels && width * p.groups == p.channels &&
                    grouped_conv::supports(int(width)),
                errors::InvalidArgument("KdetGroupedConvGrad: upstream ", upstream.shape().DebugString(), ", x ",
                                        x.shape().DebugString(), ", kernel ", kernel.shape().DebugString(),
                                        " and ", p.groups, " groups do not fit (groups of 4, 8, 16, 32 or 64 channels, "
                                        "as many outputs as inputs)."));
    Tensor *for_x, *for_kernel;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    FloatOutput<Device, T> kernel_floats;
    OP_REQUIRES_OK(context, kernel_floats.make(context, for_kernel));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetGroupedConvGrad",
                                             kdet_cuda_grouped_conv_grad(&p, element_type<T>(), data<T>(x),
                                                                         data<T>(kernel), data<T>(upstream),
                                                                         data<T>(for_x), kernel_floats.floats(),
                                                                         Device::stream(context))));
    } else {
      Tensor temporary;
      const float* weights;
      OP_REQUIRES_OK(context, float_input<T>(context, kernel, &temporary, &weights));
      grouped_conv::backward(p, data<T>(x), weights, data<T>(upstream), data<T>(for_x),
                             kernel_floats.floats(), parallel_of(context));
    }
    OP_REQUIRES_OK(context, kernel_floats.finish(context));
  }

 private:
  GroupedConv p_;
};

KDET_REGISTER_FLOATS("KdetGroupedConvGrad", GroupedConvBackward)

}  // namespace
}  // namespace kdet
