// What the TensorFlow wrappers of RoIAlign and deformable RoI pooling share.
#ifndef KDET_ROI_ALIGN_ROI_ALIGN_TF_H_
#define KDET_ROI_ALIGN_ROI_ALIGN_TF_H_

#include "common/tf_op.h"
#include "roi_align/roi_align.h"

namespace kdet {

constexpr int64_t kMostBins = 1 << 20;  // of a RoI; the kernels count them, times channels, in ints

#define KDET_ROI_ATTRIBUTES          \
  Attr("L: int >= 1")                \
      .Attr("T: {half, bfloat16, float}") \
      .Attr("bins_y: int >= 1")      \
      .Attr("bins_x: int >= 1")      \
      .Attr("scales: list(float) >= 1") \
      .Attr("sampling_ratio: int >= 0") \
      .Attr("aligned: bool")

inline tensorflow::Status roi_align_shape(tensorflow::shape_inference::InferenceContext* c) {
  using namespace tensorflow::shape_inference;  // NOLINT
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
  return tensorflow::OkStatus();
}

inline tensorflow::TensorShape pooled_shape(const RoiAlign& p) {
  return {p.batch, p.rois, p.bins_y, p.bins_x, p.channels};
}

// The maps of an op's input "features".
template <typename T>
struct RoiMaps {
  std::vector<tensorflow::TensorShape> shapes;
  std::vector<const typename Element<T>::type*> pointers;

  tensorflow::Status read(OpKernelContext* context) {
    tensorflow::OpInputList features;
    TF_RETURN_IF_ERROR(context->input_list("features", &features));
    for (const Tensor& map : features) {
      shapes.push_back(map.shape());
      pointers.push_back(data<T>(map));
    }
    return tensorflow::OkStatus();
  }
  int count() const { return int(pointers.size()); }
  const void* const* untyped() const { return reinterpret_cast<const void* const*>(pointers.data()); }
};

// The gradients of the maps, which are an op's first outputs.
template <typename Device, typename T>
struct RoiGradients {
  std::vector<SummedOutput<Device, T>> outputs;
  std::vector<typename SummedOutput<Device, T>::Number*> numbers;

  tensorflow::Status make(OpKernelContext* context, const std::vector<tensorflow::TensorShape>& shapes) {
    outputs.resize(shapes.size());
    for (size_t level = 0; level < shapes.size(); ++level) {
      Tensor* out;
      TF_RETURN_IF_ERROR(context->allocate_output(int(level), shapes[level], &out));
      TF_RETURN_IF_ERROR(outputs[level].make(context, out));
      numbers.push_back(outputs[level].numbers());
    }
    return tensorflow::OkStatus();
  }
  tensorflow::Status finish(OpKernelContext* context) {
    for (auto& output : outputs) TF_RETURN_IF_ERROR(output.finish(context));
    return tensorflow::OkStatus();
  }
};

class RoiAlignKernel : public tensorflow::OpKernel {
 public:
  explicit RoiAlignKernel(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("L", &p_.levels));
    OP_REQUIRES_OK(context, context->GetAttr("bins_y", &p_.bins_y));
    OP_REQUIRES_OK(context, context->GetAttr("bins_x", &p_.bins_x));
    OP_REQUIRES_OK(context, context->GetAttr("sampling_ratio", &p_.sampling_ratio));
    OP_REQUIRES_OK(context, context->GetAttr("aligned", &p_.aligned));
    std::vector<float> scales;
    OP_REQUIRES_OK(context, context->GetAttr("scales", &scales));
    OP_REQUIRES(context, p_.levels <= kMostLevels && int(scales.size()) == p_.levels,
                tensorflow::errors::InvalidArgument("KdetRoiAlign: ", p_.levels, " maps (at most ", kMostLevels, ") and ",
                                        scales.size(), " scales; give one scale per map."));
    OP_REQUIRES(context, int64_t(p_.bins_y) * p_.bins_x <= kMostBins,
                tensorflow::errors::InvalidArgument("KdetRoiAlign: ", p_.bins_y, " x ", p_.bins_x,
                                                    " bins are more than ", kMostBins, "."));
    std::copy(scales.begin(), scales.end(), p_.scale);
  }

 protected:
  // Fills in the sizes and checks that everything fits together; on the CPU the values too.
  template <typename Device>
  tensorflow::Status describe(const std::vector<tensorflow::TensorShape>& maps, const Tensor& boxes,
                              const Tensor& levels, RoiAlign* p) const {
    *p = p_;
    if (boxes.dims() != 3 || boxes.dim_size(2) != 4) {
      return tensorflow::errors::InvalidArgument("KdetRoiAlign: boxes must be [B,N,4], not ",
                                     boxes.shape().DebugString());
    }
    p->batch = boxes.dim_size(0);
    p->rois = boxes.dim_size(1);
    if (levels.dims() != 2 || levels.dim_size(0) != p->batch || levels.dim_size(1) != p->rois) {
      return tensorflow::errors::InvalidArgument("KdetRoiAlign: levels must be [B,N] as boxes ",
                                     boxes.shape().DebugString(), ", not ", levels.shape().DebugString());
    }
    for (int level = 0; level < p->levels; ++level) {
      const tensorflow::TensorShape& map = maps[level];
      if (map.dims() != 4 || map.dim_size(0) != p->batch || map.dim_size(3) != maps[0].dim_size(3)) {
        return tensorflow::errors::InvalidArgument("KdetRoiAlign: map ", level, " must be [", p->batch, ",H,W,",
                                       maps[0].dims() == 4 ? maps[0].dim_size(3) : -1, "], not ",
                                       map.DebugString());
      }
      p->height[level] = int(map.dim_size(1));
      p->width[level] = int(map.dim_size(2));
    }
    p->channels = int(maps[0].dim_size(3));
    if constexpr (Device::kGpu) return tensorflow::OkStatus();
    return check_levels(*p, levels);
  }

 private:
  static tensorflow::Status check_levels(const RoiAlign& p, const Tensor& levels) {
    const auto level = levels.flat<tensorflow::int32>();
    for (int64_t i = 0; i < level.size(); ++i) {
      if (level(i) < 0 || level(i) >= p.levels) {
        return tensorflow::errors::InvalidArgument("KdetRoiAlign: level ", level(i), " at flat index ", i,
                                       " is not in [0, ", p.levels, ").");
      }
    }
    return tensorflow::OkStatus();
  }

  RoiAlign p_;
};

}  // namespace kdet

#endif  // KDET_ROI_ALIGN_ROI_ALIGN_TF_H_
