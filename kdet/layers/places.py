"""Places as features: convolutions that know where they are (CoordConv, Liu et al., 2018)."""

import tensorflow as tf

from kdet.typing import Tensor


def place_maps(x: Tensor) -> Tensor:
    """Place of every cell of a map ``[B,h,w,C]``, x then y, from -1 to 1: ``[B,h,w,2]`` of its dtype."""
    batch, height, width = tf.unstack(tf.shape(x)[:3])
    columns, rows = (tf.linspace(-1.0, 1.0, size) for size in (width, height))
    places = tf.stack(tf.meshgrid(columns, rows), -1)  # [h, w, 2]
    places.set_shape([*x.shape[1:3], 2])
    return tf.cast(tf.broadcast_to(places, [batch, height, width, 2]), x.dtype)


def with_places(x: Tensor) -> Tensor:
    """``[B,h,w,C] -> [B,h,w,C+2]``: x and y of the cells behind the channels."""
    return tf.concat([x, place_maps(x)], -1)
