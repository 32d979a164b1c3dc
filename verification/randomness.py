"""The goldens' fixed randomness: samplers draw in order, random points come from named
streams, equal values are selected as where the goldens were made.
"""

import numpy as np
import tensorflow as tf

from kdet.heads.roi.standard import first_rows
from verification import selection, weights


def draw_in_order(assignment, seed):
    """Keys of a sampler under which the first priors are drawn first."""
    batch, priors = tf.unstack(tf.shape(assignment.gt_index))
    key = tf.cast(tf.range(priors)[::-1], tf.float32) / tf.cast(priors, tf.float32)
    key = tf.repeat(key[None], batch, 0)
    return key, key


class PointStream:
    """Stands in for ``MaskPointHead.random_points``: call ``k`` gives the stream ``torch.rand/k``.

    The reference draws for the positive regions only, one after the other; ``watch`` finds out which
    of ours those are.
    """

    def __init__(self, seed):
        self.seed, self.calls, self.positive = seed, 0, None

    def watch(self, roi_head):
        mask_losses = roi_head.mask_losses

        def watching(features, rois, assignment, *args):
            used = first_rows(rois, assignment, roi_head.sampler.max_positives)[1]
            self.positive = used.positive.numpy()
            return mask_losses(features, rois, assignment, *args)

        object.__setattr__(roi_head, "mask_losses", watching)
        object.__setattr__(roi_head.point_head, "random_points", self.random_points)

    def random_points(self, seed, like, count):
        total = int(self.positive.sum())
        numbers = weights._uniform01(f"torch.rand/{self.calls}", total * count * 2, self.seed)
        self.calls += 1
        numbers = np.float32(numbers).reshape(total, count, 2)
        rows = np.maximum(np.cumsum(self.positive.ravel()) - 1, 0)
        return tf.constant(numbers[rows].reshape(*self.positive.shape, count, 2))


def fix(model, samplers, seed):
    """Makes the draws of a model those of the golden."""
    for sampler in samplers:
        if hasattr(sampler, "_keys"):
            sampler._keys = draw_in_order
    roi_head = getattr(model, "roi_head", None)
    if hasattr(roi_head, "point_head"):
        PointStream(seed).watch(roi_head)
    if hasattr(roi_head, "jitter"):
        roi_head.jitter = 0.0
    head = getattr(model, "bbox_head", None)
    for chooser in (head, getattr(head, "assigner", None)):
        if hasattr(chooser, "select_smallest"):
            object.__setattr__(chooser, "select_smallest", selection.smallest)
