// TensorFlow wrapper of the mask targets.
#include "common/tf_op.h"
#include "crop_masks/crop_masks.h"
#include "crop_masks/crop_masks_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetCropMasks")
    .Input("packed_masks: uint8")
    .Input("boxes: float")
    .Input("gt_index: int32")
    .Output("targets: float")
    .Attr("bins_y: int >= 1")
    .Attr("bins_x: int >= 1")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle masks, boxes, index;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &masks));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 3, &boxes));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &index));
      DimensionHandle batch, unused;
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(masks, 0), c->Dim(boxes, 0), &batch));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(index, 1), c->Dim(boxes, 1), &unused));
      int bins_y, bins_x;
      TF_RETURN_IF_ERROR(c->GetAttr("bins_y", &bins_y));
      TF_RETURN_IF_ERROR(c->GetAttr("bins_x", &bins_x));
      c->set_output(0, c->MakeShape({batch, c->Dim(boxes, 1), bins_y, bins_x}));
      return OkStatus();
    });

template <typename Device>
class CropMasksKernel : public OpKernel {
 public:
  explicit CropMasksKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("bins_y", &bins_y_));
    OP_REQUIRES_OK(context, context->GetAttr("bins_x", &bins_x_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &masks = context->input(0), &boxes = context->input(1), &index = context->input(2);
    const bool fits = masks.dims() == 4 && boxes.dims() == 3 && boxes.dim_size(2) == 4 && index.dims() == 2 &&
                      boxes.dim_size(0) == masks.dim_size(0) && index.dim_size(0) == masks.dim_size(0) &&
                      index.dim_size(1) == boxes.dim_size(1);
    OP_REQUIRES(context, fits,
                errors::InvalidArgument(
                    "KdetCropMasks: packed_masks [B,G,H,W/8], boxes [B,N,4] and gt_index [B,N] do not fit: ",
                    masks.shape().DebugString(), ", ", boxes.shape().DebugString(), ", ",
                    index.shape().DebugString()));
    const CropMasks p = {masks.dim_size(0),      masks.dim_size(1),      boxes.dim_size(1),
                         int(masks.dim_size(2)), int(masks.dim_size(3)), bins_y_, bins_x_};
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.boxes, p.bins_y, p.bins_x}, &out));
    const float* box = boxes.flat<float>().data();
    const int* chosen = index.flat<int32>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetCropMasks",
                                             kdet_cuda_crop_masks(&p, masks.flat<uint8>().data(), box, chosen,
                                                                  out->flat<float>().data(),
                                                                  Device::stream(context))));
    } else {
      for (int64_t i = 0; i < index.NumElements(); ++i) {
        OP_REQUIRES(context, chosen[i] < p.instances,
                    errors::InvalidArgument("KdetCropMasks: gt_index ", chosen[i], " at flat index ", i,
                                            ", but there are ", p.instances, " masks."));
      }
      Positions positions;
      OP_REQUIRES_OK(context, positions.read(context, boxes, 4));  // of a lost one, without area, the target is 0
      kernels<CropMasksKernels>().crop(p, masks.flat<uint8>().data(), positions.data(), chosen,
                                       out->flat<float>().data(), parallel_of(context));
    }
  }

 private:
  int bins_y_, bins_x_;
};

KDET_REGISTER("KdetCropMasks", CropMasksKernel)

}  // namespace
}  // namespace kdet
