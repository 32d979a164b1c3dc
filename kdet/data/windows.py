"""Random windows of an image, on a ``Sample``."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import tensorflow as tf

from kdet import geometry
from kdet.data import transforms
from kdet.data.extent import Extent
from kdet.data.sample import Transform
from kdet.errors import DataError
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import PAIR, SIDE, Color, Count, CountOrZero, Pair, Share
from kdet.typing import Tensors

RATIOS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)  # of CornerNet's windows


@register
class RandomCrop(Transform):
    """Cuts a window out of the image.

    Boxes are shifted and clipped; objects without area left are dropped. Of ``tries`` positions the first
    that keeps an object is taken. (The reference draws another image when its one try keeps none;
    here the image is then kept without objects, so that a step stays a function of its seed.)

    Args:
        size: by ``type``: "absolute" (w, h) in pixels; "absolute_range" (low, high), both sides are drawn
            between them; "relative" (w, h) as shares of the image; "relative_range" (w, h), the smallest
            shares. A side is at most the image's.
        kind: see ``size``.
        tries: positions to try.
    """

    def __init__(
        self,
        size: Annotated[Sequence[float], List(Number(0, 2**16, above=True), length=2)],
        kind: Literal["absolute", "absolute_range", "relative", "relative_range"] = "absolute",
        tries: Count = 10,
    ) -> None:
        if not kind.startswith("absolute") and not all(0 < share <= 1 for share in size):
            raise DataError(f"size must hold shares of the image; got {size!r}.")
        if kind.startswith("absolute") and not all(int(side) == side for side in size):
            raise DataError(f"size must hold whole pixels; got {size!r}.")
        self.size: Any = tuple(map(int, size)) if kind.startswith("absolute") else tuple(size)
        self.kind, self.tries = kind, tries

    def extent(self, before: Extent) -> Extent:
        if self.kind == "absolute":
            return Extent("fixed", self.size, straight=False)
        if self.kind == "absolute_range":
            return Extent("fixed", (max(self.size),) * 2, straight=False)
        return before.crooked()

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        source = tf.shape(sample["image"])[:2]
        size = self._draw(source, tf.random.fold_in(seed, 1))
        corners = tf.random.stateless_uniform([self.tries, 2], seed, dtype=tf.float64)
        corners = tf.cast(corners * tf.cast(source - size + 1, tf.float64), tf.int32)  # [tries, 2] (y, x)
        windows = tf.cast(tf.concat([corners[:, ::-1], (corners + size)[:, ::-1]], -1), tf.float32)
        overlaps = transforms.intersect(sample["boxes"], windows[:, None, :])  # [tries, n, 4]
        keeps = tf.reduce_any(geometry.is_real_box(overlaps), axis=-1)
        return transforms.crop(sample, corners[tf.argmax(keeps, output_type=tf.int32)], size)

    def _draw(self, source: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(h, w) of the window."""
        if self.kind == "absolute":
            return tf.minimum(source, tf.constant(self.size[::-1], tf.int32))
        share = tf.random.stateless_uniform([2], seed, dtype=tf.float64)
        if self.kind == "absolute_range":
            low, high = (tf.minimum(source, int(v)) for v in self.size)
            return low + tf.cast(share * tf.cast(high - low + 1, tf.float64), tf.int32)
        least = tf.constant(self.size[::-1], tf.float64)
        share = least if self.kind == "relative" else least + share * (1.0 - least)
        return tf.maximum(tf.cast(tf.cast(source, tf.float64) * share + 0.5, tf.int32), 1)


@register
class CropFirst(Transform):
    """In some of the images: resize, cut a window. DETR's second policy, before the resizing of all.

    The window may be without objects, as published.

    Args:
        sizes: (long, short) limits, of which one is drawn for the resizing.
        crop: (low, high): sides of the window, drawn independently.
        probability: share of the images.
    """

    def __init__(
        self,
        sizes: Annotated[list[list[int]], List(PAIR, least=1)],
        crop: Annotated[Sequence[int], List(SIDE, length=2, ordered=True)] = (384, 600),
        probability: Share = 0.5,
    ) -> None:
        self.probability = probability
        self.resize = transforms.Resize(sizes)
        self.window = RandomCrop(crop, "absolute_range", tries=1)

    def extent(self, before: Extent) -> Extent:
        return before.grown(self)

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        def cut() -> dict[str, tf.Tensor]:
            resized = self.resize(sample, tf.random.fold_in(seed, 1))
            return self.window(resized, tf.random.fold_in(seed, 2))

        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < self.probability
        return tf.cond(chosen, cut, lambda: dict(sample))


