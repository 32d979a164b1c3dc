"""The stronger augmentation of SSD, YOLO and YOLACT recipes, on a ``Sample``.

Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2.
"""

from collections.abc import Sequence
from typing import Annotated

import tensorflow as tf

from kdet import geometry
from kdet.data import transforms
from kdet.data.extent import Extent
from kdet.data.sample import BOX_KEYS, Transform
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import Color
from kdet.typing import Tensors

EPSILON = 2.0**-23  # of float32, where OpenCV keeps a division from zero


@register
class Photometric(Transform):
    """Random brightness, contrast, saturation, hue and channel order, each in half of the images.

    The image becomes float32 and is not clipped to 0..255.
    """

    brightness, contrast, saturation, hue = 32.0, (0.5, 1.5), (0.5, 1.5), 18.0  # hue in degrees

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        coins = tf.random.stateless_uniform([6], tf.random.fold_in(seed, 0)) < 0.5
        draws = tf.random.stateless_uniform([4], tf.random.fold_in(seed, 1))
        image = tf.cast(sample["image"], tf.float32)
        image += tf.where(coins[0], (2 * draws[0] - 1) * self.brightness, 0.0)
        factor = tf.where(coins[1], _between(self.contrast, draws[1]), 1.0)
        contrast_first = coins[2]
        image *= tf.where(contrast_first, factor, 1.0)
        hue, saturation, value = to_hsv(image)
        saturation *= tf.where(coins[3], _between(self.saturation, draws[2]), 1.0)
        hue += tf.where(coins[4], (2 * draws[3] - 1) * self.hue, 0.0)
        image = from_hsv(hue, saturation, value)
        image *= tf.where(contrast_first, 1.0, factor)
        order = tf.random.experimental.stateless_shuffle(tf.range(3), tf.random.fold_in(seed, 2))
        image = tf.gather(image, tf.where(coins[5], order, tf.range(3)), axis=-1)
        return dict(sample, image=image)


@register
class Expand(Transform):
    """Puts the image somewhere on a larger canvas of one color, in half of the cases.

    Args:
        mean: the color, RGB 0..255.
        ratio: (low, high) size of the canvas relative to the image.
    """

    def __init__(
        self,
        mean: Color = (0, 0, 0),
        ratio: Annotated[Sequence[float], List(Number(1, 100), length=2, ordered=True)] = (1, 4),
    ) -> None:
        self.mean, self.ratio = tuple(mean), tuple(ratio)

    def extent(self, before: Extent) -> Extent:
        return before.grown(self, straight=True)

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < 0.5
        return tf.cond(chosen, lambda: self._expanded(sample, seed), lambda: dict(sample))

    def _expanded(self, sample: Tensors, seed: tf.Tensor) -> Tensors:
        draws = tf.random.stateless_uniform([3], tf.random.fold_in(seed, 1), dtype=tf.float64)
        image = sample["image"]
        source = tf.shape(image)[:2]
        size = tf.cast(source, tf.float64) * _between(self.ratio, draws[0])
        corner = tf.cast(draws[1:] * (size - tf.cast(source, tf.float64)), tf.int32)  # (y, x)
        after = tf.cast(size, tf.int32) - source - corner
        padding = tf.stack([corner, after], axis=1)  # [2, 2]
        color = tf.cast(tf.constant(self.mean, tf.float32), image.dtype)
        inside = tf.pad(tf.ones(source, tf.bool), padding)
        image = tf.pad(image, tf.concat([padding, [[0, 0]]], 0))
        moved = tf.cast(tf.stack([corner[1], corner[0]] * 2), tf.float32)
        return dict(
            sample,
            image=tf.where(inside[..., None], image, color),
            rows=tf.pad(sample["rows"], padding[:1], constant_values=-1),
            columns=tf.pad(sample["columns"], padding[1:], constant_values=-1),
            **{key: sample[key] + moved for key in BOX_KEYS},
        )


