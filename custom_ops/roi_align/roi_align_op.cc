// TensorFlow wrapper of RoIAlign.
#include "roi_align/roi_align_cpu.h"

#include "common/tf_op.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

Status forward_shape(InferenceContext* c) {
  std::vector<ShapeHandle> features;
  TF_RETURN_IF_ERROR(c->input("features", &features));
  std::vector<ShapeHandle> boxes, levels;
  TF_RETURN_IF_ERROR(c->input("boxes", &boxes));
  TF_RETURN_IF_ERROR(c->input("levels", &levels));
  ShapeHandle box, level;
  TF_RETURN_IF_ERROR(c->WithRank(boxes[0], 3, &box));
  TF_RETURN_IF_ERROR(c->WithRank(levels[0], 2, &level));
  DimensionHandle channels = c->UnknownDim(), batch = c->Dim(box, 0), unused;
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(box, 2), 4, &unused));
  for (ShapeHandle shape : features) {
    TF_RETURN_IF_ERROR(c->WithRank(shape, 4, &shape));
    TF_RETURN_IF_ERROR(c->Merge(channels, c->Dim(shape, 3), &channels));
    TF_RETURN_IF_ERROR(c->Merge(batch, c->Dim(shape, 0), &batch));
  }
  int bins_y, bins_x;
  TF_RETURN_IF_ERROR(c->GetAttr("bins_y", &bins_y));
  TF_RETURN_IF_ERROR(c->GetAttr("bins_x", &bins_x));
  c->set_output(0, c->MakeShape({batch, c->Dim(box, 1), bins_y, bins_x, channels}));
  return OkStatus();
}

REGISTER_OP("KdetRoiAlign")
    .Input("features: L * T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Output("pooled: T")
    .Attr("L: int >= 1")
    .Attr("T: {half, bfloat16, float}")
    .Attr("bins_y: int >= 1")
    .Attr("bins_x: int >= 1")
    .Attr("scales: list(float) >= 1")
    .Attr("sampling_ratio: int >= 0")
    .Attr("aligned: bool")
    .SetShapeFn(forward_shape);

REGISTER_OP("KdetRoiAlignGrad")
    .Input("upstream: T")
    .Input("boxes: float")
    .Input("levels: int32")
    .Input("shapes: L * int32")
    .Output("gradients: L * T")
    .Attr("L: int >= 1")
    .Attr("T: {half, bfloat16, float}")
    .Attr("bins_y: int >= 1")
    .Attr("bins_x: int >= 1")
    .Attr("scales: list(float) >= 1")
    .Attr("sampling_ratio: int >= 0")
    .Attr("aligned: bool")
    .SetShapeFn([](InferenceContext* c) {
      for (int level = 0; level < c->num_outputs(); ++level) {
        ShapeHandle shape;
        TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(3 + level, &shape));
        c->set_output(level, shape);
      }
      return OkStatus();
    });

class RoiAlignKernel : public OpKernel {
 public:
  explicit RoiAlignKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("L", &p_.levels));
    OP_REQUIRES_OK(context, context->GetAttr("bins_y", &p_.bins_y));
    OP_REQUIRES_OK(context, context->GetAttr("bins_x", &p_.bins_x));
    OP_REQUIRES_OK(context, context->GetAttr("sampling_ratio", &p_.sampling_ratio));
    OP_REQUIRES_OK(context, context->GetAttr("aligned", &p_.aligned));
    std::vector<float> scales;
    OP_REQUIRES_OK(context, context->GetAttr("scales", &scales));
    OP_REQUIRES(context, p_.levels <= kMostLevels && int(scales.size()) == p_.levels,
                errors::InvalidArgument("KdetRoiAlign: ", p_.levels, " maps (at most ", kMostLevels, ") and ",
                                        scales.size(), " scales; give one scale per map."));
    std::copy(scales.begin(), scales.end(), p_.scale);
  }

 protected:
  // Fills in the sizes and checks that everything fits together.
  Status describe(const std::vector<TensorShape>& maps, const Tensor& boxes, const Tensor& levels,
                  RoiAlign* p) const {
    *p = p_;
    if (boxes.dims() != 3 || boxes.dim_size(2) != 4) {
      return errors::InvalidArgument("KdetRoiAlign: boxes must be [B,N,4], not ",
                                     boxes.shape().DebugString());
    }
    p->batch = boxes.dim_size(0);
    p->rois = boxes.dim_size(1);
    if (levels.dims() != 2 || levels.dim_size(0) != p->batch || levels.dim_size(1) != p->rois) {
      return errors::InvalidArgument("KdetRoiAlign: levels must be [B,N] as boxes ",
                                     boxes.shape().DebugString(), ", not ", levels.shape().DebugString());
    }
    for (int level = 0; level < p->levels; ++level) {
      const TensorShape& map = maps[level];
      if (map.dims() != 4 || map.dim_size(0) != p->batch || map.dim_size(3) != maps[0].dim_size(3)) {
        return errors::InvalidArgument("KdetRoiAlign: map ", level, " must be [", p->batch, ",H,W,",
                                       maps[0].dims() == 4 ? maps[0].dim_size(3) : -1, "], not ",
                                       map.DebugString());
      }
      p->height[level] = int(map.dim_size(1));
      p->width[level] = int(map.dim_size(2));
    }
    p->channels = int(maps[0].dim_size(3));
    const auto level = levels.flat<int32>();
    for (int64_t i = 0; i < level.size(); ++i) {
      if (level(i) < 0 || level(i) >= p->levels) {
        return errors::InvalidArgument("KdetRoiAlign: level ", level(i), " at flat index ", i,
                                       " is not in [0, ", p->levels, ").");
      }
    }
    return check_finite(boxes, "KdetRoiAlign", "boxes");
  }

 private:
  RoiAlign p_;
};

