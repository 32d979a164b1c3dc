// Kernels that are compiled once per instruction set, and the choice among them while the program runs.
//
// What a kernel is made of lies in the inline namespace KDET_ISA, so that no function of one instruction set is taken
// for that of another. Every file <op>_cpu.cc is compiled for each of them, with -DKDET_ISA=<name>, and hands its
// kernels out by KDET_COMPILED; what calls them (the TensorFlow wrappers) is compiled for any processor and asks
// `kernels`.
//
// Functions of templates and of inline functions that are not in that namespace (std::vector's) the linker takes from
// the first object that has them. So objects are linked from the lowest instruction set to the highest: whoever calls
// such a function has it himself, and nothing higher comes before him.
#ifndef KDET_COMMON_INSTRUCTION_SET_H_
#define KDET_COMMON_INSTRUCTION_SET_H_

#ifndef KDET_ISA
#define KDET_ISA baseline  // of the wrappers, and of kernels that are included somewhere else (tests)
#endif

namespace kdet {

// In rising order. The baseline is what every processor of the architecture has: SSE2 on x86-64, NEON on AArch64.
enum InstructionSet { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };
constexpr int kInstructionSets = 3;

// The one that kernels are taken of: the best that the processor has, or a lower one that KDET_CPU (baseline, avx2 or
// avx512) or `kdet_use_cpu` names.
InstructionSet instruction_set();

// The tables of one op's kernels, defined in its <op>_cpu.cc. Kernels is a struct of pointers to functions.
template <typename Kernels>
struct Compiled {
  static const Kernels baseline, avx2, avx512;
};

template <typename Kernels>
const Kernels& kernels() {
#ifdef __x86_64__
  switch (instruction_set()) {
    case kAvx512:
      return Compiled<Kernels>::avx512;
    case kAvx2:
      return Compiled<Kernels>::avx2;
    default:
      break;
  }
#endif
  return Compiled<Kernels>::baseline;
}

}  // namespace kdet

// KDET_COMPILED(Kernels) = {...}; the kernels of one op for the instruction set at hand. At namespace kdet.
#define KDET_COMPILED(...) \
  template <>              \
  const __VA_ARGS__ Compiled<__VA_ARGS__>::KDET_ISA

// Kernels<T> for every float type; made<T> is a constexpr variable.
#define KDET_COMPILED_FLOATS(Kernels, made)       \
  KDET_COMPILED(Kernels<float>) = made<float>;    \
  KDET_COMPILED(Kernels<Half>) = made<Half>;      \
  KDET_COMPILED(Kernels<BFloat16>) = made<BFloat16>;

extern "C" {

// The name of the instruction set in force.
const char* kdet_cpu();

// 1 where the processor and the library have the instruction set of this name, 0 where they have not, -1 where the name
// is unknown.
int kdet_has_cpu(const char* name);

// Takes the kernels of this instruction set from here on; "" is what KDET_CPU names, or the best. Returns as
// `kdet_has_cpu`, and changes nothing where that is not 1.
int kdet_use_cpu(const char* name);
}

#endif  // KDET_COMMON_INSTRUCTION_SET_H_
