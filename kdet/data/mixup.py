"""MixUp for detection: two images laid over each other, with the objects of both.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018 (https://arxiv.org/abs/1710.09412), in the
form of YOLOX (Ge et al., 2021): the other image is scaled, mirrored and cut at random.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from kdet.data.mixing import Mixing, Piece, fitted, joined
from kdet.data.mosaic import Gray
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import Count, Pair, Share


@register
class MixUp(Mixing):
    """Half of each pixel comes from another image.

    That image is scaled into ``size`` with its aspect ratio and padded to it, scaled again by a random
    factor, mirrored in some cases, and a window of the size of the image itself is cut out of it at random.

    Args:
        size: (w, h) that the other image is fitted into and padded to.
        ratio_range: (low, high) of the random factor.
        flip: probability of mirroring the other image.
        fill: gray of its padding.
        share: of the image itself in every pixel.
        probability: share of the images.
        recent: the other images are drawn from so many places before this one in the order of the training
            and keep what the transforms before made of them (the cache of RTMDet); None: any of the data
            set, as on disk.
    """

    images = 2

    def __init__(
        self,
        size: Pair = (640, 640),
        ratio_range: Annotated[Sequence[float], List(Number(0, 100, above=True), length=2, ordered=True)] = (
            0.5,
            1.5,
        ),
        flip: Share = 0.5,
        fill: Gray = 114,
        share: Share = 0.5,
        probability: Share = 1.0,
        recent: Count | None = None,
    ) -> None:
        super().__init__(probability, recent)
        self.size, self.ratio_range = tuple(map(int, size)), tuple(ratio_range)
        self.flip, self.fill, self.share = flip, fill, share

    def mix(self, pieces: list[Piece], random: np.random.Generator) -> Piece:
        own, other = pieces
        low, high = self.ratio_range
        factor, mirror = random.uniform(low, high), random.random() < self.flip
        width, height = self.size
        canvas = (max(int(height * factor), 1), max(int(width * factor), 1))
        size = fitted(other.size, (height, width))
        height, width = (min(max(int(s * factor), 1), c) for s, c in zip(size, canvas, strict=True))
        other = other.resized((height, width))
        other = other.mirrored() if mirror else other
        # mirroring is that of the padded image: its padding is on the left then
        start = canvas[1] - other.size[1] if mirror else 0
        room = [max(c, s) - s for c, s in zip(canvas, own.size, strict=True)]
        y, x = (int(random.integers(0, side + 1)) for side in room)
        return self.over(own, other.window((y, x - start), own.size, self.fill))

    def over(self, own: Piece, other: Piece) -> Piece:
        """Both images, of one size, laid over each other."""
        image = self.share * own.image.astype(np.float32) + (1 - self.share) * other.image
        return joined(image.astype(own.image.dtype), [own, other])
