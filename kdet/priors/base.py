"""What a head asks of its priors."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.registry import Component

# (h, w) of a map, ints where known, else scalar tensors
Shape = tuple[Any, Any]


class PriorGenerator(Component):
    """Makes what dense heads predict relative to.

    Attributes:
        strides: pixels between neighboring cells, one per level.
    """

    strides: tuple[int, ...]

    @property
    def num_anchors(self) -> Any:
        """Priors of one cell: their number, or a list over the levels where they differ."""
        raise NotImplementedError(f"{type(self).__name__} must define num_anchors.")

    def __call__(self, shapes: Sequence[Shape]) -> list[tf.Tensor]:
        """Priors of every level whose maps have these (h, w): boxes ``[h*w*A,4]`` or points ``[h*w,3]``."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__().")

    def valid(self, shapes: Sequence[Shape], padded_size: tf.Tensor) -> tf.Tensor:
        """Which priors sit on cells of the image, not of the batch's padding: bool ``[B,P]``."""
        raise NotImplementedError(f"{type(self).__name__} must define valid().")
