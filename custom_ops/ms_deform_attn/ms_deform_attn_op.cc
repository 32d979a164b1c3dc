// TensorFlow wrapper of multi-scale deformable attention.
#include "common/tf_op.h"
#include "ms_deform_attn/ms_deform_attn.h"
#include "ms_deform_attn/ms_deform_attn_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetMsDeformAttn")
    .Input("value: T")
    .Input("shapes: int32")
    .Input("locations: P")
    .Input("weights: P")
    .Output("out: T")
    .Attr("T: {half, bfloat16, float}")
    .Attr("P: {half, bfloat16, float} = DT_FLOAT")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle value, locations;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &value));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 6, &locations));
      DimensionHandle width;
      TF_RETURN_IF_ERROR(c->Multiply(c->Dim(value, 2), c->Dim(value, 3), &width));
      c->set_output(0, c->MakeShape({c->Dim(value, 0), c->Dim(locations, 1), width}));
      return OkStatus();
    });

REGISTER_OP("KdetMsDeformAttnGrad")
    .Input("upstream: T")
    .Input("value: T")
    .Input("shapes: int32")
    .Input("locations: P")
    .Input("weights: P")
    .Output("for_value: T")
    .Output("for_locations: P")
    .Output("for_weights: P")
    .Attr("T: {half, bfloat16, float}")
    .Attr("P: {half, bfloat16, float} = DT_FLOAT")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(3));
      c->set_output(2, c->input(4));
      return OkStatus();
    });

Status describe(const Tensor& value, const Tensor& shapes, const Tensor& locations, const Tensor& weights,
                MsDeformAttn* p) {
  const bool ranks = value.dims() == 4 && shapes.dims() == 2 && locations.dims() == 6 && weights.dims() == 5;
  if (ranks) {
    *p = {value.dim_size(0),       value.dim_size(1),       locations.dim_size(1),      int(value.dim_size(2)),
          int(value.dim_size(3)),  int(shapes.dim_size(0)), int(locations.dim_size(4))};
  }
  if (!ranks || p->levels > kMostAttentionLevels || shapes.dim_size(1) != 2 ||
      locations.shape() != TensorShape({p->batch, p->queries, p->heads, p->levels, p->points, 2}) ||
      weights.shape() != TensorShape({p->batch, p->queries, p->heads, p->levels, p->points})) {
    return errors::InvalidArgument(
        "KdetMsDeformAttn: value [B,S,heads,D], shapes [levels,2] (at most ", kMostAttentionLevels,
        "), locations [B,Q,heads,levels,points,2] and weights [B,Q,heads,levels,points] do not fit: ",
        value.shape().DebugString(), ", ", shapes.shape().DebugString(), ", ", locations.shape().DebugString(),
        ", ", weights.shape().DebugString());
  }
  int64_t pixels = 0;
  for (int level = 0; level < p->levels; ++level) {
    p->height[level] = shapes.matrix<int32>()(level, 0);
    p->width[level] = shapes.matrix<int32>()(level, 1);
    p->start[level] = pixels;
    if (p->height[level] < 0 || p->width[level] < 0) {
      return errors::InvalidArgument("KdetMsDeformAttn: level ", level, " has a negative size.");
    }
    pixels += int64_t(p->height[level]) * p->width[level];
  }
  if (pixels != p->pixels) {
    return errors::InvalidArgument("KdetMsDeformAttn: the levels have ", pixels, " pixels, but value has ",
                                   p->pixels, ".");
  }
  return OkStatus();
}

template <typename T, typename P>
const auto& attention() {
  return kernels<MsDeformAttnKernels<typename Element<T>::type, typename Element<P>::type>>();
}

