"""Resizing and mirroring, and the geometry that other transforms are made of, on a ``Sample``.

Random transforms take a stateless seed: the same seed gives the same sample, whatever ran before.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tensorflow as tf

from kdet.data import resize
from kdet.data.extent import Extent
from kdet.data.sample import BOX_KEYS, Transform
from kdet.errors import DataError
from kdet.ranges import Either, List, Number
from kdet.registry import register
from kdet.settings import PAIR, Count, Share
from kdet.typing import Tensors

FACTOR = Number(0, 100, above=True)
SIZES = Either((PAIR, List(Either((PAIR, FACTOR)), least=1)))
DEFAULT_SIZES = ((1333, 800),)


@register
class Resize(Transform):
    """Resizes the image; boxes are scaled and clipped to it.

    Args:
        sizes: list of (long, short) limits with ``keep_ratio``, of (w, h) with ``fixed``, of factors of the
            image's own size with ``factor``. A single pair does too.
        mode: "keep_ratio", "fixed" or "factor".
        multiscale: with several sizes, "value" picks one of them for every image, "range" draws the long and
            the short side from the ranges they span (both ends included), and "step" picks one of them for
            all images of a step, as YOLOX does (Ge et al., 2021): the batch has just the canvas of that size.
        ratio_range: (low, high): a random factor on the (single) size.
        every: with "step": steps until another size is drawn.

    Raises:
        DataError: sizes that do not fit the mode.
    """

    augmentation = False

    def __init__(
        self,
        sizes: Annotated[Any, SIZES] = DEFAULT_SIZES,
        mode: Literal["keep_ratio", "fixed", "factor"] = "keep_ratio",
        multiscale: Literal["value", "range", "step"] = "value",
        ratio_range: Annotated[Sequence[float], List(FACTOR, length=2, ordered=True)] | None = None,
        every: Count = 10,
    ) -> None:
        self.mode, self.multiscale, self.ratio_range, self.every = mode, multiscale, ratio_range, every
        self.sizes = _factors(sizes) if mode == "factor" else _pairs(sizes)
        if mode == "factor" and (ratio_range is not None or multiscale != "value"):
            raise DataError("mode factor takes sizes only, no ranges.")
        if ratio_range is not None and len(self.sizes) > 1:
            raise DataError(f"ratio_range works on one size; {len(self.sizes)} are given.")
        if mode == "fixed" and len(self.sizes) > 1 and multiscale != "step":
            raise DataError(f"mode fixed takes one size (w, h); {len(self.sizes)} are given.")

    @classmethod
    def of(cls, given: Any) -> "Resize":
        """A ``Resize`` from its keywords, a (long, short) limit, a factor of the own size, or None."""
        if isinstance(given, dict):
            return cls(**given)
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return cls([given], mode="factor")
        return cls(DEFAULT_SIZES if given is None else given)

    @property
    def is_random(self) -> bool:
        """Whether one image may come out in several sizes."""
        return len(self.sizes) > 1 or self.ratio_range is not None

    def largest(self) -> tuple[int, int]:
        """The largest (long, short) or (w, h) that can come out."""
        first = max(s[0] for s in self.sizes), max(s[1] for s in self.sizes)
        if self.mode == "keep_ratio":
            first = max(max(s) for s in self.sizes), max(min(s) for s in self.sizes)
        factor = self.ratio_range[1] if self.ratio_range else 1
        return int(first[0] * factor), int(first[1] * factor)

    def extent(self, before: Extent) -> Extent:
        if self.mode == "factor":
            return before if before.kind != "own" else Extent("own", factor=max(self.sizes))
        if self.multiscale == "step" and len(self.sizes) > 1:
            if self.mode == "fixed" or not any(w != h for w, h in self.sizes):
                return Extent("fixed", self.largest(), straight=False, by_step=self.sizes)
            raise DataError('multiscale "step" with mode keep_ratio takes square sizes [s, s].')
        if self.mode == "fixed":
            return Extent("fixed", self.largest(), straight=False)
        return Extent("within", self.largest(), straight=before.straight)

    def __call__(self, sample: Any, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        limit = self.of_step(sample.step, sample.seed) if self._by_step else self._draw(seed)
        source = tf.shape(sample["image"])[:2]
        if self.mode == "factor":
            limit = tf.cast(tf.cast(source, tf.float64) * tf.cast(limit, tf.float64), tf.int32)
        size = limit[::-1] if self.mode == "fixed" else resize.keep_ratio_size(source, limit)
        factor = tf.cast(size, tf.float64) / tf.cast(source, tf.float64)
        factor = tf.cast(factor, tf.float32)
        sample = dict(sample)
        sample["image"] = resize.resize_bilinear(sample["image"], size)
        sample["rows"] = tf.gather(sample["rows"], resize.nearest_index(source[0], size[0]))
        sample["columns"] = tf.gather(sample["columns"], resize.nearest_index(source[1], size[1]))
        sample["scale"] = sample["scale"] * factor
        for key in BOX_KEYS:
            sample[key] = clip(sample[key] * tf.tile(factor[::-1], [2]), size)
        return sample

    @property
    def _by_step(self):
        return self.multiscale == "step" and len(self.sizes) > 1

    def of_step(self, step: tf.Tensor | int, seed: int) -> tf.Tensor:
        """The size (w, h) of a step, int32 ``[2]``: a function of the run's seed and the step."""
        turn = tf.cast(step, tf.int64) // self.every
        key = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), turn]), SIZE_OF_STEP)
        return tf.constant(self.sizes)[tf.random.stateless_uniform([], key, 0, len(self.sizes), tf.int32)]

    def _draw(self, seed):
        sizes = tf.constant(self.sizes, tf.float64 if self.mode == "factor" else tf.int32)
        if self.ratio_range:
            low, high = self.ratio_range
            ratio = tf.random.stateless_uniform([], seed, low, high, tf.float64)
            return tf.cast(tf.cast(sizes[0], tf.float64) * ratio, tf.int32)
        if len(self.sizes) == 1:
            return sizes[0]
        if self.multiscale == "value":
            return sizes[tf.random.stateless_uniform([], seed, 0, len(self.sizes), tf.int32)]
        longs, shorts = [max(s) for s in self.sizes], [min(s) for s in self.sizes]
        low, high = tf.constant([min(longs), min(shorts)]), tf.constant([max(longs), max(shorts)])
        unit = tf.random.stateless_uniform([2], seed, dtype=tf.float64)
        return low + tf.cast(unit * tf.cast(high - low + 1, tf.float64), tf.int32)


