"""Cityscapes' instance AP (Cordts et al., 2016): AP over overlaps 0.5 to 0.95, and AP50, of masks.

The figures equal those of the package ``cityscapesscripts`` (``evalInstanceLevelSemanticLabeling``), which
defines them for masks only and is not used: it calls a function that NumPy 2.4 no longer has, and wants every
mask as a file.
"""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

from kdet.data.cityscapes import CLASSES, PER_CLASS, VOID
from kdet.evaluation.entries import check_results
from kdet.evaluation.results import finite
from kdet.typing import Array, Result

OVERLAPS = np.arange(0.5, 1.0, 0.05)
MIN_PIXELS = 100  # smaller objects need not be found

# of an object: (overlap, score) of every prediction that touches it
Touching: TypeAlias = list[tuple[float, float]]
# (score, largest overlap, share of pixels where it does not count)
Prediction: TypeAlias = tuple[float, float, float]


def cityscapes_metrics(
    instance_map: Callable[[int], np.ndarray],
    results: Sequence[Result],
    image_ids: Iterable[int],
    classes: dict[str, int] | None = None,
) -> dict[str, float]:
    """Score masks against instance maps.

    A prediction finds an object when they overlap by more than the threshold; of several that do, those with
    lower scores are wrong. Other predictions are wrong unless they overlap a group so, or lie in void, groups
    of their class or objects below 100 pixels by more than that share of their pixels.

    Args:
        instance_map: image id -> instance map ``[h, w]`` of whole numbers (see ``kdet.data.cityscapes``).
        results: list of COCO result dicts with ``image_id``, ``category_id`` (Cityscapes' label id),
            ``score`` and ``segmentation`` (compressed RLE of the image's size). What is not finite does not
            count.
        image_ids: the images to evaluate.
        classes: label id by name; default the eight classes of the benchmark.

    Returns:
        ``{"AP", "AP50", "AP/<class name>", "AP50/<class name>": ...}``; a class without objects is NaN and
        does not enter the means.

    Raises:
        ValueError: a result without a mask, or with one of another size than its map.
    """
    classes = classes or CLASSES
    check_results(results, boxes=False)
    of_image = collections.defaultdict(list)
    for result in finite(results):
        of_image[result["image_id"]].append(result)
    objects: dict[int, list[Touching]] = {i: [] for i in classes.values()}
    predictions: dict[int, list[Prediction]] = {i: [] for i in classes.values()}
    for image_id in sorted(image_ids):
        _match(instance_map(image_id), of_image[image_id], objects, predictions)
    table = np.array(
        [
            [_average_precision(objects[i], predictions[i], overlap) for overlap in OVERLAPS]
            for i in classes.values()
        ]
    )  # [classes, overlaps]
    figures = {"AP": _nanmean(table), "AP50": _nanmean(table[:, 0])}
    for row, name in zip(table, classes, strict=True):
        figures[f"AP/{name}"], figures[f"AP50/{name}"] = float(row.mean()), float(row[0])
    return figures


def _match(
    instance_map: Array,
    results: Sequence[Result],
    objects: dict[int, list[Touching]],
    predictions: dict[int, list[Prediction]],
) -> None:
    """Adds an image to the lists of ``objects`` and ``predictions`` by label id.

    An object is ``[(overlap, score) ...]`` of the predictions that touch it; a prediction is ``(score,
    largest overlap, share of pixels where it does not count)``.
    """
    pixels = np.bincount(instance_map.ravel())
    void = np.isin(np.arange(len(pixels)), list(VOID.values()))
    found: dict[int, Touching] = {}
    for instance_id in np.flatnonzero(pixels).tolist():
        label_id = instance_id // PER_CLASS
        if label_id in objects and pixels[instance_id] >= MIN_PIXELS:
            found[instance_id] = []
            objects[label_id].append(found[instance_id])
    for result in results:
        label_id = result["category_id"]
        if label_id not in objects:
            continue
        shared, count = _shared_pixels(instance_map, result, len(pixels))
        if not count:
            continue
        ids = np.flatnonzero(shared)
        ids = ids[(ids == label_id) | (ids // PER_CLASS == label_id)]
        overlaps = shared[ids] / (pixels[ids] + count - shared[ids])
        for instance_id, overlap in zip(ids.tolist(), overlaps, strict=True):
            if instance_id in found:
                found[instance_id].append((overlap, result["score"]))
        # A small group counts twice, as published.
        passed = shared[ids][ids < PER_CLASS].sum() + shared[ids][pixels[ids] < MIN_PIXELS].sum()
        share = (shared[void].sum() + passed) / count
        predictions[label_id].append((result["score"], overlaps.max(initial=0.0), share))


def _shared_pixels(instance_map: Array, result: Result, length: int) -> tuple[Array, int]:
    """``(pixels that a prediction shares with every instance id [length], its own pixels)``."""
    rle = result.get("segmentation")
    if rle is None:
        raise ValueError(
            f"The metric 'cityscapes' needs masks; a result of image {result['image_id']} has none."
        )
    if tuple(rle["size"]) != instance_map.shape:
        raise ValueError(
            f"A mask of image {result['image_id']} is {tuple(rle['size'])} (h, w) but its instance map "
            f"{instance_map.shape}."
        )
    left, top, width, height = (int(v) for v in coco_mask.toBbox(rle))
    window = (slice(top, top + height), slice(left, left + width))
    inside = instance_map[window][coco_mask.decode(rle)[window] > 0]
    return np.bincount(inside, minlength=length), len(inside)


def _average_precision(objects: list[Touching], predictions: list[Prediction], threshold: float) -> float:
    """Area under the curve of one class, by steps in the middle between the points; NaN without objects."""
    if not objects:
        return float("nan")
    right, wrong, missed = [], [], 0
    for touching in objects:
        scores = sorted(score for overlap, score in touching if overlap > threshold)
        missed += not scores
        right += scores[-1:]
        wrong += scores[:-1]
    wrong += [score for score, overlap, share in predictions if overlap <= threshold and share <= threshold]
    if not right:
        return 0.0
    every = np.array(right + wrong)
    order = np.argsort(every, kind="stable")
    hits = (np.arange(len(every)) < len(right))[order]
    first = np.unique(every[order], return_index=True)[1]  # where each score begins, rising
    at_least = len(right) - np.concatenate([[0], np.cumsum(hits)])[first]  # hits with this score or more
    precision = np.append(at_least / (len(every) - first), 1.0)
    recall = np.append(at_least / (len(right) + missed), 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (padded[:-2] - padded[2:]) / 2)


def _nanmean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
