"""Masks as polygons that draw the same pixels again: along the edges of pixels, holes included.

One polygon can hold several parts and holes: they are joined by bridges of no width, which a rasterizer
passes in both directions.
"""

import numpy as np

from kdet.typing import Array

# (dy, dx) of a step along the upper, right, lower and left edge of a pixel, clockwise
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def polygons(mask: Array) -> list[list[float]]:
    """The outlines of a mask: ``[x, y, x, y, ...]`` for every part and, turning the other way, every hole.

    Args:
        mask: ``[h, w]``, 0 or 1.

    Example:
        >>> polygons(np.ones((2, 3)))
        [[0.0, 0.0, 3.0, 0.0, 3.0, 2.0, 0.0, 2.0]]
    """
    inside = np.pad(np.asarray(mask) > 0, 1)
    edges = _edges(inside)
    found = []
    while edges:
        start = min(edges)
        direction = min(edges[start])
        loop: list[float] = []
        point, before = start, -1
        while True:
            edges[point].remove(direction)
            if not edges[point]:
                del edges[point]
            if direction != before:  # a corner
                loop += [float(point[1]), float(point[0])]
            dy, dx = _STEPS[direction]
            point, before = (point[0] + dy, point[1] + dx), direction
            if point == start:
                break
            direction = _next(edges[point], before)
        found.append(loop)
    return found


def joined(parts: list[list[float]]) -> list[float]:
    """Several polygons as one, each joined where it comes nearest to what there is already.

    Args:
        parts: polygons ``[x, y, ...]``; holes are among them.
    """
    rings = [np.reshape(part, (-1, 2)).astype(float) for part in parts if len(part) >= 6]
    if not rings:
        return []
    whole = rings[0]
    for ring in rings[1:]:
        near, other = _nearest(whole, ring)
        turned = np.concatenate([ring[other:], ring[:other], ring[other : other + 1]])
        whole = np.concatenate([whole[: near + 1], turned, whole[near:]])
    return [float(value) for value in whole.ravel()]


def _edges(inside: Array) -> dict[tuple[int, int], list[int]]:
    """Edges between inside and outside by their start ``(y, x)``, with the inside to the right of them."""
    core = inside[1:-1, 1:-1]
    found: dict[tuple[int, int], list[int]] = {}
    # of a pixel (y, x): where its edge starts, and the neighbor behind the edge
    sides = (
        ((0, 0), inside[:-2, 1:-1]),
        ((0, 1), inside[1:-1, 2:]),
        ((1, 1), inside[2:, 1:-1]),
        ((1, 0), inside[1:-1, :-2]),
    )
    for direction, ((down, right), neighbor) in enumerate(sides):
        rows, columns = np.nonzero(core & ~neighbor)
        for y, x in zip((rows + down).tolist(), (columns + right).tolist(), strict=True):
            found.setdefault((y, x), []).append(direction)
    return found


def _next(directions: list[int], before: int) -> int:
    """At a point where two pixels touch by their corners, the turn that stays with the same pixel."""
    for turn in (1, 0, 3):  # right, straight on, left
        if (before + turn) % 4 in directions:
            return (before + turn) % 4
    raise AssertionError("an outline that does not go on")


def _nearest(first: Array, second: Array) -> tuple[int, int]:
    """Positions of the two nearest corners of two polygons."""
    best, chosen = np.inf, (0, 0)
    for start in range(0, len(first), 1024):  # blocks bound the memory
        block = first[start : start + 1024]
        distance = ((block[:, None] - second[None]) ** 2).sum(-1)
        place = int(distance.argmin())
        if distance.flat[place] < best:
            best = float(distance.flat[place])
            chosen = (start + place // len(second), place % len(second))
    return chosen
