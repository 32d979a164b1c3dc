"""Exports every model of the zoo and compares what it says, with TensorFlow alone, with ``predict``.

    python tools/sweep_exports.py                                  # what the report does not hold yet
    python tools/sweep_exports.py --name "retinanet*" --again

Weights are generated and pictures small, so that every layer and the whole post-processing run in little
time. Recipes with the same ``model`` section are exported once. The report, ``docs/exports.json``, holds per
recipe ``{"saved_model": "ok" | "fails: why"}`` beside what others wrote there; it is written after every
model, so that a sweep can be stopped and taken up again.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "exports.json"
ALONE = ROOT / "tools" / "peers" / "tensorflow_alone.py"
# (w, h) of the network's input, for models that resize by aspect
SMALL = [160, 128]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="*", help="pattern of recipe names")
    parser.add_argument("--again", action="store_true", help="models that the report holds too")
    parser.add_argument("--limit", type=int, help="stop after so many exports")
    parser.add_argument("--report", type=pathlib.Path, default=REPORT)
    options = parser.parse_args()
    done = 0
    for names in groups():
        chosen = [name for name in names if fnmatch.fnmatch(name, options.name)]
        report = read(options.report)
        known = [report[name]["saved_model"] for name in names if "saved_model" in report.get(name, {})]
        if not chosen or (known and len(known) == len(names) and not options.again):
            continue
        if done == options.limit:
            break
        verdict = known[0] if known and not options.again else isolated(chosen[0])
        done += 1
        # read again: others may have written meanwhile
        report = read(options.report)
        for name in names:
            report.setdefault(name, {})["saved_model"] = verdict
        options.report.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        print(f"{', '.join(names)}: {verdict}", flush=True)


def read(report):
    return json.loads(report.read_text()) if report.exists() else {}


def groups():
    """Names of the recipes, those of one ``model`` section together."""
    from kdet import zoo
    from kdet.config import Config

    found = {}
    for name in zoo.list():
        model = dict(Config.load(name, check=False)["model"])
        backbone = {k: v for k, v in model["backbone"].items() if k != "pretrained"}
        key = json.dumps({**model, "backbone": backbone, "class_names": None}, sort_keys=True, default=str)
        found.setdefault(key, []).append(name)
    return list(found.values())


def isolated(name):
    """``check`` in a process of its own, so that memory is given back."""
    code = f"import runpy; print(runpy.run_path({str(__file__)!r})['check']({name!r}))"
    environment = {**os.environ, "KDET_OPS": "portable"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"fails: {lines[-1][:300]}"


def check(name):
    """ "ok" or a sentence on what is wrong with the SavedModel of a recipe."""
    from kdet.data import resize
    from kdet.export import ExportError, checks

    resize.cv2 = None  # the pixels of the graph
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        picture = write_picture(folder / "picture.png")
        model = small_detector(name)
        path = model.export(folder / "1", box_format="xyxy", label_offset=0, masks="picture")
        predicted = model.predict([picture])
        job = {"model": path, "signature": "serving_bytes", "pictures": [picture]}
        served = run_alone([{**job, "out": str(folder / "found.npz")}], folder)[0]
        wrong = served if isinstance(served, str) else checks.disagreement(predicted, served)
        return f"fails: {wrong}" if wrong else "ok"
    except ExportError as error:
        return f"fails: {error}"
    finally:
        shutil.rmtree(folder)


def small_detector(name, **overrides):
    """A detector for small pictures whose generated weights find something."""
    from kdet import convert, zoo
    from kdet.config import Config
    from kdet.parity import weights

    rule = Config.load(name, check=False)["model"].get("preprocessor", {})
    if rule.get("keep_ratio", True):
        overrides = {"model.preprocessor.size": SMALL, **overrides}
    model = zoo.load(name, weights=None, **overrides)
    shapes = {key: slot.shape for key, slot in convert.torch_items(model).items()}
    convert.load_state_dict(model, weights.generate_all(shapes))
    return model


def write_picture(path):
    """A picture of coloured squares, 90x120."""
    import numpy as np
    import tensorflow as tf

    pixels = np.random.default_rng(0).integers(0, 255, (18, 24, 3)).astype(np.uint8)
    path.write_bytes(tf.io.encode_png(pixels.repeat(5, 0).repeat(5, 1)).numpy())
    return str(path)


def run_alone(jobs, folder):
    """Outputs (dicts of arrays, or the error as text) of the jobs of ``tools/peers/tensorflow_alone.py``."""
    import numpy as np

    (folder / "job.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, "-I", str(ALONE), str(folder / "job.json")],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{ALONE.name} failed: {done.stderr[-3000:]}")
    errors = [result.get("error") for result in json.loads(done.stdout.splitlines()[-1])]
    return [error or dict(np.load(job["out"])) for job, error in zip(jobs, errors)]


if __name__ == "__main__":
    main()
