// TensorFlow wrapper of fast NMS.
#include "fast_nms/fast_nms.h"
#include "fast_nms/fast_nms_cuda.h"
#include "nms/nms_tf.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;

REGISTER_OP("KdetFastNms")
    .Input("boxes: float")
    .Input("scores: float")
    .Output("indices: int32")
    .Output("labels: int32")
    .Output("kept: float")
    .Output("num: int32")
    .Attr("top_k: int >= 0")
    .Attr("max_output: int >= 0")
    .Attr("iou_threshold: float")
    .Attr("score_threshold: float")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle batch;
      TF_RETURN_IF_ERROR(candidate_shapes(c, 3, &batch));
      int64_t max_output;
      TF_RETURN_IF_ERROR(c->GetAttr("max_output", &max_output));
      for (int k = 0; k < 3; ++k) c->set_output(k, c->MakeShape({batch, max_output}));
      c->set_output(3, c->MakeShape({batch}));
      return OkStatus();
    });

template <typename Device>
class FastNmsKernel : public OpKernel {
 public:
  explicit FastNmsKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("top_k", &p_.top_k));
    OP_REQUIRES_OK(context, context->GetAttr("max_output", &p_.max_output));
    OP_REQUIRES_OK(context, context->GetAttr("iou_threshold", &p_.iou_threshold));
    OP_REQUIRES_OK(context, context->GetAttr("score_threshold", &p_.score_threshold));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &boxes = context->input(0), &scores = context->input(1);
    OP_REQUIRES_OK(context, check_candidates("KdetFastNms", boxes, scores, 3));
    FastNms p = p_;
    p.batch = boxes.dim_size(0);
    p.boxes = boxes.dim_size(1);
    p.classes = scores.dim_size(2);
    p.top_k = std::min(p.top_k, p.boxes);
    Tensor *indices, *labels, *kept, *num;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.max_output}, &indices));
    OP_REQUIRES_OK(context, context->allocate_output(1, {p.batch, p.max_output}, &labels));
    OP_REQUIRES_OK(context, context->allocate_output(2, {p.batch, p.max_output}, &kept));
    OP_REQUIRES_OK(context, context->allocate_output(3, {p.batch}, &num));
    const float *box = boxes.flat<float>().data(), *score = scores.flat<float>().data();
    int *index = indices->flat<int32>().data(), *label = labels->flat<int32>().data();
    int* count = num->flat<int32>().data();
    float* best = kept->flat<float>().data();
    if constexpr (Device::kGpu) {
      Tensor found, chosen, left;
      const TensorShape places({p.batch, p.classes, p.top_k});
      OP_REQUIRES_OK(context, context->allocate_temp(DT_INT32, places, &found));
      OP_REQUIRES_OK(context, context->allocate_temp(DT_INT32, places, &chosen));
      OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, places, &left));
      OP_REQUIRES_OK(context,
                     Device::status("KdetFastNms", kdet_cuda_fast_nms(&p, box, score, found.flat<int32>().data(),
                                                                      chosen.flat<int32>().data(),
                                                                      left.flat<float>().data(), index, label, best,
                                                                      count, Device::stream(context))));
    } else {
      kernels<FastNmsKernels>().fast_nms(p, box, score, index, label, best, count, parallel_of(context));
    }
  }

 private:
  FastNms p_;
};

KDET_REGISTER("KdetFastNms", FastNmsKernel)

}  // namespace
}  // namespace kdet
