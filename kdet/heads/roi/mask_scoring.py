"""Mask Scoring R-CNN: the mask branch also says how good its masks are (Huang et al., 2019)."""

from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes
from kdet.heads.base import Losses
from kdet.heads.roi.standard import StandardRoIHead, first_rows, merge_batch, split_batch
from kdet.layers import Composite, Conv2D, Linear, replica_mean
from kdet.losses import Loss, MSELoss
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class MaskIoUHead(Composite):
    """IoU of a predicted mask with that of its object, for every class.

    Args:
        num_classes: without background.
        num_convs, filters: 3x3 convolutions, the last with stride 2.
        num_fcs, fc_units: dense layers.
        mask_threshold: logit from which a pixel of the prediction counts.
        loss_iou: loss on the IoU.

    Call: ``(features [N,h,w,C], mask logits [N,2h,2w]) -> [N,classes]``.
    """

    def __init__(
        self,
        num_classes: int,
        num_convs: int = 4,
        filters: int = 256,
        num_fcs: int = 2,
        fc_units: int = 1024,
        mask_threshold: float = 0.5,
        loss_iou: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mask_threshold, self.loss_iou = mask_threshold, loss_iou or MSELoss(loss_weight=0.5)
        strides = [1] * (num_convs - 1) + [2]
        self.convs = [Conv2D(filters, 3, stride=stride, padding=1) for stride in strides]
        self.fcs = [Linear(fc_units, flatten=i == 0) for i in range(num_fcs)]
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.fc_mask_iou = Linear(num_classes, kernel_initializer=normal)

    def call(self, features: Tensor, masks: Tensor, training: bool = False) -> Tensor:
        masks = tf.nn.max_pool2d(tf.sigmoid(masks)[..., None], 2, 2, "VALID")
        x = tf.concat([features, tf.cast(masks, features.dtype)], -1)
        for conv in self.convs:
            x = tf.nn.relu(conv(x))
        for fc in self.fcs:
            x = tf.nn.relu(fc(x))
        return self.fc_mask_iou(x)

    def targets(
        self, masks: Tensor, wanted: Tensor, rois: Tensor, assignment: Assignment, packed_masks: Tensor
    ) -> Tensor:
        """IoU of masks with the whole object, also what lies outside the region: ``[B*S]``.

        Args:
            masks: logits ``[B*S,m,m]``.
            wanted: binary ``[B*S,m,m]``.
            rois: ``[B,S,4]``.
            assignment: ``Assignment [B,S]``.
            packed_masks: the targets' ``masks``.
        """
        corners = tf.maximum(tf.cast(rois, tf.int32), 0)
        corners = tf.concat([corners[..., :2], tf.maximum(corners[..., 2:], corners[..., :2] + 1)], -1)
        inside = ops.packed_areas_in_boxes(packed_masks, corners, assignment.gt_index)
        share = inside / (assignment.gather(ops.packed_mask_areas(packed_masks)) + 1e-7)
        # the threshold is on the logits, as the published models were trained
        predicted = tf.cast(masks > self.mask_threshold, tf.float32)
        overlap = tf.reduce_sum(predicted * wanted, [1, 2])
        whole = tf.reduce_sum(wanted, [1, 2]) / (merge_batch(share) + 1e-7)
        return tf.math.divide_no_nan(overlap, tf.reduce_sum(predicted, [1, 2]) + whole - overlap)

    def compute_losses(self, ious: Tensor, wanted: Tensor, weight: Tensor) -> Losses:
        """``{"loss_mask_iou": scalar}`` over the positives whose masks overlap their object.

        Args:
            ious, wanted: ``[N]``, predicted and true.
            weight: ``[N]``, above 0 for positives.
        """
        weight = tf.where(wanted > 0.0, weight, 0.0)
        count = replica_mean(tf.reduce_sum(weight))
        return {"loss_mask_iou": self.loss_iou(ious, wanted, weight, tf.maximum(count, 1.0))}


@register
class MaskScoringRoIHead(StandardRoIHead):
    """Second stage whose detections also have ``mask_scores``: score times predicted mask IoU.

    Args:
        mask_iou_head: ``MaskIoUHead``.
        other arguments: see ``StandardRoIHead``.
    """

    def __init__(self, mask_iou_head: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_iou_head = mask_iou_head

    def score_masks(
        self, features: Maps, rois: Tensor, labels: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mask logits ``[B*N,m,m,classes]``, those of ``labels [B*N]`` and the IoU predicted for them."""
        crops = self.crop(self.mask_roi_extractor, features, rois, training)
        logits = self.mask_head(crops, training=training)
        own = self.mask_head.of_class(logits, labels)
        ious = tf.cast(self.mask_iou_head(crops, own, training=training), tf.float32)
        return logits, own, tf.gather(ious, tf.maximum(labels, 0), batch_dims=1)

    def mask_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets, info: ImageInfo
    ) -> Losses:
        rois, assignment = first_rows(rois, assignment, self.sampler.max_positives)
        labels = merge_batch(assignment.labels(targets, background=0))
        logits, own, ious = self.score_masks(features, rois, labels, training=True)
        wanted = self.mask_head.targets(rois, assignment, targets, info, logits.shape[1])
        losses = self.mask_head.compute_losses(logits, rois, assignment, targets, info, wanted)
        true_ious = self.mask_iou_head.targets(own, wanted, rois, assignment, targets["masks"])
        weight = merge_batch(tf.cast(assignment.positive, tf.float32))
        losses.update(self.mask_iou_head.compute_losses(ious, true_ious, weight))
        return losses

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, Tensor]:
        """``masks [B,N,m,m]`` and ``mask_scores [B,N]``."""
        rois = network_boxes(detections["boxes"], info)
        logits, _, ious = self.score_masks(features, rois, merge_batch(detections["labels"]))
        scores = split_batch(ious, rois) * detections["scores"]
        return {"masks": self.mask_head.probabilities(logits, detections["labels"]), "mask_scores": scores}
