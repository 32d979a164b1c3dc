"""Precision over recall, and AP by class and size."""

import dataclasses
from typing import Any

import numpy as np

from kdet.evaluation.coco import coco_evaluator, mean
from kdet.typing import Array, Result

OVERLAPS = {"0.5": 0, "0.75": 5}  # position among COCO's thresholds
SIZES = ("all", "small", "medium", "large")
RECALLS = np.linspace(0, 1, 101)


@dataclasses.dataclass
class Curves:
    """What COCO's evaluation is made of.

    Attributes:
        names: of the classes.
        precision: ``{class: {IoU: [101]}}``: at recalls 0, 0.01 ... 1; empty where there is no object.
        ap: ``{class: {"AP", "AP50", "AP75", "small", "medium", "large"}}``; NaN where there is no object.
        overall: the same over all classes.
    """

    names: list[str]
    precision: dict[str, dict[str, Array]]
    ap: dict[str, dict[str, float]]
    overall: dict[str, float]


def curves(truth: dict[str, Any], results: list[Result], of: str = "bbox") -> Curves:
    """Precision over recall and AP of every class; arguments as for :func:`kdet.evaluation.coco_metrics`."""
    evaluator = coco_evaluator(truth, results, of)
    precision = np.asarray(evaluator.eval["precision"])  # [iou, recall, class, area, detections]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    listed = [names[number] for number in evaluator.params.catIds]
    found: dict[str, dict[str, Array]] = {}
    ap: dict[str, dict[str, float]] = {}
    for place, name in enumerate(listed):
        own = {key: precision[iou, :, place, 0, -1] for key, iou in OVERLAPS.items()}
        found[name] = {key: line for key, line in own.items() if (line > -1).all()}
        ap[name] = _figures(precision[:, :, place : place + 1])
    return Curves(listed, found, ap, _figures(precision))


def _figures(precision: Array) -> dict[str, float]:
    figures = {"AP": mean(precision[:, :, :, 0, -1])}
    figures.update({f"AP{key[2:]:0<2}": mean(precision[i, :, :, 0, -1]) for key, i in OVERLAPS.items()})
    figures.update({size: mean(precision[:, :, :, area, -1]) for area, size in enumerate(SIZES) if area})
    return figures
