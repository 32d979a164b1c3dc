"""Measures what kdet's compiled ops allocate besides their outputs, at the sizes of `benchmark_ops.py`.

    python benchmarks/benchmark_ops_memory.py [--threads 2] [--dtype float16] [--ops roi_align nms]

All blocks of 4 KiB and more that the process takes from malloc while an op runs are counted, by
``count_allocations.c`` (compiled here and preloaded; Linux with glibc); TensorFlow runs without oneDNN, whose
allocator keeps memory back. Printed as a Markdown table: the most that there was at a time, in MB, as the
output and what there was besides, and all of it as a multiple of the output.
"""

import argparse
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

from benchmark_ops import kdet_cases, start_tensorflow

SOURCE = pathlib.Path(__file__).with_name("count_allocations.c")


def preloaded():
    """Starts this program anew with malloc counted."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/count_allocations.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", str(SOURCE), "-o", library], check=True)
        return subprocess.run(
            [sys.executable, *sys.argv],
            env=os.environ | {"LD_PRELOAD": library, "TF_ENABLE_ONEDNN_OPTS": "0"},
        ).returncode


def extra_bytes(tf, counter, run):
    """(what ``run`` gives, its bytes, the most bytes that were taken at a time besides)."""
    run()  # once to warm up
    before = counter.allocations_reset()
    result = run()
    peak = counter.allocations_peak() - before
    kept = sum(t.dtype.size * int(tf.size(t)) for t in tf.nest.flatten(result))
    return result, kept, max(0, peak - kept)


def measure(threads, only, dtype):
    tf = start_tensorflow(threads)
    from kdet import ops

    counter = ctypes.CDLL(None)
    for function in (counter.allocations_reset, counter.allocations_peak):
        function.restype = ctypes.c_long
    cases, plain = kdet_cases(tf, only)
    rows = {}
    with ops.use("compiled"):
        for name, (op, tensors) in cases.items():
            tensors = [tf.cast(t, dtype) for t in tensors]
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(tensors)
                out, *forward = extra_bytes(tf, counter, lambda op=op, tensors=tensors: op(*tensors))
            upstream = tf.ones_like(out)
            _, *backward = extra_bytes(
                tf,
                counter,
                lambda tape=tape, out=out, to=tensors, up=upstream: tape.gradient(out, to, up),
            )
            rows[name] = (forward, backward)
        for name, op in plain.items():
            _, *forward = extra_bytes(tf, counter, op)
            rows[name] = (forward, None)
    return rows


def cell(measured):
    if measured is None:
        return "- | -"
    kept, extra = (value / 1e6 for value in measured)
    return f"{kept:.2f} + {extra:.2f} | {1 + extra / kept:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ops", nargs="+", metavar="OP", help="only these")
    parser.add_argument("--dtype", default="float32", help="of the tensors with a gradient")
    options = parser.parse_args()
    if SOURCE.stem not in os.environ.get("LD_PRELOAD", ""):
        return preloaded()
    rows = measure(options.threads, options.ops, options.dtype)
    print(
        "| op | forward: output + besides, MB | of the output | backward: gradients + besides, MB | of them |"
    )
    print("|-|-|-|-|-|")
    for name, (forward, backward) in rows.items():
        print(f"| {name} | {cell(forward)} | {cell(backward)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
