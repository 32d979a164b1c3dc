"""IoU of boxes as annotations give them, in NumPy."""

import numpy as np

from kdet.typing import Array


def xywh_iou(boxes: Array, others: Array, extra: float = 0.0) -> Array:
    """IoU of every pair; a pair with a side that is not a number has -1.

    Args:
        boxes: ``[N,4]`` (x, y, w, h), float64.
        others: ``[M,4]``.
        extra: added to every side: 1 where a benchmark counts the last pixel as part of a box.

    Returns:
        ``[N,M]``.

    >>> xywh_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 2, 2.0]]))
    array([[0.33333333]])
    """
    shared = _shared(boxes, others, extra)
    areas, of_others = ((sides[:, 2:] + extra).prod(axis=-1) for sides in (boxes, others))
    union = areas[:, None] + of_others - shared
    return np.nan_to_num(shared / np.where(union > 0, union, 1.0), nan=-1.0)


def xywh_covered(boxes: Array, others: Array) -> Array:
    """Share of every box that lies inside each of the others; -1 where a side is not a number.

    Args:
        boxes: ``[N,4]`` (x, y, w, h), float64.
        others: ``[M,4]``.

    Returns:
        ``[N,M]``.

    >>> xywh_covered(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 9, 9.0]]))
    array([[0.5]])
    """
    areas = boxes[:, 2:].prod(axis=-1)
    return np.nan_to_num(_shared(boxes, others) / np.where(areas > 0, areas, 1.0)[:, None], nan=-1.0)


def _shared(boxes: Array, others: Array, extra: float = 0.0) -> Array:
    """Area of the intersection of every pair ``[N,M]``."""
    boxes, others = boxes[:, None], others[None]
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    return np.clip(high - low + extra, 0, None).prod(axis=-1)
