"""Kinds of errors and what each costs, after TIDE (Bolya et al., 2020, https://arxiv.org/abs/2008.08115).

A detection that matches no object is of the wrong class (``cls``), badly placed (``loc``), both (``both``), a
duplicate (``dupe``) or on the background (``bkg``); an object that no such detection explains is missed
(``miss``). The cost of a kind is how much AP50 rises when all errors of that kind, and no others, are mended.
"""

import dataclasses
from typing import Any

import numpy as np

from kdet.analysis.matches import Scene, scenes
from kdet.typing import Array, Result

KINDS = ("cls", "loc", "both", "dupe", "bkg", "miss")
MEANING = {
    "cls": "right place, wrong class",
    "loc": "right class, badly placed",
    "both": "wrong class and badly placed",
    "dupe": "a second detection of an object that was found",
    "bkg": "nothing is there",
    "miss": "an object that no detection explains",
}
RECALLS = np.arange(101) / 100  # TIDE's own; COCO's linspace differs in the last bit
NO_CLASS = -1


@dataclasses.dataclass
class Errors:
    """What TIDE says, in points of AP (0..100).

    Attributes:
        ap: mean AP at the IoU from which a detection matches.
        costs: what mending all errors of a kind adds to it, by kind.
        false_positives, false_negatives: what mending all of these adds.
        counts: number of errors by kind.
        images: errors of every image by its id: ``{image id: {kind: count}}``.
    """

    ap: float
    costs: dict[str, float]
    false_positives: float
    false_negatives: float
    counts: dict[str, int]
    images: dict[int, dict[str, int]]


@dataclasses.dataclass
class _Pool:
    """All detections of a data set; ``mended`` is the class under which an error becomes right."""

    labels: Array
    scores: Array
    right: Array
    ignored: Array
    kinds: Array
    mended: Array
    positives: Array  # [classes] objects
    missed: Array  # [classes] objects that count as "miss"
    unfound: Array  # [classes] objects without a match


def errors(
    truth: dict[str, Any],
    results: list[Result],
    of: str = "bbox",
    positive: float = 0.5,
    background: float = 0.1,
    most: int = 100,
) -> Errors:
    """Sorts the errors of detections.

    Args:
        truth, results, of, most: see :func:`kdet.analysis.matches.scenes`.
        positive: IoU from which a detection matches an object.
        background: IoU up to which a detection has nothing to do with an object.

    Example:
        >>> found = errors(index.to_coco(), results)
        >>> print(found.costs)
    """
    classes = len(truth["categories"])
    rows: list[tuple[Any, ...]] = []
    positives, missed, unfound = (np.zeros(classes, int) for _ in range(3))
    images: dict[int, dict[str, int]] = {}
    for scene in scenes(truth, results, of, most):
        found, lost, without = _sorted(scene, positive, background)
        rows += found
        np.add.at(positives, scene.truth, 1)
        np.add.at(missed, scene.truth[lost], 1)
        np.add.at(unfound, scene.truth[without], 1)
        counts = {k: int(sum(row[4] == i for row in found)) for i, k in enumerate(KINDS)}
        images[scene.image_id] = {**counts, "miss": int(lost.sum())}
    table = np.array(rows, float).reshape(-1, 6)
    labels, kinds, mended = (table[:, i].astype(int) for i in (0, 4, 5))
    right, ignored = (table[:, i].astype(bool) for i in (2, 3))
    pool = _Pool(labels, table[:, 1], right, ignored, kinds, mended, positives, missed, unfound)
    base = _mean_ap(pool)
    costs = {kind: max(_mended(pool, kind) - base, 0.0) for kind in KINDS}
    counts = {kind: sum(image[kind] for image in images.values()) for kind in KINDS}
    perfect = dataclasses.replace(pool, scores=pool.right.astype(float))
    without_lost = dataclasses.replace(pool, positives=positives - unfound)
    return Errors(base, costs, _mean_ap(perfect) - base, _mean_ap(without_lost) - base, counts, images)


def _sorted(scene: Scene, positive: float, background: float) -> tuple[list[tuple[Any, ...]], Array, Array]:
    """Rows ``(label, score, right, ignored, kind, mended)``, and which objects are missed and unmatched."""
    count = len(scene.scores)
    same = scene.labels[:, None] == scene.truth[None]
    own = scene.overlaps * same
    left = own.copy()
    match = np.full(count, -1)
    used = np.zeros(len(scene.truth), bool)
    for i in range(count if len(scene.truth) else 0):
        best = int(left[i].argmax())
        if left[i, best] >= positive:
            match[i], used[best] = best, True
            left[:, best] = 0
    in_crowd = (scene.crowd_overlaps > positive) & (scene.labels[:, None] == scene.crowds[None])
    ignored = (match < 0) & in_crowd.any(1)
    kinds, owner = np.full(count, -1), np.full(count, -1)
    for i in np.flatnonzero(match < 0).tolist():
        kinds[i], owner[i] = _kind(i, scene.overlaps, own, same, used, positive, background)
    # of all errors that an object explains the best one becomes its match
    mended = np.full(count, NO_CLASS)
    explained = np.zeros(len(scene.truth), bool)
    for i in np.flatnonzero(owner >= 0).tolist():
        target = owner[i]
        if not used[target] and not explained[target]:
            mended[i], explained[target] = scene.truth[target], True
    rows = list(zip(scene.labels, scene.scores, match >= 0, ignored, kinds, mended, strict=True))
    return rows, ~used & ~explained, ~used


def _kind(
    i: int, overlaps: Array, own: Array, same: Array, used: Array, positive: float, background: float
) -> tuple[int, int]:
    """``(position in KINDS, the object that the error is about or -1)`` of a detection without a match."""
    if not overlaps.shape[1]:
        return KINDS.index("bkg"), -1
    best = int(own[i].argmax())
    if background <= own[i, best] <= positive:
        return KINDS.index("loc"), best
    other = overlaps[i] * ~same[i]
    best = int(other.argmax())
    if other[best] >= positive:
        return KINDS.index("cls"), best
    if (own[i] * used).max() >= positive:
        return KINDS.index("dupe"), -1
    if overlaps[i].max() <= background:
        return KINDS.index("bkg"), -1
    return KINDS.index("both"), -1


def _mended(pool: _Pool, kind: str) -> float:
    if kind == "miss":
        return _mean_ap(dataclasses.replace(pool, positives=pool.positives - pool.missed))
    here = pool.kinds == KINDS.index(kind)
    labels = np.where(here, pool.mended, pool.labels)
    right = pool.right | (here & (pool.mended != NO_CLASS))
    ignored = np.where(here, pool.mended == NO_CLASS, pool.ignored)
    return _mean_ap(dataclasses.replace(pool, labels=labels, right=right, ignored=ignored))


def _mean_ap(pool: _Pool) -> float:
    """Mean over the classes that have an object or a detection, in points."""
    found = []
    for label, positives in enumerate(pool.positives):
        own = (pool.labels == label) & ~pool.ignored
        if own.any() or positives:
            found.append(_ap(pool.scores[own], pool.right[own], int(positives)))
    return 100 * float(np.mean(found)) if found else 0.0


def _ap(scores: Array, right: Array, positives: int) -> float:
    """Precision at 101 recalls, as COCO has it."""
    if not positives or not len(scores):
        return 0.0
    right = right[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / positives, RECALLS, side="left")
    return float(np.where(places < len(right), precision[np.minimum(places, len(right) - 1)], 0).mean())
