"""Snapshots of small models of today's families: what kdet computed when the large goldens passed.

    python -m verification.snapshots                 # record those that are missing
    python -m verification.snapshots --name rtmdet   # record again

MMDetection 3.3 and Transformers make no small variants of their models here, so the suite compares kdet with
itself: detections, losses and the norms of all gradients, of one image pair with generated weights. A
snapshot is recorded only of a model whose large golden passes in results/parity.json at this very tree. With
generated weights the losses of queries move by more than their tolerance under noise of 1e-6 on the pixels or
under the other form of the ops; such a number may be off by ten times as much, and where that is a tenth of
it, it is left out.
"""

import argparse
import fnmatch
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.config import Config
from verification.checks import TOLERANCE, detections_of
from verification.contract import Subject
from verification.matching import match_detections
from verification.small import small_variant

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE.parent / "tests" / "golden" / "snapshots"
PARITY, FLOAT64 = HERE / "results" / "parity.json", HERE / "results" / "float64.json"
# One of every architecture that has parts of its own, where noise does not decide most of the gradients. Of
# CrowdDet's regions it decides which of two predictions learns which object, of RT-DETR's first version the
# rank of cells whose scores are equal but for rounding.
NAMES = (
    "boxinst_r50_fpn_ms-90k",
    "conditional-detr_r50_50e",
    "condinst_r50_fpn_ms-poly-90k",
    "dab-detr_r50_50e",
    "ddq-detr-4scale_r50_12e",
    "deimv2_n",
    "deimv2_pico",
    "deimv2_s",
    "dfine_s",
    "dino-4scale_r50_12e",
    "lwdetr_tiny_60e",
    "rfdetr-seg_nano",
    "rfdetr_nano",
    "rtdetrv2_r18vd_120e",
    "rtmdet-ins_m_300e",
    "rtmdet_tiny_300e",
)
NOISE = 1e-6  # relative, on the pixels
ROOM = 10.0  # how many times what noise does to a number it may be off by
MOST = 0.1  # a number that may be off by more says nothing
LIMITS = {"losses": "loss", "gradients": "gradient"}
# a share of the largest, below which numbers are nothing but rounding
FLOORS = {"losses": 1e-6, "gradients": 1e-5}


def subject(name):
    """The small model of a recipe and its two images."""
    return Subject(small_variant(Config.load(name)))


def taken(one, noise=0.0, form="portable"):
    """``{name: array}``: detections, losses and norms of gradients of a :class:`Subject`."""
    images = tf.cast(one.inputs["images"], tf.float32)
    images *= 1.0 + noise * tf.random.stateless_normal(tf.shape(images), [0, 1])
    inputs, before = {**one.inputs, "images": images}, one.model.get_weights()
    with ops.use(form):
        found = one.model(inputs)
        with tf.GradientTape() as tape:
            losses = one.model.compute_losses(inputs, targets(one))
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, one.model.trainable_variables)
    one.model.set_weights(before)  # statistics that a step in training moves
    norms = [np.nan if g is None else np.linalg.norm(tf.convert_to_tensor(g)) for g in gradients]
    arrays = {"gradients": np.float32(norms), "losses": np.float32([losses[k] for k in sorted(losses)])}
    for index in range(2):
        kept = detections_of([found], index)
        rows = np.concatenate([kept["boxes"], kept["scores"][:, None], kept["labels"][:, None]], 1)
        arrays[f"detections/{index}"] = np.float32(rows)
    return arrays


def targets(one):
    """Three objects in the first image and one in the second, with masks."""
    h, w = one.size
    shares = np.zeros((2, 3, 4), np.float32)
    shares[0] = [[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.8, 0.8], [0.6, 0.05, 0.75, 0.3]]
    shares[1, 0] = [0.2, 0.2, 0.7, 0.7]
    boxes = shares * np.float32([w - 20, h - 12, w - 20, h - 12])  # within the smaller image
    labels = np.int32([[0, 1, 2], [1, -1, -1]])
    # ellipses in the boxes
    middle, radius = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2 + 1e-6
    pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1) + 0.5
    off = (pixels - middle[:, :, None, None]) / radius[:, :, None, None]
    return {
        "boxes": tf.constant(boxes),
        "labels": tf.constant(np.minimum(labels, one.model.num_classes - 1)),
        "masks": tf.constant(np.packbits((off**2).sum(-1) < 1, axis=-1)),
    }


def problems(wanted, found):
    """How ``found`` differs from a snapshot by more than the tolerances: ``[str]``."""
    said, share = [], TOLERANCE["detections"]
    for index in range(2):
        rows, ours = wanted[f"detections/{index}"], found[f"detections/{index}"]
        own = {"boxes": ours[:, :4], "scores": ours[:, 4], "labels": ours[:, 5]}
        missed = int((match_detections(rows[:, :5], rows[:, 5], own, pixels=0.05) < 0).sum())
        if max(missed, abs(len(rows) - len(ours))) > share * len(rows):
            said.append(f"image {index}: {missed} of {len(rows)} detections have no partner of {len(ours)}")
    for kind in LIMITS:
        moved = np.flatnonzero(changes(kind, wanted, found) > wanted[f"{kind}/room"])
        if len(moved):
            said.append(f"{len(moved)} of the {kind} are off, the first is number {moved[0]}")
    return said


def changes(kind, wanted, found):
    """Relative differences of losses or norms; those that are NaN in the snapshot are not compared."""
    values, floor = wanted[kind], FLOORS[kind] * np.nanmax(np.abs(wanted[kind]))
    return np.abs(found[kind] - values) / np.maximum(np.abs(values), floor)


def record(name):
    """Writes the snapshot of a recipe; returns why that is not possible, or ""."""
    if not _passes(name):
        return "its large golden does not pass, or was not compared"
    one = subject(name)
    snapshot = taken(one)
    others = [taken(one, NOISE), taken(one, 2 * NOISE), taken(one, form="auto")]
    for kind in LIMITS:
        noise = np.max([changes(kind, snapshot, other) for other in others], axis=0)
        snapshot[f"{kind}/room"] = np.maximum(TOLERANCE[LIMITS[kind]], ROOM * noise)
        snapshot[kind][snapshot[f"{kind}/room"] > MOST] = np.nan
    said = [line for other in others for line in problems(snapshot, other)]
    said += [f"noise changes most {kind}" for kind in LIMITS if np.isnan(snapshot[kind]).mean() > 0.5]
    if not said:
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(FOLDER / f"{name}.npz", **snapshot)
    return "; ".join(said)


def _passes(name):
    """Whether a large golden of the recipe passes everywhere, or misses by rounding alone."""
    exact = {key for key in json.loads(FLOAT64.read_text(encoding="utf-8"))}
    goldens = json.loads(PARITY.read_text(encoding="utf-8"))
    found = [(key, one["rows"]) for key, one in goldens.items() if one["name"] == name]
    return bool(found) and all(passed or key in exact for key, rows in found for _, _, passed, _ in rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", help="shell pattern of recipes to record again")
    options = parser.parse_args()
    failed = 0
    for name in NAMES:
        again = options.name and fnmatch.fnmatch(name, options.name)
        if again or not (FOLDER / f"{name}.npz").exists():
            reason = record(name)
            failed += bool(reason)
            print(f"{name}: {reason or 'recorded'}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
