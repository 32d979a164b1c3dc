// Polygons as masks on CUDA: one thread per byte of the masks looks at every edge of its object.
#include "common/cuda.h"
#include "polygons/polygons_cuda.h"

namespace kdet {
namespace {

__global__ void polygon_kernel(Polygons p, const double* points, const int* polygons, const int* objects,
                               uint8_t* out) {
  KDET_EACH(index, p.objects * p.height * p.row_bytes()) {
    const int first = int(index % p.row_bytes()) * 8, row = int(index / p.row_bytes() % p.height);
    const int64_t object = index / p.row_bytes() / p.height;
    const int columns = min(8, p.width - first);
    unsigned together = 0;
    for (int q = objects[object]; q < objects[object + 1]; ++q) {
      const int begin = polygons[q], end = polygons[q + 1];
      if (end - begin < 3) continue;
      unsigned inside = 0;
      for (int i = begin; i < end; ++i) {
        const FineEdge edge(points + 2 * i, points + 2 * (i + 1 < end ? i + 1 : begin));
        if (!edge.meets(first, first + columns)) continue;
        for (int k = 0; k < columns; ++k) {
          const int top = edge.crossing(first + k, p.height);
          if (top >= 0 && top <= row) inside ^= 0x80u >> k;
        }
      }
      together |= inside;
    }
    out[index] = uint8_t(together);
  }
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_rasterize_polygons(const kdet::Polygons* p, const double* points,
                                                    const int* polygons, const int* objects, uint8_t* out,
                                                    cudaStream_t stream) {
  const int64_t count = p->objects * p->height * p->row_bytes();
  kdet::polygon_kernel<<<kdet::blocks_for(count), kdet::kThreads, 0, stream>>>(*p, points, polygons, objects, out);
  return cudaGetLastError();
}
