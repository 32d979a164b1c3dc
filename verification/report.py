"""The parity report: what is verified per model, and how closely."""

import json
import pathlib

from verification import exact

HEADER = """# Parity with the reference

Made by `verification/check_parity.py`; do not edit. Each model is built from its recipe, filled with
generated weights and compared on the same input with its reference: MMDetection 2.28.2 or 3.3.0, or
Transformers 5.24. A cell is the worst error of that
stage: relative to the largest value for stage outputs, relative for losses and gradients, share without a
match for detections, 1 - IoU for masks, share of the pixels in another segment for panoptic maps. **Bold**
cells miss the tolerance (stages, losses and panoptic maps 1e-4, gradients 1e-3, detections and masks 1 %).
Those in _italics_ miss it in float32 alone: in float64 kdet and the reference agree there to a hundredth of
the tolerance (see [conditioning.md](conditioning.md)).
"""

COLUMNS = (
    "backbone", "neck", "head", "RoI stages", "detections", "masks", "panoptic", "losses", "gradients"
)  # fmt: skip


def column_of(stage):
    """Column of the report that a row's stage belongs to; a phase of training may stand in front of it."""
    stage = stage.split(": ")[-1]
    if stage in ("losses", "gradients", "masks", "panoptic"):
        return stage
    if stage in ("det", "fixed_det"):
        return "detections"
    if stage.startswith("roi_head."):
        return "RoI stages"
    first = stage.split(".")[0]
    return first if first in ("backbone", "neck") else "head"


def load_results(path):
    """Results of earlier runs, as ``markdown`` takes them."""
    path = pathlib.Path(path)
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def save(results, path):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def markdown(results, comparisons):
    """The report as Markdown.

    Args:
        results: ``{golden: {"name": recipe or None, "rows": [[stage, error, passed, note], ...]}}``.
        comparisons: in float64, see ``exact.load``.
    """
    table, failed, known, passed, missing = [], [], [], 0, 0
    for golden, result in sorted(results.items()):
        name, cells, states = result["name"] or golden, {}, [0]
        for stage, error, ok, note in result["rows"]:
            why = "" if ok else exact.reason(comparisons, golden, stage, error)
            states.append(0 if ok else 1 if why else 2)
            if not ok:
                (known if why else failed).append(f"- {name}, {stage}: {why or note}")
            cell = cells.setdefault(column_of(stage), [0.0, 0])
            cell[:] = max(cell[0], error), max(cell[1], states[-1])
        passed += max(states) == 0
        missing += max(states) == 2
        texts = [_cell(*cells[c]) if c in cells else "" for c in COLUMNS]
        table.append(f"| {name} | " + " | ".join(texts) + " |")
    rounded = len(results) - passed - missing
    lines = [
        HEADER,
        f"{passed} of {len(results)} architectures pass every stage, {rounded} more do but for rounding, "
        f"{missing} miss one.\n",
    ]
    lines += ["| model | " + " | ".join(COLUMNS) + " |", "|-" * (len(COLUMNS) + 1) + "|", *table]
    for title, notes in (("What does not pass", failed), ("Rounding", known)):
        if notes:
            lines += [f"\n## {title}\n", *notes]
    return "\n".join(lines) + "\n"


def _cell(error, state):
    """A number; state 0 passes, 1 is a known deviation, 2 fails."""
    mark = ("", "_", "**")[state]
    return mark + ("0" if error == 0 else f"{error:.1e}") + mark
