"""Exported models beside ``predict``: size, cold start, latency, in processes of their own, in turn.

    python benchmarks/benchmark_export.py retinanet_r50_fpn_1x --image 800x1333 --runs 5
    python benchmarks/benchmark_export.py mask_rcnn_r50_fpn_1x --ops portable --rounds 2
    python benchmarks/benchmark_export.py ssd300 --ops portable --tflite fp32 int8

``predict`` and the SavedModel get the same PNG file and do all the work from its bytes to detections with the
same form of the ops. A TFLite file gets pixels that fill its canvas, and runs in a process with LiteRT alone.
Prints a Markdown table of medians; the CPU time of all threads is the steadier figure where the machine has
other work too.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

import benchmark

HERE = pathlib.Path(__file__).resolve().parent
ALONE = HERE / "peers" / "tensorflow_alone.py"
LITE = HERE / "peers" / "litert_alone.py"


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="recipe of the zoo")
    parser.add_argument("--image", default="800x1333", help="height x width")
    parser.add_argument(
        "--ops", nargs="+", choices=["portable", "compiled"], default=["portable", "compiled"]
    )
    parser.add_argument(
        "--tflite",
        nargs="*",
        choices=["fp32", "fp16", "dynamic", "int8"],
        default=[],
        help="data types of TFLite files",
    )
    parser.add_argument("--runs", type=int, default=5, help="counted runs of a process, after the first")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each side, in turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.worker:
        print(json.dumps(measure(options)))
        return
    print(f"{options.name}, {options.image}, batch 1, {options.threads} threads\n")
    columns = ["ops", "", "size MB", "import s", "load s", "first s", "ms", "CPU ms", "peak MB"]
    columns += ["ratio", "ratio CPU"]
    print(f"| {' | '.join(columns)} |\n|{'-|' * len(columns)}", flush=True)
    for form in options.ops:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, form, pathlib.Path(folder))


def compare(options, form, folder):
    """Prints a row for every side; the first, ``predict``, makes what the others run."""
    ours = [sys.executable, __file__, options.name, "--image", options.image, "--ops", form]
    ours += ["--runs", str(options.runs), "--threads", str(options.threads), "--worker", str(folder)]
    job = {"model": str(folder / "1"), "signature": "serving_bytes", "images": [str(folder / "p.png")]}
    job.update(out=str(folder / "found.npz"), runs=options.runs)
    if form == "compiled":
        from kdet.ops import build, compiled

        job["library"] = str(compiled.FOLDER / build.LIBRARY)
    sides = {"predict": ours, "SavedModel": alone(ALONE, folder / "1.json", job)}
    # TFLite has its own kernels, so its files are the same for every form
    types = options.tflite if form == options.ops[0] else []
    for dtype in types:
        lite = {"model": str(folder / f"{dtype}.tflite"), "pixels": str(folder / "pixels.npy")}
        lite.update(runs=options.runs, threads=options.threads)
        sides[f"TFLite {dtype}"] = alone(LITE, folder / f"{dtype}.json", lite)
    if types:
        ours += ["--tflite", *types]
    rows = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, command in sides.items():
            rows[side].append(benchmark.run(command, options.threads))
    middle = {side: [median(results, key) for key in ("ms", "cpu_ms")] for side, results in rows.items()}
    sizes = {"predict": "", "SavedModel": megabytes((folder / "1").rglob("*"))}
    sizes.update({f"TFLite {dtype}": megabytes([folder / f"{dtype}.tflite"]) for dtype in types})
    for side, results in rows.items():
        seconds = [f"{min(r[key] for r in results):.1f}" for key in ("import_s", "load_s", "first_s")]
        times = [f"{value:.0f}" for value in middle[side]]
        ratios = [f"{ours / theirs:.2f}" for ours, theirs in zip(middle[side], middle["predict"])]
        peak = f"{max(r['peak_mb'] for r in results):.0f}"
        kind = "LiteRT's" if side.startswith("TFLite") else form
        print(f"| {' | '.join([kind, side, sizes[side], *seconds, *times, peak, *ratios])} |", flush=True)


def alone(script, file, job):
    """The command that runs a job in a process without kdet."""
    file.write_text(json.dumps(job))
    return [sys.executable, "-I", str(script), str(file)]


def megabytes(files):
    return f"{sum(file.stat().st_size for file in files if file.is_file()) / 1e6:.0f}"


def median(results, key):
    return statistics.median(value for result in results for value in result[key])


def measure(options):
    """The side of ``predict``; writes the images and the exported models where there are none yet."""
    import time

    start = time.perf_counter()
    import numpy as np
    import tensorflow as tf
    from peers.timing import time_calls

    from kdet import convert, ops, zoo
    from kdet.export import tflite
    from verification import weights

    imported = time.perf_counter() - start
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    ops.use(options.ops[0])
    folder = pathlib.Path(options.worker)

    def noise(height, width):
        return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)

    image, new = folder / "p.png", not (folder / "1").exists()
    if new:
        image.write_bytes(tf.io.encode_png(noise(*map(int, options.image.split("x")))).numpy())
    start = time.perf_counter()
    model = zoo.load(options.name, weights=None)
    load = time.perf_counter() - start
    shapes = {name: slot.shape for name, slot in convert.torch_items(model).items()}
    convert.load_state_dict(model, weights.generate_all(shapes))
    _, times = time_calls(lambda: model.predict([str(image)]), options.runs)
    if new:
        model.export(folder / "1", ops=options.ops[0])
        for dtype in options.tflite:
            pixels = noise(*tflite.canvas_of(model.preprocessor))
            np.save(folder / "pixels.npy", pixels[None])
            # int8 is calibrated on noise: this is about time
            made = {"dtype": dtype, "representative": [pixels], "check": False}
            model.export(folder / f"{dtype}.tflite", "tflite", **made)
    return {"import_s": imported, "load_s": load, **times}


if __name__ == "__main__":
    main()
