"""Rows that miss their tolerance by no more than the reference misses its own numbers.

Some architectures amplify rounding. ``docs/conditioning.json`` holds, for single outputs, losses and tensors,
how far the reference leaves its own golden when its input moves by about the rounding error of one pass
(``docs/conditioning.md`` says how that was measured). A row is a *known deviation* only when every part of it
beyond the tolerance was measured, and is off by at most ``ALLOWANCE`` times its own figure.
"""

import json
import pathlib

# one draw of ours is held against the largest of a few draws of the reference's
ALLOWANCE = 3.0


def load(path):
    """``{golden: {"reason": str, "measured": {stage: {part: deviation}}}}``; empty without the file."""
    path = pathlib.Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def reason(measurements, golden, stage, failing):
    """Why a row that misses its tolerance need not be an error, or ``""``.

    Args:
        measurements: from ``load``.
        golden: stem of its file.
        stage: of the row.
        failing: ``{part: error}`` of the parts beyond the tolerance.
    """
    entry = measurements.get(golden, {})
    measured = entry.get("measured", {}).get(stage, {})
    if not failing or any(error > ALLOWANCE * measured.get(part, 0.0) for part, error in failing.items()):
        return ""
    worst = max(failing, key=failing.get)
    return f"{worst} {failing[worst]:.1e}, the reference itself {measured[worst]:.1e}: {entry['reason']}"
