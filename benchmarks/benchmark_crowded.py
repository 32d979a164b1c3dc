"""What a training step costs when the image is crowded.

    python -m benchmarks.benchmark_crowded
    python -m benchmarks.benchmark_crowded faster_rcnn_r50_fpn_1x --objects 10 1000 --rounds 3

One image of 800x1344 with 10 or 1000 objects; forward, backward and the optimizer. Every measurement is a
process of its own, and numbers of objects take turns, so that other work on the machine meets all of them;
what is printed is the least of all rounds. Memory is the highest resident set over that with the frameworks
and the model in memory.
"""

import argparse
import json
import subprocess
import sys
import time

from benchmarks.peers.process_memory import forget_peak, peak_memory

RECIPES = ["retinanet_r50_fpn_1x", "faster_rcnn_r50_fpn_1x"]
ROOM = 32  # padded number of objects where an image has few
SIZE = (800, 1344)


def measure(name: str, objects: int, steps: int) -> dict[str, float]:
    """Takes some training steps in this process; the first is not counted."""
    import keras
    import numpy as np
    import tensorflow as tf

    from kdet import zoo

    model = zoo.load(name, weights=None)
    optimizer = keras.optimizers.SGD(1e-6, momentum=0.9)
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    height, width = SIZE
    inputs = {"images": tf.constant(random.integers(0, 255, (1, height, width, 3)), tf.uint8)}
    room = max(ROOM, objects)
    corner = random.uniform(0, [width - 130, height - 130], (objects, 2))
    boxes = np.concatenate([corner, corner + random.uniform(12, 120, (objects, 2))], 1)
    targets = {
        "boxes": tf.constant(np.pad(boxes, [(0, room - objects), (0, 0)])[None], tf.float32),
        "labels": tf.constant(
            np.pad(random.integers(0, 80, objects), (0, room - objects), constant_values=-1)[None]
        ),
    }
    targets["labels"] = tf.cast(targets["labels"], tf.int32)

    @tf.function(reduce_retracing=True)
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            total = tf.add_n(list(model.compute_losses(inputs, targets).values()))
        optimizer.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)

    any_number = {
        key: tf.TensorSpec([1, None, *value.shape[2:]], value.dtype) for key, value in targets.items()
    }
    of_inputs = {key: tf.TensorSpec(value.shape, value.dtype) for key, value in inputs.items()}
    traced = step.get_concrete_function(of_inputs, any_number)
    before = peak_memory_now()
    forget_peak()
    seconds, cpu = [], []
    for _ in range(steps + 1):
        began, used = time.perf_counter(), time.process_time()
        traced(inputs, targets)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return {
        "seconds": min(seconds[1:]),
        "cpu_seconds": min(cpu[1:]),
        "peak_mb": peak_memory()["peak_mb"] - before,
    }


def peak_memory_now() -> float:
    """Resident set of this process, in MB."""
    forget_peak()
    return peak_memory()["peak_mb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=RECIPES, metavar="NAME", help="recipes of the zoo")
    parser.add_argument("--objects", nargs="+", type=int, default=[10, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.names[0], options.objects[0], options.steps)))
        return
    print("| model | objects | s | CPU s | MB |\n|-|-|-|-|-|")
    for name in options.names:
        found: dict[int, list[dict[str, float]]] = {count: [] for count in options.objects}
        for _ in range(options.rounds):
            for count in options.objects:
                command = [sys.executable, "-m", "benchmarks.benchmark_crowded", name, "--one"]
                command += ["--objects", str(count), "--steps", str(options.steps)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[count].append(json.loads(done.stdout.splitlines()[-1]))
        for count, rows in found.items():
            least = {key: min(row[key] for row in rows) for key in rows[0]}
            figures = f"{least['seconds']:.2f} | {least['cpu_seconds']:.2f} | {least['peak_mb']:.0f}"
            print(f"| {name} | {count} | {figures} |")


if __name__ == "__main__":
    main()
