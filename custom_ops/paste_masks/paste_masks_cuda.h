// Launcher of the CUDA kernel of mask pasting; see paste_masks.cu.
#ifndef KDET_PASTE_MASKS_PASTE_MASKS_CUDA_H_
#define KDET_PASTE_MASKS_PASTE_MASKS_CUDA_H_

#include "common/launch.h"
#include "paste_masks/paste_masks.h"

extern "C" {

// As the CPU kernel. type: kdet::ElementType of the masks; out: float or, with binary, bool.
cudaError_t kdet_cuda_paste_masks(const kdet::PasteMasks* p, int type, const void* masks, const float* boxes,
                                  bool binary, void* out, cudaStream_t stream);
}

#endif  // KDET_PASTE_MASKS_PASTE_MASKS_CUDA_H_
