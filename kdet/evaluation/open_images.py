"""Open Images' mean average precision (Kuznetsova et al., 2020): a hierarchy of classes, boxes around groups.

An object counts as one of every class above its own, and so does a detection. Of an image only those classes
are scored that people looked for in it. A box around a group is found once, by whatever lies inside it.
"""

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.evaluation.entries import check_results, check_threshold, check_truth
from kdet.evaluation.overlaps import xywh_covered, xywh_iou
from kdet.evaluation.results import finite
from kdet.evaluation.voc import average_precision, precision_and_recall
from kdet.typing import Array, Result

Found = tuple[Array, Array]  # scores, and which of them are right


def open_images_metrics(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
    ancestors: Mapping[int, Collection[int]] | None = None,
    image_labels: Mapping[int, Collection[int]] | None = None,
    iou_threshold: float = 0.5,
    group_threshold: float = 0.5,
    image_ids: Collection[int] | None = None,
) -> dict[str, float]:
    """Mean AP of box detections, as MMDetection's Open Images data sets score it.

    Args:
        ground_truth: COCO dict; an annotation with ``iscrowd`` is a box around a group of objects.
        results: list of COCO result dicts with ``image_id``, ``category_id``, ``bbox`` xywh, ``score``. What
            is not finite does not count.
        ancestors: all categories above a category, by its id; a category without an entry has none.
        image_labels: by image id the categories that people looked for in the image, found or not. Those of
            its objects belong to them anyway; detections of other categories do not count.
        iou_threshold: smallest overlap of a match.
        group_threshold: smallest share of a detection inside a box around a group.
        image_ids: evaluate these images only; default all of ``ground_truth``.

    Returns:
        ``{"mAP": ..., "AP/<class name>": ...}``; a class without objects is NaN and does not enter the mean.

    Raises:
        DataError: ground truth or results are not of COCO's form; naming the entry, its key and its value.
    """
    check_truth(ground_truth)
    check_results(results)
    check_threshold("iou_threshold", iou_threshold)
    check_threshold("group_threshold", group_threshold)
    above = {category: {category, *others} for category, others in (ancestors or {}).items()}
    wanted = {image["id"] for image in ground_truth["images"]}
    wanted = wanted if image_ids is None else wanted & set(image_ids)
    objects, allowed = _objects(ground_truth, wanted, above, image_labels or {})
    detections: dict[tuple[int, int], list[Result]] = collections.defaultdict(list)
    for result in finite(results):
        image = result["image_id"]
        if image in wanted:
            for category in above.get(result["category_id"], {result["category_id"]}) & allowed[image]:
                detections[category, image].append(result)

    figures = {"mAP": float("nan")}
    for category in ground_truth["categories"]:
        found: list[Found] = []
        count = 0
        for image in sorted(wanted):
            truths, here = objects.get((category["id"], image), []), detections.get((category["id"], image))
            count += len(truths)
            if here:
                found.append(_of_image(here, truths, iou_threshold, group_threshold))
        figures[f"AP/{category['name']}"] = _average(found, count)
    values = np.array([value for name, value in figures.items() if name != "mAP"])
    if np.isfinite(values).any():
        figures["mAP"] = float(np.nanmean(values))
    return figures


def _objects(
    truth: Mapping[str, Any],
    wanted: Collection[int],
    above: Mapping[int, set[int]],
    image_labels: Mapping[int, Collection[int]],
) -> tuple[dict[tuple[int, int], list[Any]], dict[int, set[int]]]:
    """Annotations by (category, image), once for every category above too; the scored categories by image."""
    objects: dict[tuple[int, int], list[Any]] = collections.defaultdict(list)
    allowed = {image: set(image_labels.get(image, ())) for image in wanted}
    for annotation in truth.get("annotations") or []:
        image, own = annotation["image_id"], annotation["category_id"]
        if image in allowed:
            for category in above.get(own, {own}):
                objects[category, image].append(annotation)
                allowed[image].add(category)
    return objects, allowed


def _of_image(detections: list[Result], truths: list[Any], iou_threshold: float, group: float) -> Found:
    """Detections of a category in an image: what is inside of a group counts as one, with its best score."""
    detections = sorted(detections, key=lambda one: -one["score"])
    scores = np.array([one["score"] for one in detections], float)
    boxes = np.array([one["bbox"] for one in detections], float)
    single = np.array([one["bbox"] for one in truths if not one.get("iscrowd")], float).reshape(-1, 4)
    groups = np.array([one["bbox"] for one in truths if one.get("iscrowd")], float).reshape(-1, 4)
    right = np.zeros(len(boxes), bool)
    if len(single):
        overlaps = xywh_iou(boxes, single)
        best = overlaps.argmax(axis=1)
        taken = np.zeros(len(single), bool)
        for i in np.flatnonzero(overlaps[np.arange(len(boxes)), best] >= iou_threshold):
            right[i], taken[best[i]] = not taken[best[i]], True
    if len(groups):
        inside = xywh_covered(boxes, groups)
        best = inside.argmax(axis=1)
        grouped = ~right & (inside[np.arange(len(boxes)), best] >= group)
        first = np.unique(best[grouped], return_index=True)[1]
        scores = np.concatenate([scores[~grouped], scores[grouped][first]])
        right = np.concatenate([right[~grouped], np.ones(len(first), bool)])
    return scores, right


def _average(found: list[Found], count: int) -> float:
    """AP of a category with ``count`` objects."""
    if not count:
        return float("nan")
    scores = np.concatenate([scores for scores, _ in found]) if found else np.zeros(0)
    right = np.concatenate([right for _, right in found]) if found else np.zeros(0, bool)
    right = right[np.argsort(-scores, kind="stable")]
    return average_precision(*precision_and_recall(right, np.ones_like(right), count), rule="12")
