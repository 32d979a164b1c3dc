"""Mosaic: four images in one, around a random center.

Bochkovskiy et al., "YOLOv4", 2020 (https://arxiv.org/abs/2004.10934), as YOLOX uses it (Ge et al., 2021).
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from kdet.data.extent import Extent
from kdet.data.mixing import Mixing, Piece, fitted, joined
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import Count, Pair, Share

Gray = Annotated[float, Number(0, 255)]


@register
class Mosaic(Mixing):
    """Four images meet in one point of a canvas of twice the size.

    Each is scaled into ``size`` with its aspect ratio, and lies with one corner at the center: the image
    itself at the upper left of it, then the upper right, lower left and lower right ones. What leaves the
    canvas is cut off. A ``RandomAffine`` or ``Resize`` after it makes the canvas small again.

    Args:
        size: (w, h) of a quarter.
        center: (low, high): where the images meet, as shares of ``size``, drawn for x and y.
        fill: gray of what no image covers.
        probability: share of the images.
        recent: the other images are drawn from so many places before this one in the order of the training
            and keep what the transforms before made of them (the cache of RTMDet); None: any of the data
            set, as on disk.
    """

    images = 4

    def __init__(
        self,
        size: Pair = (640, 640),
        center: Annotated[Sequence[float], List(Number(0, 2), length=2, ordered=True)] = (0.5, 1.5),
        fill: Gray = 114,
        probability: Share = 1.0,
        recent: Count | None = None,
    ) -> None:
        super().__init__(probability, recent)
        self.size, self.center, self.fill = tuple(map(int, size)), tuple(center), fill

    def extent(self, before: Extent) -> Extent:
        return before.grown(self)

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        low, high = self.center
        x, y = (int(random.uniform(low, high) * side) for side in self.size)
        return self.around((x, y), pieces)

    def around(self, center: tuple[int, int], pieces: list[Piece]) -> Piece:
        """The mosaic with its center at (x, y)."""
        width, height = self.size
        canvas = (2 * height, 2 * width)
        image = np.full((*canvas, 3), self.fill, pieces[0].image.dtype)
        placed = []
        for number, piece in enumerate(pieces):
            piece = piece.resized(fitted(piece.size, (height, width)))
            h, w = piece.size
            left = center[0] - (0 if number % 2 else w)
            top = center[1] - (0 if number // 2 else h)
            placed.append(piece.window((-top, -left), canvas, 0))
            y1, y2 = max(top, 0), min(top + h, canvas[0])
            x1, x2 = max(left, 0), min(left + w, canvas[1])
            image[y1:y2, x1:x2] = piece.image[y1 - top : y2 - top, x1 - left : x2 - left]
        return joined(image, placed)