template <typename T>
class RoiAlignForward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    OpInputList features;
    OP_REQUIRES_OK(context, context->input_list("features", &features));
    const Tensor &boxes = context->input(features.size()), &levels = context->input(features.size() + 1);
    std::vector<TensorShape> maps;
    std::vector<const typename Element<T>::type*> pointers;
    for (const Tensor& map : features) {
      maps.push_back(map.shape());
      pointers.push_back(data<T>(map));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    Tensor* out;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {p.batch, p.rois, p.bins_y, p.bins_x, p.channels}, &out));
    roi_align_forward(p, pointers.data(), boxes.flat<float>().data(), levels.flat<int32>().data(),
                      data<T>(out), parallel_of(context));
  }
};

template <typename T>
class RoiAlignBackward : public RoiAlignKernel {
 public:
  using RoiAlignKernel::RoiAlignKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &boxes = context->input(1), &levels = context->input(2);
    const int count = context->num_inputs() - 3;
    std::vector<TensorShape> maps(count);
    for (int level = 0; level < count; ++level) {
      OP_REQUIRES_OK(context, TensorShapeUtils::MakeShape(context->input(3 + level).vec<int32>(), &maps[level]));
    }
    RoiAlign p;
    OP_REQUIRES_OK(context, describe(maps, boxes, levels, &p));
    const TensorShape expected({p.batch, p.rois, p.bins_y, p.bins_x, p.channels});
    OP_REQUIRES(context, upstream.shape() == expected,
                errors::InvalidArgument("KdetRoiAlignGrad: upstream must be ", expected.DebugString(), ", not ",
                                        upstream.shape().DebugString()));
    std::vector<FloatOutput<T>> outputs(count);
    std::vector<float*> pointers(count);
    for (int level = 0; level < count; ++level) {
      Tensor* out;
      OP_REQUIRES_OK(context, context->allocate_output(level, maps[level], &out));
      OP_REQUIRES_OK(context, outputs[level].make(context, out));
      pointers[level] = outputs[level].floats();
    }
    const ParallelFor parallel = parallel_of(context);
    roi_align_backward(p, data<T>(upstream), boxes.flat<float>().data(), levels.flat<int32>().data(),
                       pointers.data(), parallel);
    for (auto& output : outputs) output.finish(parallel);
  }
};

#define REGISTER(T)                                                                         \
  REGISTER_KERNEL_BUILDER(Name("KdetRoiAlign").Device(DEVICE_CPU).TypeConstraint<T>("T"),   \
                          RoiAlignForward<T>);                                              \
  REGISTER_KERNEL_BUILDER(                                                                  \
      Name("KdetRoiAlignGrad").Device(DEVICE_CPU).TypeConstraint<T>("T").HostMemory("shapes"), \
      RoiAlignBackward<T>);
KDET_FLOAT_TYPES(REGISTER)
#undef REGISTER

}  // namespace
}  // namespace kdet
