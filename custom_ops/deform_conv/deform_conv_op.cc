// TensorFlow wrappers of deformable convolution: as one op, on the CPU, and as the columns that a matrix product of
// TensorFlow's takes, for GPUs.
#include <limits>

#include "common/tf_op.h"
#include "deform_conv/deform_conv.h"
#include "deform_conv/deform_conv_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
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

// columns: [groups, pixels, cells * channels / groups], what every output pixel sees, in the order of the kernel's rows.
REGISTER_OP("KdetDeformColumns")
    .Input("x: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("columns: T")
    .Attr("kernel_size: list(int)")
    .KDET_DEFORM_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, offsets;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &offsets));
      std::vector<int64_t> kernel_size;
      int64_t groups;
      TF_RETURN_IF_ERROR(c->GetAttr("kernel_size", &kernel_size));
      TF_RETURN_IF_ERROR(c->GetAttr("groups", &groups));
      DimensionHandle pixels = c->Dim(x, 0), terms = c->Dim(x, 3);
      for (int axis : {1, 2}) TF_RETURN_IF_ERROR(c->Multiply(pixels, c->Dim(offsets, axis), &pixels));
      for (int64_t size : kernel_size) TF_RETURN_IF_ERROR(c->Multiply(terms, size, &terms));
      TF_RETURN_IF_ERROR(c->Divide(terms, groups, /*evenly_divisible=*/true, &terms));
      c->set_output(0, c->MakeShape({c->MakeDim(groups), pixels, terms}));
      return OkStatus();
    });

REGISTER_OP("KdetDeformColumnsGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("offsets: float")
    .Input("mask: float")
    .Output("for_x: T")
    .Output("for_offsets: float")
    .Output("for_mask: float")
    .Attr("kernel_size: list(int)")
    .KDET_DEFORM_CONV_ATTRIBUTES.SetShapeFn([](InferenceContext* c) {
      for (int k = 0; k < 3; ++k) c->set_output(k, c->input(k + 1));
      return OkStatus();
    });

class DeformKernel : public OpKernel {
 public:
  explicit DeformKernel(OpKernelConstruction* context) : OpKernel(context), op_(context->def().op()) {
    OP_REQUIRES_OK(context, get_pair(context, "strides", 1, &p_.stride_y, &p_.stride_x));
    OP_REQUIRES_OK(context, get_pair(context, "padding", 0, &p_.pad_y, &p_.pad_x));
    OP_REQUIRES_OK(context, get_pair(context, "dilations", 1, &p_.dilation_y, &p_.dilation_x));
    OP_REQUIRES_OK(context, context->GetAttr("groups", &p_.groups));
    OP_REQUIRES_OK(context, context->GetAttr("deform_groups", &p_.deform_groups));
  }

 protected:
  // Of tensors of rank 4.
  Status describe_samples(const Tensor& x, int64_t kernel_y, int64_t kernel_x, const Tensor& offsets,
                          const Tensor& mask, DeformConv* p) const {
    *p = p_;
    p->batch = x.dim_size(0);
    p->height = int(x.dim_size(1));
    p->width = int(x.dim_size(2));
    p->channels = int(x.dim_size(3));
    p->kernel_y = int(kernel_y);
    p->kernel_x = int(kernel_x);
    p->out_height = extent(p->height, p->pad_y, p->dilation_y, p->kernel_y, p->stride_y);
    p->out_width = extent(p->width, p->pad_x, p->dilation_x, p->kernel_x, p->stride_x);
    // Rows of the kernel, and so the samples of a pixel, fit an int.
    if (p->channels == 0 || p->channels % p->groups || p->channels % p->deform_groups ||
        kernel_y * kernel_x > std::numeric_limits<int>::max() / p->channels) {
      return errors::InvalidArgument(op_, ": x ", x.shape().DebugString(), ", a kernel of ", kernel_y, "x", kernel_x,
                                     " cells, groups ", p->groups, " and deform_groups ", p->deform_groups,
                                     " do not fit.");
    }
    const int64_t samples = kernel_y * kernel_x * p->deform_groups;
    TensorShape expected_offsets, expected_mask;
    TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape({p->batch, p->out_height, p->out_width, 2 * samples},
                                                     &expected_offsets));
    TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape({p->batch, p->out_height, p->out_width, samples},
                                                     &expected_mask));
    if (offsets.shape() != expected_offsets || mask.shape() != expected_mask) {
      return errors::InvalidArgument(op_, ": offsets and mask must be ", expected_offsets.DebugString(), " and ",
                                     expected_mask.DebugString(), ", not ", offsets.shape().DebugString(), " and ",
                                     mask.shape().DebugString());
    }
    return OkStatus();
  }

  const std::string op_;

 private:
  DeformConv p_ = {};
};

