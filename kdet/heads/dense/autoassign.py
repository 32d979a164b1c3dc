"""AutoAssign: label assignment by learned weights (Zhu et al., 2020, arXiv:2007.03496)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.fcos import FCOSHead
from kdet.layers import Layer, replica_mean
from kdet.priors import PointGenerator
from kdet.registry import register
from kdet.typing import Tensor

# the smallest normalizer of a weight
TINY = 1e-12
# how much likelier points count more among the positives of an object
CONFIDENCE = 3.0
# the largest value of a cross entropy, as PyTorch cuts it
LARGEST = 100.0


class CenterPrior(Layer):
    """How much a point counts for an object by its place in it: a normal distribution learned per class.

    Args:
        num_classes: classes.

    Call: ``points [P,3]`` (x, y, stride), ``boxes [B,G,4]``, ``labels [B,G]`` -> ``[B,P,G]`` in (0, 1].
    """

    torch_tensors = {"mean": ("mean", None), "sigma": ("sigma", None)}

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        shape = (num_classes, 2)
        self.mean = self.add_weight(name="mean", shape=shape, initializer="zeros", autocast=False)
        self.sigma = self.add_weight(name="sigma", shape=shape, initializer="ones", autocast=False)
        self.built = True

    def call(self, points: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        labels = tf.maximum(labels, 0)
        mean, sigma = (tf.gather(x, labels)[:, None] for x in (self.mean, self.sigma))  # [B, 1, G, 2]
        offset = points[None, :, None, :2] - geometry.centers(boxes)[:, None]  # [B, P, G, 2]
        distance = tf.square(offset / points[None, :, None, 2:] - mean)
        return tf.reduce_prod(tf.exp(-distance / (2.0 * tf.square(sigma))), -1)


@register
class AutoAssignHead(FCOSHead):
    """FCOS whose points share every object among themselves by learned weights.

    Args:
        num_classes, strides, other arguments: see ``FCOSHead``; ``loss_bbox`` takes boxes.
        positive_weight, negative_weight, center_weight: of the three losses.

    The third output is the objectness: how likely any object is at a point.
    """

    first_probability = 0.02
    first_distance = 4.0

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        positive_weight: float = 0.25,
        negative_weight: float = 0.75,
        center_weight: float = 0.75,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, strides=strides, loss_cls=None, loss_centerness=None, conv_bias=True,
            norm_on_bbox=True, centerness_on_reg=True, **kwargs,
        )  # fmt: skip
        self.positive_weight, self.negative_weight = positive_weight, negative_weight
        self.center_weight = center_weight
        self.point_generator = PointGenerator(strides, offset=0.0)
        self.center_prior = CenterPrior(num_classes)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_pos", "loss_neg", "loss_center"}``."""
        points = tf.concat(self.priors(level_shapes(outputs[0])), 0)  # [P, 3]
        scores = tf.sigmoid(flatten_levels(outputs[0], self.num_classes))
        confidence = scores * tf.sigmoid(flatten_levels(outputs[2], 1))  # [B, P, C]
        predicted = self.coder.decode(points, flatten_levels(outputs[1], 4))
        boxes, labels = targets["boxes"], targets["labels"]
        valid = labels >= 0  # [B, G]
        inside = points_inside(points, boxes) & valid[:, None]  # [B, P, G]
        prior = tf.where(inside, self.center_prior(points, boxes, labels), 0.0)
        count, share = tf.reduce_sum(tf.cast(valid, tf.float32), 1), tf.reduce_sum(prior, [1, 2])  # [B]
        objects = tf.maximum(replica_mean(tf.reduce_sum(count)), 1.0)
        covered = tf.maximum(replica_mean(tf.reduce_sum(tf.stop_gradient(share))), 1.0)
        positive = self.positive_losses(confidence, predicted, boxes, labels, prior)
        negative = self.negative_losses(confidence, predicted, boxes, labels, inside)
        center = tf.math.divide_no_nan(count, tf.maximum(share, TINY)) * tf.cast(share > 0.0, tf.float32)
        return {
            "loss_pos": self.positive_weight * tf.reduce_sum(tf.where(valid, positive, 0.0)) / objects,
            "loss_neg": self.negative_weight * negative / covered,
            "loss_center": self.center_weight * tf.reduce_mean(center),
        }

    def positive_losses(
        self, confidence: Tensor, predicted: Tensor, boxes: Tensor, labels: Tensor, prior: Tensor
    ) -> Tensor:
        """Per object ``[B,G]``: -ln of the weighted mean of its points' likelihoods of being right."""
        loss_bbox = self.loss_bbox.loss_weight * self.loss_bbox.elementwise(
            predicted[:, :, None], boxes[:, None]
        )
        chosen = tf.gather(confidence, tf.maximum(labels, 0), axis=2, batch_dims=1)  # [B, P, G]
        likelihood = chosen * tf.exp(-loss_bbox)
        weight = tf.exp(CONFIDENCE * likelihood) * prior
        weight /= tf.maximum(tf.reduce_sum(weight, 1, keepdims=True), TINY)
        mean = tf.reduce_sum(likelihood * weight, 1)
        found = mean > 0.0
        return tf.where(found, tf.minimum(-tf.math.log(tf.where(found, mean, 1.0)), LARGEST), LARGEST)

    def negative_losses(
        self, confidence: Tensor, predicted: Tensor, boxes: Tensor, labels: Tensor, inside: Tensor
    ) -> Tensor:
        """Sum over all points and classes; inside an object of the class, good boxes count less."""
        quality = geometry.aligned_iou(predicted[:, :, None], boxes[:, None])
        # every object sees the best overlap of the point, whichever object it is with
        quality = tf.reduce_max(tf.where(labels[:, None] >= 0, quality, 0.0), 2, keepdims=True)
        quality = tf.stop_gradient(1.0 / tf.maximum(1.0 - quality, TINY))
        low = tf.reduce_min(tf.where(inside, quality, float("inf")), 1, keepdims=True)  # [B, 1, G]
        high = tf.reduce_max(tf.where(inside, quality, -float("inf")), 1, keepdims=True)
        weight = (quality - low + TINY) / (high - low + TINY)
        # where objects of a class overlap the last one decides
        last = inside & ~covered_by_later(inside, labels)
        taken = tf.where(last, weight, 0.0)  # [B, P, G]
        per_class = tf.matmul(taken, tf.one_hot(labels, self.num_classes))  # [B, P, C]
        doubt = confidence * (1.0 - per_class)
        return tf.reduce_sum(tf.square(doubt) * tf.minimum(-tf.math.log1p(-doubt), LARGEST))


def points_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points ``[P,2+]`` lie strictly inside boxes ``[B,G,4]``: bool ``[B,P,G]``."""
    xy = points[None, :, None, :2]
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    return tf.reduce_all((xy > low) & (xy < high), -1)


def covered_by_later(inside: Tensor, labels: Tensor) -> Tensor:
    """Whether a point also lies in a later object of the same class: bool ``[B,P,G]``."""
    count = tf.shape(labels)[1]
    later = tf.range(count)[:, None] > tf.range(count)[None]  # [G' later than, G]
    same = (labels[:, :, None] == labels[:, None]) & later
    return tf.matmul(tf.cast(inside, tf.float32), tf.cast(same, tf.float32)) > 0.0
