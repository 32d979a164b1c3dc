"""COCO metrics: AP of boxes and masks, and average recall of proposals, by faster-coco-eval."""

import copy
import math

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from kdet.data import segmentations
from kdet.errors import DataError, short

METRICS = ("bbox", "segm", "proposal")
PROPOSAL_COUNTS = (100, 300, 1000)


def coco_metrics(ground_truth, results, metric="bbox", image_ids=None, category_ids=None, max_detections=100):
    """Scores ``results`` in COCO's protocol.

    Args:
        ground_truth: COCO dict (``images``, ``annotations``, ``categories``). It is not changed.
        results: list of COCO result dicts (``image_id``, ``category_id``, ``bbox`` xywh, ``score`` and for
            masks ``segmentation``); may be empty.
        metric: ``"bbox"``, ``"segm"`` or ``"proposal"`` (classes ignored, recall only).
        image_ids: evaluate these pictures only; default all of ``ground_truth``.
        category_ids: evaluate these categories only; default all of ``ground_truth``.
        max_detections: detections per picture and class that count (``proposal``: 100, 300 and 1000).

    Returns:
        ``{"AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "AP/<class name>": ...}`` for ``bbox`` and
        ``segm``; ``{"AR@100", "AR@300", "AR@1000", "ARs@1000", ...}`` for ``proposal``. A figure for which
        there is no ground truth is NaN.

    Raises:
        ValueError: unknown metric, or a result for a picture that is not in ``ground_truth``.
    """
    if metric not in METRICS:
        raise DataError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}.")
    ground_truth = {**ground_truth, "annotations": ground_truth.get("annotations", [])}
    results = check_results(results)
    if metric == "segm":
        ground_truth["annotations"] = _with_masks(ground_truth, results)
    truth = COCO(_complete(ground_truth))
    unknown = {r["image_id"] for r in results} - set(truth.imgs)
    if unknown:
        raise DataError(f"Results for pictures that the ground truth does not hold: {sorted(unknown)[:5]}.")
    evaluator = COCOeval_faster(
        truth,
        truth.loadRes(_prepared(results, metric)),
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
    return _precisions(evaluator, [names[i] for i in parameters.catIds])


def check_results(results):
    """The results that can match anything: those with a NaN or infinite box or score never do.

    Raises:
        DataError: a result without the numbers that it must have.
    """
    kept = []
    for number, result in enumerate(results):
        try:
            numbers = [float(result["score"]), *map(float, result.get("bbox", ()))]
            int(result["image_id"]), int(result["category_id"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DataError(
                f"Result {number} must have image_id, category_id, score and bbox as numbers; got "
                f"{short(result)}."
            ) from error
        if all(map(math.isfinite, numbers)):
            kept.append(result)
    return kept


def _with_masks(ground_truth, results):
    """The annotations that have a mask; all masks, of results too, are checked for their image's size."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    masked = [a for a in ground_truth["annotations"] if not segmentations.is_empty(a.get("segmentation"))]
    for what, entries in (("annotation", masked), ("result", [r for r in results if r["image_id"] in sizes])):
        if what == "result" and any("segmentation" not in entry for entry in entries):
            raise DataError("The metric 'segm' needs results with a segmentation; some have none.")
        places = [sizes[entry["image_id"]] for entry in entries]
        found = segmentations.faults([entry["segmentation"] for entry in entries], places)
        for position, reason in found.items():
            image = entries[position]["image_id"]
            raise DataError(f"The segmentation of {what} {position} of image id {image}: {reason}.")
    return masked


def _complete(ground_truth):
    """A copy with the fields that COCO's protocol needs and other formats lack."""
    annotations = []
    for i, annotation in enumerate(ground_truth.get("annotations", []), start=1):
        w, h = annotation["bbox"][2:]
        own = {key: value for key, value in annotation.items() if value is not None}
        # the evaluator takes the id 0 for "no match", so all are numbered anew
        annotations.append({"iscrowd": 0, "area": w * h, **own, "id": i})
    return {**ground_truth, "annotations": annotations, "images": copy.deepcopy(ground_truth["images"])}


def _prepared(results, metric):
    """Copies without what would mislead the evaluator (it writes into what it gets)."""
    # With a box beside it, the evaluator would take the area of a mask from the box.
    dropped = {"segm": ("bbox",), "bbox": ("segmentation",), "proposal": ("segmentation",)}[metric]
    return [{k: v for k, v in r.items() if k not in dropped} for r in results]


def _mean(values):
    """Mean over what has ground truth (the evaluator marks the rest with -1)."""
    values = values[values > -1]
    return float(values.mean()) if values.size else float("nan")


def _precisions(evaluator, class_names):
    precision = np.asarray(evaluator.eval["precision"])  # [iou, recall, class, area, max_detections]
    recall = np.asarray(evaluator.eval["recall"])  # [iou, class, area, max_detections]
    at = {round(float(t), 2): i for i, t in enumerate(evaluator.params.iouThrs)}
    figures = {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[at[0.5], :, :, 0, -1]),
        "AP75": _mean(precision[at[0.75], :, :, 0, -1]),
        "APs": _mean(precision[:, :, :, 1, -1]),
        "APm": _mean(precision[:, :, :, 2, -1]),
        "APl": _mean(precision[:, :, :, 3, -1]),
        "AR": _mean(recall[:, :, 0, -1]),
    }
    for i, name in enumerate(class_names):
        figures[f"AP/{name}"] = _mean(precision[:, :, i, 0, -1])
    return figures


def _recalls(evaluator):
    recall = np.asarray(evaluator.eval["recall"])
    figures = {f"AR@{n}": _mean(recall[:, :, 0, i]) for i, n in enumerate(PROPOSAL_COUNTS)}
    for area, letter in enumerate("sml", start=1):
        figures[f"AR{letter}@{PROPOSAL_COUNTS[-1]}"] = _mean(recall[:, :, area, -1])
    return figures