class DeformConvKernel : public DeformKernel {
 public:
  using DeformKernel::DeformKernel;

 protected:
  Status describe(const Tensor& x, const Tensor& kernel, const Tensor& offsets, const Tensor& mask,
                  DeformConv* p) const {
    if (x.dims() != 4 || kernel.dims() != 4 || offsets.dims() != 4 || mask.dims() != 4) {
      return errors::InvalidArgument(op_, ": x, kernel, offsets and mask must have rank 4, not ",
                                     x.shape().DebugString(), ", ", kernel.shape().DebugString(), ", ",
                                     offsets.shape().DebugString(), ", ", mask.shape().DebugString());
    }
    TF_RETURN_IF_ERROR(describe_samples(x, kernel.dim_size(0), kernel.dim_size(1), offsets, mask, p));
    p->out_channels = int(kernel.dim_size(3));
    if (kernel.dim_size(2) * p->groups != p->channels || p->out_channels % p->groups) {
      return errors::InvalidArgument(op_, ": x ", x.shape().DebugString(), ", kernel ", kernel.shape().DebugString(),
                                     " and groups ", p->groups, " do not fit.");
    }
    return OkStatus();
  }

  static TensorShape output_shape(const DeformConv& p) {
    return {p.batch, p.out_height, p.out_width, p.out_channels};
  }
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
    OP_REQUIRES_OK(context, context->allocate_output(0, output_shape(p), &out));
    const float* weights;
    OP_REQUIRES_OK(context, float_input<T>(context, kernel, &temporary, &weights));
    kernels_of<DeformConvKernels, T>().forward(p, data<T>(x), weights, offsets.flat<float>().data(),
                                               mask.flat<float>().data(), data<T>(out), parallel_of(context));
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
    OP_REQUIRES_OK(context, check_shape(upstream, output_shape(p), "KdetDeformConvGrad", "upstream"));
    Tensor *for_x, *for_kernel, *for_offsets, *for_mask;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, kernel.shape(), &for_kernel));
    OP_REQUIRES_OK(context, context->allocate_output(2, offsets.shape(), &for_offsets));
    OP_REQUIRES_OK(context, context->allocate_output(3, mask.shape(), &for_mask));
    const ParallelFor parallel = parallel_of(context);
    const auto& compiled = kernels_of<DeformConvKernels, T>();
    const DeformShards shards = compiled.shards(p, parallel.threads);
    CopiedOutput offset_copies, mask_copies;
    OP_REQUIRES_OK(context, offset_copies.make(context, for_offsets, shards.tasks));
    OP_REQUIRES_OK(context, mask_copies.make(context, for_mask, shards.tasks));
    compiled.backward(
        p, shards, data<T>(x), data<T>(kernel), offsets.flat<float>().data(), mask.flat<float>().data(),
        data<T>(upstream), {data<T>(for_x), data<T>(for_kernel), offset_copies.copies(), mask_copies.copies()},
        parallel);
    offset_copies.finish(parallel);
    mask_copies.finish(parallel);
  }
};

