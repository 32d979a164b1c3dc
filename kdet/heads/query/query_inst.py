"""QueryInst: Sparse R-CNN whose proposals give masks too (Fang et al., 2021)."""

from typing import Any, cast

import tensorflow as tf

from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.query.sparse import DynamicConv, SparseRoIHead, Stage
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.standard import merge_batch, split_batch
from kdet.layers import statistics_of_rows
from kdet.losses import DiceLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


@register
class DynamicMaskHead(FCNMaskHead):
    """Mask head whose regions pass a dynamic convolution of their proposal first.

    Args:
        num_classes: without background.
        filters: channels of regions, proposals and convolutions.
        hidden_units: of the dynamic convolution.
        norm: spec of the convolutions' norms.
        loss_mask: loss of every mask's probabilities.
        other arguments: see ``FCNMaskHead``.

    Call: ``regions [R,h,w,filters]``, ``proposals [R,filters]`` -> logits ``[R,2h,2w,classes]``.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int = 256,
        hidden_units: int = 64,
        norm: Norm = "bn",
        loss_mask: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        loss_mask = loss_mask or DiceLoss(epsilon=1e-5, loss_weight=8.0)
        super().__init__(num_classes=num_classes, filters=filters, norm=norm, loss_mask=loss_mask, **kwargs)
        self.instance_interactive_conv = DynamicConv(filters, hidden_units, project=False)

    def call(self, x: Tensor, proposals: Tensor, training: bool = False) -> Tensor:
        return super().call(self.instance_interactive_conv(proposals, x), training=training)

    def loss_of_masks(self, logits: Tensor, wanted: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        pixels = logits.shape[1] * logits.shape[2]
        logits, wanted = (tf.reshape(x, [-1, pixels]) for x in (logits, wanted))
        return self.loss_mask(tf.sigmoid(logits), wanted, weight, tf.maximum(count, 1.0))


@register
class QueryInstRoIHead(SparseRoIHead):
    """Stages of Sparse R-CNN with a mask head each; the last one's masks are the detections'.

    Args:
        mask_roi_size: rows and columns of a region for the masks, which are twice as large.
        mask_threshold: probability from which a pixel belongs to the object.
        other arguments: see ``SparseRoIHead``.
    """

    def __init__(self, mask_roi_size: int = 14, mask_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        strides, units = self.bbox_roi_extractor[0].strides, self.units
        stages = range(len(self.bbox_head))
        self.mask_roi_extractor = [
            SingleRoIExtractor(mask_roi_size, strides, sampling_ratio=2) for _ in stages
        ]
        self.mask_head = [
            DynamicMaskHead(self.num_classes, units, mask_threshold=mask_threshold) for _ in stages
        ]

    @property
    def mask_threshold(self) -> float:
        return self.mask_head[-1].mask_threshold

    def mask_logits(
        self, index: int, features: Maps, boxes: Tensor, attended: Tensor, training: bool = False
    ) -> Tensor:
        """Logits of the masks of proposals, merged over the batch: ``[B*N,2h,2w,classes]``.

        Args:
            index: of the stage.
            features: tuple of ``[B,h,w,units]``.
            boxes: ``[B,N,4]`` in network pixels, no gradient.
            attended: the proposals ``[B,N,units]``.
        """
        regions = self.mask_roi_extractor[index](features, boxes)
        return self.mask_head[index](merge_batch(regions), merge_batch(attended), training=training)

    def more_losses(
        self,
        index: int,
        features: Maps,
        stage: Stage,
        assignment: Assignment,
        targets: Targets,
        info: ImageInfo,
    ) -> Losses:
        """``loss_mask`` of the matched proposals.

        Raises:
            ValueError: the targets have no masks.
        """
        if "masks" not in targets:
            raise ValueError("QueryInst learns masks: the data must have them (data.train.masks: true).")
        matched = tf.cast(assignment.positive, tf.int32)
        # no image has more matched proposals than objects
        limit = tf.minimum(tf.shape(targets["labels"])[1], tf.shape(matched)[1])
        rows = tf.math.top_k(matched, limit).indices
        chosen = (tf.stop_gradient(stage.boxes), stage.attended, assignment.gt_index, assignment.weight)
        boxes, attended, objects, weight = (tf.gather(x, rows, batch_dims=1) for x in chosen)
        assignment = Assignment(objects, weight)
        with statistics_of_rows(merge_batch(tf.cast(assignment.positive, tf.float32))):
            logits = self.mask_logits(index, features, boxes, attended, training=True)
        return self.mask_head[index].compute_losses(logits, boxes, assignment, targets, info)

    def decode(self, features: Maps, stage: Stage, info: ImageInfo) -> Detections:
        best = self.postprocess.best(self.criterion.probabilities(stage.logits))
        found = self.postprocess.detections(stage.boxes, best, info)
        logits = self.mask_logits(len(self.mask_head) - 1, features, stage.boxes, stage.attended)
        logits = tf.gather(split_batch(logits, stage.boxes), best[1], batch_dims=1)
        masks = self.mask_head[-1].probabilities(merge_batch(logits), found["labels"])
        return cast(Detections, {**found, "masks": masks})

    def build_on(self, features: Maps, boxes: Tensor, proposals: Tensor, info: ImageInfo) -> None:
        super().build_on(features, boxes, proposals, info)
        for index in range(len(self.mask_head) - 1):
            self.mask_logits(index, features, boxes[:, :1], proposals[:, :1])
