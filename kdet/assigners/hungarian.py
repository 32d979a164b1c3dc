"""The cheapest one-to-one matching of predictions and objects (Carion et al., 2020)."""

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.registry import Component, register
from kdet.typing import Array, Tensor


@register
class HungarianAssigner(Component):
    """Matches every object with one prediction so that the summed cost is least.

    The cost is that of class, L1 distance and generalized IoU; use the weights of the losses.

    Args:
        cls_weight, bbox_weight, iou_weight: weights of the three.
        focal: class scores are sigmoids and cost what the focal loss would; otherwise a softmax, whose
            probability counts.
        corners: the L1 distance is that of the corners, not of center and size.
        alpha, gamma: of the focal cost.
    """

    def __init__(
        self,
        cls_weight: float = 1.0,
        bbox_weight: float = 5.0,
        iou_weight: float = 2.0,
        focal: bool = False,
        corners: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        self.cls_weight, self.bbox_weight, self.iou_weight = cls_weight, bbox_weight, iou_weight
        self.focal, self.corners = focal, corners
        self.alpha, self.gamma = alpha, gamma

    def __call__(self, logits: Tensor, boxes: Tensor, targets: Targets, size: Tensor) -> list[Assignment]:
        """Matches several sets of predictions at once.

        Args:
            logits: ``[L,B,Q,C]``, of ``L`` decoder layers.
            boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
            targets: the data contract's dict.
            size: ``[B,1,4]`` (w, h, w, h) of the images.

        Returns:
            A list of ``L`` ``Assignment [B,Q]``; all predictions count.
        """
        cost = tf.stop_gradient(self.costs(tf.cast(logits, tf.float32), boxes, targets, size))
        shape = tf.shape(cost)  # L, B, Q, G
        real = tf.broadcast_to(targets["labels"] >= 0, tf.gather(shape, [0, 1, 3]))
        matched = tf.numpy_function(_solve, [cost, real], tf.int32, stateful=False)
        matched = tf.ensure_shape(tf.reshape(matched, shape[:3]), logits.shape[:3])
        return [Assignment(rows, tf.ones_like(rows, tf.float32)) for rows in tf.unstack(matched)]

    def costs(self, logits: Tensor, boxes: Tensor, targets: Targets, size: Tensor) -> Tensor:
        """Cost of every pair ``[L,B,Q,G]``."""
        labels = tf.maximum(targets["labels"], 0)
        by_class = tf.transpose(self.class_costs(logits), [1, 0, 2, 3])  # [B, L, Q, C]
        by_class = tf.gather(by_class, labels, axis=3, batch_dims=1)  # [B, L, Q, G]
        truth = targets["boxes"] / size
        corners = geometry.from_center_size(boxes)
        if self.corners:
            distance = corners[..., :, None, :] - truth[..., None, :, :]
        else:
            distance = boxes[..., :, None, :] - geometry.to_center_size(truth)[..., None, :, :]
        distance = tf.reduce_sum(tf.abs(distance), -1)
        own, other = (corners * size)[..., :, None, :], targets["boxes"][..., None, :, :]
        overlap = geometry.aligned_iou(own, other, "giou")
        cost = self.bbox_weight * distance - self.iou_weight * overlap
        return self.cls_weight * tf.transpose(by_class, [1, 0, 2, 3]) + cost

    def class_costs(self, logits: Tensor) -> Tensor:
        """Cost of every class ``[..., C]``."""
        if not self.focal:
            return -tf.nn.softmax(logits)
        p = tf.sigmoid(logits)
        found = -tf.math.log(p + 1e-12) * self.alpha * tf.pow(1.0 - p, self.gamma)
        missed = -tf.math.log(1.0 - p + 1e-12) * (1.0 - self.alpha) * tf.pow(p, self.gamma)
        return found - missed


def _solve(cost: Tensor, real: Tensor) -> Array:
    """Object of every prediction, -1 for none: int32 ``[L,B,Q]``; ``real`` bool ``[L,B,G]``."""
    # predictions that are no numbers get an answer here and an error that names the loss later
    cost = np.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6)
    matched = np.full(cost.shape[:-1], -1, np.int32)
    for index in np.ndindex(*cost.shape[:2]):
        objects = np.flatnonzero(real[index])
        rows, columns = linear_sum_assignment(cost[index][:, objects])
        matched[index][rows] = objects[columns]
    return matched
