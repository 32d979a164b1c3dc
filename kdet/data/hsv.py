"""Random shifts of hue, saturation and value, as YOLOX trains with (Ge et al., 2021)."""

from typing import Annotated

import tensorflow as tf

from kdet.data.distortions import from_hsv, to_hsv
from kdet.data.sample import Transform
from kdet.ranges import Number
from kdet.registry import register

Shift = Annotated[float, Number(0, 255)]


@register
class HSVJitter(Transform):
    """Adds a whole number to hue, saturation and value, each in half of the images.

    Args:
        hue: largest shift either way, in units of two degrees.
        saturation, value: largest shift either way, of 0..255.
    """

    def __init__(
        self, hue: Annotated[float, Number(0, 90)] = 5, saturation: Shift = 30, value: Shift = 30
    ) -> None:
        self.hue, self.saturation, self.value = hue, saturation, value

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        draws = tf.random.stateless_uniform([2, 3], seed)
        limits = tf.constant([self.hue, self.saturation, self.value], tf.float32)
        shifts = tf.where(
            draws[1] < 0.5, tf.cast(tf.cast((2 * draws[0] - 1) * limits, tf.int32), tf.float32), 0.0
        )
        return dict(sample, image=shifted(sample["image"], shifts))


def shifted(image: tf.Tensor, shifts: tf.Tensor) -> tf.Tensor:
    """An RGB image ``[h,w,3]`` of 0..255 with hue, saturation and value shifted by ``shifts [3]``."""
    hue, saturation, value = to_hsv(tf.cast(image, tf.float32))
    saturation = tf.clip_by_value(saturation * 255.0 + shifts[1], 0.0, 255.0) / 255.0
    value = tf.clip_by_value(value + shifts[2], 0.0, 255.0)
    found = from_hsv(hue + 2.0 * shifts[0], saturation, value)
    return tf.cast(tf.round(found), image.dtype) if image.dtype.is_integer else found
