"""Sizes of tensors, static wherever they are known."""

from typing import Any

import tensorflow as tf

from kdet.typing import Tensor


def sizes_of(x: Tensor) -> list[Any]:
    """The size of every axis of ``x``: an int where it is known, else an int32 scalar.

    What is reshaped with these keeps its static shape.

    >>> batch, height, width, channels = sizes_of(x)
    """
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]
