"""What happens to an image before the backbone."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, View
from kdet.errors import short
from kdet.inputs import own_side
from kdet.registry import Component, register


def _require_numbers(name: str, values: Sequence[float], count: int, above: float = -math.inf) -> None:
    good = [isinstance(v, (int, float)) and math.isfinite(v) and v > above for v in values]
    if len(good) != count or not all(good):
        limit = "" if above == -math.inf else f" above {above:g}"
        given = list(values) if count > 1 else values[0]
        raise ValueError(f"Preprocessor: {name} takes {count} finite numbers{limit}; got {short(given)}.")


@register
class Preprocessor(Component):
    """Normalization inside the model, and the rule by which ``predict`` resizes images.

    Args:
        mean, std: per channel, in ``channel_order``, of values 0..255.
        channel_order: "rgb" or "bgr": the order that the backbone expects. Inputs are always RGB.
        size: (long, short) side that images are scaled to fit, or (width, height) without ``keep_ratio``,
            or a factor of their own size.
        keep_ratio: scale both sides by one factor.
        pad_divisor: an image on its own is padded to multiples of this.
        center_pad: at inference images lie in the middle of a canvas whose sides are ``side | center_pad``
            (CornerNet: 127); None: at the top left.
        center_pad_more: what the sides of that canvas are longer by (CenterNet: 1).
        antialias: a smaller image is a mean of all pixels (PIL, torchvision), not of the nearest four
            (OpenCV).
        pad_value: what the padding is filled with, 0..255 (YOLOX: 114); None: 0 after the normalization.

    Raises:
        ValueError: naming the argument that cannot be used.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channel_order: str = "rgb",
        size: float | Sequence[int] = (1333, 800),
        keep_ratio: bool = True,
        pad_divisor: int = 32,
        center_pad: int | None = None,
        pad_value: float | None = None,
        center_pad_more: int = 0,
        antialias: bool = False,
    ) -> None:
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"Preprocessor: channel_order must be 'rgb' or 'bgr', not {channel_order!r}.")
        sides = [size] if isinstance(size, (int, float)) else size
        _require_numbers("mean", mean, 3)
        _require_numbers("std", std, 3, above=0)
        _require_numbers("size", sides, len(sides) if len(sides) < 3 else 2, above=0)
        _require_numbers("pad_divisor", [pad_divisor], 1, above=0)
        self.mean, self.std, self.channel_order = tuple(mean), tuple(std), channel_order
        self.size = size if isinstance(size, (int, float)) else tuple(size)
        self.keep_ratio, self.pad_divisor, self.center_pad = keep_ratio, pad_divisor, center_pad
        self.pad_value, self.center_pad_more, self.antialias = pad_value, center_pad_more, antialias

    def resize_rule(self, size: float | Sequence[float] | None = None) -> dict[str, Any]:
        """The keywords of a ``Resize`` that leads to ``size`` (default: the preprocessor's)."""
        size = self.size if size is None else size
        smooth = {"antialias": True} if self.antialias else {}
        if isinstance(size, (int, float)):
            return {"mode": "factor", "sizes": [size], **smooth}
        return {"mode": "keep_ratio" if self.keep_ratio else "fixed", "sizes": [list(size)], **smooth}

    def normalize(self, images: tf.Tensor, valid_size: tf.Tensor) -> tf.Tensor:
        """``[B,H,W,3]`` RGB 0..255 to float32 normalized, ``pad_value`` in the padding."""
        images = tf.cast(images, tf.float32)
        if self.channel_order == "bgr":
            images = images[..., ::-1]
        images = (images - self.mean) * (1.0 / tf.constant(self.std, tf.float32))
        shape = tf.shape(images)
        rows = tf.cast(tf.range(shape[1]), tf.float32)[None, :] < valid_size[:, :1]
        columns = tf.cast(tf.range(shape[2]), tf.float32)[None, :] < valid_size[:, 1:]
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return tf.where(inside, images, self.padding())

    def padding(self) -> tf.Tensor:
        """The normalized pixel ``[3]`` that stands where there is no image."""
        if self.pad_value is None:
            return tf.zeros([3])
        return (self.pad_value - tf.constant(self.mean, tf.float32)) * (
            1.0 / tf.constant(self.std, tf.float32)
        )

    def padded_size(self, valid_size: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        """Size ``[B,2]`` of each image padded on its own, at most the ``canvas [2]``."""
        padded = own_side(valid_size, self.pad_divisor)
        return tf.minimum(padded, tf.cast(canvas, tf.float32))

    def placed(self, images: tf.Tensor, info: ImageInfo) -> View:
        """Normalized images ``[B,H,W,3]`` and ImageInfo as inference wants them: see ``center_pad``.

        Adds ``info["border"] [B,4]``: (top, bottom, left, right) of the image in the canvas. A side as long
        as the canvas loses its last pixel, as in MMDetection.
        """
        if self.center_pad is None:
            return View(images, info)
        size, border, targets = tf.cast(info["valid_size"], tf.int32), [], []
        for axis in (0, 1):
            known = images.shape[axis + 1]
            side = tf.shape(images)[axis + 1] if known is None else known
            target = own_side(side, center_pad=self.center_pad) + self.center_pad_more
            start = target // 2 - size[:, axis] // 2  # [B]
            kept = tf.minimum(size[:, axis], size[:, axis] // 2 + target // 2)
            source = tf.range(target)[None, :] - start[:, None]  # [B, target]
            inside = tf.expand_dims((source >= 0) & (source < kept[:, None]), 2 - axis)[..., None]
            images = tf.gather(images, tf.clip_by_value(source, 0, side - 1), axis=axis + 1, batch_dims=1)
            images = tf.where(inside, images, self.padding())
            border += [start, start + kept]
            targets.append(tf.fill(tf.shape(start), tf.cast(target, tf.float32)))
        border = tf.cast(tf.stack(border, -1), tf.float32)
        return View(images, {**info, "border": border, "padded_size": tf.stack(targets, -1)})

    def mirrored(self, images: tf.Tensor, info: ImageInfo) -> View:
        """The same images mirrored left to right, with ``info["flipped"]``; padding stays where it is.

        In a canvas around the image everything is mirrored, the padding too.
        """
        width = info["padded_size" if "border" in info else "valid_size"][:, 1]
        images = tf.reverse_sequence(images, tf.cast(width, tf.int32), seq_axis=2, batch_axis=0)
        flipped = info.get("flipped", tf.zeros_like(width, tf.bool))
        return View(images, {**info, "flipped": ~flipped})
