// TensorFlow wrapper of deformable convolution.
#include "deform_conv/deform_conv_cpu.h"

#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

#define KDET_DEFORM_CONV_ATTRIBUTES     \
  Attr("T: {half, bfloat16, float}")    \
      .Attr("strides: list(int) = [1, 1]")   \
      .Attr("padding: list(int) = [0, 0]")   \
      .Attr("dilations: list(int) = [1, 1]") \
      .Attr("groups: int >= 1 = 1")          \
      .Attr("deform_groups: int >= 1 = 1")

REGISTER_OP("KdetDeformConv")
    .Input("x: T")
    .Input("kernel: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("out: T")
    .KDET_DEFORM_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, kernel, offsets;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &kernel));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &offsets));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), c->Dim(offsets, 1), c->Dim(offsets, 2), c->Dim(kernel, 3)}));
      return OkStatus();
    });

REGISTER_OP("KdetDeformConvGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("kernel: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("for_x: T")
    .Output("for_kernel: T")
    .Output("for_offsets: float")
    .Output("for_mask: float")
    .KDET_DEFORM_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      for (int k = 0; k < 4; ++k) c->set_output(k, c->input(k + 1));
      return OkStatus();
    });

class DeformConvKernel : public OpKernel {
 public:
  explicit DeformConvKernel(OpKernelConstruction* context) : OpKernel(context) {
    pair(context, "strides", &p_.stride_y, &p_.stride_x);
    pair(context, "padding", &p_.pad_y, &p_.pad_x);
    pair(context, "dilations", &p_.dilation_y, &p_.dilation_x);
    OP_REQUIRES_OK(context, context->GetAttr("groups", &p_.groups));
    OP_REQUIRES_OK(context, context->GetAttr("deform_groups", &p_.deform_groups));
  }

 protected:
  Status describe(const Tensor& x, const Tensor& kernel, const Tensor& offsets, const Tensor& mask,
                  DeformConv* p) const {
    *p = p_;
    if (x.dims() != 4 || kernel.dims() != 4 || offsets.dims() != 4 || mask.dims() != 4) {
      return errors::InvalidArgument("KdetDeformConv: x, kernel, offsets and mask must have rank 4, not ",
                                     x.shape().DebugString(), ", ", kernel.shape().DebugString(), ", ",
                                     offsets.shape().DebugString(), ", ", mask.shape().DebugString());
    }
    p->batch = x.dim_size(0);
    p->height = int(x.dim_size(1));
    p->width = int(x.dim_size(2));
    p->channels = int(x.dim_size(3));
    p->kernel_y = int(kernel.dim_size(0));
    p->kernel_x = int(kernel.dim_size(1));
    p->out_channels = int(kernel.dim_size(3));
    p->out_height = extent(p->height, p->pad_y, p->dilation_y, p->kernel_y, p->stride_y);
    p->out_width = extent(p->width, p->pad_x, p->dilation_x, p->kernel_x, p->stride_x);
    const int64_t samples = p->deform_groups * p->cells();
    const TensorShape expected_offsets({p->batch, p->out_height, p->out_width, 2 * samples});
    const TensorShape expected_mask({p->batch, p->out_height, p->out_width, samples});
    if (offsets.shape() != expected_offsets || mask.shape() != expected_mask) {
      return errors::InvalidArgument("KdetDeformConv: offsets and mask must be ", expected_offsets.DebugString(),
                                     " and ", expected_mask.DebugString(), ", not ",
                                     offsets.shape().DebugString(), " and ", mask.shape().DebugString());
    }
    if (kernel.dim_size(2) * p->groups != p->channels || p->out_channels % p->groups ||
        p->channels % p->deform_groups || p->channels == 0) {
      return errors::InvalidArgument("KdetDeformConv: x ", x.shape().DebugString(), ", kernel ",
                                     kernel.shape().DebugString(), ", groups ", p->groups, " and deform_groups ",
                                     p->deform_groups, " do not fit.");
    }
    return OkStatus();
  }

  // The kernel in float32.
  template <typename T>
  static Status float_kernel(OpKernelContext* context, const Tensor& kernel, Tensor* temporary,
                             const float** values) {
    if constexpr (std::is_same_v<T, float>) {
      *values = kernel.flat<float>().data();
    } else {
      TF_RETURN_IF_ERROR(context->allocate_temp(DT_FLOAT, kernel.shape(), temporary));
      float* floats = temporary->flat<float>().data();
      as_floats(data<T>(kernel), kernel.NumElements(), floats);
      *values = floats;
    }
    return OkStatus();
  }

