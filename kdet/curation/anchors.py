"""Anchors that fit a data set: k-means, then differential evolution.

Sizes are clustered by their IoU (Redmon & Farhadi, 2016, "YOLO9000"); the centers are the start of a
differential evolution (Storn & Price, 1997) that maximizes the mean IoU of all boxes with their best anchor.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import optimize

from kdet.config import Config
from kdet.curation.defects import best_overlaps
from kdet.curation.model_sizes import find_generator, of_recipe, scale_rule
from kdet.data import DatasetIndex
from kdet.errors import ConfigError, DataError
from kdet.typing import Array, Spec

LOOKED_AT = 5_000  # boxes in an evolution; the figures are of all
POPULATION = 8  # candidates for each number that is sought


@dataclasses.dataclass
class Fit:
    """Anchors before and after.

    Attributes:
        key: key path of the anchors in the recipe.
        spec: the new mapping there.
        before, after: mean IoU of the boxes with their best anchor.
        recall_before, recall_after: share of boxes with an IoU of 0.5 or more.
        boxes: how many.
    """

    key: str
    spec: Spec
    before: float
    after: float
    recall_before: float
    recall_after: float
    boxes: int


def box_sizes(index: DatasetIndex, config: Config) -> Array:
    """Width and height ``[n, 2]`` of all boxes in pixels of the network's input."""
    rule = scale_rule(config)
    sizes = [(r.boxes[:, 2:] - r.boxes[:, :2]) * rule(r.height, r.width) for r in index.records]
    return np.concatenate(sizes or [np.zeros((0, 2))]).astype(np.float64)


def fit(index: DatasetIndex, config: Config, seed: int = 0, rounds: int = 60) -> Fit:
    """Fits the anchors of a recipe's model to the boxes of a data set.

    ``YOLOAnchorGenerator`` gets ``base_sizes``, as many per level as it has; ``AnchorGenerator`` gets
    ``ratios`` and ``scales`` (``octave_base_scale`` where it has one), as many as it has.

    Args:
        index: the data set.
        config: the recipe.
        seed: of clusters and evolution.
        rounds: generations of the evolution.

    Raises:
        ConfigError: the model has no anchors, or of another kind.
        DataError: the data set has fewer boxes than there are anchors to place.
    """
    found = find_generator(config)
    if found is None:
        raise ConfigError(f"{config.name}: its model has no anchors to fit.")
    path, spec = found
    boxes = box_sizes(index, config)
    generator = np.random.default_rng(seed)
    some = boxes if len(boxes) <= LOOKED_AT else generator.choice(boxes, LOOKED_AT, replace=False)
    if spec["type"] == "YOLOAnchorGenerator":
        new = _listed(spec, some, seed, rounds)
    elif spec["type"] in ("AnchorGenerator", "LegacyAnchorGenerator"):
        new = _gridded(spec, some, seed, rounds)
    else:
        raise ConfigError(f"{config.name}: anchors of the type {spec['type']} cannot be fitted.")
    old, fresh = of_recipe(config)["anchors"], _anchors(new)
    overlaps = [best_overlaps(boxes, anchors) for anchors in (old, fresh)]
    if overlaps[1].mean() < overlaps[0].mean():  # what there was is better
        new, overlaps[1] = spec, overlaps[0]
    means, recalls = [float(o.mean()) for o in overlaps], [float((o >= 0.5).mean()) for o in overlaps]
    return Fit(".".join(path), new, means[0], means[1], recalls[0], recalls[1], len(boxes))


def clusters(boxes: Array, count: int, seed: int = 0, starts: int = 5) -> Array:
    """Centers ``[count, 2]`` of box sizes ``[n, 2]`` by k-means whose distance is 1 - IoU, by rising area.

    The best of several starts, whose centers are drawn far from each other (Arthur & Vassilvitskii, 2007).

    Raises:
        DataError: fewer different boxes than centers.
    """
    if len(np.unique(boxes, axis=0)) < count:
        raise DataError(f"There are fewer than {count} different sizes of boxes for {count} anchors.")
    generator = np.random.default_rng(seed)
    found = [_clustered(boxes, _far_apart(boxes, count, generator)) for _ in range(starts)]
    best = max(found, key=lambda centers: best_overlaps(boxes, centers).mean())
    return np.asarray(best[best.prod(-1).argsort()])


