"""What every assigner returns."""

from typing import NamedTuple

import tensorflow as tf


class Assignment(NamedTuple):
    """Which object each prior is responsible for.

    Attributes:
        gt_index: int32 ``[B,P]``, row of the targets, -1 for background.
        weight: float32 ``[B,P]``, 0 for priors that take no part in the loss.
        overlaps: float32 ``[B,P]``, quality of the match (IoU with the best object) or None.
    """

    gt_index: tf.Tensor
    weight: tf.Tensor
    overlaps: tf.Tensor | None = None

    @property
    def positive(self):
        """bool ``[B,P]``: assigned to an object and counted."""
        return tf.logical_and(self.gt_index >= 0, self.weight > 0)

    @property
    def negative(self):
        """bool ``[B,P]``: background and counted."""
        return tf.logical_and(self.gt_index < 0, self.weight > 0)

    def count_positive(self):
        """Positives of the batch, but at least one of every image (the reference's normalizer): float32."""
        per_image = tf.reduce_sum(tf.cast(self.positive, tf.float32), 1)
        return tf.reduce_sum(tf.maximum(per_image, 1.0))

    def gather(self, values):
        """Rows ``[B,P,...]`` of the targets' ``values [B,G,...]``; row 0 for background."""
        return tf.gather(values, tf.maximum(self.gt_index, 0), batch_dims=1)

    def labels(self, targets, background):
        """Class of every prior ``[B,P]`` int32, ``background`` where none."""
        labels = self.gather(targets["labels"])
        return tf.where(self.gt_index >= 0, labels, background)
