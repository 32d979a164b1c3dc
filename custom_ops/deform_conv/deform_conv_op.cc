// TensorFlow wrapper of deformable convolution.
#include "deform_conv/deform_conv_cpu.h"

#include "common/tf_op.h"
#include "deform_conv/deform_conv_cuda.h"

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
    OP_REQUIRES_OK(context, get_pair(context, "strides", 1, &p_.stride_y, &p_.stride_x));
    OP_REQUIRES_OK(context, get_pair(context, "padding", 0, &p_.pad_y, &p_.pad_x));
    OP_REQUIRES_OK(context, get_pair(context, "dilations", 1, &p_.dilation_y, &p_.dilation_x));
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
    set_convolution_sizes(x, kernel, p);
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

  static TensorShape output_shape(const DeformConv& p) {
    return {p.batch, p.out_height, p.out_width, p.out_channels};
  }

 private:
  DeformConv p_;
};

template <typename Device, typename T>
class DeformConvForward : public DeformConvKernel {
 public:
  using DeformConvKernel::DeformConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &kernel = context->input(1), &offsets = context->input(2),
                 &mask = context->input(3);
    DeformConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, offsets, mask, &p));
    Tensor *out, temporary;
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(p), &out));
    const float *offset = offsets.flat<float>().data(), *factor = mask.flat<float>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context,
                     Device::status("KdetDeformConv", kdet_cuda_deform_conv(&p, element_type<T>(), data<T>(x),
                                                                            data<T>(kernel), offset, factor,
                                                                            data<T>(out), Device::stream(context))));
    } else {
      const float* weights;
      OP_REQUIRES_OK(context, float_input<T>(context, kernel, &temporary, &weights));
      deform_conv::forward(p, data<T>(x), weights, offset, factor, data<T>(out), parallel_of(context));
    }
  }
};

template <typename Device, typename T>
class DeformConvBackward : public DeformConvKernel {
 public:
  using DeformConvKernel::DeformConvKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &kernel = context->input(2),
                 &offsets = context->input(3), &mask = context->input(4);
    DeformConv p;
    OP_REQUIRES_OK(context, describe(x, kernel, offsets, mask, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, output_shape(p), "KdetDeformConvGrad", "upstream"));
    Tensor *for_x, *for_kernel, *for_offsets, *for_mask;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    OP_REQUIRES_OK(context, context->allocate_output(2, offsets.shape(), &for_offsets));
    OP_REQUIRES_OK(context, context->allocate_output(3, mask.shape(), &for_mask));
    SummedOutput<Device, T> x_sums, kernel_sums;
    OP_REQUIRES_OK(context, x_sums.make(context, for_x));
    OP_REQUIRES_OK(context, kernel_sums.make(context, for_kernel));
    const float *offset = offsets.flat<float>().data(), *factor = mask.flat<float>().data();
    if constexpr (Device::kGpu) {
      SummedOutput<Device, float> offset_sums, mask_sums;
      OP_REQUIRES_OK(context, offset_sums.make(context, for_offsets));
      OP_REQUIRES_OK(context, mask_sums.make(context, for_mask));
      OP_REQUIRES_OK(context, Device::status("KdetDeformConvGrad",
                                             kdet_cuda_deform_conv_grad(
                                                 &p, element_type<T>(), data<T>(x), data<T>(kernel), offset, factor,
                                                 data<T>(upstream), x_sums.numbers(), kernel_sums.numbers(),
                                                 offset_sums.numbers(), mask_sums.numbers(),
                                                 Device::stream(context))));
    } else {
      const ParallelFor parallel = parallel_of(context);
      using Number = typename Element<T>::type;
      const auto shards = deform_conv::Shards::of<Number>(p, parallel.threads);
      CopiedOutput offset_copies, mask_copies;
      OP_REQUIRES_OK(context, offset_copies.make(context, for_offsets, shards.tasks));
      OP_REQUIRES_OK(context, mask_copies.make(context, for_mask, shards.tasks));
      deform_conv::backward<Number>(
          p, shards, data<T>(x), data<T>(kernel), offset, factor, data<T>(upstream),
          {x_sums.numbers(), kernel_sums.numbers(), offset_copies.copies(), mask_copies.copies()}, parallel);
      offset_copies.finish(parallel);
      mask_copies.finish(parallel);
    }
    OP_REQUIRES_OK(context, x_sums.finish(context));
    OP_REQUIRES_OK(context, kernel_sums.finish(context));
  }
};

KDET_REGISTER_FLOATS("KdetDeformConv", DeformConvForward)
KDET_REGISTER_FLOATS("KdetDeformConvGrad", DeformConvBackward)

}  // namespace
}  // namespace kdet
