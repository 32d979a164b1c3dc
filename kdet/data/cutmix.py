"""CutMix for detection: a rectangle of the image is that of another one.

Yun et al., "CutMix", 2019 (https://arxiv.org/abs/1905.04899).
"""

import dataclasses

import numpy as np
from pycocotools import mask as coco_mask

from kdet import geometry
from kdet.data import masks
from kdet.data.mixing import Mixing, Piece, boxes_of, has_area, joined
from kdet.registry import register
from kdet.settings import Positive, Share


@register
class CutMix(Mixing):
    """Replaces a random rectangle by the same rectangle of another image, with the objects in it.

    The other image has gone through the transforms before. Its objects are cut off at the rectangle. Objects
    of the image itself lose what lies in it: masks exactly, boxes where the rectangle covers one of their
    sides as a whole. Objects of which a smaller share than ``min_visible`` is left are dropped.

    Args:
        alpha: the share that stays is drawn from Beta(alpha, alpha).
        min_visible: the least share of the area of an object's box that must be left.
        probability: share of the images.
    """

    images, takes_finished = 2, True

    def __init__(self, alpha: Positive = 1.0, min_visible: Share = 0.1, probability: Share = 1.0) -> None:
        super().__init__(probability)
        self.alpha, self.min_visible = alpha, min_visible

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        size = np.minimum(pieces[0].size, pieces[1].size)
        sides = size * np.sqrt(1 - random.beta(self.alpha, self.alpha))
        middle = random.uniform(0, size)
        y1, x1 = np.clip(middle - sides / 2, 0, size).astype(int)
        y2, x2 = np.clip(middle + sides / 2, 0, size).astype(int)
        return self.cut((int(x1), int(y1), int(x2), int(y2)), *pieces)

    def cut(self, rectangle: tuple[int, int, int, int], own: Piece, other: Piece) -> Piece:
        """``own`` with ``rectangle`` (x1, y1, x2, y2) out of ``other``."""
        x1, y1, x2, y2 = rectangle
        if x1 == x2 or y1 == y2:
            return own
        image = own.image.copy()
        image[y1:y2, x1:x2] = other.image[y1:y2, x1:x2]
        inside = other.window((y1, x1), (y2 - y1, x2 - x1), 0).window((-y1, -x1), own.size, 0)
        sides = np.asarray(rectangle, np.float32)
        whole = other.boxes[_kept_by_window(other, sides)]
        inside = inside.kept(geometry.area(inside.boxes) >= self.min_visible * geometry.area(whole))
        left = _outside(own, sides)
        kept = geometry.area(left.boxes) >= self.min_visible * geometry.area(own.boxes)
        kept &= has_area(left.boxes)
        return joined(image, [left.kept(kept), inside])


def _kept_by_window(piece: Piece, rectangle: np.ndarray) -> np.ndarray:
    """Which objects a window leaves."""
    low, high = rectangle[:2], rectangle[2:]
    return has_area(
        np.concatenate([np.maximum(piece.boxes[:, :2], low), np.minimum(piece.boxes[:, 2:], high)], 1)
    )


def _outside(own: Piece, rectangle: np.ndarray) -> Piece:
    """``own`` with boxes and masks of what lies outside the rectangle."""
    boxes = np.stack([_rest(box, rectangle) for box in own.boxes]) if len(own.boxes) else own.boxes
    ignored = own.ignore_boxes
    ignored = np.stack([_rest(box, rectangle) for box in ignored]) if len(ignored) else ignored
    shown = None
    if own.masks is not None:
        x1, y1, x2, y2 = rectangle.astype(int)
        shown = []
        for i, rle in enumerate(own.masks):
            pixels = coco_mask.decode(rle)
            before = pixels.sum()
            pixels[y1:y2, x1:x2] = 0
            if pixels.sum() < before:
                rle = masks.encode_pixels(pixels)
                boxes[i] = boxes_of([rle])[0]
            shown.append(rle)
    return dataclasses.replace(own, boxes=boxes, masks=shown, ignore_boxes=ignored)


def _rest(box: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
    """What is left of a box: less where the rectangle covers one of its sides, nothing if it covers all."""
    box = box.copy()
    for axis, other in ((0, 1), (1, 0)):
        if rectangle[other] <= box[other] and rectangle[other + 2] >= box[other + 2]:
            low, high = rectangle[axis], rectangle[axis + 2]
            if low <= box[axis] and high >= box[axis + 2]:
                return np.zeros(4, np.float32)
            if low <= box[axis] < high:
                box[axis] = high
            elif low < box[axis + 2] <= high:
                box[axis + 2] = low
    return box
