"""Which deviations from the goldens are rounding.

Goldens are float32, and some architectures amplify the rounding of a pass beyond the tolerances
(``docs/conditioning.md``). In float64 rounding is far below them: where kdet and the reference agree there,
they compute the same thing. ``results/float64.json`` holds the comparisons (``check_parity.py --float64``).
"""

import json
import math
import pathlib
import re

import numpy as np

from verification.checks import TOLERANCE
from verification.matching import match_detections

# of the tolerances of float32: goldens keep float32 samples of what was computed in float64
SHARE = 0.01
KINDS = {
    "det": "detections",
    "fixed_det": "detections",
    "gradients": "gradient",
    "losses": "loss",
    "masks": "masks",
    "panoptic": "panoptic",
}


def load(path):
    """``{golden: {stage: [error in float64, error of the float32 golden]}}``; empty without the file."""
    path = pathlib.Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def reason(comparisons, golden, stage, error):
    """Why a row that misses its tolerance in float32 is no error, or ``""``.

    Args:
        comparisons: from ``load``.
        golden: stem of its file.
        stage, error: of the row.
    """
    agreement, own = comparisons.get(golden, {}).get(stage, (math.inf, None))
    if not (math.isfinite(error) and agrees(stage, agreement)):
        return ""
    own = "" if own is None else f", from which the golden itself is off by {own:.1e}"
    return f"off by {error:.1e}, in float64 by {agreement:.0e}{own}"


def figures(*errors):
    """Errors as the file keeps them."""
    return [None if error is None else float(f"{error:.2g}") for error in errors]


def agrees(stage, error):
    """Whether an error of a stage in float64 is small enough to be rounding of the golden's samples."""
    return error <= SHARE * TOLERANCE[KINDS.get(stage.split(": ")[-1], "stage")]


def golden_errors(single, double):
    """How far a float32 golden is from the same one in float64: ``{stage: error}``.

    In the measures of the check, but for gradients, of which only the norms are held against each other.
    Losses and gradients of models with regions are left out: each golden trained on regions of its own.
    """
    errors = {}

    def note(stage, error):
        errors[stage] = max(errors.get(stage, 0.0), float(error))

    for name in double.sampled_names():
        wanted, found = double.d[f"s/{name}"], single.d[f"s/{name}"]
        scale = max(double.meta["arrays"][name].get("absmax", 0.0), 1e-12)
        note(re.split(r"[/#]", name)[0], np.abs(found - wanted).max(initial=0.0) / scale)
    for key in ("det", "fixed_det"):
        if f"f/{key}/0/boxes" in double.d:
            note(key, _unmatched(single, double, key))
    if double.meta["train"]["status"] == "ok" and "f/train/proposals/0" not in double.d:
        wanted, found = ({k: sum(v) for k, v in g.meta["train"]["losses"].items()} for g in (double, single))
        least = 1e-4 * max(abs(v) for k, v in wanted.items() if "loss" in k)
        for name in (k for k in wanted if "loss" in k):
            note("losses", abs(found[name] - wanted[name]) / max(abs(wanted[name]), least))
        norms = double.full("train/grad_norms")
        off = np.abs(single.full("train/grad_norms") - norms)
        note("gradients", (off / np.maximum(norms, 1e-5 * norms.max())).max())
    return errors


def _unmatched(single, double, key):
    missed = total = 0
    for i in range(2):
        boxes, labels = (double.full(f"{key}/{i}/{part}") for part in ("boxes", "labels"))
        found, found_labels = (single.full(f"{key}/{i}/{part}") for part in ("boxes", "labels"))
        ours = {"boxes": found[:, :4], "scores": found[:, 4], "labels": found_labels}
        missed += int((match_detections(boxes, labels, ours) < 0).sum())
        total += len(boxes)
    return missed / max(total, 1)
