"""Exports every model of the zoo in the formats that run here and compares the files with ``predict``.

    python -m verification.sweep_exports                                  # what the report does not hold yet
    python -m verification.sweep_exports --name "retinanet*" --kinds tflite --again
    python -m verification.sweep_exports --small                          # the same parts with fewer channels

Weights are generated and images small, so that every layer and the whole post-processing run in little
time. SavedModels run in a process with TensorFlow alone. Recipes whose models differ in training only are
exported once; first comes one of each family, then one of each of its backbones. The report,
``verification/results/exports.json``, holds per recipe ``"ok" | "fails: why"`` of ``"saved_model"``,
``"onnx"`` and ``"openvino"`` and ``"tflite": "builtin" | "select: Op, Op" | "fails: why"``, with
``" (small)"`` behind it where only the small variant of the recipe (``verification.small``) was run. It is
written after every model, so that a sweep can be stopped and taken up again. ``zoo_table``, ``tflite_table``
and ``onnx_table`` make pages of it.
"""

import argparse
import collections
import fcntl
import fnmatch
import functools
import gc
import json
import math
import os
import pathlib
import re
import sys
import tempfile
import time

from verification.isolated import Crash, Isolated

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = ROOT / "verification" / "results" / "exports.json"
ALONE = [sys.executable, "-I", str(ROOT / "benchmarks" / "peers" / "tensorflow_alone.py")]
# (w, h) of the network's input, for models that resize by aspect
SMALL = [160, 128]
# (h, w) of the image
IMAGE = (90, 120)
# regions of a second stage
FEW = 100
MARK = " (small)"
# Weights are made for outputs of about one; these layers need others: {pattern: (factor, summand)}
CALM = {
    # scores of regions that saturate tie, and which of the equal ones stay is nobody's promise
    r"rpn_(cls|reg)\.(weight|bias)$": (0.1, 0.0),
    # many blocks with group norm and standardised kernels enlarge rounding to pixels
    r"backbone\.layer\d\.\d+\.gn3\.(weight|bias)$": (0.2, 0.0),
    # cells of a grid that saturate tie too
    r"grid_head\.deconv2\.(weight|bias)$": (0.1, 0.0),
    # corners are found, and their pairs too, which have to lie close together or point at each other
    r"_heat\.\d+\.1\.conv\.(weight|bias)$": (0.2, 0.0),
    r"_emb\.\d+\.1\.conv\.(weight|bias)$": (0.02, 0.0),
    r"_centripetal_shift\.\d+\.1\.conv\.weight$": (0.03, 0.0),
    r"_centripetal_shift\.\d+\.1\.conv\.bias$": (0.03, 2.0),
}
SATURATED = 0.9
# predictions until the scores are neither saturated nor all too small
TRIALS = 8
# What a model section says of training alone (as do the losses: no head asks them at inference), and
# numbers by which images are normalized.
TRAINING = frozenset(
    "allowed_border assigner class_names frozen_stages init_assigner location_assigner mean norm_eval "
    "pretrained refine_assigner sampler shape_assigner shape_sampler stage_loss_weights std teacher "
    "train_proposals trainable zero_init_residual".split()
)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", nargs="+", default=["*"], help="patterns of recipe names")
    parser.add_argument("--kinds", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--again", action="store_true", help="models that the report holds too")
    parser.add_argument("--small", action="store_true", help="small variants, which many recipes share")
    parser.add_argument("--limit", type=int, help="stop after so many models")
    parser.add_argument("--report", type=pathlib.Path, default=REPORT)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
    else:
        sweep(options)


def sweep(options):
    environment = {**os.environ, "KDET_OPS": "portable"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # what was traced once is quicker the next time; large models need their memory back
    renew, done = 15 if options.small else 10, 0
    worker = Isolated(
        [sys.executable, "-m", "verification.sweep_exports", "--worker"], renew=renew, env=environment
    )
    for names in by_rank(groups(options.small)):
        chosen = [name for name in names if any(fnmatch.fnmatch(name, one) for one in options.name)]
        report = {} if options.again else read(options.report)
        known = shared_verdicts(report, names, options.small)
        kinds = [k for k in options.kinds if k not in known and lack(report, names, k, options.small)]
        if chosen and kinds:
            if done == options.limit:
                break
            done, start = done + 1, time.perf_counter()
            try:
                answer = worker.ask({"name": chosen[0], "kinds": kinds, "small": options.small})
            except Crash as crash:
                answer = {"verdicts": dict.fromkeys(kinds, f"fails: {crash}")}
            mark = MARK if options.small else ""
            known.update({kind: verdict + mark for kind, verdict in answer["verdicts"].items()})
            taken = f"{time.perf_counter() - start:.0f} s, CPU {answer.get('cpu_s', 0):.0f} s"
            print(f"{', '.join(names)}: {known} {answer.get('notes', '')} ({taken})", flush=True)
        enter(options.report, names, known)
    worker.close()


def read(report):
    return json.loads(report.read_text()) if report.exists() else {}


def enter(report, names, verdicts):
    """Writes the verdicts of recipes into the report, which other sweeps may read and write meanwhile."""
    folder = os.open(report.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = read(report)
        rows = {name: dict(row) for name, row in before.items()}
        for name in names:
            row = rows.setdefault(name, {})
            row.update({k: v for k, v in verdicts.items() if is_news(row.get(k, MARK), v)})
        rows = {name: row for name, row in rows.items() if row}
        if rows != before:
            written = report.with_suffix(".new")
            written.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
            written.replace(report)
    finally:
        os.close(folder)


def is_news(before, after):
    """False where a verdict on a small variant meets one on the model itself."""
    return before.endswith(MARK) or not after.endswith(MARK)


def lack(report, names, kind, small):
    """True where one of ``names`` has no verdict, or (not ``small``) only that on its small variant."""
    rows = [report.get(name, {}).get(kind, "") for name in names]
    return not all(rows) or (not small and any(row.endswith(MARK) for row in rows))


def shared_verdicts(report, names, small):
    """``{kind: verdict}`` of those of ``names`` that the report holds, of this sort of sweep."""
    return {
        kind: verdict
        for name in names
        for kind, verdict in report.get(name, {}).items()
        if verdict.endswith(MARK) == small
    }


def groups(small=False):
    """Names of the recipes, those together whose models do the same when they do not learn."""
    from kdet import zoo

    found = collections.defaultdict(list)
    for name in zoo.list():
        model = at_inference(dict(load_config(name, small)["model"]))
        if resizes(model):
            del model["preprocessor"]["size"]
        found[json.dumps(model, sort_keys=True, default=str)].append(name)
    return list(found.values())


def load_config(name, small=False, **overrides):
    """A recipe, or its small variant, for small images and few regions."""
    from kdet.config import Config
    from verification.small import small_variant

    config = Config.load(name, check=False)
    if small:
        small_variant(config)
    if resizes(config["model"]):
        overrides = {"model.preprocessor.size": SMALL, **overrides}
    if "test_proposals" in (config["model"].get("rpn_head") or {}):
        overrides = {"model.rpn_head.test_proposals.max_per_image": FEW, **overrides}
    config.override(overrides)
    return config


def at_inference(spec):
    """A model section, or a part of it, without what tells of training alone."""
    if isinstance(spec, list):
        return [at_inference(value) for value in spec]
    if not isinstance(spec, dict):
        return spec
    return {k: at_inference(v) for k, v in spec.items() if k not in TRAINING and not k.startswith("loss")}


def resizes(model):
    """Whether a model section takes images of any size in their own proportion; the sweep's are small."""
    rule = model.get("preprocessor", {})
    return rule.get("keep_ratio", True) and isinstance(rule.get("size"), list)


def by_rank(found):
    """First a group of every family, then one of every other kind of backbone there, then the rest."""
    from kdet.config import Config, recipes

    shipped, seen, ranked = recipes(), set(), []
    for names in sorted(found, key=lambda names: "r50" not in names[0]):  # the quicker ones
        family = shipped[names[0]].parent.name
        backbone = Config.load(names[0], check=False)["model"]["backbone"]
        signs = [(family,), (family, backbone["type"], "dcn" in backbone, "plugins" in backbone)]
        ranked.append((sum(sign in seen for sign in signs), names))
        seen.update(signs)
    return [names for _, names in sorted(ranked, key=lambda pair: pair[0])]


# ---- the process that makes the models


def work():
    """Answers ``{"name": recipe, "kinds": [...]}`` with the verdicts, notes, and the cost."""
    import keras

    from kdet.data import resize

    resize.cv2 = None  # the pixels of the graph
    alone = Isolated(ALONE, renew=5)
    for line in sys.stdin:
        job, start = json.loads(line), os.times()
        with tempfile.TemporaryDirectory() as folder:
            answer = check(pathlib.Path(folder), alone, **job)
        spent = os.times()
        answer["cpu_s"] = spent.user + spent.system - start.user - start.system  # of this process
        print(json.dumps(answer), flush=True)
        keras.backend.clear_session()
        gc.collect()
    alone.close()


def check(folder, alone, name, kinds, small):
    """``{"verdicts": {kind: verdict}, "notes": [...]}`` of one recipe."""
    try:
        image = write_image(folder / "image.png")
        model = load_config(name, small).build("model")
        predicted = predict_calmly(model, image)
        if not predicted["num_detections"][0]:
            raise ValueError("the generated weights find nothing, so there is nothing to compare")
    except Exception as error:
        return {"verdicts": dict.fromkeys(kinds, f"fails: {reason(error)}")}
    verdicts, notes = {}, [f"{predicted['num_detections'][0]} found"]
    for kind in kinds:
        try:
            verdicts[kind], note = CHECKS[kind](model, predicted, image, folder, alone)
            notes.append(note)
        except Exception as error:  # whatever it is, it is the verdict on this model
            verdicts[kind] = f"fails: {reason(error)}"
    return {"verdicts": verdicts, "notes": notes}


def reason(error):
    from kdet.export import ExportError

    lines = str(error).strip().splitlines() or [""]
    text = lines[-1].strip()[:400]  # tf.function puts the code before it
    return text if isinstance(error, ExportError) else f"{type(error).__name__}: {text}"


def check_saved_model(model, predicted, image, folder, alone):
    from kdet.export import checks

    path = model.export(folder / "1", box_format="xyxy", label_offset=0, masks="image")
    served = run_alone(alone, path, image, **proposals_for(model, *IMAGE))
    wrong = served if isinstance(served, str) else checks.disagreement(predicted, served)
    return f"fails: {wrong}" if wrong else "ok", ""


def check_tflite(model, predicted, image, folder, alone):
    """Compares the file with ``predict`` on an image that fills the canvas."""
    from kdet.detectors import predict
    from kdet.export import Program, compared, litert, tflite

    _, (inputs, *_) = next(iter(predict.view_batches(model, [image], 1, predict.Augmentation(flip=False))))
    height, width = inputs["images"].shape[1:3]
    traced = Program(model).on_canvas(height, width, proposals=FEW)
    content, select = tflite.convert(traced, model.name)
    if select:
        return f"select: {', '.join(select)}", ""
    found = litert.check(
        model.name,
        content,
        functools.partial(predict_full, model),
        [compared.noise_images(model, height, width)],
        compared.Bound(box=1e-3, score=1e-3, mask=1e-3, lost=0.0),
        **proposals_for(model, height, width),
    )
    return "builtin", str(found)


def check_onnx(model, predicted, image, folder, alone):
    from kdet.export import onnx

    return check_runtime(model, onnx.convert(model, *canvas_for(model, image), "onnx"), onnx.Runner)


def check_openvino(model, predicted, image, folder, alone):
    from kdet.export import openvino

    return check_runtime(model, openvino.convert(model, *canvas_for(model, image)), openvino.Runner)


def canvas_for(model, image):
    """What `onnx.convert` takes, for an image that fills the canvas."""
    from kdet.detectors import predict

    _, (inputs, *_) = next(iter(predict.view_batches(model, [image], 1, predict.Augmentation(flip=False))))
    return inputs["images"].shape[1:3], 1, "fp32", FEW


def check_runtime(model, made, runner):
    """Compares a converted model in its runtime with ``predict``."""
    from kdet.export import compared

    height, width = made.size
    found = compared.compare(
        model.name,
        runner(made.proto),
        functools.partial(predict_full, model),
        [compared.noise_images(model, height, width)],
        compared.Bound(box=1e-2, score=1e-3, mask=1e-3, lost=0.0),
        **proposals_for(model, height, width),
    )
    return "ok" if found.found else "ok: nothing found", str(found)


def predict_full(model, images, **proposals):
    """``predict`` of images that fill their canvas."""
    import tensorflow as tf

    size = tf.constant([images.shape[1:3]] * images.shape[0], tf.float32)
    inputs = {"images": images, "valid_size": size, "original_size": size, "scale": tf.ones_like(size)}
    return model.predict_on_batch({**inputs, **proposals})


def proposals_for(model, height, width):
    """``proposals [1,FEW,4]`` by name for an image of this size, where a model takes them; else nothing."""
    from kdet.export import compared

    return {"proposals": compared.some_boxes(height, width, 1, FEW)} if model.takes_proposals else {}


CHECKS = {
    "saved_model": check_saved_model,
    "tflite": check_tflite,
    "onnx": check_onnx,
    "openvino": check_openvino,
}


def predict_calmly(model, image):
    """What ``model`` predicts with generated weights of which it finds something and does not saturate.

    Scores of one tie, and boxes that are moved by their width many times over show rounding in pixels. So the
    last layer of a second stage gets weights between those that saturate and those that call all classes
    equally likely.
    """
    from kdet import convert

    predict = functools.partial(model.predict, [image], **proposals_for(model, *IMAGE))
    state = generate_weights(model)
    last = {key: value for key, value in state.items() if re.search(r"\bfc_(cls|reg)\.(weight|bias)$", key)}
    factor, too_small, too_large = 1.0, None, None
    for _ in range(TRIALS):
        convert.load_state_dict(model, {key: value * factor for key, value in last.items()}, strict=False)
        predicted = predict()
        if last and predicted["scores"].max(initial=0.0) >= SATURATED:
            too_large = factor
        elif last and not predicted["num_detections"][0]:
            too_small = factor
        else:
            break
        factor = (too_large or 10.0 * factor) ** 0.5 * (too_small or 0.1 * factor) ** 0.5
    if not predicted["num_detections"][0]:
        biases = {key: value + 3.0 for key, value in state.items() if key.endswith("cls.bias")}
        convert.load_state_dict(model, biases, strict=False)
        predicted = predict()
    return predicted


def generate_weights(model):
    """Fills a model with generated weights for outputs of about one and gives them as a state dict."""
    from kdet import convert
    from verification import weights

    shapes = {key: slot.shape for key, slot in convert.torch_items(model).items()}
    # Convolutions with standardised kernels (DetectoRS): their gain is a parameter of its own, meant for
    # trained ones; the outputs keep their size when it is that of the kernel's generator.
    adjusted = {
        key: ((2 / math.prod(shapes[f"{key.rpartition('.')[0]}.weight"][1:])) ** 0.5, 0.0)
        for key in shapes
        if key.endswith((".weight_gamma", ".weight_beta"))
    }
    for pattern, change in CALM.items():
        adjusted.update({key: change for key in shapes if re.search(pattern, key)})
    state = weights.generate_all(shapes, adjust=adjusted)
    for key in state:
        if re.search(r"_heat\.\d+\.1\.conv\.bias$", key):
            state[key][1:] -= 4.0  # most corners are of one class: only such make pairs
    convert.load_state_dict(model, state)
    return state


def write_image(path):
    """An image of colored squares."""
    import numpy as np
    import tensorflow as tf

    coarse = (IMAGE[0] // 5, IMAGE[1] // 5, 3)
    pixels = np.random.default_rng(0).integers(0, 255, coarse).astype(np.uint8)
    path.write_bytes(tf.io.encode_png(pixels.repeat(5, 0).repeat(5, 1)).numpy())
    return str(path)


def run_alone(alone, path, image, **proposals):
    """Outputs (dict of arrays, or the error as text) of a SavedModel in the process ``alone``."""
    import numpy as np

    out = f"{path}.npz"
    job = {"model": str(path), "signature": "serving_bytes", "images": [image], "out": out}
    job.update({name: boxes.tolist() for name, boxes in proposals.items()})
    try:
        error = alone.ask(job).get("error")
    except Crash as crash:
        error = f"TensorFlow alone: {crash}"
    return error or dict(np.load(out))


if __name__ == "__main__":
    main()
