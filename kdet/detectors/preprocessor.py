"""What happens to a picture before the backbone."""

import tensorflow as tf

from kdet.registry import Component, register


@register
class Preprocessor(Component):
    """Normalisation inside the model, and the rule by which ``predict`` resizes pictures.

    Args:
        mean, std: per channel, in ``channel_order``, of values 0..255.
        channel_order: "rgb" or "bgr": the order that the backbone expects. Inputs are always RGB.
        size: (long, short) side that pictures are scaled to fit, or (width, height) without ``keep_ratio``.
        keep_ratio: scale both sides by one factor.
        pad_divisor: a picture on its own is padded to multiples of this.
    """

    def __init__(
        self,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        channel_order="rgb",
        size=(1333, 800),
        keep_ratio=True,
        pad_divisor=32,
    ):
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"Preprocessor: channel_order must be 'rgb' or 'bgr', not {channel_order!r}.")
        self.mean, self.std, self.channel_order = tuple(mean), tuple(std), channel_order
        self.size, self.keep_ratio, self.pad_divisor = tuple(size), keep_ratio, pad_divisor

    def normalize(self, images, valid_size):
        """``[B,H,W,3]`` RGB 0..255 to float32 normalised, exactly 0 in the padding."""
        images = tf.cast(images, tf.float32)
        if self.channel_order == "bgr":
            images = images[..., ::-1]
        images = (images - self.mean) * (1.0 / tf.constant(self.std))
        shape = tf.shape(images)
        rows = tf.cast(tf.range(shape[1]), tf.float32)[None, :] < valid_size[:, :1]
        columns = tf.cast(tf.range(shape[2]), tf.float32)[None, :] < valid_size[:, 1:]
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return tf.where(inside, images, 0.0)

    def padded_size(self, valid_size, canvas):
        """Size ``[B,2]`` of each picture padded on its own, at most the ``canvas [2]``."""
        padded = tf.math.ceil(valid_size / self.pad_divisor) * self.pad_divisor
        return tf.minimum(padded, tf.cast(canvas, tf.float32))
