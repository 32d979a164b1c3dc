"""Measures how far the reference leaves its own goldens under rounding noise; fills docs/conditioning.json.

    PEER/bin/python tools/peers/mmdet_conditioning.py --generator DIR GOLDEN.npz ... [--reason TEXT]

Runs in the environment of PyTorch and MMDetection 2.x; DIR holds the program that made the goldens
(``make_golden.py``). The input is multiplied by ``1 + noise * N(0, 1)``, once for every noise, and every
stage output, loss, gradient and detection is held against the golden with kdet's measures. A part keeps its
largest deviation of all runs, also of earlier ones; what stays below a third of the tolerance is left out.
"""

import argparse
import importlib.util
import json
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORE = ROOT / "docs" / "conditioning.json"
TOLERANCE = {"gradients": 1e-3, "det": 0.01, "fixed_det": 0.01}
USUAL = 1e-4  # of stages and losses
REASON = "rounding grows through the depth of the network"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("goldens", nargs="+", type=pathlib.Path)
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--noise", type=float, nargs="+", default=[3e-7, 1e-6])
    parser.add_argument("--reason", help=f"why the architecture moves (default: {REASON!r} for new goldens)")
    parser.add_argument("--store", type=pathlib.Path, default=STORE)
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    import compat  # noqa: F401  patches MMDetection for current versions
    import torch

    torch.set_num_threads(1)
    for path in options.goldens:
        movement = {}
        for noise in options.noise:
            for part, deviation in deviations(path, noise).items():
                movement[part] = max(movement.get(part, 0.0), deviation)
        keep(options.store, path.stem, movement, options.reason)
        worst = {}
        for (stage, _), deviation in movement.items():
            worst[stage] = max(worst.get(stage, 0.0), deviation)
        print(path.stem, {stage: f"{value:.1e}" for stage, value in worst.items()}, flush=True)


def deviations(path, noise):
    """``{(stage, part): deviation}`` of one run of the reference from its golden."""
    import common
    import make_golden

    golden = load_module("golden").Golden(str(path))
    gradients, run_train = {}, make_golden.run_train

    def watched(model, *arguments):
        *rest, _ = arguments

        def log(*message):
            # the generator reports before it clears the gradients
            if message and str(message[0]).startswith("train: "):
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        gradients[name] = parameter.grad.detach().numpy().copy()

        return run_train(model, *rest, log)

    make_golden.run_train = watched
    try:
        meta, arrays, full, _ = make_golden.compute(
            common.find_config(golden.meta["config"]),
            golden.meta["seed"],
            (golden.meta["input"]["h"], golden.meta["input"]["w"]),
            adjust=golden.meta["adjust"],
            log=lambda *_: None,
            noise=noise,
        )
    finally:
        make_golden.run_train = run_train
    found = stages(golden, arrays)
    for stage in ("det", "fixed_det"):
        if f"f/{stage}/0/boxes" in golden.d:
            found[stage, "unmatched"] = unmatched(golden, stage, full)
    if golden.meta["train"]["status"] == "ok":
        found.update(losses(golden, meta))
        found.update(gradient_errors(golden, gradients))
    return found


def stages(golden, arrays):
    """Outputs of the layers, but for those whose regions are detections: these change places under noise."""
    found = {}
    for name, array in arrays.items():
        known = f"s/{name}" in golden.d and list(array.shape) == golden.meta["arrays"][name]["shape"]
        if known and array.size and not re.search("mask|grid|point|#", name):
            error, scale = golden.error(name, array)
            found[re.split(r"[/#]", name)[0], name] = error / max(scale, 1e-12)
    return found


def unmatched(golden, stage, full):
    """Share of the golden's detections that the run does not find."""
    match = load_module("matching").match_detections
    missed = total = 0
    for i in range(2):
        boxes, labels = golden.full(f"{stage}/{i}/boxes"), golden.full(f"{stage}/{i}/labels")
        mine = full[f"{stage}/{i}/boxes"]
        ours = {"boxes": mine[:, :4], "scores": mine[:, 4], "labels": full[f"{stage}/{i}/labels"]}
        missed += int((match(boxes, labels, ours) < 0).sum())
        total += len(boxes)
    return missed / max(total, 1)


def losses(golden, meta):
    wanted = {k: sum(v) for k, v in golden.meta["train"]["losses"].items() if "loss" in k}
    least = 1e-4 * max(map(abs, wanted.values()), default=1.0)
    mine = meta["train"]["losses"]
    return {("losses", k): abs(sum(mine[k]) - v) / max(abs(v), least) for k, v in wanted.items()}


def gradient_errors(golden, gradients):
    """As ``kdet.parity.training.gradient_row``: norms, and samples on the scale of the whole tensor."""
    norms = dict(zip(golden.meta["train"]["grad_names"], golden.full("train/grad_norms")))
    floor = 1e-5 * max(norms.values())
    found = {}
    for name, norm in norms.items():
        mine = gradients[name].astype(np.float64)
        error = abs(np.linalg.norm(mine) - norm) / max(norm, floor)
        if f"f/train/grad/{name}" in golden.d:
            samples = golden.full(f"train/grad/{name}")
            off = np.abs(mine.ravel()[: len(samples)] - samples).max()
            error = max(error, off / max(np.abs(mine).max(), floor))
        found["gradients", name] = float(error)
    return found


def keep(store, stem, movement, reason):
    """Adds the parts that move to the file."""
    entries = json.loads(store.read_text()) if store.exists() else {}
    entry = entries.setdefault(stem, {"reason": reason or REASON, "measured": {}})
    entry["reason"] = reason or entry["reason"]
    for (stage, part), deviation in movement.items():
        if deviation > TOLERANCE.get(stage, USUAL) / 3:
            known = entry["measured"].setdefault(stage, {})
            known[part] = float(f"{max(known.get(part, 0.0), deviation):.2g}")
    store.write_text(json.dumps(entries, indent=0, sort_keys=True) + "\n")


def load_module(name):
    """A module of ``kdet.parity`` without the package, which needs TensorFlow."""
    for module in ("weights", "inputs", name):
        full = f"kdet.parity.{module}"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(full, ROOT / "kdet" / "parity" / f"{module}.py")
            sys.modules[full] = importlib.util.module_from_spec(spec)
            for parent in ("kdet", "kdet.parity"):
                sys.modules.setdefault(parent, type(sys)(parent))
            setattr(sys.modules["kdet.parity"], module, sys.modules[full])
            spec.loader.exec_module(sys.modules[full])
    return sys.modules[f"kdet.parity.{name}"]


if __name__ == "__main__":
    main()
