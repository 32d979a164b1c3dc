"""A detector's TFLite files beside the detector: size, accuracy on data.val, CPU time per image.

    python benchmarks/benchmark_tflite.py my_config.yaml --weights runs/mine/final.weights.h5

The recipe's ``data.val`` must have one fixed canvas (``resize: {mode: fixed, ...}``); ``int8`` is calibrated
on ``data.train``. All forms run on one thread and read the same batches. Prints a Markdown table.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--dtype", nargs="+", default=["fp32", "fp16", "dynamic", "int8"])
    options = parser.parse_args()

    from kdet import data, zoo
    from kdet.config import Config
    from kdet.evaluation.runner import forward_function

    config = Config.load(options.config)
    pipeline = data.load(data.section(config, "val"))
    (canvas,) = pipeline.shapes
    model = config.build("model")
    zoo.fill(model, config, options.weights)
    print("| form | MB | AP | AP50 | AP against kdet | CPU ms per image |\n|-|-|-|-|-|-|")

    forward_function(model)
    weights = sum(variable.numpy().nbytes for variable in model.weights)
    first = report("kdet", weights, model, pipeline)
    with tempfile.TemporaryDirectory() as folder:
        for dtype in options.dtype:
            path = pathlib.Path(folder) / f"{dtype}.tflite"
            model.export(path, "tflite", input_size=canvas, dtype=dtype, representative=config)
            report(f"TFLite {dtype}", path.stat().st_size, FileDetector(path), pipeline, first)


def report(form, size, detector, pipeline, reference=None):
    """Prints a row and returns the AP."""
    from kdet.evaluation import evaluate

    clock = detector._kdet_forward = Clock(detector._kdet_forward)
    figures = evaluate(detector, pipeline)
    ap, ap50 = figures["bbox/AP"], figures["bbox/AP50"]
    change = "" if reference is None else f"{ap - reference:+.4f}"
    cells = [form, f"{size / 1e6:.1f}", f"{ap:.4f}", f"{ap50:.4f}", change, f"{clock.median():.0f}"]
    print("|", " | ".join(cells), "|", flush=True)
    return ap


class FileDetector:
    """What ``kdet.evaluation`` needs of a detector, computed by a TFLite file."""

    def __init__(self, path):
        from kdet.export import litert

        self.runner = litert.Runner(path.read_bytes())
        self._kdet_forward = self.forward

    def forward(self, inputs):
        import tensorflow as tf

        from kdet.coordinates import size_as_box

        found = {key: tf.constant(value) for key, value in self.runner(inputs["images"]).items()}
        return {**found, "boxes": found["boxes"] / size_as_box(inputs["scale"])}


class Clock:
    """A function with the CPU time of its calls."""

    def __init__(self, function):
        self.function, self.times = function, []

    def __call__(self, inputs):
        start = time.process_time()
        found = self.function(inputs)
        self.times.append(time.process_time() - start)
        return found

    def median(self):
        """Milliseconds, without the first call."""
        return 1e3 * statistics.median(self.times[1:])


if __name__ == "__main__":
    main()
