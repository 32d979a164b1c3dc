// TensorFlow wrapper of convolution in narrow groups. There are CPU kernels only: cuDNN has its own, both ways.
#include "common/parts.h"
#include "common/tf_op.h"
#include "grouped_conv/grouped_conv.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

#define KDET_GROUPED_CONV_ATTRIBUTES   \
  Attr("T: {half, bfloat16, float}")   \
      .Attr("strides: list(int)")      \
      .Attr("padding: list(int)")      \
      .Attr("dilations: list(int)")    \
      .Attr("groups: int >= 1")

REGISTER_OP("KdetGroupedConv")
    .Input("x: T")
    .Input("kernel: T")
    .Output("out: T")
    .KDET_GROUPED_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, kernel;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &kernel));
      std::vector<int> strides, padding, dilations;
      TF_RETURN_IF_ERROR(c->GetAttr("strides", &strides));
      TF_RETURN_IF_ERROR(c->GetAttr("padding", &padding));
      TF_RETURN_IF_ERROR(c->GetAttr("dilations", &dilations));
      DimensionHandle sizes[2] = {c->UnknownDim(), c->UnknownDim()};
      for (int k = 0; k < 2; ++k) {
        const int64_t size = c->Value(c->Dim(x, 1 + k)), cells = c->Value(c->Dim(kernel, k));
        const bool known = size >= 0 && cells >= 0 && std::min({strides.size(), padding.size(), dilations.size()}) == 2;
        if (known) sizes[k] = c->MakeDim(extent(int(size), padding[k], dilations[k], int(cells), std::max(strides[k], 1)));
      }
      c->set_output(0, c->MakeShape({c->Dim(x, 0), sizes[0], sizes[1], c->Dim(kernel, 3)}));
      return OkStatus();
    });

REGISTER_OP("KdetGroupedConvGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("kernel: T")
    .Output("for_x: T")
    .Output("for_kernel: T")
    .KDET_GROUPED_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      return OkStatus();
    });

class GroupedConvKernel : public OpKernel {
 public:
  explicit GroupedConvKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, get_pair(context, "strides", 1, &p_.stride_y, &p_.stride_x));
    OP_REQUIRES_OK(context, get_pair(context, "padding", 0, &p_.pad_y, &p_.pad_x));
    OP_REQUIRES_OK(context, get_pair(context, "dilations", 1, &p_.dilation_y, &p_.dilation_x));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &p_.groups));
  }

 protected:
  Status describe(const Tensor& x, const Tensor& kernel, GroupedConv* p) const {
    *p = p_;
    const bool ranks = x.dims() == 4 && kernel.dims() == 4;
    if (ranks) set_convolution_sizes(x, kernel, p);
    if (!ranks || kernel.dim_size(3) != p->channels || kernel.dim_size(2) * p->groups != p->channels ||
        !supports_width(int(kernel.dim_size(2)))) {
      return errors::InvalidArgument("KdetGroupedConv: x ", x.shape().DebugString(), ", kernel ",
                                     kernel.shape().DebugString(), " and ", p->groups,
                                     " groups do not fit (groups of 4, 8, 16, 32 or 64 channels, as many outputs as "
                                     "inputs).");
    }
    p->out_height = extent(p->height, p->pad_y, p->dilation_y, p->kernel_y, p->stride_y);
    p->out_width = extent(p->width, p->pad_x, p->dilation_x, p->kernel_x, p->stride_x);
    return OkStatus();
  }

  static TensorShape output_shape(const GroupedConv& p) { return {p.batch, p.out_height, p.out_width, p.channels}; }

 private:
  GroupedConv p_;
};

template <typename T>
class GroupedConvForward : public GroupedConvKernel {
 public:
  using GroupedConvKernel::GroupedConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1);
    GroupedConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, &p));
    Tensor *out, temporary;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(p), &out));
    const float* weights;
    OP_REQUIRES_OK(context, float_input<T>(context, kernel, &temporary, &weights));
    kernels_of<GroupedConvKernels, T>().forward(p, data<T>(x), weights, data<T>(out), parallel_of(context));
  }
};

template <typename T>
class GroupedConvBackward : public GroupedConvKernel {
 public:
  using GroupedConvKernel::GroupedConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &kernel = context->input(2);
    GroupedConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, output_shape(p), "KdetGroupedConvGrad", "upstream"));
    Tensor *for_x, *for_kernel;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    Tensor temporary;
    const float* weights;
    OP_REQUIRES_OK(context, float_input<T>(context, kernel, &temporary, &weights));
    SummedPart<typename Element<T>::type> whole;
    whole.start(data<T>(for_kernel), 1, kernel.NumElements(), kernel.NumElements());
    kernels_of<GroupedConvKernels, T>().backward(p, data<T>(x), weights, data<T>(upstream), data<T>(for_x),
                                                 whole.row(0), parallel_of(context));
    whole.finish();
  }
};

KDET_REGISTER_CPU_FLOATS("KdetGroupedConv", GroupedConvForward)
KDET_REGISTER_CPU_FLOATS("KdetGroupedConvGrad", GroupedConvBackward)

}  // namespace
}  // namespace kdet
