"""The CPU kernels of all ops, compiled for one instruction set."""

COPTS = [
    "-std=c++17",
    "-O3",
    "-w",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp-simd",
    "-Icustom_ops",
]

def kernels(name, options):
    native.cc_library(
        name = name,
        srcs = native.glob(
            [
                "*/*_cpu.cc",
                "*/*.h",
            ],
            exclude = ["tests/*"],
        ),
        copts = COPTS + options + ["-DKDET_ISA=" + name],
        linkstatic = True,
        alwayslink = True,
        deps = ["@tensorflow//:headers"],
    )