@register
class OverlapCrop(Transform):
    """Cuts a window that overlaps every object by a randomly chosen IoU at least (or none at all).

    A round draws one of ``min_ious``, 0 or "leave it", and tries 50 windows of sides ``min_size``..1 of the
    image and aspect 1/2..2; the first that fits is taken. Rounds go on until one succeeds or leaves the
    image whole (of seven choices one does: after all rounds, 1e-9 of the images stay whole without it).
    Objects whose center lies outside are dropped.
    """

    rounds, tries, blocks = 8, 50, 16  # rounds are drawn in blocks; most images need one

    def __init__(
        self,
        min_ious: Annotated[Sequence[float], List(Number(0, 1), least=1)] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_size: Annotated[float, Number(0, 1, above=True)] = 0.3,
    ) -> None:
        self.min_ious, self.min_size = tuple(min_ious), min_size

    def extent(self, before: Extent) -> Extent:
        return before.crooked()

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes = tf.concat([sample["boxes"], sample["ignore_boxes"]], axis=0)
        source = tf.shape(sample["image"])[:2]

        _, _, cut, window = tf.while_loop(
            lambda block, ended, cut, window: ~ended,
            lambda block, *_: (block + 1, *self._block(boxes, source, tf.random.fold_in(seed, block))),
            (tf.constant(0), tf.constant(False), tf.constant(False), tf.zeros([4])),
            maximum_iterations=self.blocks,
        )
        return tf.cond(cut, lambda: self._cut(sample, window), lambda: dict(sample))

    def _block(
        self, boxes: tf.Tensor, source: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """``(whether a round came to an end, whether it cuts, its window [4])`` of one block of rounds."""
        windows, allowed = self._windows(source, tf.random.fold_in(seed, 0))  # [R, T, 4], [R, T]
        modes = tf.constant([1.0, *self.min_ious, 0.0])
        picks = tf.random.stateless_uniform(
            [self.rounds], tf.random.fold_in(seed, 1), 0, modes.shape[0], tf.int32
        )
        mode = tf.gather(modes, picks)  # [R], 1: leave the image
        some = tf.shape(boxes)[0] > 0
        overlaps = geometry.aligned_iou(boxes, windows[:, :, None, :])  # [R, T, n]
        fits = allowed & tf.reduce_all(overlaps >= mode[:, None, None], -1)
        fits &= tf.reduce_any(transforms.center_inside(boxes, windows[:, :, None, :]), -1) | ~some
        leave = mode == 1
        ended = leave | tf.reduce_any(fits, -1)  # [R]
        round_ = tf.argmax(ended, output_type=tf.int32)
        window = windows[round_, tf.argmax(fits[round_], output_type=tf.int32)]
        return ended[round_], ended[round_] & ~leave[round_], window

    def _windows(self, source: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Whole-pixel windows xyxy, and which of them have an allowed shape."""
        draws = tf.random.stateless_uniform([self.rounds, self.tries, 4], seed)
        full = tf.cast(source, tf.float32)
        size = full * (self.min_size + (1 - self.min_size) * draws[..., :2])  # (h, w)
        room = full - size
        corner = room + (1 - room) * draws[..., 2:]  # between 1 and all the room: the reference's draw
        windows = tf.floor(tf.concat([corner[..., ::-1], (corner + size)[..., ::-1]], -1))
        aspect = size[..., 0] / size[..., 1]
        return windows, (aspect >= 0.5) & (aspect <= 2) & geometry.is_real_box(windows)

    @staticmethod
    def _cut(sample: Tensors, window: tf.Tensor) -> Tensors:
        sample = transforms.keep_objects(sample, transforms.center_inside(sample["boxes"], window))
        kept = transforms.center_inside(sample["ignore_boxes"], window)
        sample["ignore_boxes"] = tf.boolean_mask(sample["ignore_boxes"], kept)
        whole = tf.cast(window, tf.int32)
        return transforms.crop(sample, whole[1::-1], whole[:1:-1] - whole[1::-1])


def to_hsv(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """RGB ``[...,3]`` float -> hue in degrees, saturation and value ``[...]``, as OpenCV defines them.

    Values below 0 (darkened pixels) keep their color.
    """
    red, green, blue = tf.unstack(image, axis=-1)
    value = tf.reduce_max(image, -1)
    spread = value - tf.reduce_min(image, -1)
    scale = 60.0 / (spread + EPSILON)
    hue = tf.where(
        value == red,
        (green - blue) * scale,
        tf.where(value == green, (blue - red) * scale + 120.0, (red - green) * scale + 240.0),
    )
    return hue % 360.0, spread / (tf.abs(value) + EPSILON), value


def from_hsv(hue: tf.Tensor, saturation: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """The inverse of ``to_hsv``, for any hue."""
    channels = []
    for shift in (5.0, 3.0, 1.0):
        place = (shift + hue / 60.0) % 6.0
        channels.append(
            value - value * saturation * tf.clip_by_value(tf.minimum(place, 4.0 - place), 0.0, 1.0)
        )
    return tf.stack(channels, axis=-1)


def _between(limits: Sequence[float], unit: tf.Tensor) -> tf.Tensor:
    low, high = limits
    return low + (high - low) * unit
