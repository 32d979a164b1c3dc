// RoIAlign, once per instruction set.
#include "roi_align/roi_align_cpu.h"

namespace kdet {

inline namespace KDET_ISA {

template <typename T>
constexpr RoiAlignKernels<T> kRoiAlignKernels = {roi_align_forward<T>, roi_align_backward<T>};

}  // namespace KDET_ISA

KDET_COMPILED_FLOATS(RoiAlignKernels, kRoiAlignKernels)

}  // namespace kdet
