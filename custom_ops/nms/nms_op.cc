// TensorFlow wrappers of NMS and soft-NMS.
#include "nms/nms.h"
#include "nms/nms_cuda.h"
#include "nms/nms_tf.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

Status nms_shapes(InferenceContext* c) {
  DimensionHandle batch;
  TF_RETURN_IF_ERROR(candidate_shapes(c, 2, &batch));
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->input(2), &unused));
  int64_t max_output;
  TF_RETURN_IF_ERROR(c->GetAttr("max_output", &max_output));
  c->set_output(0, c->MakeShape({batch, max_output}));
  c->set_output(1, c->MakeShape({batch}));
  return OkStatus();
}

#define KDET_NMS(name)              \
  REGISTER_OP(name)                 \
      .Input("boxes: float")        \
      .Input("scores: float")       \
      .Input("labels: int32")       \
      .Output("indices: int32")     \
      .Output("num: int32")         \
      .Attr("max_output: int >= 0") \
      .Attr("iou_threshold: float") \
      .Attr("score_threshold: float") \
      .SetShapeFn(nms_shapes)

// Boxes of different labels are not compared.
KDET_NMS("KdetNms");
// The same of boxes that are moved apart by class first, each image's on a thread of its own. On a GPU TensorFlow's
// own ops do that.
KDET_NMS("KdetClassNms");

template <typename Device, bool kMove = false>
class NmsKernel : public OpKernel {
 public:
  explicit NmsKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("max_output", &p_.max_output));
    OP_REQUIRES_OK(context, context->GetAttr("iou_threshold", &p_.iou_threshold));
    OP_REQUIRES_OK(context, context->GetAttr("score_threshold", &p_.score_threshold));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &boxes = context->input(0), &scores = context->input(1), &labels = context->input(2);
    OP_REQUIRES_OK(context, check_candidates("KdetNms", boxes, scores, 2));
    OP_REQUIRES_OK(context, check_shape(labels, scores.shape(), "KdetNms", "labels (as scores)"));
    Nms p = p_;
    p.batch = boxes.dim_size(0);
    p.boxes = boxes.dim_size(1);
    Tensor *indices, *num;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.max_output}, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, {p.batch}, &num));
    const float *box = boxes.flat<float>().data(), *score = scores.flat<float>().data();
    const int* label = labels.flat<int32>().data();
    int *to = indices->flat<int32>().data(), *count = num->flat<int32>().data();
    if constexpr (Device::kGpu) {
      Tensor places, kept;
      OP_REQUIRES_OK(context, context->allocate_temp(DT_INT32, {3, p.batch, p.boxes}, &places));
      OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, boxes.shape(), &kept));
      OP_REQUIRES_OK(context,
                     Device::status("KdetNms", kdet_cuda_nms(&p, box, score, label, places.flat<int32>().data(),
                                                             kept.flat<float>().data(), to, count,
                                                             Device::stream(context))));
    } else {
      kernels<NmsKernels>().nms(p, box, score, label, kMove, to, count, parallel_of(context));
    }
  }

 private:
  Nms p_;
};

KDET_REGISTER("KdetNms", NmsKernel)
REGISTER_KERNEL_BUILDER(Name("KdetClassNms").Device(DEVICE_CPU), NmsKernel<Cpu, true>);

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
      TF_RETURN_IF_ERROR(candidate_shapes(c, 2, &batch));
      int64_t max_output;
      TF_RETURN_IF_ERROR(c->GetAttr("max_output", &max_output));
      c->set_output(0, c->MakeShape({batch, max_output}));
      c->set_output(1, c->MakeShape({batch, max_output}));
      c->set_output(2, c->MakeShape({batch}));
      return OkStatus();
    });

template <typename Device>
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
    OP_REQUIRES_OK(context, check_candidates("KdetSoftNms", boxes, scores, 2));
    SoftNms p = p_;
    p.batch = boxes.dim_size(0);
    p.boxes = boxes.dim_size(1);
    Tensor *indices, *kept, *num;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.max_output}, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, {p.batch, p.max_output}, &kept));
    OP_REQUIRES_OK(context, context->allocate_output(2, {p.batch}, &num));
    const float *box = boxes.flat<float>().data(), *score = scores.flat<float>().data();
    float* lowered = kept->flat<float>().data();
    int *to = indices->flat<int32>().data(), *count = num->flat<int32>().data();
    if constexpr (Device::kGpu) {
      Tensor live;
      OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, scores.shape(), &live));
      OP_REQUIRES_OK(context, Device::status("KdetSoftNms",
                                             kdet_cuda_soft_nms(&p, box, score, live.flat<float>().data(), to,
                                                                lowered, count, Device::stream(context))));
    } else {
      kernels<NmsKernels>().soft_nms(p, box, score, to, lowered, count, parallel_of(context));
    }
  }

 private:
  SoftNms p_;
};

KDET_REGISTER("KdetSoftNms", SoftNmsKernel)

}  // namespace
}  // namespace kdet