@register
class CenterCrop(Transform):
    """A window around a random point, larger or smaller than asked for, filled up where it sticks out.

    CornerNet (Law & Deng, 2018). Each of ``rounds`` draws a size and tries 50 points; the first window that
    holds the center of an object is taken (any, if there are no objects). The image becomes float32.
    (The reference goes on until a round succeeds; here the window may be without objects after ten.)

    Args:
        size: (w, h) in pixels.
        ratios: factors of ``size`` to choose from.
        border: points keep this distance from the image's edge, or less in small images.
        mean: the color that fills it up, RGB 0..255.
    """

    rounds, tries = 10, 50

    def __init__(
        self,
        size: Pair,
        ratios: Annotated[Sequence[float], List(Number(0, 100, above=True), least=1)] = RATIOS,
        border: Count = 128,
        mean: Color = (0, 0, 0),
    ) -> None:
        self.sizes = [[int(side * ratio) for side in size[::-1]] for ratio in ratios]  # (h, w)
        self.border, self.mean = border, tuple(mean)

    def extent(self, before: Extent) -> Extent:
        return before.grown(self)

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        source = tf.shape(sample["image"])[:2]
        picks = tf.random.stateless_uniform(
            [self.rounds], tf.random.fold_in(seed, 0), 0, len(self.sizes), tf.int32
        )
        sizes = tf.gather(tf.constant(self.sizes), picks)[:, None]  # [R, 1, 2]
        margin = self._margin(source)
        span = tf.cast(tf.maximum(source - 2 * margin, 1), tf.float64)
        share = tf.random.stateless_uniform(
            [self.rounds, self.tries, 2], tf.random.fold_in(seed, 1), dtype=tf.float64
        )
        points = margin + tf.cast(share * span, tf.int32)  # [R, T, 2] (y, x)
        low, high = tf.maximum(points - sizes // 2, 0), tf.minimum(points + sizes // 2, source)
        patches = tf.cast(tf.concat([low[..., ::-1], high[..., ::-1]], -1), tf.float32)  # [R, T, 4]
        fits = transforms.center_inside(sample["boxes"], patches[:, :, None, :])
        fits = tf.reduce_any(fits, -1) | (tf.shape(sample["boxes"])[0] == 0)
        chosen = tf.argmax(tf.reshape(fits, [-1]), output_type=tf.int32)
        size = sizes[chosen // self.tries, 0]
        point, patch = tf.reshape(points, [-1, 2])[chosen], tf.reshape(patches, [-1, 4])[chosen]
        return self._cut(sample, point, size, patch)

    def _margin(self, source: tf.Tensor) -> tf.Tensor:
        """The border halved until it is less than half of the side."""
        ratio = 2.0 * self.border / tf.cast(source, tf.float64)
        halvings = tf.math.ceil(tf.math.log(tf.math.ceil(ratio)) / np.log(2.0))
        halvings += tf.cast(ratio == tf.floor(ratio), tf.float64)
        return tf.cast(self.border // 2.0**halvings, tf.int32)

    def _cut(self, sample: Tensors, point: tf.Tensor, size: tf.Tensor, patch: tf.Tensor) -> Tensors:
        corner = point - size // 2
        # an odd window's last row and column lie beyond its halves and are filled
        limit = tf.minimum(tf.shape(sample["image"])[:2], point + size // 2)
        for key in ("boxes", "ignore_boxes"):
            inside = transforms.center_inside(sample[key], patch)
            if key == "boxes":
                sample = transforms.keep_objects(sample, inside)
            else:
                sample = dict(sample, ignore_boxes=tf.boolean_mask(sample[key], inside))
        return transforms.moved_window(sample, corner, size, limit, self.mean)


@register
class Shift(Transform):
    """Moves the image by a few pixels in some of the cases; what comes in is black.

    YOLOF (Chen et al., 2021). Objects of which no more than a pixel's width or height is left are dropped; if
    that were all of them, the image stays.

    Args:
        probability: share of the images.
        max_pixels: largest shift along each axis.
    """

    def __init__(self, probability: Share = 0.5, max_pixels: CountOrZero = 32) -> None:
        self.probability, self.max_pixels = probability, max_pixels

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < self.probability
        return tf.cond(chosen, lambda: self._shifted(sample, seed), lambda: dict(sample))

    def _shifted(self, sample: Tensors, seed: tf.Tensor) -> Tensors:
        limit, source = self.max_pixels, tf.shape(sample["image"])[:2]
        shift = tf.random.stateless_uniform([2], tf.random.fold_in(seed, 1), -limit, limit + 1, tf.int32)
        moved = transforms.moved_window(sample, -shift, source, source, (0, 0, 0), least=1.0)
        return tf.cond(tf.shape(moved["labels"])[0] > 0, lambda: moved, lambda: dict(sample))
