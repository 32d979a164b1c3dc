"""Speed and memory of one model, each measurement in a process of its own, the peer in the same run.

    python benchmarks/benchmark.py retinanet_r50_fpn_1x --input 800x1344
    python benchmarks/benchmark.py retinanet_r50_fpn_1x --dtype mixed_bfloat16 --batch 4
    python benchmarks/benchmark.py faster_rcnn_r50_fpn_1x --peer mmdet --peer-python /path/to/venv/bin/python
    python benchmarks/benchmark.py faster_rcnn_r50_fpn_1x --train --batch 2
    python benchmarks/benchmark.py retinanet_r50_fpn_1x --mixed-sizes 100

kdet and the peer take turns, so that a drift of the machine's speed meets both. Prints a Markdown table.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from peers.process_memory import forget_peak, peak_memory

HERE = pathlib.Path(__file__).resolve().parent


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="recipe of the zoo")
    parser.add_argument("--input", default="800x1344", help="height x width of the network's input")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", default="float32", help="Keras dtype policy")
    parser.add_argument(
        "--runs", type=int, default=5, help="counted runs of a process, after one that is not"
    )
    parser.add_argument("--rounds", type=int, default=1, help="processes of each side, in turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--train", action="store_true", help="a training step (forward and backward)")
    parser.add_argument("--mixed-sizes", type=int, metavar="N", help="predict N images of mixed sizes")
    parser.add_argument("--agree", action="store_true", help="detections of --dtype against float32")
    parser.add_argument("--peer", choices=["mmdet", "kerashub"])
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peer")
    parser.add_argument("--peer-options", default="", help="more arguments for the peer's script")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.worker:
        print(json.dumps(measure(arguments)))
        return
    rows = {}
    for _ in range(arguments.rounds):
        ours = [sys.executable, __file__, *sys.argv[1:], "--worker"]
        rows.setdefault(f"kdet {arguments.dtype}", []).append(run(ours, arguments.threads))
        if arguments.peer:
            label = f"{arguments.peer} {arguments.peer_options}".strip()
            rows.setdefault(label, []).append(run(peer_command(arguments), arguments.threads))
    report(arguments, rows)


def run(command, threads):
    """One process; the JSON of its last line."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer_command(arguments):
    from kdet import zoo

    information = zoo.info(arguments.name)
    height, width = arguments.input.split("x")
    command = [arguments.peer_python, str(HERE / "peers" / f"{arguments.peer}_peer.py")]
    command += [f"{information.family}/{information.mmdet_config}", "--height", height, "--width", width]
    command += ["--batch", str(arguments.batch), "--runs", str(arguments.runs)]
    command += ["--threads", str(arguments.threads), *["--train"] * arguments.train]
    return command + arguments.peer_options.split()


def measure(arguments):
    """kdet's side: the dict that becomes a row."""
    start = time.time()
    import tensorflow as tf

    from kdet import convert, zoo
    from verification import weights

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    imported = time.time() - start
    start = time.time()
    model = zoo.load(arguments.name, weights=None, dtype=arguments.dtype)
    load = time.time() - start
    for name, slot in convert.torch_items(model).items():
        slot.assign(weights.generate(name, slot.shape))
    height, width = map(int, arguments.input.split("x"))
    inputs = random_inputs(arguments.batch, height, width)
    forget_peak()
    if arguments.mixed_sizes:
        return {**mixed_sizes(model, arguments.mixed_sizes), "load_s": load, "import_s": imported}
    step = training_step(model, inputs) if arguments.train else lambda: predict(model, inputs)
    milliseconds = []
    for _ in range(arguments.runs + 1):
        start = time.time()
        step()
        milliseconds.append(1000 * (time.time() - start))
    result = {
        "ms": milliseconds[1:],
        "first_s": milliseconds[0] / 1000,
        "load_s": load,
        "import_s": imported,
        **peak_memory(),
    }
    if tf.config.list_physical_devices("GPU"):
        result["gpu_mb"] = round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)
    if arguments.agree:
        result["agree"] = agreement(arguments, model, inputs)
    return result


def random_inputs(batch, height, width):
    import numpy as np
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 255, (batch, height, width, 3))
    return {"images": tf.constant(images, tf.uint8)}


def predict(model, inputs):
    """Whole inference, masks pasted into the image as the peer does."""
    found = model.predict_on_batch(inputs)
    if "masks" in found:
        size = inputs["images"].shape[1:3]
        for i in range(len(found["boxes"])):
            model.image_masks({k: v[i] for k, v in found.items()}, *size)
    return found