template <typename Device, typename T, typename P>
class MsDeformAttnForward : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &value = context->input(0), &locations = context->input(2), &weights = context->input(3);
    MsDeformAttn p;
    OP_REQUIRES_OK(context, describe(value, context->input(1), locations, weights, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.queries, p.heads * p.depth}, &out));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetMsDeformAttn",
                                             kdet_cuda_ms_deform_attn(&p, element_type<T>(), data<T>(value),
                                                                      element_type<P>(), data<P>(locations),
                                                                      data<P>(weights), data<T>(out),
                                                                      Device::stream(context))));
    } else {
      attention<T, P>().forward(p, data<T>(value), data<P>(locations), data<P>(weights), data<T>(out),
                             parallel_of(context));
    }
  }
};

template <typename Device, typename T, typename P>
class MsDeformAttnBackward : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &value = context->input(1), &locations = context->input(3),
                 &weights = context->input(4);
    MsDeformAttn p;
    OP_REQUIRES_OK(context, describe(value, context->input(2), locations, weights, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, {p.batch, p.queries, p.heads * p.depth}, "KdetMsDeformAttnGrad",
                                        "upstream"));
    Tensor *for_value, *for_locations, *for_weights;
    OP_REQUIRES_OK(context, context->allocate_output(0, value.shape(), &for_value));
    OP_REQUIRES_OK(context, context->allocate_output(1, locations.shape(), &for_locations));
    OP_REQUIRES_OK(context, context->allocate_output(2, weights.shape(), &for_weights));
    SummedOutput<Device, T> value_sums;
    SummedOutput<Device, P> location_sums, weight_sums;
    OP_REQUIRES_OK(context, value_sums.make(context, for_value));
    OP_REQUIRES_OK(context, location_sums.make(context, for_locations));
    OP_REQUIRES_OK(context, weight_sums.make(context, for_weights));
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetMsDeformAttnGrad",
                                             kdet_cuda_ms_deform_attn_grad(
                                                 &p, element_type<T>(), data<T>(value), element_type<P>(),
                                                 data<P>(locations), data<P>(weights), data<T>(upstream),
                                                 value_sums.numbers(), location_sums.numbers(), weight_sums.numbers(),
                                                 Device::stream(context))));
    } else {
      attention<T, P>().backward(p, data<T>(value), data<P>(locations), data<P>(weights), data<T>(upstream),
                              value_sums.numbers(), location_sums.numbers(), weight_sums.numbers(),
                              parallel_of(context));
    }
    OP_REQUIRES_OK(context, value_sums.finish(context));
    OP_REQUIRES_OK(context, location_sums.finish(context));
    OP_REQUIRES_OK(context, weight_sums.finish(context));
  }
};

// Locations and weights of the value's own type, or float32.
template <typename Device, typename T>
using ForwardOwn = MsDeformAttnForward<Device, T, T>;
template <typename Device, typename T>
using ForwardFloat = MsDeformAttnForward<Device, T, float>;
template <typename Device, typename T>
using BackwardOwn = MsDeformAttnBackward<Device, T, T>;
template <typename Device, typename T>
using BackwardFloat = MsDeformAttnBackward<Device, T, float>;

#define KDET_REGISTER_PLACES(op, Own, Float)                                                                   \
  KDET_REGISTER_TYPE(op, Own, float, .TypeConstraint<float>("P").HostMemory("shapes"))                         \
  KDET_REGISTER_TYPE(op, Own, Eigen::half, .TypeConstraint<Eigen::half>("P").HostMemory("shapes"))             \
  KDET_REGISTER_TYPE(op, Own, Eigen::bfloat16, .TypeConstraint<Eigen::bfloat16>("P").HostMemory("shapes"))     \
  KDET_REGISTER_TYPE(op, Float, Eigen::half, .TypeConstraint<float>("P").HostMemory("shapes"))                 \
  KDET_REGISTER_TYPE(op, Float, Eigen::bfloat16, .TypeConstraint<float>("P").HostMemory("shapes"))

KDET_REGISTER_PLACES("KdetMsDeformAttn", ForwardOwn, ForwardFloat)
KDET_REGISTER_PLACES("KdetMsDeformAttnGrad", BackwardOwn, BackwardFloat)

}  // namespace
}  // namespace kdet
