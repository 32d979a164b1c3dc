"""LVIS metrics (Gupta et al., 2019, "LVIS"): federated AP of boxes and masks, by faster-coco-eval.

Of an LVIS image only some classes are known: those with annotations (present), those in
``neg_category_ids`` (absent) and those in ``not_exhaustive_category_ids`` (present, not all annotated).
Detections of all other classes do not count, and a detection of a class that is not exhaustively
annotated is never wrong. The figures equal those of the package ``lvis``, which is not used: its last
release fails with NumPy 1.24 and later and needs OpenCV.
"""

import collections
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.evaluation import coco
from kdet.evaluation.entries import check_count, check_results, check_truth
from kdet.evaluation.results import finite
from kdet.typing import Array, Result

METRICS = ("bbox", "segm")
MAX_DETECTIONS = 300
PAIRS = 200_000  # images times categories that are evaluated at a time
FREQUENCIES = "rcf"  # rare, common, frequent


def lvis_metrics(
    ground_truth: Mapping[str, Any],
    results: Sequence[Result],
    metric: str = "bbox",
    image_ids: Collection[int] | None = None,
    category_ids: Sequence[int] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float]:
    """Score ``results`` by the rules of LVIS v0.5 and v1.

    Args:
        ground_truth: LVIS dict: ``images`` with ``neg_category_ids`` and ``not_exhaustive_category_ids``,
            ``annotations``, ``categories`` with ``frequency`` (``r``, ``c``, ``f``). It is not changed.
        results: list of COCO result dicts; may be empty. As in the package, an entry with a ``bbox`` has the
            area of that box, for ``segm`` too (this changes APs, APm and APl only).
        metric: ``"bbox"`` or ``"segm"``.
        image_ids: evaluate these images only; default all of ``ground_truth``.
        category_ids: evaluate these categories only; default all of ``ground_truth``.
        max_detections: best detections of an image that count, over all classes.

    Returns:
        ``{"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "ARs", "ARm", "ARl",
        "AP/<class name>": ...}``. A figure for which there is no ground truth is NaN.

    Raises:
        ValueError: unknown metric, ground truth without the fields of LVIS, or a result for an image that is
            not in it.
        DataError: ground truth or results are not of COCO's form; naming the entry, its key and its value.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}.")
    check_truth(ground_truth, sizes=metric == "segm")
    check_results(results, boxes=metric != "segm")
    check_count("max_detections", max_detections)
    require_lvis(ground_truth)
    truth = _exhaustive(ground_truth)
    coco.refuse_unknown_images(results, {image["id"] for image in truth["images"]})
    if image_ids is not None:
        truth["images"] = [image for image in truth["images"] if image["id"] in image_ids]
    if category_ids is not None:
        truth["categories"] = [c for c in truth["categories"] if c["id"] in category_ids]
    best = of_known_classes(truth, best_of_each_image(finite(results), max_detections))
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    parts = _by_categories({**truth, "categories": categories}, best)
    evaluated = [_evaluate(some, found, metric, max_detections) for some, found in parts]
    precision = np.concatenate([p for p, _ in evaluated], axis=2)  # [iou, recall, class, area, 1]
    recall = np.concatenate([r for _, r in evaluated], axis=1)  # [iou, class, area, 1]
    frequencies = np.array([category["frequency"] for category in categories])
    figures = coco.precisions(precision, recall, [category["name"] for category in categories])
    for letter in FREQUENCIES:
        figures[f"AP{letter}"] = coco.mean(precision[:, :, frequencies == letter, 0, -1])
    for area, letter in enumerate("sml", start=1):
        figures[f"AR{letter}"] = coco.mean(recall[:, :, area, -1])
    return figures


def require_lvis(ground_truth: Mapping[str, Any], where: str = "The ground truth") -> None:
    """Raise ValueError when images or categories lack what LVIS' rules need."""
    for key, fields in (
        ("images", ("neg_category_ids", "not_exhaustive_category_ids")),
        ("categories", ("frequency",)),
    ):
        for entry in ground_truth[key]:
            absent = [field for field in fields if field not in entry]
            if absent:
                raise ValueError(
                    f"{where} is not an LVIS file: the entry {entry.get('id')} of {key!r} has no "
                    f"{absent[0]!r}. Score it by the metrics 'bbox' and 'segm' instead."
                )
            if key == "categories" and entry["frequency"] not in FREQUENCIES:
                raise ValueError(
                    f"{where}: the 'frequency' of category {entry.get('id')} must be one of "
                    f"{', '.join(FREQUENCIES)}; got {entry['frequency']!r}."
                )


def best_of_each_image(results: Sequence[Result], count: int) -> list[Result]:
    """The ``count`` results of every image with the best scores; of equal scores the earlier ones."""
    of_image = collections.defaultdict(list)
    for result in results:
        of_image[result["image_id"]].append(result)
    for image_id, found in of_image.items():
        if len(found) > count:
            of_image[image_id] = sorted(found, key=lambda r: r["score"], reverse=True)[:count]
    return [result for found in of_image.values() for result in found]


def of_known_classes(ground_truth: Mapping[str, Any], results: list[Result]) -> list[Result]:
    """The results of classes that are known to be in their image, or known not to be."""
    known = {image["id"]: set(image["neg_category_ids"]) for image in ground_truth["images"]}
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in known:
            known[annotation["image_id"]].add(annotation["category_id"])
    return [r for r in results if r["category_id"] in known.get(r["image_id"], ())]


def _exhaustive(ground_truth: Mapping[str, Any]) -> dict[str, Any]:
    """A copy as the evaluator needs it. LVIS has no crowds; what is marked ``ignore`` counts nowhere."""
    complete = coco.complete(ground_truth)
    annotations = []
    for annotation in complete["annotations"]:
        area = -1.0 if annotation.get("ignore") else annotation["area"]
        annotations.append({**annotation, "iscrowd": 0, "area": area})
    return {**complete, "annotations": annotations}


def _by_categories(
    truth: dict[str, Any], results: list[Result]
) -> Iterator[tuple[dict[str, Any], list[Result]]]:
    """Yields ground truth and results of some categories at a time: AP is of one category at a time, and the
    evaluator's memory grows with images times categories (24 million in LVIS v1)."""
    step = max(1, PAIRS // max(1, len(truth["images"])))
    annotations_of, results_of = _by_category(truth["annotations"]), _by_category(results)
    for start in range(0, len(truth["categories"]), step):
        some = truth["categories"][start : start + step]
        ids = [category["id"] for category in some]
        annotations = [a for i in ids for a in annotations_of[i]]
        # copies: the evaluator writes into what it gets
        found = [dict(r) for i in ids for r in results_of[i]]
        yield {**truth, "categories": some, "annotations": annotations}, found


def _by_category(entries: Sequence[Result]) -> dict[int, list[Result]]:
    of_category: dict[int, list[Result]] = collections.defaultdict(list)
    for entry in entries:
        of_category[entry["category_id"]].append(entry)
    return of_category


def _evaluate(
    truth: dict[str, Any], results: list[Result], metric: str, max_detections: int
) -> tuple[Array, Array]:
    """``(precision [iou, recall, class, area, 1], recall [iou, class, area, 1])``; -1: no ground truth."""
    from faster_coco_eval import COCO, COCOeval_faster  # import time is precious

    coco_truth = COCO(truth)
    evaluator = COCOeval_faster(
        coco_truth, coco_truth.loadRes(results), metric, lvis_style=True, print_function=lambda *_: None
    )
    evaluator.params.maxDets = [max_detections]
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])
