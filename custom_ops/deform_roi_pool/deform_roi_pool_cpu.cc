// Deformable RoI pooling, once per instruction set.
#include "deform_roi_pool/deform_roi_pool_cpu.h"

namespace kdet {

inline namespace KDET_ISA {

template <typename T>
constexpr DeformRoiPoolKernels<T> kDeformRoiPoolKernels = {deform_roi_pool_forward<T>, deform_roi_pool_backward<T>};

}  // namespace KDET_ISA

KDET_COMPILED_FLOATS(DeformRoiPoolKernels, kDeformRoiPoolKernels)

}  // namespace kdet
