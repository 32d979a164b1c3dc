"""COCO metrics: AP of boxes and masks, and average recall of proposals, by faster-coco-eval."""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from kdet.data import segmentations
from kdet.errors import DataError
from kdet.evaluation.results import finite
from kdet.typing import Array, Result

METRICS = ("bbox", "segm", "proposal")
PROPOSAL_COUNTS = (100, 300, 1000)


def coco_metrics(
    ground_truth: dict[str, Any],
    results: list[Result],
    metric: str = "bbox",
    image_ids: Collection[int] | None = None,
    category_ids: Sequence[int] | None = None,
    max_detections: int = 100,
) -> dict[str, float]:
    """Scores ``results`` in COCO's protocol.

    Args:
        ground_truth: COCO dict (``images``, ``annotations``, ``categories``). It is not changed.
        results: list of COCO result dicts (``image_id``, ``category_id``, ``bbox`` xywh, ``score`` and for
            masks ``segmentation``); may be empty. What is not finite does not count.
        metric: ``"bbox"``, ``"segm"`` or ``"proposal"`` (classes ignored, recall only).
        image_ids: evaluate these images only; default all of ``ground_truth``.
        category_ids: evaluate these categories only; default all of ``ground_truth``.
        max_detections: detections per image and class that count (``proposal``: 100, 300 and 1000).

    Returns:
        ``{"AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "AP/<class name>": ...}`` for ``bbox`` and
        ``segm``; ``{"AR@100", "AR@300", "AR@1000", "ARs@1000", ...}`` for ``proposal``. A figure for which
        there is no ground truth is NaN.

    Raises:
        ValueError: unknown metric, or a result for an image that is not in ``ground_truth``.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}.")
    if metric == "segm":
        ground_truth = with_masks(ground_truth, results)
    truth = COCO(complete(ground_truth))
    refuse_unknown_images(results, truth.imgs)
    evaluator = COCOeval_faster(
        truth,
        truth.loadRes(_prepared(finite(results), metric)),
        "segm" if metric == "segm" else "bbox",
        print_function=lambda *_: None,
    )
    parameters = evaluator.params
    if image_ids is not None:
        parameters.imgIds = sorted(image_ids)
    if category_ids is not None:
        parameters.catIds = sorted(category_ids)
    parameters.useCats = int(metric != "proposal")
    parameters.maxDets = list(PROPOSAL_COUNTS) if metric == "proposal" else [1, 10, max_detections]
    evaluator.evaluate()
    evaluator.accumulate()
    if metric == "proposal":
        return _recalls(evaluator)
    names = {c["id"]: c["name"] for c in ground_truth["categories"]}
    return precisions(
        np.asarray(evaluator.eval["precision"]),
        np.asarray(evaluator.eval["recall"]),
        [names[i] for i in parameters.catIds],
    )


def refuse_unknown_images(results: list[Result], known: Collection[int]) -> None:
    """Raise ValueError when a result is of an image that is not among the ``known`` ids."""
    unknown = {r["image_id"] for r in results} - set(known)
    if unknown:
        raise ValueError(f"Results for images that the ground truth does not hold: {sorted(unknown)[:5]}.")


def with_masks(ground_truth: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    """The ground truth without annotations that have no mask, after a check of all masks, of results too.

    Raises:
        DataError: a mask cannot be rasterized, or is for another size than its image's; or a result has none.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    annotations = ground_truth.get("annotations", [])
    masked = [a for a in annotations if not segmentations.is_empty(a.get("segmentation"))]
    for what, entries in (("annotation", masked), ("result", [r for r in results if r["image_id"] in sizes])):
        if any(entry.get("segmentation") is None for entry in entries):
            raise DataError("The metric 'segm' needs results with a segmentation; some have none.")
        places = [sizes[entry["image_id"]] for entry in entries]
        found = segmentations.faults([entry["segmentation"] for entry in entries], places)
        for position, reason in found.items():
            image = entries[position]["image_id"]
            raise DataError(f"The segmentation of {what} {position} of image id {image}: {reason}.")
    return {**ground_truth, "annotations": masked}


def complete(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """A copy with the fields that COCO's protocol needs and other formats lack."""
    annotations = []
    for i, annotation in enumerate(ground_truth.get("annotations", []), start=1):
        w, h = annotation["bbox"][2:]
        defaults = {"iscrowd": 0, "area": w * h}
        annotations.append({**defaults, **annotation, "id": i})  # an id of 0 stands for "no match" there
    return {**ground_truth, "annotations": annotations, "images": copy.deepcopy(ground_truth["images"])}


def _prepared(results: list[Result], metric: str) -> list[Result]:
    """Copies without what would mislead the evaluator (it writes into what it gets)."""
    # With a box beside it, the evaluator would take the area of a mask from the box.
    dropped = {"segm": ("bbox",), "bbox": ("segmentation",), "proposal": ("segmentation",)}[metric]
    return [{k: v for k, v in r.items() if k not in dropped} for r in results]


def mean(values: Array) -> float:
    """Mean over what has ground truth (the evaluator marks the rest with -1)."""
    values = values[values > -1]
    return float(values.mean()) if values.size else float("nan")


def precisions(precision: Array, recall: Array, class_names: Sequence[str]) -> dict[str, float]:
    """The figures of an evaluator's ``precision`` and ``recall``.

    Args:
        precision: ``[iou, recall, class, area, detections]``; overlaps 0.5, 0.55 ... 0.95, areas all, small,
            medium, large; -1 where there is no ground truth.
        recall: ``[iou, class, area, detections]``.
        class_names: names of the classes.
    """
    figures = {
        "AP": mean(precision[:, :, :, 0, -1]),
        "AP50": mean(precision[0, :, :, 0, -1]),
        "AP75": mean(precision[5, :, :, 0, -1]),
        "APs": mean(precision[:, :, :, 1, -1]),
        "APm": mean(precision[:, :, :, 2, -1]),
        "APl": mean(precision[:, :, :, 3, -1]),
        "AR": mean(recall[:, :, 0, -1]),
    }
    for i, name in enumerate(class_names):
        figures[f"AP/{name}"] = mean(precision[:, :, i, 0, -1])
    return figures


def _recalls(evaluator: Any) -> dict[str, float]:
    recall = np.asarray(evaluator.eval["recall"])
    figures = {f"AR@{n}": mean(recall[:, :, 0, i]) for i, n in enumerate(PROPOSAL_COUNTS)}
    for area, letter in enumerate("sml", start=1):
        figures[f"AR{letter}@{PROPOSAL_COUNTS[-1]}"] = mean(recall[:, :, area, -1])
    return figures
