"""Dynamic R-CNN: IoU threshold and box loss follow the quality of the proposals (Zhang et al., 2020)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.assigners import MaxIoUAssigner
from kdet.contract import Assignment, Targets
from kdet.geometry import is_real_box
from kdet.heads.base import Losses
from kdet.heads.roi.standard import StandardRoIHead
from kdet.layers import replica_mean
from kdet.losses import SmoothL1Loss
from kdet.registry import register
from kdet.typing import Maps, Tensor

SMALLEST_BETA = 1e-15


@register
class DynamicRoIHead(StandardRoIHead):
    """Second stage whose IoU threshold and ``beta`` of the smooth L1 loss follow the training.

    Both start from those of the assigner (a ``MaxIoUAssigner``) and of the box head's loss.

    Args:
        iou_rank: the threshold becomes the mean of this rank among an image's largest IoUs.
        beta_rank: beta becomes the median of this rank per image among the smallest targets.
        interval: steps between two changes.
        lowest_iou, largest_beta: limits of the two.
        other arguments: see ``StandardRoIHead``.
    """

    assigner: MaxIoUAssigner
    training_state = ("_iou", "_beta", "_ious", "_betas", "_steps")

    def __init__(
        self,
        iou_rank: int = 75,
        beta_rank: int = 10,
        interval: int = 100,
        lowest_iou: float = 0.4,
        largest_beta: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.iou_rank, self.beta_rank, self.interval = iou_rank, beta_rank, interval
        self.lowest_iou, self.largest_beta = lowest_iou, largest_beta

        def state(name: str, value: float, shape: tuple[int, ...] = ()) -> keras.Variable:
            return self.add_weight(
                name=name, shape=shape, initializer=lambda shape, dtype: tf.fill(shape, value),
                trainable=False, dtype="float32", autocast=False,
            )  # fmt: skip

        self._iou = state("iou", float(self.assigner.pos_iou))
        start: Any = self.bbox_head.loss_bbox  # a SmoothL1Loss
        self._beta = state("beta", float(start.beta))
        self._ious = state("ious", 0.0, (interval,))
        self._betas = state("betas", 0.0, (interval,))
        self._steps = state("steps", 0.0)

    def match(self, proposals: tf.Tensor, targets: Targets, present: Tensor) -> Assignment:
        return self.assigner(proposals, targets, present, threshold=self._iou)

    def box_head_losses(
        self, outputs: tuple[Any, ...], rois: tf.Tensor, assignment: Assignment, targets: Targets
    ) -> Losses:
        loss = SmoothL1Loss(tf.convert_to_tensor(self._beta), self.bbox_head.loss_bbox.loss_weight)
        scores, deltas, *_ = outputs
        return self.bbox_head.compute_losses(scores, deltas, rois, assignment, targets, loss_bbox=loss)

    def assign(self, proposals: Tensor, targets: Targets, present: Tensor) -> tuple[Tensor, Assignment]:
        rois, assignment = super().assign(proposals, targets, present)
        iou = overlap_of_rank(assignment.overlaps, is_real_box(rois), self.iou_rank)
        self._remember(self._ious, tf.reduce_mean(iou))
        return rois, assignment

    def bbox_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets
    ) -> tuple[Losses, Any]:
        losses = super().bbox_losses(features, rois, assignment, targets)
        self._remember(self._betas, self.ranked_shift(rois, assignment, targets))
        self._adapt()
        return losses

    def ranked_shift(self, rois: Tensor, assignment: Assignment, targets: Targets) -> Tensor:
        """The target shift of the center, averaged over x and y, that has the wanted rank; a scalar."""
        safe = assignment.positive[..., None]
        unit = tf.constant([0.0, 0.0, 1.0, 1.0])
        boxes = tf.where(safe, assignment.gather(targets["boxes"]), unit)
        deltas = self.bbox_head.coder.encode(tf.where(safe, rois, unit), boxes)
        shifts = tf.reduce_mean(tf.abs(deltas[..., :2]), -1)
        shifts = tf.sort(tf.reshape(tf.where(assignment.positive, shifts, float("inf")), [-1]))
        positives = tf.reduce_sum(tf.cast(assignment.positive, tf.int32))
        rank = tf.minimum(self.beta_rank * tf.shape(rois)[0], positives)
        # without positives the present value stands in
        return tf.where(positives > 0, shifts[tf.maximum(rank - 1, 0)], tf.convert_to_tensor(self._beta))

    def _remember(self, history: Tensor, value: Any) -> None:
        place = tf.one_hot(tf.cast(self._steps, tf.int32) % self.interval, self.interval)
        history.assign(history + place * (replica_mean(tf.stop_gradient(value)) - history))

    def _adapt(self) -> None:
        """Counts the step; at the end of an interval sets threshold and beta."""
        self._steps.assign_add(1.0)
        due = tf.equal(tf.cast(self._steps, tf.int32) % self.interval, 0)
        iou = tf.maximum(tf.reduce_mean(self._ious), self.lowest_iou)
        ranked = tf.sort(tf.convert_to_tensor(self._betas))
        median = (ranked[(self.interval - 1) // 2] + ranked[self.interval // 2]) / 2.0
        beta = tf.where(
            median < SMALLEST_BETA, tf.convert_to_tensor(self._beta), tf.minimum(median, self.largest_beta)
        )
        self._iou.assign(tf.where(due, iou, tf.convert_to_tensor(self._iou)))
        self._beta.assign(tf.where(due, beta, tf.convert_to_tensor(self._beta)))


def overlap_of_rank(overlaps: Tensor, real: Tensor, rank: int) -> Tensor:
    """The ``rank``-th largest of every image's real overlaps, the least where there are fewer: ``[B]``.

    Args:
        overlaps: float ``[B,P]``, of padding below or equal to those that are real.
        real: bool ``[B,P]``.
        rank: from 1 on.
    """
    ranked = tf.math.top_k(overlaps, tf.minimum(rank, tf.shape(overlaps)[1])).values  # [B, rank]
    count = tf.clip_by_value(tf.reduce_sum(tf.cast(real, tf.int32), 1), 1, tf.shape(ranked)[1])
    return tf.gather(ranked, count - 1, batch_dims=1)
