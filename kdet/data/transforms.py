"""Resizing and mirroring, and the geometry that other transforms are made of, on a ``Sample``.

Random transforms take a stateless seed: the same seed gives the same sample, whatever ran before.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tensorflow as tf

from kdet import geometry
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
        parts: where the canvas of training follows from these sizes ("value", "range" or ``ratio_range``, and
            no fixed window after it), they are divided into so many parts, equally likely and in rising
            order; every step draws one, and its images draw their sizes from it, so that its canvas is no
            larger than the largest of them. Over the steps an image comes in all sizes as often as with 1,
            which draws every image from all of them, on the canvas of the largest.
        antialias: a smaller image is a mean of all pixels, see ``Preprocessor``.

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
        parts: Count = 4,
        antialias: bool = False,
    ) -> None:
        self.antialias = antialias
        self.mode, self.multiscale, self.ratio_range, self.every = mode, multiscale, ratio_range, every
        self.parts, self._draws_parts = parts, False
        self.sizes: Any = _factors(sizes) if mode == "factor" else _pairs(sizes)
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
        limits = self._limits()
        if not before.straight and len({max(limit) for limit in limits}) == 1:
            limits = ()  # images in any aspect ratio need the same square for all parts
        return Extent("within", self.largest(), straight=before.straight, parts=limits)

    def prepare(self, *, sizes_canvas: bool = False, **facts: Any) -> None:
        self._draws_parts = sizes_canvas

    def _limits(self) -> tuple[tuple[int, int], ...]:
        """The largest (long, short) of every part; nothing where sizes are not divided."""
        if not self.is_random or self.parts == 1 or (self.multiscale == "range" and not self._is_divisible):
            return ()
        return tuple(self._limit(part) for part in range(self.parts))

    def _limit(self, part: int) -> tuple[int, int]:
        if self.ratio_range:
            low, high = self.ratio_range
            factor = low + (high - low) * (part + 1) / self.parts
            return int(max(self.sizes[0]) * factor), int(min(self.sizes[0]) * factor)
        if self.multiscale == "value":
            chosen = self._rising()[: self._ends(len(self.sizes))[part]]
            return max(max(s) for s in chosen), max(min(s) for s in chosen)
        least, most, axis = self._ranges()
        limit = list(most)
        limit[axis] = least[axis] + self._ends(most[axis] - least[axis] + 1)[part] - 1
        return (limit[0], limit[0]) if self._is_square else (limit[0], limit[1])

    def _ends(self, count: int) -> list[int]:
        """One past the last of ``count`` values that each part holds."""
        if self._is_square:  # of the larger one of two draws
            return [math.ceil(count * math.sqrt((part + 1) / self.parts)) for part in range(self.parts)]
        return [-(-(part + 1) * count // self.parts) for part in range(self.parts)]

    def _rising(self) -> list[tuple[int, int]]:
        return sorted(self.sizes, key=lambda size: (size[0] * size[1], size))

    def _ranges(self) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Lowest and highest (long, short) of "range", and the axis that is divided into parts."""
        longs, shorts = [max(s) for s in self.sizes], [min(s) for s in self.sizes]
        low, high = (min(longs), min(shorts)), (max(longs), max(shorts))
        return low, high, int(high[1] * low[0] > high[0] * low[1])

    @property
    def _is_square(self) -> bool:
        """Whether "range" draws both sides from one range, so that either may come out as the longer one."""
        low, high, _ = self._ranges()
        return self.multiscale == "range" and low[0] == low[1] and high[0] == high[1]

    @property
    def _is_divisible(self) -> bool:
        low, high, _ = self._ranges()
        return self._is_square or low[0] >= high[1]

    def __call__(self, sample: Any, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._by_step:
            limit = self.of_step(sample.step, sample.seed)
        elif self._draws_parts:
            limit = self._draw_in(part_of_step(sample.step, sample.seed, self.parts), seed)
        else:
            limit = self._draw(seed)
        source = tf.shape(sample["image"])[:2]
        if self.mode == "fixed":
            size = limit[::-1]
        elif self.mode == "factor":
            size = resize.scaled_size(source, limit)
        else:
            size = resize.keep_ratio_size(source, limit)
        return resized_sample(sample, size, self.antialias)

    @property
    def _by_step(self) -> bool:
        return self.multiscale == "step" and len(self.sizes) > 1

    def of_step(self, step: tf.Tensor | int, seed: int) -> tf.Tensor:
        """The size (w, h) of a step, int32 ``[2]``: a function of the run's seed and the step."""
        turn = tf.cast(step, tf.int64) // self.every
        key = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), turn]), SIZE_OF_STEP)
        return tf.constant(self.sizes)[tf.random.stateless_uniform([], key, 0, len(self.sizes), tf.int32)]

    def _draw(self, seed: tf.Tensor) -> tf.Tensor:
        sizes = tf.constant(self.sizes, tf.float64 if self.mode == "factor" else tf.int32)
        if self.ratio_range:
            low, high = self.ratio_range
            ratio = tf.random.stateless_uniform([], seed, low, high, tf.float64)
            return tf.cast(tf.cast(sizes[0], tf.float64) * ratio, tf.int32)
        if len(self.sizes) == 1:
            return sizes[0]
        if self.multiscale == "value":
            return sizes[tf.random.stateless_uniform([], seed, 0, len(self.sizes), tf.int32)]
        low, high, _ = map(tf.constant, self._ranges())
        unit = tf.random.stateless_uniform([2], seed, dtype=tf.float64)
        return low + tf.cast(unit * tf.cast(high - low + 1, tf.float64), tf.int32)

    def _draw_in(self, part: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A (long, short) limit out of a part."""
        unit = tf.random.stateless_uniform([2], seed, dtype=tf.float64)
        share = (tf.cast(part, tf.float64) + unit[0]) / self.parts
        if self.ratio_range:
            low, high = self.ratio_range
            size = tf.constant(sorted(self.sizes[0], reverse=True), tf.float64)
            return tf.cast(size * (low + (high - low) * share), tf.int32)
        if self.multiscale == "value":
            place = tf.cast(share * len(self.sizes), tf.int32)
            return tf.constant(self._rising())[self._kept(place, part, len(self.sizes))]
        least, most, axis = self._ranges()
        counts = [most[0] - least[0] + 1, most[1] - least[1] + 1]
        if self._is_square:  # the larger one of two uniform draws, and the smaller one under it
            larger = tf.sqrt(share)
            drawn = [larger, larger * unit[1]]
        else:
            drawn = [share, unit[1]] if axis == 0 else [unit[1], share]
        drawn = [tf.cast(one * count, tf.int32) for one, count in zip(drawn, counts, strict=True)]
        drawn[axis] = self._kept(drawn[axis], part, counts[axis])
        return tf.constant(least) + tf.stack(drawn)

    def _kept(self, place: tf.Tensor, part: tf.Tensor, count: int) -> tf.Tensor:
        """A place among ``count`` values within its part, whatever the rounding."""
        return tf.minimum(place, tf.constant(self._ends(count))[part] - 1)


SIZE_OF_STEP, PART_OF_STEP = 4051, 4057  # folded into the seed for draws that all images of a step share


def part_of_step(step: tf.Tensor | int, seed: int, parts: int) -> tf.Tensor:
    """Which of ``parts`` of the sizes a step has, int32: a function of the run's seed and the step."""
    key = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)]), PART_OF_STEP)
    return tf.random.stateless_uniform([], key, 0, parts, tf.int32)


