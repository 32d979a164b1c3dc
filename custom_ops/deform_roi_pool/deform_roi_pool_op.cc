// TensorFlow wrapper of deformable RoI pooling.
#include "common/tf_op.h"
#include "deform_roi_pool/deform_roi_pool.h"
#include "roi_align/roi_align_cuda.h"
#include "roi_align/roi_align_tf.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetDeformRoiPool")
    .Input("features: L * T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Input("offsets: float")
    .Output("pooled: T")
    .KDET_ROI_ATTRIBUTES.Attr("gamma: float")
    .SetShapeFn(roi_align_shape);

REGISTER_OP("KdetDeformRoiPoolGrad")
    .Input("upstream: T")
    .Input("features: L * T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Input("offsets: float")
    .Output("gradients: L * T")
    .Output("for_offsets: float")
    .KDET_ROI_ATTRIBUTES.Attr("gamma: float")
    .SetShapeFn([](InferenceContext* c) {
      const int levels = c->num_outputs() - 1;
      for (int level = 0; level < levels; ++level) c->set_output(level, c->input(1 + level));
      c->set_output(levels, c->input(c->num_inputs() - 1));
      return OkStatus();
    });

class DeformRoiPoolKernel : public RoiAlignKernel {
 public:
  explicit DeformRoiPoolKernel(OpKernelConstruction* context) : RoiAlignKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("gamma", &gamma_));
  }

 protected:
  template <typename Device>
  Status describe_all(const std::vector<TensorShape>& maps, const Tensor& boxes, const Tensor& levels,
                      const Tensor& offsets, RoiAlign* p) const {
    TF_RETURN_IF_ERROR(describe<Device>(maps, boxes, levels, p));
    const TensorShape expected({p->batch, p->rois, p->bins_y, p->bins_x, 2});
    return check_shape(offsets, expected, "KdetDeformRoiPool", "offsets");
  }

  float gamma_;
};

template <typename Device, typename T>
class DeformRoiPoolForward : public DeformRoiPoolKernel {
 public:
  using DeformRoiPoolKernel::DeformRoiPoolKernel;

  void Compute(OpKernelContext* context) override {
    RoiMaps<T> maps;
    OP_REQUIRES_OK(context, maps.read(context));
    const int n = maps.count();
    const Tensor &boxes = context->input(n), &levels = context->input(n + 1), &offsets = context->input(n + 2);
    RoiAlign p;
    OP_REQUIRES_OK(context, describe_all<Device>(maps.shapes, boxes, levels, offsets, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, pooled_shape(p), &out));
    const float *box = boxes.flat<float>().data(), *offset = offsets.flat<float>().data();
    const int* level = levels.flat<int32>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetDeformRoiPool",
                                             kdet_cuda_roi_align(&p, element_type<T>(), maps.untyped(), box, level,
                                                                 offset, gamma_, data<T>(out),
                                                                 Device::stream(context))));
    } else {
      Positions corners, shifts;
      OP_REQUIRES_OK(context, corners.read(context, boxes, 4));
      OP_REQUIRES_OK(context, shifts.read(context, offsets, 2));
      kernels_of<DeformRoiPoolKernels, T>().forward(p, gamma_, maps.pointers.data(), corners.data(), level, shifts.data(), data<T>(out),
                              parallel_of(context));
      corners.fill(NAN, int64_t(p.bins_y) * p.bins_x * p.channels, data<T>(out));
      shifts.fill(NAN, p.channels, data<T>(out));
    }
  }
};

template <typename Device, typename T>
class DeformRoiPoolBackward : public DeformRoiPoolKernel {
 public:
  using DeformRoiPoolKernel::DeformRoiPoolKernel;

  void Compute(OpKernelContext* context) override {
    RoiMaps<T> maps;
    OP_REQUIRES_OK(context, maps.read(context));
    const int n = maps.count();
    const Tensor &upstream = context->input(0), &boxes = context->input(n + 1), &levels = context->input(n + 2),
                 &offsets = context->input(n + 3);
    RoiAlign p;
    OP_REQUIRES_OK(context, describe_all<Device>(maps.shapes, boxes, levels, offsets, &p));
    OP_REQUIRES_OK(context, check_shape(upstream, pooled_shape(p), "KdetDeformRoiPoolGrad", "upstream"));
    RoiGradients<Device, T> gradients;
    OP_REQUIRES_OK(context, gradients.make(context, maps.shapes));
    Tensor* for_offsets;
    OP_REQUIRES_OK(context, context->allocate_output(n, offsets.shape(), &for_offsets));
    const float *box = boxes.flat<float>().data(), *offset = offsets.flat<float>().data();
    const int* level = levels.flat<int32>().data();
    float* to = for_offsets->flat<float>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::zero(context, to, for_offsets->NumElements()));
      OP_REQUIRES_OK(context,
                     Device::status("KdetDeformRoiPoolGrad",
                                    kdet_cuda_roi_align_grad(&p, element_type<T>(), data<T>(upstream), maps.untyped(),
                                                             box, level, offset, gamma_, gradients.numbers.data(), to,
                                                             Device::stream(context))));
    } else {
      Positions corners, shifts;
      Tensor of_boxes, kept;
      OP_REQUIRES_OK(context, corners.read(context, boxes, 4));
      OP_REQUIRES_OK(context, shifts.read(context, offsets, 2));
      const int64_t bins = int64_t(p.bins_y) * p.bins_x;
      OP_REQUIRES_OK(context, corners.without_lost<T>(context, upstream, bins * p.channels, &of_boxes));
      OP_REQUIRES_OK(context, shifts.without_lost<T>(context, of_boxes, p.channels, &kept));
      kernels_of<DeformRoiPoolKernels, T>().backward(p, gamma_, maps.pointers.data(), corners.data(), level, shifts.data(), data<T>(kept),
                               gradients.numbers.data(), to, parallel_of(context));
    }
    OP_REQUIRES_OK(context, gradients.finish(context));
  }
};

KDET_REGISTER_FLOATS("KdetDeformRoiPool", DeformRoiPoolForward)
KDET_REGISTER_FLOATS("KdetDeformRoiPoolGrad", DeformRoiPoolBackward)

}  // namespace
}  // namespace kdet
