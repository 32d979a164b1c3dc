"""COCO metrics: AP of boxes and masks, and average recall of proposals, by faster-coco-eval."""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.data import masks, segmentations
from kdet.errors import DataError, KdetError
from kdet.evaluation import blocks
from kdet.evaluation.columns import Columns, ResultTable, whole_numbers
from kdet.evaluation.entries import check_count, check_results, check_truth
from kdet.evaluation.results import finite
from kdet.evaluation.truth import Truth
from kdet.typing import Array, Result

METRICS = ("bbox", "segm", "proposal")
PROPOSAL_COUNTS = (100, 300, 1000)


def coco_metrics(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
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
        DataError: ground truth or results are not of COCO's form; naming the entry, its key and its value.
    """
    _refuse_unknown_metric(metric)
    found = _in_blocks(ground_truth, results, metric, image_ids, category_ids, max_detections)
    if found is None:
        evaluator = coco_evaluator(ground_truth, results, metric, image_ids, category_ids, max_detections)
        found = np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])
        wanted = evaluator.params.catIds
    else:
        wanted = sorted(_names(ground_truth) if category_ids is None else category_ids)
    if metric == "proposal":
        return _recalls(found[1])
    names = _names(ground_truth)
    return precisions(*found, [names[i] for i in wanted])


def _in_blocks(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
    metric: str,
    image_ids: Collection[int] | None,
    category_ids: Sequence[int] | None,
    max_detections: int,
) -> tuple[Array, Array] | None:
    """``(precision, recall)``, computed in blocks; None where an id is no number."""
    if not isinstance(ground_truth, Truth):
        check_truth(ground_truth, sizes=metric == "segm")
    check_results(results, boxes=metric != "segm")
    check_count("max_detections", max_detections)
    names, masks = _names(ground_truth), metric == "segm"
    sides = _of_columns(ground_truth, results, metric)
    try:
        if sides is None:
            truth, usable = _checked(ground_truth, results, metric)
            known = [image["id"] for image in truth["images"]]
            sizes = {i["id"]: (i["height"], i["width"]) for i in truth["images"]} if masks else None
            sides = (
                Columns.of(truth["annotations"], boxes=not masks, truth=True),
                Columns.of(usable, boxes=not masks),
                whole_numbers(known),
                sizes,
            )
        objects, found, images, sizes = sides
        if image_ids is not None:
            images = whole_numbers(list(image_ids))
        categories = whole_numbers(list(names))
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        if isinstance(error, KdetError):
            raise
        return None  # coco_evaluator says what it is, or can do with it
    if category_ids is not None:
        _refuse_unknown_categories(category_ids, names)
        categories = whole_numbers(list(category_ids))
    protocol = blocks.Protocol(
        kind="segm" if masks else "bbox",
        images=np.unique(images),
        categories=np.unique(categories),
        by_category=metric != "proposal",
        max_detections=_counts(metric, max_detections),
        sizes=sizes,
    )
    return blocks.evaluate(objects, found, protocol)


def _of_columns(
    ground_truth: Mapping[str, Any], results: Sequence[Result], metric: str
) -> tuple[Columns, Columns, Array, dict[int, tuple[int, int]] | None] | None:
    """Objects, detections, image ids and sizes where all are columns already, and right by the way they are
    made: finite, and every mask the run lengths of its image."""
    if not isinstance(ground_truth, Truth) or not isinstance(results, ResultTable):
        return None
    masks, found = metric == "segm", results.columns
    objects = ground_truth.columns(masks)
    if objects is None or (masks and len(found) and found.shapes is None):
        return None
    records = ground_truth.index.records
    strange = np.setdiff1d(found.image, records.image_id)
    if len(strange):
        raise ValueError(f"Results for images that the ground truth does not hold: {strange[:5].tolist()}.")
    if not masks:
        return objects, dataclasses.replace(found, shapes=None), records.image_id, None
    sizes = {n: (h, w) for n, (h, w) in zip(records.image_id.tolist(), records.sizes.tolist(), strict=True)}
    return objects, dataclasses.replace(found, boxes=None, shapes=found.shapes or ()), records.image_id, sizes


def _checked(
    ground_truth: Mapping[str, Any], results: Sequence[Result], metric: str
) -> tuple[dict[str, Any], list[Result]]:
    """Ground truth and finite results as COCO's protocol takes them, after all checks."""
    check_truth(ground_truth, sizes=metric == "segm")
    check_results(results, boxes=metric != "segm")
    if metric == "segm":
        ground_truth = with_masks(ground_truth, results)
        results = _as_run_lengths(results, ground_truth)
    truth = complete(ground_truth)
    refuse_unknown_images(results, {image["id"] for image in truth["images"]})
    return truth, finite(results)


def _counts(metric: str, max_detections: int) -> list[int]:
    return list(PROPOSAL_COUNTS) if metric == "proposal" else sorted([1, 10, max_detections])


def _refuse_unknown_categories(category_ids: Sequence[int], names: Mapping[Any, str]) -> None:
    unknown = sorted(set(category_ids) - set(names))
    if unknown:
        raise DataError(f"category_ids holds {unknown[:5]}, which the ground truth does not have.")


def _names(ground_truth: Mapping[str, Any]) -> dict[Any, str]:
    if isinstance(ground_truth, Truth):
        return dict(ground_truth.names)
    return {c["id"]: c["name"] for c in ground_truth["categories"]}


def coco_evaluator(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
    metric: str = "bbox",
    image_ids: Collection[int] | None = None,
    category_ids: Sequence[int] | None = None,
    max_detections: int = 100,
) -> Any:
    """The evaluator of faster-coco-eval after its work (``eval``, ``params``); see :func:`coco_metrics`."""
    from faster_coco_eval import COCO, COCOeval_faster  # import time is precious

    _refuse_unknown_metric(metric)
    truth, usable = _checked(ground_truth, results, metric)
    check_count("max_detections", max_detections)
    coco = COCO(truth)
    evaluator = COCOeval_faster(
        coco,
        coco.loadRes(_prepared(usable, metric)),
        "segm" if metric == "segm" else "bbox",
        print_function=lambda *_: None,
    )
    parameters = evaluator.params
    if image_ids is not None:
        parameters.imgIds = sorted(image_ids)
    if category_ids is not None:
        _refuse_unknown_categories(category_ids, _names(ground_truth))
        parameters.catIds = sorted(category_ids)
    parameters.useCats = int(metric != "proposal")
    parameters.maxDets = _counts(metric, max_detections)
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def _refuse_unknown_metric(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}.")


def refuse_unknown_images(results: Sequence[Result], known: Collection[int]) -> None:
    """Raise ValueError when a result is of an image that is not among the ``known`` ids."""
    unknown = {r["image_id"] for r in results} - set(known)
    if unknown:
        raise ValueError(f"Results for images that the ground truth does not hold: {sorted(unknown)[:5]}.")


def with_masks(ground_truth: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """The ground truth without annotations that have no mask, after a check of all masks, of results too.

    Raises:
        DataError: a mask cannot be rasterized, or is for another size than its image's; or a result has none.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    annotations = ground_truth.get("annotations") or []
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


def _as_run_lengths(results: Sequence[Result], ground_truth: Mapping[str, Any]) -> list[Result]:
    """The results with run lengths in the place of polygons, which the evaluator does not take."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    return [
        {**r, "segmentation": masks.encode(r["segmentation"], *sizes[r["image_id"]])}
        if isinstance(r["segmentation"], list) and r["image_id"] in sizes
        else r
        for r in results
    ]


def complete(ground_truth: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with the fields that COCO's protocol needs and other formats lack."""
    annotations = []
    for i, annotation in enumerate(ground_truth.get("annotations") or [], start=1):
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


def _recalls(recall: Array) -> dict[str, float]:
    figures = {f"AR@{n}": mean(recall[:, :, 0, i]) for i, n in enumerate(PROPOSAL_COUNTS)}
    for area, letter in enumerate("sml", start=1):
        figures[f"AR{letter}@{PROPOSAL_COUNTS[-1]}"] = mean(recall[:, :, area, -1])
    return figures
