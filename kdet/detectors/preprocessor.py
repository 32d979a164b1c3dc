"""What happens to an image before the backbone."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, View
from kdet.registry import Component, register


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
    ) -> None:
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"Preprocessor: channel_order must be 'rgb' or 'bgr', not {channel_order!r}.")
        self.mean, self.std, self.channel_order = tuple(mean), tuple(std), channel_order
        self.size = size if isinstance(size, (int, float)) else tuple(size)
        self.keep_ratio, self.pad_divisor, self.center_pad = keep_ratio, pad_divisor, center_pad

    def resize_rule(self, size: float | Sequence[float] | None = None) -> dict[str, Any]:
        """The keywords of a ``Resize`` that leads to ``size`` (default: the preprocessor's)."""
        size = self.size if size is None else size
        if isinstance(size, (int, float)):
            return {"mode": "factor", "sizes": [size]}
        return {"mode": "keep_ratio" if self.keep_ratio else "fixed", "sizes": [list(size)]}

    def normalize(self, images: tf.Tensor, valid_size: tf.Tensor) -> tf.Tensor:
        """``[B,H,W,3]`` RGB 0..255 to float32 normalized, exactly 0 in the padding."""
        images = tf.cast(images, tf.float32)
        if self.channel_order == "bgr":
            images = images[..., ::-1]
        images = (images - self.mean) * (1.0 / tf.constant(self.std, tf.float32))
        shape = tf.shape(images)
        rows = tf.cast(tf.range(shape[1]), tf.float32)[None, :] < valid_size[:, :1]
        columns = tf.cast(tf.range(shape[2]), tf.float32)[None, :] < valid_size[:, 1:]
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return tf.where(inside, images, 0.0)

    def padded_size(self, valid_size: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        """Size ``[B,2]`` of each image padded on its own, at most the ``canvas [2]``."""
        padded = tf.math.ceil(valid_size / self.pad_divisor) * self.pad_divisor
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
            target = tf.bitwise.bitwise_or(side, self.center_pad) if known is None else side | self.center_pad
            start = target // 2 - size[:, axis] // 2  # [B]
            kept = tf.minimum(size[:, axis], size[:, axis] // 2 + target // 2)
            source = tf.range(target)[None, :] - start[:, None]  # [B, target]
            inside = tf.expand_dims((source >= 0) & (source < kept[:, None]), 2 - axis)[..., None]
            images = tf.gather(images, tf.clip_by_value(source, 0, side - 1), axis=axis + 1, batch_dims=1)
            images = tf.where(inside, images, 0.0)
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
