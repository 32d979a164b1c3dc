// Launcher of the CUDA kernel of polygon rasterization; see polygons.cu.
#ifndef KDET_POLYGONS_POLYGONS_CUDA_H_
#define KDET_POLYGONS_POLYGONS_CUDA_H_

#include "common/launch.h"
#include "polygons/polygons.h"

extern "C" {

// As the CPU kernel.
cudaError_t kdet_cuda_rasterize_polygons(const kdet::Polygons* p, const double* points, const int* polygons,
                                         const int* objects, uint8_t* out, cudaStream_t stream);
}

#endif  // KDET_POLYGONS_POLYGONS_CUDA_H_