SIZE_OF_STEP = 4051  # folded into the seed for draws that all images of a step share


@register
class RandomFlip(Transform):
    """Mirrors the image left to right with the given probability."""

    def __init__(self, probability: Share = 0.5) -> None:
        self.probability = probability

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], seed) < self.probability
        return tf.cond(chosen, lambda: self._flipped(sample), lambda: dict(sample))

    @staticmethod
    def _flipped(sample):
        width = tf.cast(tf.shape(sample["image"])[1], tf.float32)
        sample = dict(sample)
        sample["image"] = tf.reverse(sample["image"], [1])
        sample["columns"] = tf.reverse(sample["columns"], [0])
        for key in BOX_KEYS:
            x1, y1, x2, y2 = tf.unstack(sample[key], axis=-1)
            sample[key] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
        return sample


def crop(sample: Tensors, corner: tf.Tensor, size: tf.Tensor) -> Tensors:
    """Cuts the window at ``corner`` (y, x) of ``size`` (h, w), both int32 ``[2]``, out of a sample."""
    y, x = corner[0], corner[1]
    offset = tf.cast(tf.stack([x, y, x, y]), tf.float32)
    sample = dict(sample)
    sample["image"] = sample["image"][y : y + size[0], x : x + size[1]]
    sample["rows"] = sample["rows"][y : y + size[0]]
    sample["columns"] = sample["columns"][x : x + size[1]]
    for key in BOX_KEYS:
        sample[key] = clip(sample[key] - offset, size)
    return keep_objects(sample, has_area(sample["boxes"]))