@register
class RandomFlip(Transform):
    """Mirrors the image left to right with the given probability."""

    def __init__(self, probability: Share = 0.5) -> None:
        self.probability = probability

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], seed) < self.probability
        return tf.cond(chosen, lambda: self._flipped(sample), lambda: dict(sample))

    @staticmethod
    def _flipped(sample: Tensors) -> Tensors:
        width = tf.cast(tf.shape(sample["image"])[1], tf.float32)
        sample = dict(sample)
        sample["image"] = tf.reverse(sample["image"], [1])
        sample["columns"] = tf.reverse(sample["columns"], [0])
        for key in BOX_KEYS:
            x1, y1, x2, y2 = tf.unstack(sample[key], axis=-1)
            sample[key] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
        return sample


def resized_sample(sample: Tensors, size: tf.Tensor, antialias: bool = False) -> Tensors:
    """A sample resized to (h, w), int32 ``[2]``; for ``antialias`` see ``resize.resize_bilinear``."""
    source = tf.shape(sample["image"])[:2]
    factor = tf.cast(size, tf.float64) / tf.cast(source, tf.float64)
    factor = tf.cast(factor, tf.float32)
    sample = dict(sample)
    sample["image"] = resize.resize_bilinear(sample["image"], size, antialias=antialias)
    sample["rows"] = tf.gather(sample["rows"], resize.nearest_index(source[0], size[0]))
    sample["columns"] = tf.gather(sample["columns"], resize.nearest_index(source[1], size[1]))
    sample["scale"] = sample["scale"] * factor
    for key in BOX_KEYS:
        sample[key] = clip(sample[key] * tf.tile(factor[::-1], [2]), size)
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
    return keep_objects(sample, geometry.is_real_box(sample["boxes"]))


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
    """Intersection of broadcast boxes, ``[..., 4]`` (may come out inverted: see ``geometry.is_real_box``)."""
    low = tf.maximum(boxes[..., :2], windows[..., :2])
    high = tf.minimum(boxes[..., 2:], windows[..., 2:])
    return tf.concat([low, high], axis=-1)


def center_inside(boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Whether the centers of boxes lie strictly inside of windows, both broadcast ``[..., 4]``."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    return tf.reduce_all((center > windows[..., :2]) & (center < windows[..., 2:]), -1)


def _factors(sizes: Any) -> list[float]:
    sizes = sizes if isinstance(sizes, (list, tuple)) else [sizes]
    for value in sizes:
        if type(value) not in (int, float) or not 0 < value <= 100:
            raise DataError(f"sizes must hold positive factors in mode factor; got {value!r}.")
    return [float(value) for value in sizes]


def _pairs(sizes: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(sizes, (list, tuple)) or not sizes:
        raise DataError(f"sizes must be a list of pairs such as [[1333, 800]]; got {sizes!r}.")
    sizes = sizes if isinstance(sizes[0], (list, tuple)) else [sizes]
    for one in sizes:
        if not isinstance(one, (list, tuple)) or len(one) != 2 or not all(map(_is_side, one)):
            raise DataError(f"sizes must hold pairs of positive whole numbers; got {one!r}.")
    return tuple((int(size[0]), int(size[1])) for size in sizes)


def _is_side(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 2**17 and int(value) == value
