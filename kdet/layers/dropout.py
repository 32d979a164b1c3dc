"""Dropout whose masks follow from the seed of the training step."""

from collections.abc import Sequence

import tensorflow as tf

from kdet import ops
from kdet.typing import Tensor


class DropoutMasks:
    """Draws one mask after the other; the same step draws the same masks after a resume.

    Handed down the layers of a transformer while it trains (``masks=None`` at inference).

    Args:
        seed: int32 ``[2]``, the step's ``info["seed"]``.
    """

    def __init__(self, seed: Tensor) -> None:
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        self._seed = ops.fold_in(seed, replica)
        self._drawn = 0

    def drop(self, x: Tensor, rate: float) -> Tensor:
        """``x`` with a share ``rate`` of its elements at 0 and the others scaled up."""
        kept = self.uniform(tf.shape(x)) >= rate
        return tf.where(kept, x * (1.0 / (1.0 - rate)), tf.zeros([], x.dtype))

    def uniform(self, shape: Tensor | Sequence[int]) -> Tensor:
        """Numbers in 0..1 of ``shape``, others at every call."""
        self._drawn += 1
        return ops.uniform(shape, ops.fold_in(self._seed, self._drawn))

    def drop_images(self, x: Tensor, rate: float) -> Tensor:
        """``x`` ``[B,...]`` with a share ``rate`` of its images at 0 and the others scaled up."""
        shape = tf.concat([tf.shape(x)[:1], tf.ones([x.shape.rank - 1], tf.int32)], 0)
        return x * self.drop(tf.ones(shape, x.dtype), rate)


def dropout(x: Tensor, rate: float, masks: DropoutMasks | None) -> Tensor:
    """``x``, with dropout where ``masks`` is a ``DropoutMasks``."""
    return x if masks is None or not rate else masks.drop(x, rate)
