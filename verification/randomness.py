"""The goldens' fixed randomness: samplers draw in order, random points come from named
streams, equal values are selected as where the goldens were made.
"""

import numpy as np
import tensorflow as tf

from kdet.backbones.dinov3 import DINOv3ViT
from kdet.heads.dense.free_anchor import FreeAnchorHead
from kdet.heads.dense.yolof import YOLOFHead
from kdet.heads.query.denoising import NoiseDraws
from kdet.heads.query.mask_criterion import PointMaskCriterion
from kdet.heads.query.mask_queries import MaskQueryHead
from kdet.heads.query.rfdetr_masks import RFDETRMaskHead
from kdet.heads.query.rtdetr import RTDETRHead
from kdet.heads.roi.grid import GridRoIHead
from kdet.heads.roi.point_rend import PointRendRoIHead
from kdet.heads.roi.standard import first_rows
from kdet.samplers import RandomSampler
from verification import selection, weights
from verification.peers.draws import ZOOM


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


class MaskPointStream:
    """Stands in for ``PointMaskCriterion.random_points``: four streams for every decoder output.

    In the reference the points of the matching are those of image 0 and of image 1 (``torch.rand/4k`` and
    ``4k + 1``), the candidates of the losses and the rest (``4k + 2`` and ``4k + 3``) those of the matched
    masks, one after the other; ``watch`` finds out which of ours these are.
    """

    def __init__(self, seed):
        self.seed, self.real = seed, None

    def watch(self, criterion):
        for_losses = criterion.for_losses

        def watching(index, masks, objects, real, *args):
            self.real = real.numpy()
            return for_losses(index, masks, objects, real, *args)

        criterion.for_losses, criterion.random_points = watching, self.random_points

    def numbers(self, draw, shape):
        numbers = weights._uniform01(f"torch.rand/{draw}", int(np.prod(shape)), self.seed)
        return np.float32(numbers).reshape(shape)

    def random_points(self, seed, draw, rows, count):
        if draw % 4 == 0:
            images = range(int(rows[0]))
            return tf.constant(np.concatenate([self.numbers(draw + i, (1, count, 2)) for i in images]))
        return self.of_real(draw, count)

    def of_real(self, draw, count):
        """Points of the rows that count, in their order: ``[B,M,count,2]``."""
        numbers = self.numbers(draw, (int(self.real.sum()), count, 2))
        # the rows that do not count may have any
        order = np.maximum(np.cumsum(self.real.ravel()) - 1, 0)
        return tf.constant(numbers[order].reshape(*self.real.shape, count, 2))


class SharedPointStream(MaskPointStream):
    """Stands in for ``PointMaskLosses.random_points``: three streams for every set of queries.

    In the reference all images share the points of the matching (``torch.rand/3k``).
    """

    def watch(self, losses):
        own = losses.losses

        def watching(index, masks, objects, real, *args):
            self.real = real.numpy()
            return own(index, masks, objects, real, *args)

        losses.losses, losses.random_points = watching, self.random_points

    def random_points(self, seed, draw, rows, count):
        if draw % 3 == 0:
            return tf.constant(self.numbers(draw, (1, int(count), 2)))
        return self.of_real(draw, count)


def recorded_noise(golden):
    """Stands in for ``ContrastiveDenoising.draw``: what Transformers drew for the golden, in its order."""

    def draw(seed, batch, slots, num_classes):
        flips, labels, signs, sizes = (golden.draw(k) for k in range(4))
        return NoiseDraws(
            tf.constant(flips),
            tf.constant(np.int32(labels)),
            tf.constant(np.float32(2 * signs - 1)),
            tf.constant(sizes),
        )

    return draw


def fix(model, samplers, golden):
    """Makes the draws of a model those of the golden."""
    seed = golden.meta["seed"]
    for sampler in samplers:
        if isinstance(sampler, RandomSampler):
            sampler._keys = draw_in_order
    for part in model._flatten_layers():
        if isinstance(part, PointRendRoIHead):
            PointStream(seed).watch(part)
        elif isinstance(part, GridRoIHead):
            part.jitter = 0.0
        elif isinstance(part, FreeAnchorHead):
            object.__setattr__(part, "select_smallest", selection.smallest)
        elif isinstance(part, YOLOFHead):
            object.__setattr__(part.assigner, "select_smallest", selection.smallest)
        elif isinstance(part, DINOv3ViT) and part.most_zoom != 1.0:
            object.__setattr__(part, "zoom", lambda: ZOOM)
        elif isinstance(part, RTDETRHead):
            object.__setattr__(part.denoising, "draw", recorded_noise(golden))
        elif isinstance(part, RFDETRMaskHead):
            SharedPointStream(seed).watch(part.point_losses)
        elif isinstance(part, MaskQueryHead) and isinstance(part.criterion, PointMaskCriterion):
            MaskPointStream(seed).watch(part.criterion)
