// CUDA's bfloat16 as far as the kernels use it.
#pragma once
#include "common/floats.h"

struct __nv_bfloat16 {
  kdet::BFloat16 value;
};
inline float __bfloat162float(__nv_bfloat16 from) { return kdet::to_float(from.value); }
inline __nv_bfloat16 __float2bfloat16_rn(float from) {
  __nv_bfloat16 to;
  kdet::from_float(from, &to.value);
  return to;
}