 private:
  static void pair(OpKernelConstruction* context, const char* name, int* y, int* x) {
    std::vector<int> values;
    OP_REQUIRES_OK(context, context->GetAttr(name, &values));
    OP_REQUIRES(context, values.size() == 2,
                errors::InvalidArgument("KdetDeformConv: ", name, " needs two values (y, x)."));
    *y = values[0];
    *x = values[1];
  }

  static int extent(int size, int pad, int dilation, int kernel, int stride) {
    return std::max(0, (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1);
  }

  DeformConv p_;
};

template <typename T>
class DeformConvForward : public DeformConvKernel {
 public:
  using DeformConvKernel::DeformConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1), &offsets = context->input(2),
                 &mask = context->input(3);
    DeformConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, offsets, mask, &p));
    Tensor *out, temporary;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, {p.batch, p.out_height, p.out_width, p.out_channels}, &out));
    const float* weights;
    OP_REQUIRES_OK(context, float_kernel<T>(context, kernel, &temporary, &weights));
    deform_conv::forward(p, data<T>(x), weights, offsets.flat<float>().data(), mask.flat<float>().data(),
                         data<T>(out), parallel_of(context));
  }
};

template <typename T>
class DeformConvBackward : public DeformConvKernel {
 public:
  using DeformConvKernel::DeformConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &kernel = context->input(2),
                 &offsets = context->input(3), &mask = context->input(4);
    DeformConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, offsets, mask, &p));
    const TensorShape expected({p.batch, p.out_height, p.out_width, p.out_channels});
    OP_REQUIRES(context, upstream.shape() == expected,
                errors::InvalidArgument("KdetDeformConvGrad: upstream must be ", expected.DebugString(),
                                        ", not ", upstream.shape().DebugString()));
    Tensor *for_x, *for_kernel, *for_offsets, *for_mask, temporary;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    OP_REQUIRES_OK(context, context->allocate_output(2, offsets.shape(), &for_offsets));
    OP_REQUIRES_OK(context, context->allocate_output(3, mask.shape(), &for_mask));
    FloatOutput<T> x_floats, kernel_floats;
    OP_REQUIRES_OK(context, x_floats.make(context, for_x));
    OP_REQUIRES_OK(context, kernel_floats.make(context, for_kernel));
    const float* weights;
    OP_REQUIRES_OK(context, float_kernel<T>(context, kernel, &temporary, &weights));

    const ParallelFor parallel = parallel_of(context);
    const deform_conv::Shards shards(p, parallel.threads);
    Tensor offset_copies, mask_copies;
    OP_REQUIRES_OK(context, zeroed(context, shards.count, offsets, &offset_copies));
    OP_REQUIRES_OK(context, zeroed(context, shards.count, mask, &mask_copies));
    const deform_conv::Gradients gradients = {x_floats.floats(), kernel_floats.floats(),
                                              offset_copies.flat<float>().data(),
                                              mask_copies.flat<float>().data()};
    deform_conv::backward(p, shards, data<T>(x), weights, offsets.flat<float>().data(),
                          mask.flat<float>().data(), data<T>(upstream), gradients, parallel);
    x_floats.finish(parallel);
    kernel_floats.finish(parallel);
    sum_copies(gradients.offsets, shards.count, for_offsets, parallel);
    sum_copies(gradients.mask, shards.count, for_mask, parallel);
  }

 private:
  static Status zeroed(OpKernelContext* context, int copies, const Tensor& like, Tensor* out) {
    TF_RETURN_IF_ERROR(context->allocate_temp(DT_FLOAT, {copies, like.NumElements()}, out));
    std::memset(out->flat<float>().data(), 0, out->NumElements() * sizeof(float));
    return OkStatus();
  }
};

#define REGISTER(T)                                                                                 \
  REGISTER_KERNEL_BUILDER(Name("KdetDeformConv").Device(DEVICE_CPU).TypeConstraint<T>("T"),         \
                          DeformConvForward<T>);                                                    \
  REGISTER_KERNEL_BUILDER(Name("KdetDeformConvGrad").Device(DEVICE_CPU).TypeConstraint<T>("T"),     \
                          DeformConvBackward<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

}  // namespace
}  // namespace kdet
