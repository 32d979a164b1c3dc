"""CrowdHuman's figures (Shao et al., 2018, arXiv:1805.00123): AP, log-average miss rate and Jaccard index.

A detection has the object of the largest IoU above one half that no better detection of the image has; where
there is none, it does not count if more than half of it lies in a region that is to be ignored.
"""

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.evaluation.entries import check_results
from kdet.evaluation.results import finite
from kdet.typing import Array, Result

OVERLAP = 0.5
# false positives per image at which the miss rate counts (Dollar et al., 2012)
REFERENCES = (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0)
SCORES = np.arange(10) / 10  # from which detections count; the Jaccard index is the best over these
_TINY = 1e-6


def crowd_human_metrics(
    truth: Mapping[str, Any], results: Sequence[Result], image_ids: Collection[int] | None = None
) -> dict[str, float]:
    """Score detections of people.

    Args:
        truth: COCO dict; annotations with ``iscrowd`` are regions that are to be ignored.
        results: list of COCO result dicts (``image_id``, ``bbox`` xywh, ``score``); all are people. What is
            not finite does not count.
        image_ids: the images to evaluate; None for all.

    Returns:
        ``{"AP", "MR", "JI"}``, of which a lower ``MR`` is better; NaN without people.

    Example:
        >>> crowd_human_metrics(index.to_coco(), results)["MR"]
        0.42
    """
    check_results(results)
    sizes = {
        image["id"]: (image["width"], image["height"])
        for image in truth["images"]
        if image_ids is None or image["id"] in image_ids
    }
    people, regions = _by_image(truth["annotations"], sizes)
    found = collections.defaultdict(list)
    for result in finite(results):
        if result["image_id"] in sizes:
            found[result["image_id"]].append((*result["bbox"], result["score"]))
    total = sum(len(boxes) for boxes in people.values())
    if not total:
        return {"AP": float("nan"), "MR": float("nan"), "JI": float("nan")}
    scores, hits = [], []
    ratio = images = np.zeros(len(SCORES))
    for image_id, size in sizes.items():
        rows = np.array(found[image_id], float).reshape(-1, 5)
        boxes, objects, ignored = (
            _in_image(one, size) for one in (rows[:, :4], people[image_id], regions[image_id])
        )
        best = np.argsort(-rows[:, 4], kind="stable")
        counted, hit = _matched(boxes[best], objects, ignored)
        scores.append(rows[best, 4][counted])
        hits.append(hit[counted])
        ratios, there = _jaccard(boxes, rows[:, 4], objects, ignored)
        ratio, images = ratio + ratios, images + there
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order]
    return {**_curve_figures(hit, total, len(sizes)), "JI": float((ratio / np.maximum(images, 1)).max())}


def _by_image(
    annotations: Sequence[Mapping[str, Any]], sizes: Mapping[int, Any]
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Boxes xywh ``[n,4]`` of the people and of the regions to ignore, by image id."""
    parts: tuple[dict[int, list[Any]], ...] = ({i: [] for i in sizes}, {i: [] for i in sizes})
    for annotation in annotations:
        if annotation["image_id"] in sizes:
            parts[bool(annotation.get("iscrowd"))][annotation["image_id"]].append(annotation["bbox"])
    people, regions = (
        {i: np.array(boxes, float).reshape(-1, 4) for i, boxes in part.items()} for part in parts
    )
    return people, regions


def _in_image(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes xywh as x1, y1, x2, y2 within an image of ``(width, height)``."""
    first = np.clip(boxes[:, :2], 0, np.subtract(size, 1))
    return np.concatenate([first, np.clip(boxes[:, :2] + boxes[:, 2:], 0, size)], 1)


def _overlaps(boxes: Array, others: Array) -> tuple[Array, Array]:
    """IoU, and share of each of ``boxes``, with ``others``: ``[n,m]`` each."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.maximum(high - low, 0).prod(-1)
    area, other = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (boxes, others))
    union = area[:, None] + other[None, :] - common
    return common / np.maximum(union, _TINY), common / np.maximum(area, _TINY)[:, None]


def _matched(boxes: Array, people: Array, regions: Array) -> tuple[Array, Array]:
    """Which detections, best first, count, and which of them found somebody: bool ``[n]`` each."""
    iou, _ = _overlaps(boxes, people)
    _, share = _overlaps(boxes, regions)
    covered = (share > OVERLAP).any(1)
    hit, free = np.zeros(len(boxes), bool), np.ones(len(people), bool)
    for i, row in enumerate(iou):
        row = np.where(free, row, 0.0)
        if row.max(initial=0.0) > OVERLAP:
            free[row.argmax()], hit[i] = False, True
    return hit | ~covered, hit


def _curve_figures(hit: Array, total: int, images: int) -> dict[str, float]:
    """AP and miss rate of detections by falling score."""
    if not len(hit):
        return {"AP": 0.0, "MR": 1.0}
    true, false = np.cumsum(hit), np.cumsum(~hit)
    recall, precision = true / total, true / (true + false)
    area = np.sum(np.diff(recall) * (precision[:-1] + precision[1:]) / 2)
    places = np.minimum(np.searchsorted(false / images, REFERENCES), len(hit) - 1)
    missed = 1 - recall[places]
    return {"AP": float(area), "MR": float(np.exp(np.log(missed).mean())) if missed.all() else 0.0}


def _jaccard(boxes: Array, scores: Array, people: Array, regions: Array) -> tuple[Array, Array]:
    """Found pairs over all that is there or was found, and whether anything is: ``[thresholds]`` each."""
    from scipy.sparse import csr_matrix  # import time is precious
    from scipy.sparse.csgraph import maximum_bipartite_matching

    ratios, there = np.zeros(len(SCORES)), np.zeros(len(SCORES))
    of_people = _covered(people, regions)
    for i, least in enumerate(SCORES):
        kept = boxes[scores > least]
        iou, _ = _overlaps(kept, people)
        partner = np.full(len(kept), -1)
        if iou.size:
            partner = maximum_bipartite_matching(csr_matrix(np.where(iou < OVERLAP, 0, iou)), "column")
        alone = partner < 0
        missed = np.setdiff1d(np.arange(len(people)), partner)
        pairs = len(kept) - alone.sum()
        wanted = len(people) - of_people[missed].sum()
        shown = len(kept) - _covered(kept, regions)[alone].sum()
        ratios[i] = pairs / (wanted + shown - pairs + _TINY)
        there[i] = wanted > 0 or shown > 0
    return ratios, there


def _covered(boxes: Array, regions: Array) -> Array:
    """The boxes of which more than half lies in one of the regions: bool ``[n]``."""
    return np.asarray((_overlaps(boxes, regions)[1] > OVERLAP).any(1))
