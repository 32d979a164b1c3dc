// TensorFlow wrapper of polygon rasterization.
#include "common/tf_op.h"
#include "polygons/polygons.h"
#include "polygons/polygons_cuda.h"

namespace kdet {
namespace {

using namespace tensorflow;  // NOLINT
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

REGISTER_OP("KdetRasterizePolygons")
    .Input("points: double")
    .Input("polygons: int32")
    .Input("objects: int32")
    .Input("size: int32")
    .Output("masks: uint8")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle points, polygons, objects, image;
      DimensionHandle count, row_bytes, unused;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &points));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(points, 1), 2, &unused));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &polygons));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &objects));
      TF_RETURN_IF_ERROR(c->Subtract(c->Dim(objects, 0), 1, &count));
      TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(3, &image));
      TF_RETURN_IF_ERROR(c->WithRank(image, 2, &image));
      TF_RETURN_IF_ERROR(c->Add(c->Dim(image, 1), 7, &row_bytes));
      TF_RETURN_IF_ERROR(c->Divide(row_bytes, 8, false, &row_bytes));
      c->set_output(0, c->MakeShape({count, c->Dim(image, 0), row_bytes}));
      return OkStatus();
    });

// Row splits of `total` rows: rising from 0 to total.
Status check_splits(const Tensor& splits, int64_t total, const char* what) {
  const auto at = splits.vec<int32>();
  bool fits = at(0) == 0 && at(at.size() - 1) == total;
  for (int64_t i = 1; i < at.size(); ++i) fits = fits && at(i - 1) <= at(i);
  if (fits) return OkStatus();
  return errors::InvalidArgument("KdetRasterizePolygons: ", what, " must rise from 0 to ", total, ".");
}

template <typename Device>
class RasterizePolygonsKernel : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &points = context->input(0), &polygons = context->input(1), &objects = context->input(2),
                 &size = context->input(3);
    OP_REQUIRES(context,
                points.dims() == 2 && points.dim_size(1) == 2 && polygons.dims() == 1 && objects.dims() == 1 &&
                    polygons.NumElements() > 0 && objects.NumElements() > 0,
                errors::InvalidArgument(
                    "KdetRasterizePolygons: points must be [P,2], polygons and objects row splits, not ",
                    points.shape().DebugString(), ", ", polygons.shape().DebugString(), " and ",
                    objects.shape().DebugString()));
    Polygons p = {objects.NumElements() - 1};
    OP_REQUIRES_OK(context, get_image_size(size, "KdetRasterizePolygons", &p.height, &p.width));
    OP_REQUIRES(context, std::max(p.height, p.width) <= kMostCoordinate,
                errors::InvalidArgument("KdetRasterizePolygons: size is (", p.height, ", ", p.width,
                                        "), but must be within ", kMostCoordinate, "."));
    Tensor* out;
    OP_REQUIRES_OK(context, allocate_sized(context, {p.objects, p.height, p.row_bytes()}, &out));
    const double* point = points.flat<double>().data();
    const int *of_polygons = polygons.flat<int32>().data(), *of_objects = objects.flat<int32>().data();
    if constexpr (Device::kGpu) {
      OP_REQUIRES_OK(context, Device::status("KdetRasterizePolygons",
                                             kdet_cuda_rasterize_polygons(&p, point, of_polygons, of_objects,
                                                                          out->flat<uint8>().data(),
                                                                          Device::stream(context))));
    } else {
      OP_REQUIRES_OK(context, check_splits(polygons, points.dim_size(0), "polygons"));
      OP_REQUIRES_OK(context, check_splits(objects, polygons.NumElements() - 1, "objects"));
      for (int64_t i = 0; i < points.NumElements(); ++i) {
        OP_REQUIRES(context, std::abs(point[i]) <= kMostCoordinate,
                    errors::InvalidArgument("KdetRasterizePolygons: point ", i / 2, " has a coordinate ", point[i],
                                            "; coordinates must be finite and within ", kMostCoordinate, "."));
      }
      kernels<PolygonKernels>().rasterize(p, point, of_polygons, of_objects, out->flat<uint8>().data(),
                                          parallel_of(context));
    }
  }
};

KDET_REGISTER("KdetRasterizePolygons", RasterizePolygonsKernel, .HostMemory("size"))

}  // namespace
}  // namespace kdet
