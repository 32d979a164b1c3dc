"""Dividing a data set into parts in which every class has its share."""

from collections.abc import Mapping

import numpy as np

from kdet.curation.hashes import groups, hashes
from kdet.curation.merging import subset
from kdet.data import DatasetIndex
from kdet.errors import DataError
from kdet.typing import Array


def divide(index: DatasetIndex, ratios: Mapping[str, float], seed: int = 0) -> dict[str, DatasetIndex]:
    """Divides the images so that every part has its share of every class.

    Iterative stratification (Sechidis et al., 2011, "On the Stratification of Multi-Label Data"): the images
    of the class with the fewest left are given away first, each to the part that lacks most of it. Images
    whose files are the same stay together, so that none is learned and tested.

    Args:
        index: the whole.
        ratios: share of every part by its name; they add up to 1, or are made to.
        seed: of the order in which images are given away.

    Returns:
        an index by the name of its part; images keep their order.

    Raises:
        DataError: a share that is not positive, or fewer images than parts.
    """
    shares = np.array(list(ratios.values()), float)
    if len(shares) < 2 or not (np.isfinite(shares).all() and (shares > 0).all()):
        raise DataError(f"The shares must be two or more positive numbers; got {dict(ratios)}.")
    units = groups(hashes(index))
    if len(units) < len(shares):
        raise DataError(f"{index.name} has {len(units)} different images, too few for {len(shares)} parts.")
    present = np.zeros((len(units), len(index.class_names)), bool)
    for row, positions in enumerate(units):
        for position in positions:
            present[row, index.records[position].labels] = True
    sizes = np.array([len(positions) for positions in units])
    part_of = _stratified(present, sizes, shares / shares.sum(), np.random.default_rng(seed))
    chosen: dict[str, DatasetIndex] = {}
    for part, name in enumerate(ratios):
        positions = sorted(p for row in np.flatnonzero(part_of == part) for p in units[row])
        if not positions:
            raise DataError(f"No image is left for the part {name!r}; give it a larger share.")
        chosen[name] = subset(index, positions, f"{index.name} ({name})")
    return chosen


def _stratified(present: Array, sizes: Array, shares: Array, generator: np.random.Generator) -> Array:
    """The part of every row.

    Args:
        present: bool ``[n, classes]``.
        sizes: int ``[n]``, images of every row.
        shares: ``[parts]``, their sum is 1.
        generator: of the order.
    """
    part_of = np.full(len(present), -1)
    wanted = shares * sizes.sum()  # images that every part still lacks
    wanted_of = shares[:, None] * (present * sizes[:, None]).sum(0)  # of every class
    order = generator.permutation(len(present))
    while (part_of < 0).any():
        left = order[part_of[order] < 0]
        counts = (present[left] * sizes[left, None]).sum(0)
        if counts.any():
            rarest = int(np.where(counts > 0, counts, np.inf).argmin())
            rows = left[present[left, rarest]]
        else:
            rarest, rows = -1, left
        for row in rows:
            lack = wanted_of[:, rarest] if rarest >= 0 else wanted
            best = np.flatnonzero(lack >= lack.max() - 1e-9)
            if len(best) > 1:
                best = best[wanted[best] >= wanted[best].max() - 1e-9]
            part = int(generator.choice(best))
            part_of[row] = part
            wanted[part] -= sizes[row]
            wanted_of[part, present[row]] -= sizes[row]
    return part_of
