// Launchers of the CUDA kernels of CARAFE; see carafe.cu.
#ifndef KDET_CARAFE_CARAFE_CUDA_H_
#define KDET_CARAFE_CARAFE_CUDA_H_

#include "common/launch.h"
#include "carafe/carafe.h"

extern "C" {

// type: kdet::ElementType.
cudaError_t kdet_cuda_carafe(const kdet::Carafe* p, int type, const void* features, const void* masks, void* out,
                             cudaStream_t stream);

// Writes all of both gradients.
cudaError_t kdet_cuda_carafe_grad(const kdet::Carafe* p, int type, const void* features, const void* masks,
                                  const void* upstream, void* for_features, void* for_masks, cudaStream_t stream);
}

#endif  // KDET_CARAFE_CARAFE_CUDA_H_