def training_step(model, inputs):
    """Forward, backward and nothing else, as the peer's step."""
    import tensorflow as tf

    batch, height, width, _ = inputs["images"].shape
    boxes = [[40.0, 50, 300, 400], [500, 200, 900, 700], [20, 600, 120, 780]] * 5
    scale = [width / 1344, height / 800] * 2
    targets = {
        "boxes": tf.constant([boxes] * batch) * scale,
        "labels": tf.constant([list(range(15))] * batch, tf.int32),
        "masks": tf.fill([batch, 15, height, -(-width // 8)], tf.constant(255, tf.uint8)),  # packed bits
    }

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            total = tf.add_n(list(model.compute_losses(inputs, targets).values()))
        return tape.gradient(total, model.trainable_variables)  # all: what is not returned is not computed

    def step():
        gradients()
        tf.test.experimental.sync_devices()  # a GPU returns before it has computed

    return step


def mixed_sizes(model, count):
    """Traces and time of predicting images of many sizes: warm-up on a few, then all."""
    import numpy as np

    rng = np.random.default_rng(0)
    sizes = [(int(rng.integers(300, 900)), int(rng.integers(300, 900))) for _ in range(count)]
    sizes[:4] = [(480, 640), (640, 480), (500, 500), (300, 900)]
    images = [rng.integers(0, 255, (h, w, 3)).astype(np.uint8) for h, w in sizes]
    traces = []
    detect = model.detect_inputs

    def counting(inputs, flip=False):
        traces.append(tuple(inputs[0]["images"].shape))
        return detect(inputs, flip)

    object.__setattr__(model, "detect_inputs", counting)
    model.predict([*images[:4], np.zeros((300, 900, 3), np.uint8), np.zeros((900, 300, 3), np.uint8)])
    warm = len(traces)
    start = time.time()
    model.predict(images)
    seconds = time.time() - start
    return {
        "ms": [1000 * seconds / count],
        "first_s": 0.0,
        "traces_warm_up": warm,
        "traces_after": len(traces) - warm,
        "shapes": sorted(set(traces), key=str),
        **peak_memory(),
    }


def agreement(arguments, model, inputs):
    """Share of the float32 model's detections that ``model`` finds too (label, IoU > 0.9)."""
    from kdet import zoo
    from verification.matching import match_detections

    full = zoo.load(arguments.name, weights=None, dtype="float32")
    full.set_weights(model.get_weights())
    ours, wanted = predict(model, inputs), predict(full, inputs)
    matched = total = 0
    for i in range(len(wanted["boxes"])):
        count, own = int(wanted["num_detections"][i]), int(ours["num_detections"][i])
        boxes = [[*b, s] for b, s in zip(wanted["boxes"][i][:count], wanted["scores"][i][:count])]
        found = {k: ours[k][i][:own] for k in ("boxes", "scores", "labels")}
        matches = match_detections(boxes, wanted["labels"][i], found, min_iou=0.9, max_score=0.05)
        matched, total = matched + int((matches >= 0).sum()), total + count
    return f"{matched}/{total}"


def report(arguments, rows):
    print(
        f"{arguments.name}, {arguments.input}, batch {arguments.batch}, {arguments.threads} threads", end=""
    )
    print(", training step" if arguments.train else ", whole inference", end="\n\n")
    titles = "ms per image (median) | min | load s | first s | peak MB | without libraries"
    print(f"| | {titles} | |\n{'|-' * 8}|")
    medians = {}
    for label, results in rows.items():
        times = [t / arguments.batch for r in results for t in r["ms"]]
        medians[label] = statistics.median(times)
        best, digits = results[0], 0 if min(times) > 100 else 1
        known = ("ms", "load_s", "first_s", "peak_mb", "library_mb")
        extra = ", ".join(f"{k} {v}" for k, v in best.items() if k not in known)
        largest = max(results, key=lambda r: r["peak_mb"])
        cells = [
            f"{medians[label]:.{digits}f}",
            f"{min(times):.{digits}f}",
            f"{best['load_s']:.1f}",
            f"{best['first_s']:.1f}",
            f"{largest['peak_mb']:.0f}",
            f"{largest['peak_mb'] - largest['library_mb']:.0f}",
        ]
        print(f"| {label} | {' | '.join(cells)} | {extra} |")
    if len(medians) == 2:
        ours, peer = medians.values()
        print(f"\nratio to {list(medians)[1]}: {ours / peer:.2f}")


if __name__ == "__main__":
    main()
