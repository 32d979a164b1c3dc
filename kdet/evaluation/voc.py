"""Pascal VOC mean average precision (Everingham et al., 2010), by the rule of 2007 or of 2010-2012."""

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.evaluation.entries import check_results, check_threshold, check_truth
from kdet.evaluation.overlaps import xywh_iou
from kdet.evaluation.results import finite
from kdet.typing import Array, Result

RULES = ("07", "12")


def voc_metrics(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
    rule: str = "12",
    iou_threshold: float = 0.5,
    image_ids: Collection[int] | None = None,
    pixel_inclusive: bool = True,
) -> dict[str, float]:
    """Mean AP of box detections.

    A detection counts for the object of its class that it overlaps most: right the first time, wrong
    when that object was already found, and not counted at all when the object is marked difficult.

    Args:
        ground_truth: COCO dict; an annotation with ``difficult``, ``ignore`` or ``iscrowd`` set is neither
            required nor a mistake to find.
        results: list of COCO result dicts with ``image_id``, ``category_id``, ``bbox`` xywh, ``score``. What
            is not finite does not count.
        rule: ``"07"``: mean of the best precision at recall 0, 0.1, ..., 1; ``"12"``: area under the
            precision envelope.
        iou_threshold: smallest overlap of a match.
        image_ids: evaluate these images only; default all of ``ground_truth``.
        pixel_inclusive: corners are pixels inside the box, so widths are ``x2 - x1 + 1`` (the devkit's).

    Returns:
        ``{"mAP": ..., "AP/<class name>": ...}``; a class without (not difficult) objects is NaN and does not
        enter the mean.

    Raises:
        DataError: ground truth or results are not of COCO's form; naming the entry, its key and its value.
    """
    if rule not in RULES:
        raise ValueError(f"The VOC rule is one of {', '.join(RULES)}; got {rule!r}.")
    check_truth(ground_truth)
    check_results(results)
    check_threshold("iou_threshold", iou_threshold)
    wanted = {i["id"] for i in ground_truth["images"]}
    wanted = wanted if image_ids is None else wanted & set(image_ids)
    objects: dict[tuple[int, int], tuple[list[Any], list[bool]]]
    objects = collections.defaultdict(lambda: ([], []))  # (image, class) -> boxes, difficult
    for annotation in ground_truth.get("annotations") or []:
        boxes, difficult = objects[annotation["image_id"], annotation["category_id"]]
        boxes.append(annotation["bbox"])
        difficult.append(any(annotation.get(k) for k in ("difficult", "ignore", "iscrowd")))
    detections = collections.defaultdict(list)
    for result in finite(results):
        if result["image_id"] in wanted:
            detections[result["category_id"]].append(result)

    figures = {"mAP": float("nan")}
    extra = 1.0 if pixel_inclusive else 0.0
    for category in ground_truth["categories"]:
        here = {i: objects[i, category["id"]] for i in wanted if (i, category["id"]) in objects}
        count = sum(not d for _, difficult in here.values() for d in difficult)
        right, counted = _matches(here, detections[category["id"]], iou_threshold, extra)
        precision, recall = precision_and_recall(right, counted, count)
        ap = average_precision(precision, recall, rule) if count else float("nan")
        figures[f"AP/{category['name']}"] = ap
    values = np.array([v for k, v in figures.items() if k != "mAP"])
    if np.isfinite(values).any():
        figures["mAP"] = float(np.nanmean(values))
    return figures


def _matches(
    objects: dict[int, tuple[list[Any], list[bool]]],
    detections: list[Result],
    iou_threshold: float,
    extra: float,
) -> tuple[Array, Array]:
    """``(right [D], counted [D])`` bool of the detections of one class, best score first."""
    order = np.argsort([-d["score"] for d in detections], kind="stable")
    right, counted = np.zeros(len(order), bool), np.ones(len(order), bool)
    found = {image: np.zeros(len(boxes), bool) for image, (boxes, _) in objects.items()}
    for rank, index in enumerate(order):
        detection = detections[index]
        if detection["image_id"] not in objects:
            continue
        boxes, difficult = objects[detection["image_id"]]
        overlaps = xywh_iou(np.asarray([detection["bbox"]], float), np.asarray(boxes, float), extra)[0]
        best = int(overlaps.argmax())
        if not overlaps[best] >= iou_threshold:  # an object without a usable box is never found
            continue
        if difficult[best]:
            counted[rank] = False
        elif not found[detection["image_id"]][best]:
            found[detection["image_id"]][best] = right[rank] = True
    return right, counted


def precision_and_recall(right: Array, counted: Array, count: int) -> tuple[Array, Array]:
    """Both after every detection of a class, best score first.

    Args:
        right, counted: bool ``[D]``: it finds an object; it counts at all.
        count: objects to find.
    """
    hits = np.cumsum(right & counted)
    misses = np.cumsum(~right & counted)
    return hits / np.maximum(hits + misses, 1), hits / max(count, 1)


def average_precision(precision: Array, recall: Array, rule: str) -> float:
    """The area under the curve of :func:`precision_and_recall`, by one of `RULES`."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "12":
        return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
    # As in the published evaluators a recall of exactly 3/10 misses the level 3 * 0.1 (also 6 and 7 tenths).
    first = np.searchsorted(recall, 0.1 * np.arange(11))
    return float(np.append(envelope, 0.0)[np.minimum(first, len(recall))].mean())
