// Mask pasting, once per instruction set.
#include "paste_masks/paste_masks_cpu.h"

namespace kdet {

inline namespace KDET_ISA {

template <typename T>
constexpr PasteMasksKernels<T> kPasteMasksKernels = {paste_masks<T, float>, paste_masks<T, bool>};

}  // namespace KDET_ISA

KDET_COMPILED_FLOATS(PasteMasksKernels, kPasteMasksKernels)

}  // namespace kdet
