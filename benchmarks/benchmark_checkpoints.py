"""Seconds and memory of converting a PyTorch checkpoint, and of loading the converted weights.

    python benchmarks/benchmark_checkpoints.py mask_rcnn_r50_fpn_1x

The checkpoint is written here, with weights generated from parameter names in the published layout; what the
network adds to a first ``kdet.zoo.load`` is not in the figures. Building the model is given apart.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="recipe of the zoo")
    parser.add_argument("--step", choices=["write", "convert", "cached"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.step:
        print(json.dumps(run_step(arguments.name, arguments.step, arguments.folder)))
        return
    print("| step | build s | step s | memory above the built model MB | file MB |\n|-|-|-|-|-|")
    with tempfile.TemporaryDirectory() as folder:
        for step in ("write", "convert", "cached"):
            row = in_own_process(arguments.name, step, folder)
            if step != "write":
                print(
                    f"| {step} | {row['build_s']:.1f} | {row['step_s']:.2f} | {row['memory_mb']:.0f} "
                    f"| {row['file_mb']:.0f} |"
                )


def in_own_process(name, step, folder):
    command = [sys.executable, __file__, name, "--step", step, "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_step(name, step, folder):
    from kdet import convert, zoo
    from kdet.convert import cache
    from verification import weights

    checkpoint, converted = folder / "checkpoint.pth", folder / "converted.safetensors"
    start = time.perf_counter()
    model = zoo.load(name, weights=None)
    built, before = time.perf_counter(), peak_mb()
    if step == "write":
        shapes = {k: slot.shape for k, slot in convert.torch_items(model).items()}
        convert.load_state_dict(model, weights.generate_all(shapes))
        convert.save_checkpoint(model, checkpoint)
        path = checkpoint
    elif step == "convert":
        convert.load_checkpoint(model, checkpoint)
        path = checkpoint
    else:
        if not cache.load_weights(model, converted):
            sys.exit(f"{converted} could not be loaded")
        path = converted
    done, after = time.perf_counter(), peak_mb()
    if step == "convert":
        cache.save_weights(model, converted)
    return {
        "build_s": built - start,
        "step_s": done - built,
        "memory_mb": after - before,
        "file_mb": path.stat().st_size / 2**20,
    }


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
