// TensorFlow wrapper of batch normalization in training.
#include "batch_norm/batch_norm.h"
#include "batch_norm/batch_norm_cuda.h"
#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetBatchNorm")
    .Input("x: T")
    .Input("gamma: float")
    .Input("beta: float")
    .Input("counted: float")
    .Output("y: T")
    .Output("mean: float")
    .Output("variance: float")
    .Output("inverse: float")
    .Attr("T: {half, bfloat16, float}")
    .Attr("epsilon: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle x, per_channel, counted;
      TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 2, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 1, &counted));
      per_channel = c->Vector(c->Dim(x, -1));
      TF_RETURN_IF_ERROR(c->Merge(per_channel, c->input(1), &per_channel));
      TF_RETURN_IF_ERROR(c->Merge(per_channel, c->input(2), &per_channel));
      c->set_output(0, x);
      for (int k = 1; k < 4; ++k) c->set_output(k, per_channel);
      return OkStatus();
    });

REGISTER_OP("KdetBatchNormGrad")
    .Input("upstream: T")
    .Input("x: T")
    .Input("gamma: float")
    .Input("counted: float")
    .Input("mean: float")
    .Input("inverse: float")
    .Output("for_x: T")
    .Output("for_gamma: float")
    .Output("for_beta: float")
    .Attr("T: {half, bfloat16, float}")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      c->set_output(2, c->input(2));
      return OkStatus();
    });

const float* floats_of(const Tensor& tensor) { return tensor.flat<float>().data(); }
float* floats_of(Tensor* tensor) { return tensor->flat<float>().data(); }

// The sizes of x; counted is empty where all rows count, otherwise it has one number per image.
Status describe(const char* op, const Tensor& x, const Tensor& counted, BatchNorm* p) {
  if (x.dims() < 2) {
    return errors::InvalidArgument(op, ": x must be [B,...,C], not ", x.shape().DebugString());
  }
  *p = {x.dim_size(0), 1, int(x.dim_size(x.dims() - 1)), 0.0f};
  for (int k = 1; k < x.dims() - 1; ++k) p->cells *= x.dim_size(k);
  return counted.NumElements() == 0 ? OkStatus() : check_shape(counted, {p->batch}, op, "counted");
}

const float* numbers_or_null(const Tensor& counted) {
  return counted.NumElements() == 0 ? nullptr : floats_of(counted);
}

// What a pass sums into.
template <typename Device>
Status allocate_sums(OpKernelContext* context, const BatchNorm& p, Tensor* sums) {
  int64_t count = p.sums();
  if constexpr (Device::kGpu) count = kdet_cuda_batch_norm_sums(&p);
  return context->allocate_temp(DT_DOUBLE, {count}, sums);
}

template <typename Device, typename T>
class BatchNormForward : public OpKernel {
 public:
  explicit BatchNormForward(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &gamma = context->input(1), &beta = context->input(2);
    const Tensor& counted = context->input(3);
    BatchNorm p;
    OP_REQUIRES_OK(context, describe("KdetBatchNorm", x, counted, &p));
    OP_REQUIRES_OK(context, check_shape(gamma, {p.channels}, "KdetBatchNorm", "gamma"));
    OP_REQUIRES_OK(context, check_shape(beta, {p.channels}, "KdetBatchNorm", "beta"));
    p.epsilon = epsilon_;
    Tensor *y, *mean, *variance, *inverse, sums;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    OP_REQUIRES_OK(context, context->allocate_output(1, gamma.shape(), &mean));
    OP_REQUIRES_OK(context, context->allocate_output(2, gamma.shape(), &variance));
    OP_REQUIRES_OK(context, context->allocate_output(3, gamma.shape(), &inverse));
    OP_REQUIRES_OK(context, allocate_sums<Device>(context, p, &sums));
    double* scratch = sums.flat<double>().data();
    if constexpr (Device::kGpu) {
      Tensor scales;
      OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, gamma.shape(), &scales));
      OP_REQUIRES_OK(context, Device::status("KdetBatchNorm",
                                             kdet_cuda_batch_norm(&p, element_type<T>(), data<T>(x),
                                                                  numbers_or_null(counted), floats_of(gamma),
                                                                  floats_of(beta), scratch, floats_of(&scales),
                                                                  data<T>(y), floats_of(mean), floats_of(variance),
                                                                  floats_of(inverse), Device::stream(context))));
    } else {
      kernels_of<BatchNormKernels, T>().forward(p, data<T>(x), numbers_or_null(counted), floats_of(gamma),
                                                floats_of(beta), scratch, data<T>(y), floats_of(mean),
                                                floats_of(variance), floats_of(inverse), parallel_of(context));
    }
  }

 private:
  float epsilon_;
};

template <typename Device, typename T>
class BatchNormBackward : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &gamma = context->input(2);
    const Tensor &counted = context->input(3), &mean = context->input(4), &inverse = context->input(5);
    BatchNorm p;
    OP_REQUIRES_OK(context, describe("KdetBatchNormGrad", x, counted, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, x.shape(), "KdetBatchNormGrad", "upstream"));
    OP_REQUIRES_OK(context, check_shape(gamma, {p.channels}, "KdetBatchNormGrad", "gamma"));
    OP_REQUIRES_OK(context, check_shape(mean, {p.channels}, "KdetBatchNormGrad", "mean"));
    OP_REQUIRES_OK(context, check_shape(inverse, {p.channels}, "KdetBatchNormGrad", "inverse"));
    Tensor *for_x, *for_gamma, *for_beta, sums;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &for_x));
    OP_REQUIRES_OK(context, context->allocate_output(1, gamma.shape(), &for_gamma));
    OP_REQUIRES_OK(context, context->allocate_output(2, gamma.shape(), &for_beta));
    OP_REQUIRES_OK(context, allocate_sums<Device>(context, p, &sums));
    double* scratch = sums.flat<double>().data();
    if constexpr (Device::kGpu) {
      Tensor lines;
      OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, {3, p.channels}, &lines));
      OP_REQUIRES_OK(context,
                     Device::status("KdetBatchNormGrad",
                                    kdet_cuda_batch_norm_grad(&p, element_type<T>(), data<T>(x), data<T>(upstream),
                                                              numbers_or_null(counted), floats_of(gamma),
                                                              floats_of(mean), floats_of(inverse), scratch,
                                                              floats_of(&lines), data<T>(for_x),
                                                              floats_of(for_gamma), floats_of(for_beta),
                                                              Device::stream(context))));
    } else {
      kernels_of<BatchNormKernels, T>().backward(p, data<T>(x), data<T>(upstream), numbers_or_null(counted),
                                                 floats_of(gamma), floats_of(mean), floats_of(inverse), scratch,
                                                 data<T>(for_x), floats_of(for_gamma), floats_of(for_beta),
                                                 parallel_of(context));
    }
  }
};

KDET_REGISTER_FLOATS("KdetBatchNorm", BatchNormForward)
KDET_REGISTER_FLOATS("KdetBatchNormGrad", BatchNormBackward)

}  // namespace
}  // namespace kdet
