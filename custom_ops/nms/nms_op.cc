// TensorFlow wrappers of NMS and soft-NMS.
#include "nms/nms_cpu.h"

#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// Checks boxes [B,N,4] and scores [B,N]; gives B.
Status candidate_shapes(InferenceContext* c, DimensionHandle* batch) {
  ShapeHandle boxes, scores;
  DimensionHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &boxes));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &scores));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 2), 4, &unused));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(boxes, 1), c->Dim(scores, 1), &unused));
  return c->Merge(c->Dim(boxes, 0), c->Dim(scores, 0), batch);
}

// Boxes of candidates (a score above the threshold) must be finite.
Status check_candidates(const char* op, const Tensor& boxes, const Tensor& scores, float threshold) {
  if (boxes.dims() != 3 || boxes.dim_size(2) != 4 || scores.dims() != 2 ||
      scores.dim_size(0) != boxes.dim_size(0) || scores.dim_size(1) != boxes.dim_size(1)) {
    return errors::InvalidArgument(op, ": boxes must be [B,N,4] and scores [B,N], not ",
                                   boxes.shape().DebugString(), " and ", scores.shape().DebugString());
  }
  const float *corner = boxes.flat<float>().data(), *score = scores.flat<float>().data();
  for (int64_t i = 0; i < scores.NumElements(); ++i) {
    if (!(score[i] > threshold)) continue;
    for (int k = 0; k < 4; ++k) {
      if (std::isfinite(corner[4 * i + k])) continue;
      return errors::InvalidArgument(op, ": box ", i % scores.dim_size(1), " of picture ",
                                     i / scores.dim_size(1), " has the score ", score[i],
                                     " and a coordinate ", corner[4 * i + k], "; boxes must be finite.");
    }
  }
  return OkStatus();
}

REGISTER_OP("KdetNms")
    .Input("boxes: float")
    .Input("scores: float")
    .Input("labels: int32")
    .Output("indices: int32")
    .Output("num: int32")
    .Attr("max_output: int >= 0")
    .Attr("iou_threshold: float")
    .Attr("score_threshold: float")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle batch;
      TF_RETURN_IF_ERROR(candidate_shapes(c, &batch));
      ShapeHandle unused;
      TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->input(2), &unused));
      int64_t max_output;
      TF_RETURN_IF_ERROR(c->GetAttr("max_output", &max_output));
      c->set_output(0, c->MakeShape({batch, max_output}));
      c->set_output(1, c->MakeShape({batch}));
      return OkStatus();
    });

class NmsKernel : public OpKernel {
 public:
  explicit NmsKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("max_output", &p_.max_output));
    OP_REQUIRES_OK(context, context->GetAttr("iou_threshold", &p_.iou_threshold));
    OP_REQUIRES_OK(context, context->GetAttr("score_threshold", &p_.score_threshold));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &boxes = context->input(0), &scores = context->input(1), &labels = context->input(2);
    OP_REQUIRES_OK(context, check_candidates("KdetNms", boxes, scores, p_.score_threshold));
    OP_REQUIRES(context, labels.shape() == scores.shape(),
                errors::InvalidArgument("KdetNms: labels must be as scores ", scores.shape().DebugString(),
                                        ", not ", labels.shape().DebugString()));
    Nms p = p_;
    p.batch = boxes.dim_size(0);
    p.boxes = boxes.dim_size(1);
    Tensor *indices, *num;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.max_output}, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, {p.batch}, &num));
    nms(p, boxes.flat<float>().data(), scores.flat<float>().data(), labels.flat<int32>().data(),
        indices->flat<int32>().data(), num->flat<int32>().data(), parallel_of(context));
  }

 private:
  Nms p_;
};

REGISTER_KERNEL_BUILDER(Name("KdetNms").Device(DEVICE_CPU), NmsKernel);

REGISTER_OP("KdetSoftNms")
    .Input("boxes: float")
    .Input("scores: float")
    .Output("indices: int32")
    .Output("kept: float")
    .Output("num: int32")
    .Attr("max_output: int >= 0")
    .Attr("iou_threshold: float")
    .Attr("sigma: float")
    .Attr("min_score: float")
    .Attr("gaussian: bool")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle batch;
      TF_RETURN_IF_ERROR(candidate_shapes(c, &batch));
      int64_t max_output;
      TF_RETURN_IF_ERROR(c->GetAttr("max_output", &max_output));
      c->set_output(0, c->MakeShape({batch, max_output}));
      c->set_output(1, c->MakeShape({batch, max_output}));
      c->set_output(2, c->MakeShape({batch}));
      return OkStatus();
    });

class SoftNmsKernel : public OpKernel {
 public:
  explicit SoftNmsKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("max_output", &p_.max_output));
    OP_REQUIRES_OK(context, context->GetAttr("iou_threshold", &p_.iou_threshold));
    OP_REQUIRES_OK(context, context->GetAttr("sigma", &p_.sigma));
    OP_REQUIRES_OK(context, context->GetAttr("min_score", &p_.min_score));
    OP_REQUIRES_OK(context, context->GetAttr("gaussian", &p_.gaussian));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &boxes = context->input(0), &scores = context->input(1);
    OP_REQUIRES_OK(context, check_candidates("KdetSoftNms", boxes, scores, -std::numeric_limits<float>::infinity()));
    SoftNms p = p_;
    p.batch = boxes.dim_size(0);
    p.boxes = boxes.dim_size(1);
    Tensor *indices, *kept, *num;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.max_output}, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, {p.batch, p.max_output}, &kept));
    OP_REQUIRES_OK(context, context->allocate_output(2, {p.batch}, &num));
    soft_nms(p, boxes.flat<float>().data(), scores.flat<float>().data(), indices->flat<int32>().data(),
             kept->flat<float>().data(), num->flat<int32>().data(), parallel_of(context));
  }

 private:
  SoftNms p_;
};

REGISTER_KERNEL_BUILDER(Name("KdetSoftNms").Device(DEVICE_CPU), SoftNmsKernel);

}  // namespace
}  // namespace kdet
