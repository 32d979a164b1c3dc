// TensorFlow wrapper of mask pasting.
#include "common/tf_op.h"
#include "paste_masks/paste_masks.h"
#include "paste_masks/paste_masks_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetPasteMasks")
    .Input("masks: T")
    .Input("boxes: float")
    .Input("size: int32")
    .Output("pasted: Out")
    .Attr("T: {half, bfloat16, float}")
    .Attr("Out: {float, bool}")
    .Attr("threshold: float = 0.0")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle masks, boxes, image, out;
      DimensionHandle batch, count, unused;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &masks));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &boxes));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 2), 4, &unused));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(masks, 0), c->Dim(boxes, 0), &batch));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(masks, 1), c->Dim(boxes, 1), &count));
      TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(2, &image));
      TF_RETURN_IF_ERROR(c->WithRank(image, 2, &image));
      TF_RETURN_IF_ERROR(c->Concatenate(c->MakeShape({batch, count}), image, &out));
      c->set_output(0, out);
      return OkStatus();
    });

template <typename Device, typename T>
class PasteMasksKernel : public OpKernel {
 public:
  explicit PasteMasksKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("threshold", &threshold_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &masks = context->input(0), &boxes = context->input(1), &size = context->input(2);
    OP_REQUIRES(context, masks.dims() == 4,
                errors::InvalidArgument("KdetPasteMasks: masks must be [B,N,h,w], not ", masks.shape().DebugString()));
    const int64_t batch = masks.dim_size(0), count = masks.dim_size(1);
    OP_REQUIRES_OK(context, check_shape(boxes, {batch, count, 4}, "KdetPasteMasks", "boxes"));
    int height, width;
    OP_REQUIRES_OK(context, get_image_size(size, "KdetPasteMasks", &height, &width));
    const PasteMasks p = {batch * count, int(masks.dim_size(2)), int(masks.dim_size(3)), height, width, threshold_};
    Tensor* out;
    OP_REQUIRES_OK(context, allocate_sized(context, {batch, count, height, width}, &out));
    const float* box = boxes.flat<float>().data();
    const bool binary = out->dtype() == DT_BOOL;
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetPasteMasks",
                                             kdet_cuda_paste_masks(&p, element_type<T>(), data<T>(masks), box, binary,
                                                                   const_cast<char*>(out->tensor_data().data()),
                                                                   Device::stream(context))));
    } else {
      Positions positions;
      OP_REQUIRES_OK(context, positions.read(context, boxes, 4));  // of a lost one, without area, nothing is pasted
      box = positions.data();
      const ParallelFor parallel = parallel_of(context);
      if (binary) {
        kernels_of<PasteMasksKernels, T>().binary(p, data<T>(masks), box, out->flat<bool>().data(), parallel);
      } else {
        kernels_of<PasteMasksKernels, T>().numbers(p, data<T>(masks), box, out->flat<float>().data(), parallel);
      }
    }
  }

 private:
  float threshold_;
};

KDET_REGISTER_FLOATS("KdetPasteMasks", PasteMasksKernel, .HostMemory("size"))

}  // namespace
}  // namespace kdet