class DeformColumnsKernel : public DeformKernel {
 public:
  explicit DeformColumnsKernel(OpKernelConstruction* context) : DeformKernel(context) {
    OP_REQUIRES_OK(context, get_pair(context, "kernel_size", 1, &kernel_y_, &kernel_x_));
  }

 protected:
  // columns: the shape of the columns.
  Status describe(const Tensor& x, const Tensor& offsets, const Tensor& mask, DeformConv* p,
                  TensorShape* columns) const {
    if (x.dims() != 4 || offsets.dims() != 4 || mask.dims() != 4) {
      return errors::InvalidArgument(op_, ": x, offsets and mask must have rank 4, not ", x.shape().DebugString(),
                                     ", ", offsets.shape().DebugString(), ", ", mask.shape().DebugString());
    }
    TF_RETURN_IF_ERROR(describe_samples(x, kernel_y_, kernel_x_, offsets, mask, p));
    p->out_channels = 0;
    const int64_t terms = int64_t{p->cells()} * (p->channels / p->groups);
    return TensorShape::BuildTensorShape({p->groups, p->pixels(), terms}, columns);
  }

 private:
  int kernel_y_, kernel_x_;
};

template <typename Device, typename T>
class DeformColumnsForward : public DeformColumnsKernel {
 public:
  using DeformColumnsKernel::DeformColumnsKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &offsets = context->input(1), &mask = context->input(2);
    DeformConv p;
    TensorShape shape;
    OP_REQUIRES_OK(context, describe(x, offsets, mask, &p, &shape));
    Tensor* columns;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &columns));
    const float *offset = offsets.flat<float>().data(), *factor = mask.flat<float>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetDeformColumns",
                                             kdet_cuda_deform_columns(&p, element_type<T>(), data<T>(x), offset,
                                                                      factor, data<T>(columns),
                                                                      Device::stream(context))));
    } else {
      kernels_of<DeformConvKernels, T>().columns_forward(p, data<T>(x), offset, factor, data<T>(columns),
                                                         parallel_of(context));
    }
  }
};

template <typename Device, typename T>
class DeformColumnsBackward : public DeformColumnsKernel {
 public:
  using DeformColumnsKernel::DeformColumnsKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &offsets = context->input(2),
                 &mask = context->input(3);
    DeformConv p;
    TensorShape shape;
    OP_REQUIRES_OK(context, describe(x, offsets, mask, &p, &shape));
    OP_REQUIRES_OK(context, check_shape(upstream, shape, "KdetDeformColumnsGrad", "upstream"));
    Tensor *for_x, *for_offsets, *for_mask;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, offsets.shape(), &for_offsets));
    OP_REQUIRES_OK(context, context->allocate_output(2, mask.shape(), &for_mask));
    SummedOutput<Device, T> x_sums;
    OP_REQUIRES_OK(context, x_sums.make(context, for_x));
    const float *offset = offsets.flat<float>().data(), *factor = mask.flat<float>().data();
    float *by_offset = for_offsets->flat<float>().data(), *by_factor = for_mask->flat<float>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetDeformColumnsGrad",
                                             kdet_cuda_deform_columns_grad(
                                                 &p, element_type<T>(), data<T>(x), offset, factor,
                                                 data<T>(upstream), x_sums.numbers(), by_offset, by_factor,
                                                 Device::stream(context))));
    } else {
      kernels_of<DeformConvKernels, T>().columns_backward(p, data<T>(x), offset, factor, data<T>(upstream),
                                                          x_sums.numbers(), by_offset, by_factor,
                                                          parallel_of(context));
    }
    OP_REQUIRES_OK(context, x_sums.finish(context));
  }
};

KDET_REGISTER_CPU_FLOATS("KdetDeformConv", DeformConvForward)
KDET_REGISTER_CPU_FLOATS("KdetDeformConvGrad", DeformConvBackward)
KDET_REGISTER_FLOATS("KdetDeformColumns", DeformColumnsForward)
KDET_REGISTER_FLOATS("KdetDeformColumnsGrad", DeformColumnsBackward)

}  // namespace
}  // namespace kdet
