"""Assignment of the anchors in the middle of each object (FSAF, Zhu et al., 2019)."""

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import Assigner, objects_of, usable_priors
from kdet.contract import Assignment, Targets
from kdet.geometry import is_real_box
from kdet.registry import register
from kdet.typing import Tensor


@register
class CenterRegionAssigner(Assigner):
    """An anchor in the middle of objects belongs to the smallest; its other objects cast a shadow on it.

    Args:
        pos_scale: share of a box that is its middle.
        neg_scale: share of a box that casts the shadow.
        min_pos_iof: the share of an anchor's area that must lie in a middle (or shadow), exclusive.
        ignore_scale: share of an ignore region whose anchors take no part.
    """

    def __init__(
        self,
        pos_scale: float = 0.2,
        neg_scale: float = 0.2,
        min_pos_iof: float = 0.01,
        ignore_scale: float = 0.5,
    ) -> None:
        self.pos_scale, self.neg_scale = pos_scale, neg_scale
        self.min_pos_iof, self.ignore_scale = min_pos_iof, ignore_scale

    def __call__(
        self, priors: Tensor, targets: Targets, valid: Tensor | None = None, predictions: Tensor | None = None
    ) -> Assignment:
        """``Assignment`` of anchors ``[P,4]``; arguments as in ``MaxIoUAssigner``."""
        return self.assign_with_shadows(priors, targets, valid)[0]

    def assign_with_shadows(
        self, priors: Tensor, targets: Targets, valid: Tensor | None = None
    ) -> tuple[Assignment, Tensor]:
        """The ``Assignment``, and which objects cast a shadow on which anchor: bool ``[B,G,P]``."""
        labels = targets["labels"]
        boxes, real = objects_of(targets)
        priors, usable = usable_priors(priors, valid, boxes)
        points = geometry.centers(priors)
        real = real[..., None] & usable[:, None, :]
        core = within(points, boxes) & self._covered(priors, boxes, self.pos_scale) & real
        shadow = self._covered(priors, boxes, self.neg_scale) & real & ~core
        area = tf.where(core, geometry.area(boxes)[..., None], float("inf"))
        index = tf.where(tf.reduce_any(core, 1), tf.argmin(area, 1, tf.int32), -1)  # [B, P]
        shadow |= core & ~tf.one_hot(index, tf.shape(boxes)[1], True, False, axis=1, dtype=tf.bool)
        weight = tf.cast(usable, tf.float32)
        if "ignore_boxes" in targets:
            regions = geometry.scale_boxes(targets["ignore_boxes"], self.ignore_scale)
            ignored = tf.reduce_any(within(points, regions) & is_real_box(regions)[..., None], 1)
            weight, index = tf.where(ignored, 0.0, weight), tf.where(ignored, -1, index)
        # an anchor in the shadow of the class that it answers for is left to the background
        own = tf.gather(labels, tf.maximum(index, 0), batch_dims=1)[:, None, :]
        clash = tf.reduce_any(shadow & (labels[..., None] == own), 1) & (index >= 0)
        return Assignment(tf.where(clash, -1, index), weight), shadow

    def _covered(self, priors: Tensor, boxes: Tensor, scale: float) -> Tensor:
        """bool ``[B,G,P]``: enough of the anchor lies in the scaled box."""
        share = geometry.pairwise_iou(priors, geometry.scale_boxes(boxes, scale), "iof")  # [B, P, G]
        return tf.transpose(share, [0, 2, 1]) > self.min_pos_iof


def within(points: Tensor, boxes: Tensor) -> Tensor:
    """bool ``[B,G,P]``: points ``[P,2]`` strictly inside boxes ``[B,G,4]``."""
    x, y = points[:, 0], points[:, 1]
    left, top, right, bottom = tf.unstack(boxes[:, :, None], axis=-1)  # [B, G, 1] each
    return (x > left) & (y > top) & (x < right) & (y < bottom)
