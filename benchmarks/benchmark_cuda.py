"""Times the CUDA kernels of kdet against PyTorch's and torchvision's on a GPU, and compares their results.

    kernels=$(ls custom_ops/*/*.cu | grep -v tests)
    nvcc -shared -std=c++17 -O3 -arch=native -Xcompiler -fPIC -Icustom_ops $kernels -o kernels.so
    python-with-torch benchmarks/benchmark_cuda.py --kernels kernels.so --output cuda.json

The kernels know nothing of TensorFlow. Sizes are those of ``benchmark_ops.py``; times are medians of
CUDA events, milliseconds, forward and backward by itself; kdet's include clearing the gradients that are
summed up. The last column is the share of numbers, results and gradients, that differ by more than 1e-4 of
the largest (float32 only).
"""

import argparse
import json
import statistics

import torch
from cuda_cases import DIFFERENTIABLE, FLOAT32, Data
from cuda_library import Kernels


def milliseconds(run, rounds=7, at_least=20.0):
    """Median time of one call, from rounds of enough calls to last about ``at_least`` milliseconds."""

    def round_of(calls):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    round_of(3)
    calls = max(2, min(200, int(at_least / round_of(1))))
    return statistics.median(round_of(calls) for _ in range(rounds))


def share_that_differs(ours, theirs):
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return 1.0
        a, b = a.double(), b.double()
        near = (a - b).abs() <= 1e-4 * b.abs().max()  # NaN is near nothing
        worst = max(worst, float((~near).double().mean()))
    return worst


def row(name, case, compare):
    """Measures a case: the dict that goes into the file, and its line of the table."""
    ours = [run and milliseconds(run) for run in (case.forward, case.backward)]
    theirs = [run and milliseconds(run) for run in (case.peer_forward, case.peer_backward)]
    differs = share_that_differs(*case.results()) if compare and case.results else None
    cells = [" / ".join(f"{t:.3f}" for t in times if t) or "-" for times in (ours, theirs)]
    cells.append(f"{sum(filter(None, theirs)) / sum(filter(None, ours)):.2f}" if any(theirs) else "-")
    cells.append("-" if differs is None else f"{differs:.1e}")
    return {"kdet": ours, "peer": theirs, "differs": differs}, f"| {name} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kernels", required=True, help="shared library of custom_ops/*/*.cu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--output", help="JSON file of the times")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, options.dtype)
    kernels, data, results = Kernels(options.kernels, dtype), Data(dtype), {}
    print(f"{torch.cuda.get_device_name()}, {options.dtype}\n")
    print(f"| op | kdet | peer | peer / kdet | differ |\n{'|-' * 5}|")
    full = dtype == torch.float32
    for name, make in {**DIFFERENTIABLE, **(FLOAT32 if full else {})}.items():
        results[name], line = row(name, make(kernels, data), compare=full)
        print(line, flush=True)
    if options.output:
        with open(options.output, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
