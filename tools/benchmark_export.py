"""An exported SavedModel beside ``predict``: size, cold start, latency, in processes of their own, in turn.

    python tools/benchmark_export.py retinanet_r50_fpn_1x --picture 800x1333 --runs 5
    python tools/benchmark_export.py mask_rcnn_r50_fpn_1x --ops portable --rounds 2

Both sides get the same PNG file and do all the work from its bytes to detections with the same form of the
ops. Prints a Markdown table of medians; the CPU time of all threads is the steadier figure where the machine
has other work too.
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


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="recipe of the zoo")
    parser.add_argument("--picture", default="800x1333", help="height x width")
    parser.add_argument(
        "--ops", nargs="+", choices=["portable", "compiled"], default=["portable", "compiled"]
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
    print(f"{options.name}, {options.picture}, batch 1, {options.threads} threads\n")
    columns = ["ops", "", "size MB", "import s", "load s", "first s", "ms", "CPU ms", "peak MB"]
    columns += ["ratio", "ratio CPU"]
    print(f"| {' | '.join(columns)} |\n|{'-|' * len(columns)}", flush=True)
    for form in options.ops:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, form, pathlib.Path(folder))


def compare(options, form, folder):
    job = {"model": str(folder / "1"), "signature": "serving_bytes", "pictures": [str(folder / "p.png")]}
    job.update(out=str(folder / "found.npz"), runs=options.runs)
    if form == "compiled":
        from kdet.ops import build, compiled

        job["library"] = str(compiled.FOLDER / build.LIBRARY)
    (folder / "job.json").write_text(json.dumps(job))
    ours = [sys.executable, __file__, options.name, "--picture", options.picture, "--ops", form]
    ours += ["--runs", str(options.runs), "--threads", str(options.threads), "--worker", str(folder)]
    alone = [sys.executable, "-I", str(ALONE), str(folder / "job.json")]
    rows = {"predict": [], "SavedModel": []}
    for _ in range(options.rounds):
        rows["predict"].append(benchmark.run(ours, options.threads))
        rows["SavedModel"].append(benchmark.run(alone, options.threads))
    size = sum(file.stat().st_size for file in (folder / "1").rglob("*") if file.is_file()) / 1e6
    middle = {side: [median(results, key) for key in ("ms", "cpu_ms")] for side, results in rows.items()}
    for side, results in rows.items():
        seconds = [f"{min(r[key] for r in results):.1f}" for key in ("import_s", "load_s", "first_s")]
        times = [f"{value:.0f}" for value in middle[side]]
        ratios = [f"{ours / theirs:.2f}" for ours, theirs in zip(middle[side], middle["predict"])]
        peak = f"{max(r['peak_mb'] for r in results):.0f}"
        cells = [form, side, f"{size:.0f}" if side == "SavedModel" else "", *seconds, *times, peak, *ratios]
        print(f"| {' | '.join(cells)} |", flush=True)


def median(results, key):
    return statistics.median(value for result in results for value in result[key])


def measure(options):
    """The side of ``predict``; writes the picture and the SavedModel where there is none yet."""
    import resource
    import time

    start = time.perf_counter()
    import numpy as np
    import tensorflow as tf

    from kdet import convert, ops, zoo
    from kdet.parity import weights

    imported = time.perf_counter() - start
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    ops.use(options.ops[0])
    folder = pathlib.Path(options.worker)
    picture = folder / "p.png"
    if not picture.exists():
        height, width = map(int, options.picture.split("x"))
        pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
        picture.write_bytes(tf.io.encode_png(pixels).numpy())
    start = time.perf_counter()
    model = zoo.load(options.name, weights=None)
    load = time.perf_counter() - start
    shapes = {name: slot.shape for name, slot in convert.torch_items(model).items()}
    convert.load_state_dict(model, weights.generate_all(shapes))
    seconds, cpu = [], []
    for _ in range(options.runs + 1):
        start, used = time.perf_counter(), time.process_time()
        model.predict([str(picture)])
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if not (folder / "1").exists():
        model.export(folder / "1", ops=options.ops[0])
    times = {"import_s": imported, "load_s": load, "first_s": seconds[0], "peak_mb": peak}
    return {**times, "ms": [1000 * s for s in seconds[1:]], "cpu_ms": [1000 * s for s in cpu[1:]]}


if __name__ == "__main__":
    main()
