// What the processor has, and what of it is taken.
#include "common/instruction_set.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifdef __x86_64__
#include <cpuid.h>
#endif

namespace kdet {
namespace {

constexpr const char* kNames[kInstructionSets] = {"baseline", "avx2", "avx512"};

// What the kernels of each are compiled with; see kdet/ops/build.py. The compiler's function asks the operating system
// too, which must save the registers.
InstructionSet best() {
#ifdef __x86_64__
  __builtin_cpu_init();
  unsigned eax, ebx, ecx, edx;
  const bool halves = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !halves) return kBaseline;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return wide ? kAvx512 : kAvx2;
#else
  return kBaseline;
#endif
}

int number_of(const char* name) {
  for (int k = 0; k < kInstructionSets; ++k) {
    if (std::strcmp(name, kNames[k]) == 0) return k;
  }
  return -1;
}

// kdet's Python refuses a wrong KDET_CPU; a program without it gets a line and the best.
InstructionSet by_environment() {
  const char* name = std::getenv("KDET_CPU");
  if (name == nullptr || *name == '\0') return best();
  if (kdet_has_cpu(name) == 1) return InstructionSet(number_of(name));
  std::fprintf(stderr, "kdet: KDET_CPU=%s is not among what this processor has; using %s.\n", name, kNames[best()]);
  return best();
}

std::atomic<InstructionSet>& in_force() {
  static std::atomic<InstructionSet> chosen{by_environment()};
  return chosen;
}

}  // namespace

InstructionSet instruction_set() { return in_force().load(std::memory_order_relaxed); }

}  // namespace kdet

extern "C" {

const char* kdet_cpu() { return kdet::kNames[kdet::instruction_set()]; }

int kdet_has_cpu(const char* name) {
  const int number = kdet::number_of(name);
  return number < 0 ? -1 : number <= kdet::best();
}

int kdet_use_cpu(const char* name) {
  if (*name == '\0') {
    kdet::in_force() = kdet::by_environment();
    return 1;
  }
  const int has = kdet_has_cpu(name);
  if (has == 1) kdet::in_force() = kdet::InstructionSet(kdet::number_of(name));
  return has;
}
}