def moved_window(
    sample: Tensors,
    corner: tf.Tensor,
    size: tf.Tensor,
    limit: tf.Tensor,
    color: Sequence[float],
    least: float = 0.0,
) -> Tensors:
    """A window that may stick out of the image, where it has one color.

    Args:
        corner, size: (y, x) and (h, w) of the window, int32 ``[2]``.
        limit: (h, w) from which on the image's pixels are left out.
        color: RGB 0..255; other than black makes the image float32.
        least: objects whose sides are not larger than this after clipping are dropped.
    """
    sources, insides = [], []
    for axis in (0, 1):
        source = tf.range(size[axis]) + corner[axis]
        inside = (source >= 0) & (source < limit[axis])
        sources.append(tf.clip_by_value(source, 0, tf.shape(sample["image"])[axis] - 1))
        insides.append(inside)
    image = sample["image"] if not any(color) else tf.cast(sample["image"], tf.float32)
    image = tf.gather(tf.gather(image, sources[0]), sources[1], axis=1)
    inside = (insides[0][:, None] & insides[1])[..., None]
    offset = tf.cast(tf.tile(corner[::-1], [2]), tf.float32)
    sample = dict(
        sample,
        image=tf.where(inside, image, tf.cast(tf.constant(color, tf.float32), image.dtype)),
        rows=tf.where(insides[0], tf.gather(sample["rows"], sources[0]), -1),
        columns=tf.where(insides[1], tf.gather(sample["columns"], sources[1]), -1),
        **{key: clip(sample[key] - offset, size) for key in BOX_KEYS},
    )
    sides = sample["boxes"][:, 2:] - sample["boxes"][:, :2]
    return keep_objects(sample, tf.reduce_all(sides > least, -1))


def keep_objects(sample: Tensors, keep: tf.Tensor) -> Tensors:
    """Drops the objects where ``keep [n]`` is False."""
    return dict(sample, **{k: tf.boolean_mask(sample[k], keep) for k in ("boxes", "labels", "objects")})


def clip(boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Clips ``[n,4]`` boxes to an image of ``size`` (h, w)."""
    height, width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    return tf.clip_by_value(boxes, 0.0, tf.stack([width, height, width, height]))


def intersect(boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Intersection of broadcast boxes, ``[..., 4]`` (may come out inverted: see ``has_area``)."""
    low = tf.maximum(boxes[..., :2], windows[..., :2])
    high = tf.minimum(boxes[..., 2:], windows[..., 2:])
    return tf.concat([low, high], axis=-1)


def has_area(boxes: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def center_inside(boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Whether the centers of boxes lie strictly inside of windows, both broadcast ``[..., 4]``."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    return tf.reduce_all((center > windows[..., :2]) & (center < windows[..., 2:]), -1)


def _factors(sizes):
    sizes = sizes if isinstance(sizes, (list, tuple)) else [sizes]
    for value in sizes:
        if type(value) not in (int, float) or not 0 < value <= 100:
            raise DataError(f"sizes must hold positive factors in mode factor; got {value!r}.")
    return [float(value) for value in sizes]


def _pairs(sizes):
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise DataError(f"sizes must be a list of pairs such as [[1333, 800]]; got {sizes!r}.")
    sizes = sizes if isinstance(sizes[0], (list, tuple)) else [sizes]
    for one in sizes:
        if not isinstance(one, (list, tuple)) or len(one) != 2 or not all(map(_is_side, one)):
            raise DataError(f"sizes must hold pairs of positive whole numbers; got {one!r}.")
    return tuple(tuple(int(v) for v in size) for size in sizes)


def _is_side(value):
    return type(value) in (int, float) and 0 < value < 2**17 and int(value) == value
