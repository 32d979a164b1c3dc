// TensorFlow wrapper of deformable RoI pooling.
#include "deform_roi_pool/deform_roi_pool_cpu.h"

#include "common/tf_op.h"
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
  Status describe_all(const OpInputList& features, const Tensor& boxes, const Tensor& levels,
                      const Tensor& offsets, RoiAlign* p) const {
    std::vector<TensorShape> maps;
    for (const Tensor& map : features) maps.push_back(map.shape());
    TF_RETURN_IF_ERROR(describe(maps, boxes, levels, p));
    TF_RETURN_IF_ERROR(check_values(*p, boxes, levels));
    const TensorShape expected({p->batch, p->rois, p->bins_y, p->bins_x, 2});
    if (offsets.shape() != expected) {
      return errors::InvalidArgument("KdetDeformRoiPool: offsets must be ", expected.DebugString(), ", not ",
                                     offsets.shape().DebugString());
    }
    return check_finite(offsets, "KdetDeformRoiPool", "offsets");
  }

  float gamma_;
};

template <typename T>
std::vector<const typename Element<T>::type*> pointers(const OpInputList& features) {
  std::vector<const typename Element<T>::type*> all;
  for (const Tensor& map : features) all.push_back(data<T>(map));
  return all;
}

template <typename T>
class DeformRoiPoolForward : public DeformRoiPoolKernel {
 public:
  using DeformRoiPoolKernel::DeformRoiPoolKernel;

  void Compute(OpKernelContext* context) override {
    OpInputList features;
    OP_REQUIRES_OK(context, context->input_list("features", &features));
    const int n = features.size();
    const Tensor &boxes = context->input(n), &levels = context->input(n + 1), &offsets = context->input(n + 2);
    RoiAlign p;
    OP_REQUIRES_OK(context, describe_all(features, boxes, levels, offsets, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(0, {p.batch, p.rois, p.bins_y, p.bins_x, p.channels}, &out));
    deform_roi_pool_forward(p, gamma_, pointers<T>(features).data(), boxes.flat<float>().data(),
                            levels.flat<int32>().data(), offsets.flat<float>().data(), data<T>(out),
                            parallel_of(context));
  }
};

template <typename T>
class DeformRoiPoolBackward : public DeformRoiPoolKernel {
 public:
  using DeformRoiPoolKernel::DeformRoiPoolKernel;

  void Compute(OpKernelContext* context) override {
    OpInputList features;
    OP_REQUIRES_OK(context, context->input_list("features", &features));
    const int n = features.size();
    const Tensor &upstream = context->input(0), &boxes = context->input(n + 1), &levels = context->input(n + 2),
                 &offsets = context->input(n + 3);
    RoiAlign p;
    OP_REQUIRES_OK(context, describe_all(features, boxes, levels, offsets, &p));
    const TensorShape expected({p.batch, p.rois, p.bins_y, p.bins_x, p.channels});
    OP_REQUIRES(context, upstream.shape() == expected,
                errors::InvalidArgument("KdetDeformRoiPoolGrad: upstream must be ", expected.DebugString(),
                                        ", not ", upstream.shape().DebugString()));
    std::vector<FloatOutput<T>> outputs(n);
    std::vector<float*> gradients(n);
    for (int level = 0; level < n; ++level) {
      Tensor* out;
      OP_REQUIRES_OK(context, context->allocate_output(level, features[level].shape(), &out));
      OP_REQUIRES_OK(context, outputs[level].make(context, out));
      gradients[level] = outputs[level].floats();
    }
    Tensor *for_offsets, copies;
    OP_REQUIRES_OK(context, context->allocate_output(n, offsets.shape(), &for_offsets));
    const ParallelFor parallel = parallel_of(context);
    OP_REQUIRES_OK(context, context->allocate_temp(DT_FLOAT, {parallel.threads, offsets.NumElements()}, &copies));
    float* copy = copies.flat<float>().data();
    std::memset(copy, 0, copies.NumElements() * sizeof(float));
    deform_roi_pool_backward(p, gamma_, pointers<T>(features).data(), boxes.flat<float>().data(),
                             levels.flat<int32>().data(), offsets.flat<float>().data(), data<T>(upstream),
                             gradients.data(), copy, parallel);
    for (auto& output : outputs) output.finish(parallel);
    sum_copies(copy, parallel.threads, for_offsets, parallel);
  }
};

#define REGISTER(T)                                                                                  \
  REGISTER_KERNEL_BUILDER(Name("KdetDeformRoiPool").Device(DEVICE_CPU).TypeConstraint<T>("T"),       \
                          DeformRoiPoolForward<T>);                                                  \
  REGISTER_KERNEL_BUILDER(Name("KdetDeformRoiPoolGrad").Device(DEVICE_CPU).TypeConstraint<T>("T"),   \
                          DeformRoiPoolBackward<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

}  // namespace
}  // namespace kdet
