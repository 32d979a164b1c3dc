"""A random affine map of the image: rotation, scale, shear and shift, as YOLOX has it after the mosaic.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021", 2021 (https://arxiv.org/abs/2107.08430).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask

from kdet.data.extent import Extent
from kdet.data.mixing import Mixing, Piece
from kdet.data.mosaic import Gray
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import NotNegative, Pair, Share

Degrees = Annotated[float, Number(0, 89)]


@register
class RandomAffine(Mixing):
    """Turns, scales, shears and shifts the image, around its top left corner, into a canvas of fixed size.

    A box becomes the one around its four mapped corners. As ``Mosaic``, which it makes small again, it is
    left out in the last ``train.plain_epochs``.

    Args:
        size: (w, h) of the result.
        scale: (low, high) of the factor.
        rotation: largest angle in degrees, either way.
        shear: largest angle along each axis in degrees, either way.
        shift: largest shift as a share of ``size``, either way.
        fill: gray of what the image does not cover.
        least_side: objects with a side of so many pixels or less afterwards are dropped.
        probability: share of the images.
    """

    images = 1

    def __init__(
        self,
        size: Pair = (640, 640),
        scale: Annotated[Sequence[float], List(Number(0, 100, above=True), length=2, ordered=True)] = (
            0.5,
            1.5,
        ),
        rotation: Annotated[float, Number(0, 180)] = 10.0,
        shear: Degrees = 2.0,
        shift: Share = 0.1,
        fill: Gray = 114,
        least_side: NotNegative = 1.0,
        probability: Share = 1.0,
    ) -> None:
        super().__init__(probability)
        self.size, self.scale = tuple(map(int, size)), tuple(scale)
        self.rotation, self.shear, self.shift = rotation, shear, shift
        self.fill, self.least_side = fill, least_side

    def extent(self, before: Extent) -> Extent:
        return before.grown(self)

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        return self.mapped(pieces[0], self.draw(random))

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """A random matrix ``[3,3]`` from pixels (x, y, 1) of the image to pixels of the result."""
        angle = math.radians(random.uniform(-self.rotation, self.rotation))
        low, high = self.scale
        factor = random.uniform(low, high)
        shear = [math.tan(math.radians(random.uniform(-self.shear, self.shear))) for _ in "xy"]
        shift = [random.uniform(-self.shift, self.shift) * side for side in self.size]
        turned = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = np.array([[1.0, shear[0]], [shear[1], 1.0]]) @ turned
        matrix[:2, 2] = shift
        return matrix

    def mapped(self, piece: Piece, matrix: np.ndarray) -> Piece:
        """The image with its objects under a matrix of :meth:`draw`."""
        width, height = self.size
        places = sources(matrix, (height, width))
        image = sampled(piece.image, places, self.fill)
        boxes, ignored = (
            np.clip(around(b, matrix), 0, np.array([width, height] * 2, np.float32))
            for b in (piece.boxes, piece.ignore_boxes)
        )
        shapes = None if piece.masks is None else [sampled_mask(rle, places) for rle in piece.masks]
        moved = Piece(image, boxes, piece.labels, ignored, shapes).visible()
        return moved.kept((moved.boxes[:, 2:] - moved.boxes[:, :2] > self.least_side).all(-1))


def sources(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where the pixels of a result of ``size`` (h, w) come from: ``[h,w,2]`` (x, y) in the image."""
    inverse = np.linalg.inv(matrix)
    x, y = np.arange(size[1]), np.arange(size[0])[:, None]
    places = [row[0] * x + row[1] * y + row[2] for row in inverse[:2]]
    return np.stack(places, -1)


def sampled(image: np.ndarray, places: np.ndarray, fill: float) -> np.ndarray:
    """The image ``[h,w,3]`` at places ``[H,W,2]`` (x, y), bilinear, with ``fill`` around it: ``[H,W,3]``."""
    height, width = image.shape[:2]
    padded = np.full((height + 3, width + 3, 3), fill, image.dtype)
    padded[1 : height + 1, 1 : width + 1] = image
    places = np.clip(places, -1.0, [width, height]) + 1.0
    first = places.astype(int)
    x, y = np.moveaxis((places - first).astype(np.float32)[..., None], 2, 0)
    rows, index = padded.reshape(-1, 3), first[..., 1] * (width + 3) + first[..., 0]

    def line(index: np.ndarray) -> np.ndarray:
        return np.asarray(rows[index] * (1 - x) + rows[index + 1] * x)

    found = line(index) * (1 - y) + line(index + width + 3) * y
    return np.rint(found).astype(image.dtype) if image.dtype == np.uint8 else found


def sampled_mask(rle: dict[str, Any], places: np.ndarray) -> dict[str, Any]:
    """A mask at the pixels nearest to places ``[H,W,2]`` (x, y)."""
    mask = coco_mask.decode(rle)
    limits = [mask.shape[1] - 1, mask.shape[0] - 1]
    nearest = np.rint(places).astype(int)
    inside = ((nearest >= 0) & (nearest <= limits)).all(-1)
    nearest = np.clip(nearest, 0, limits)
    return coco_mask.encode(np.asfortranarray(mask[nearest[..., 1], nearest[..., 0]] * inside))


def around(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes ``[n,4]`` around the mapped corners of boxes ``[n,4]``, float32."""
    corners = boxes[:, [[0, 1], [0, 3], [2, 3], [2, 1]]]  # [n, 4, 2]
    corners = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
