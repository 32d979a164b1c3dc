// Polygon rasterization, once per instruction set.
#include "polygons/polygons_cpu.h"

namespace kdet {

KDET_COMPILED(PolygonKernels) = {rasterize_polygons};

}  // namespace kdet
