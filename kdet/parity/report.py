"""The parity report: what is verified per model, and how closely."""

import json
import pathlib

HEADER = """# Parity with the reference

Made by `tools/parity.py`; do not edit. Each model is built from its recipe, filled with generated weights and
compared with MMDetection 2.28.2 on the same input. A cell is the worst error of that stage: relative to the
largest value for stage outputs, relative for losses and gradients, share without a match for detections,
1 - IoU for masks. **Bold** cells miss the tolerance (stages and losses 1e-4, gradients 1e-3, detections and
masks 1 %).
"""

COLUMNS = ("backbone", "neck", "head", "RoI stages", "detections", "masks", "losses", "gradients")


def column_of(stage):
    """Column of the report that a row's stage belongs to."""
    if stage in ("losses", "gradients", "masks"):
        return stage
    if stage in ("det", "fixed_det"):
        return "detections"
    if stage.startswith("roi_head."):
        return "RoI stages"
    first = stage.split(".")[0]
    return first if first in ("backbone", "neck") else "head"


def load_results(path):
    """Results of earlier runs: ``{golden: {"name", "rows", "seconds"}}``."""
    path = pathlib.Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save_results(results, path):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def markdown(results):
    """The report as Markdown.

    Args:
        results: ``{golden: {"name": recipe or None, "rows": [[stage, error, passed, note], ...]}}``.
    """
    passed = sum(all(r[2] for r in v["rows"]) for v in results.values())
    lines = [HEADER, f"{passed} of {len(results)} architectures pass every stage.\n"]
    lines.append("| model | " + " | ".join(COLUMNS) + " |")
    lines.append("|-" * (len(COLUMNS) + 1) + "|")
    for golden, result in sorted(results.items()):
        cells = {}
        for stage, error, ok, _note in result["rows"]:
            worst = cells.setdefault(column_of(stage), [0.0, True])
            worst[0], worst[1] = max(worst[0], error), worst[1] and ok
        texts = [_cell(*cells[c]) if c in cells else "" for c in COLUMNS]
        lines.append(f"| {result['name'] or golden} | " + " | ".join(texts) + " |")
    notes = [
        f"- {result['name'] or golden}, {stage}: {note}"
        for golden, result in sorted(results.items())
        for stage, _error, ok, note in result["rows"]
        if not ok
    ]
    if notes:
        lines += ["\n## What does not pass\n", *notes]
    return "\n".join(lines) + "\n"


def _cell(error, ok):
    text = "0" if error == 0 else f"{error:.1e}"
    return text if ok else f"**{text}**"
