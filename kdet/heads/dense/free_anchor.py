"""FreeAnchor (Zhang et al., 2019): objects choose their anchors out of a bag by likelihood."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.retina import RetinaHead
from kdet.layers import replica_mean
from kdet.ops.ranking import smallest
from kdet.registry import register
from kdet.typing import Tensor


def cross_entropy_with_one(probability: float) -> Tensor:
    """``-log(probability)``, at most 100."""
    return -tf.maximum(tf.math.log(probability), -100.0)


@register
class FreeAnchorHead(RetinaHead):
    """RetinaNet trained on bags of anchors.

    Args:
        bag_size: anchors per object, those with the largest IoU.
        iou_threshold: IoU of a predicted box from which its anchor counts as an object in part.
        gamma, alpha: of the focal form of the negative loss.
        other arguments: see ``RetinaHead``; ``loss_bbox`` measures how likely a box is.
    """

    # at the end of a bag many anchors have the same IoU; which of them are in is up to the selection
    select_smallest = staticmethod(smallest)

    def __init__(
        self,
        bag_size: int = 50,
        iou_threshold: float = 0.6,
        gamma: float = 2.0,
        alpha: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(loss_cls=None, assigner=None, **kwargs)
        self.bag_size, self.iou_threshold, self.gamma, self.alpha = bag_size, iou_threshold, gamma, alpha

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"positive_bag_loss", "negative_bag_loss"}``."""
        anchors = tf.concat(self.priors(level_shapes(outputs[0])), 0)  # [P, 4]
        probability = tf.sigmoid(flatten_levels(outputs[0], self.num_classes))  # [B, P, C]
        deltas = flatten_levels(outputs[1], 4)
        real = targets["labels"] >= 0  # [B, G]
        count = replica_mean(tf.reduce_sum(tf.cast(real, tf.float32)))
        positive = tf.where(real, self.positive_bags(anchors, probability, deltas, targets), 0.0)
        foreground = self.foreground(tf.stop_gradient(self.coder.decode(anchors, deltas)), targets)
        wrong = tf.clip_by_value(probability * (1.0 - foreground), 1e-12, 1.0 - 1e-12)
        negative = tf.pow(wrong, self.gamma) * cross_entropy_with_one(1.0 - wrong)
        return {
            "positive_bag_loss": self.alpha * tf.reduce_sum(positive) / tf.maximum(count, 1.0),
            "negative_bag_loss": (1.0 - self.alpha)
            * tf.reduce_sum(negative)
            / tf.maximum(count * self.bag_size, 1.0),
        }

    def positive_bags(self, anchors: Tensor, probability: float, deltas: Tensor, targets: Targets) -> Tensor:
        """``[B,G]``: how unlikely it is that the best anchors of an object find it."""
        boxes, labels = targets["boxes"], tf.maximum(targets["labels"], 0)
        rows = self.select_smallest(-geometry.pairwise_iou(boxes, anchors), self.bag_size)  # [B, G, K]
        of_class = tf.gather(tf.transpose(probability, [0, 2, 1]), labels, batch_dims=1)  # [B, G, P]
        of_class = tf.gather(of_class, rows, batch_dims=2)  # [B, G, K]
        bag = tf.gather(anchors, rows)  # [B, G, K, 4]
        # padding encodes its own anchors, so that no infinity arises
        wanted = tf.where((targets["labels"] >= 0)[..., None, None], boxes[:, :, None, :], bag)
        error = self.loss_bbox.elementwise(
            tf.gather(deltas, rows, batch_dims=1), self.coder.encode(bag, wanted)
        )
        likelihood = of_class * tf.exp(-self.loss_bbox.loss_weight * tf.reduce_sum(error, -1))
        weight = 1.0 / tf.maximum(1.0 - likelihood, 1e-12)
        weight /= tf.reduce_sum(weight, -1, keepdims=True)
        return cross_entropy_with_one(tf.reduce_sum(weight * likelihood, -1))

    def foreground(self, boxes: Tensor, targets: Targets) -> Tensor:
        """How much each predicted box ``[B,P,4]`` is an object of each class: ``[B,P,C]`` in [0, 1]."""
        iou = geometry.pairwise_iou(targets["boxes"], boxes)  # [B, G, P]
        best = tf.maximum(tf.reduce_max(iou, -1, keepdims=True), self.iou_threshold + 1e-12)
        share = tf.clip_by_value((iou - self.iou_threshold) / (best - self.iou_threshold), 0.0, 1.0)
        share = tf.where((targets["labels"] >= 0)[..., None], share, 0.0)
        batch, objects, anchors = tf.unstack(tf.shape(share))
        owner = tf.range(batch)[:, None] * self.num_classes + tf.maximum(targets["labels"], 0)
        best = tf.math.unsorted_segment_max(
            tf.reshape(share, [batch * objects, anchors]), tf.reshape(owner, [-1]), batch * self.num_classes
        )
        best = tf.reshape(tf.maximum(best, 0.0), [batch, self.num_classes, anchors])
        return tf.transpose(best, [0, 2, 1])
