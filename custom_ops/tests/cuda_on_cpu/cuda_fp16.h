// CUDA's half as far as the kernels use it.
#pragma once
#include "common/floats.h"

struct __half {
  kdet::Half value;
};
inline float __half2float(__half from) { return kdet::to_float(from.value); }
inline __half __float2half_rn(float from) {
  __half to;
  kdet::from_float(from, &to.value);
  return to;
}