def _far_apart(boxes: Array, count: int, generator: np.random.Generator) -> Array:
    centers = boxes[generator.integers(len(boxes), size=1)]
    while len(centers) < count:
        distance = (1 - best_overlaps(boxes, centers)).clip(0) ** 2
        chosen = generator.choice(len(boxes), p=distance / distance.sum())
        centers = np.concatenate([centers, boxes[chosen : chosen + 1]])
    return centers


def _clustered(boxes: Array, centers: Array, rounds: int = 100) -> Array:
    nearest = np.full(len(boxes), -1)
    for _ in range(rounds):
        shared = np.minimum(boxes[:, None], centers).prod(-1)
        chosen = (shared / (boxes.prod(-1)[:, None] + centers.prod(-1) - shared)).argmax(1)
        if (chosen == nearest).all():
            break
        nearest = chosen
        for i in np.unique(nearest):
            centers[i] = np.median(boxes[nearest == i], axis=0)
    return centers


def _listed(spec: Spec, boxes: Array, seed: int, rounds: int) -> Spec:
    counts = [len(level) for level in spec["base_sizes"]]
    start = clusters(boxes, sum(counts), seed)
    bounds = [(max(v * 0.5, 1.0), v * 2.0) for v in start.ravel()]

    def cost(values: Array) -> float:
        return 1 - float(best_overlaps(boxes, values.reshape(-1, 2)).mean())

    best = _evolved(cost, start.ravel(), bounds, seed, rounds).reshape(-1, 2)
    sizes = np.maximum(np.rint(best[best.prod(-1).argsort()]), 1).astype(int).tolist()
    # small ones to the level of the smallest stride
    levels: list[Any] = [None] * len(counts)
    for level in np.argsort(spec["strides"]):
        levels[level] = [sizes.pop(0) for _ in range(counts[level])]
    return {**spec, "base_sizes": levels}


def _gridded(spec: Spec, boxes: Array, seed: int, rounds: int) -> Spec:
    octaves = "octave_base_scale" in spec
    ratios = np.asarray(spec.get("ratios", (0.5, 1.0, 2.0)), float)
    scales = np.asarray([spec["octave_base_scale"]] if octaves else spec["scales"], float)
    if len(boxes) < len(ratios) + len(scales):
        raise DataError(f"There are {len(boxes)} boxes, too few to fit anchors to.")

    def made(values: Array) -> Spec:
        own = [float(f"{v:.3g}") for v in np.exp(values)]
        shape = {"ratios": sorted(own[: len(ratios)])}
        rest = sorted(own[len(ratios) :])
        return {**spec, **shape, **({"octave_base_scale": rest[0]} if octaves else {"scales": rest})}

    def cost(values: Array) -> float:
        return 1 - float(best_overlaps(boxes, _anchors(made(values))).mean())

    start = np.log(np.concatenate([ratios, scales]))
    return made(_evolved(cost, start, [(v - 1.5, v + 1.5) for v in start], seed, rounds))


def _anchors(spec: Spec) -> Array:
    from kdet.building import build

    bases = np.concatenate(build(spec).base_anchors)
    return np.asarray(bases[:, 2:] - bases[:, :2], np.float64)


def _evolved(cost: Any, start: Array, bounds: list[tuple[float, float]], seed: int, rounds: int) -> Array:
    found = optimize.differential_evolution(
        cost, bounds, x0=start, seed=seed, maxiter=rounds, popsize=POPULATION, tol=1e-4, polish=False
    )
    return np.asarray(found.x)
