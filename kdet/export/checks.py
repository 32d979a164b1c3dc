"""Whether what an exported model says is what ``predict`` says."""

from typing import Any

import numpy as np


def disagreement(
    predicted: Any, served: Any, max_pixels: float = 2e-3, max_score: float = 1e-5, max_mask: float = 1e-4
) -> str | None:
    """None, or a sentence on the first thing that differs.

    Args:
        predicted: of ``model.predict`` for one image.
        served: of the exported model for the same, as arrays by output name; exported with
            ``box_format="xyxy"``, ``label_offset=0`` and ``masks="image"``.
        max_pixels, max_score: largest differences of boxes and scores.
        max_mask: largest share of pixels in which masks differ.
    """
    limits = {"boxes": max_pixels, "scores": max_score, "classes": 0}
    names = {"classes": "labels"}
    if (served["num_detections"] != predicted["num_detections"]).any():
        return f"{served['num_detections']} detections instead of {predicted['num_detections']}"
    for name, limit in limits.items():
        difference = np.abs(served[f"detection_{name}"] - predicted[names.get(name, name)]).max(initial=0)
        if not difference <= limit:
            return f"{name} differ by up to {difference:.3g} (allowed: {limit})"
    if ("detection_masks" in served) != ("masks" in predicted):
        return "one has masks, the other not"
    for masks, wanted in zip(served.get("detection_masks", ()), predicted.get("masks", ())):
        wrong = np.mean(masks[: len(wanted)] != wanted) if wanted.size else 0.0
        if wrong > max_mask:
            return f"{wrong:.3%} of the masks' pixels differ"
    return None
