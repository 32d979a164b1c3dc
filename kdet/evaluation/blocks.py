"""COCO's protocol in blocks, so that memory does not grow with the data set.

AP is of one category at a time, and within a category of one image at a time until all its detections are
ranked. So faster-coco-eval gets a few categories at a time with the images where they occur; and of a
category with more entries than a block holds a few images at a time, which it then ranks together.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdet.data.coco_file import without_collection
from kdet.evaluation.columns import Columns
from kdet.typing import Array, Pair

ENTRIES = 200_000  # detections and objects of a block
PAIRS = 1_000_000  # its images times categories
OVERLAPS, RECALLS, AREAS = 10, 101, 4


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is scored how.

    Attributes:
        kind: "bbox" or "segm".
        images: int64 ``[n]``, ids of the images that count, rising.
        categories: int64 ``[c]``, ids of the categories that count, rising.
        by_category: False: all categories are one.
        max_detections: of an image and category, rising.
        sizes: (h, w) by image id, for masks.
    """

    kind: str
    images: Array
    categories: Array
    by_category: bool
    max_detections: list[int]
    sizes: dict[int, Pair] | None = None


def evaluate(truth: Columns, found: Columns, protocol: Protocol) -> tuple[Array, Array]:
    """Scores detections.

    Returns:
        precision ``[iou, recall, class, area, detections]`` and recall ``[iou, class, area, detections]``,
        -1 where there is no ground truth; one class where categories are one.
    """
    sides = [_counting(side, protocol) for side in (truth, found)]
    count = len(protocol.categories) if protocol.by_category else 1
    precision = np.full((OVERLAPS, RECALLS, count, AREAS, len(protocol.max_detections)), -1.0)
    recall = np.full((OVERLAPS, count, AREAS, len(protocol.max_detections)), -1.0)
    classes = [np.searchsorted(protocol.categories, side.category) for side in sides]
    if not protocol.by_category:
        classes = [np.zeros_like(one) for one in classes]
    orders = [np.argsort(one, kind="stable") for one in classes]
    splits = [np.searchsorted(one[order], np.arange(count + 1)) for one, order in zip(classes, orders)]
    for first, last in _groups(splits, len(protocol.images)):
        chosen = [
            side.take(order[split[first] : split[last]])
            for side, order, split in zip(sides, orders, splits, strict=True)
        ]
        names = protocol.categories[first:last] if protocol.by_category else protocol.categories
        figures = _evaluated(chosen[0], chosen[1], dataclasses.replace(protocol, categories=names))
        if figures is not None:
            precision[:, :, first:last], recall[:, first:last] = figures
    return precision, recall


def _counting(side: Columns, protocol: Protocol) -> Columns:
    keep = np.isin(side.image, protocol.images)
    if protocol.by_category or len(side.category):
        keep &= np.isin(side.category, protocol.categories)
    return side if keep.all() else side.take(np.flatnonzero(keep))


def _groups(splits: Sequence[Array], images: int) -> Iterator[tuple[int, int]]:
    """``(first, last)`` of classes that make a block together."""
    counts = sum(np.diff(split) for split in splits)
    first, entries = 0, 0
    for number, count in enumerate(np.asarray(counts).tolist()):
        many = (number - first + 1) * min(images, entries + count)
        if number > first and (entries + count > ENTRIES or many > PAIRS):
            yield first, number
            first, entries = number, 0
        entries += count
    yield first, first + len(np.asarray(counts)[first:])


def _evaluated(truth: Columns, found: Columns, protocol: Protocol) -> tuple[Array, Array] | None:
    """Precision and recall of the categories of a protocol; None where nothing of them occurs."""
    images, counts = np.unique(np.concatenate([truth.image, found.image]), return_counts=True)
    if not len(images):
        return None
    one_class = not protocol.by_category or len(protocol.categories) == 1
    block_of = (np.cumsum(counts) // ENTRIES) * one_class
    if block_of[-1] == 0:
        evaluator = _evaluator(truth, found, images, protocol, separate=False)
    else:
        parts = [images[block_of == block] for block in np.unique(block_of)]
        evaluator = _ranked(truth, found, parts, protocol)
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def _ranked(truth: Columns, found: Columns, parts: Sequence[Array], protocol: Protocol) -> Any:
    """An evaluator that holds what several found on their images, ready to rank it."""
    by_area: list[list[Any]] = [[] for _ in range(AREAS)]
    for images in parts:
        own = [side.take(np.flatnonzero(np.isin(side.image, images))) for side in (truth, found)]
        evaluator = _evaluator(own[0], own[1], images, protocol, separate=True)
        matched = evaluator._evalImgs_cpp  # [class, area, image]
        for area, rows in enumerate(by_area):
            rows += matched[area * len(images) : (area + 1) * len(images)]
    evaluator._evalImgs_cpp = [one for rows in by_area for one in rows]
    parameters = copy.copy(evaluator._paramsEval)
    parameters.imgIds = np.concatenate(parts).tolist()
    evaluator._paramsEval = parameters
    return evaluator


def _evaluator(truth: Columns, found: Columns, images: Array, protocol: Protocol, separate: bool) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster  # import time is precious

    with without_collection():  # a million dicts that all stay as long as the block
        objects = [{**one, "id": number} for number, one in enumerate(truth.dicts(), start=1)]
        coco = COCO({
            "images": [_image(number, protocol) for number in images.tolist()],
            "annotations": objects,
            "categories": [{"id": number, "name": str(number)} for number in protocol.categories.tolist()],
        })  # fmt: skip
        detections = coco.loadRes(list(found.dicts()))
    evaluator = COCOeval_faster(
        coco, detections, protocol.kind, print_function=lambda *_: None, separate_eval=separate
    )
    parameters = evaluator.params
    parameters.imgIds, parameters.catIds = images.tolist(), protocol.categories.tolist()
    parameters.useCats, parameters.maxDets = int(protocol.by_category), list(protocol.max_detections)
    with without_collection():
        evaluator.evaluate()
    return evaluator


def _image(number: int, protocol: Protocol) -> dict[str, int]:
    if protocol.sizes is None:
        return {"id": number}
    height, width = protocol.sizes[number]
    return {"id": number, "height": height, "width": width}
