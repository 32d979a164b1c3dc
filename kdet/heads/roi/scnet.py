"""SCNet: a cascade that trains its masks on the boxes that it will see (Vu et al., 2021)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes
from kdet.heads.base import Losses
from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.htc import HTCStage
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.semantic import FusedSemanticHead
from kdet.heads.roi.standard import first_rows, merge_batch, split_batch
from kdet.layers import Composite, Conv2D, Linear, resize_corners
from kdet.losses import CrossEntropyLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Tensor


class PlainBlock(Composite):
    """Two 3x3 convolutions with a shortcut, without norms and without a ReLU at the end."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1, self.conv2 = Conv2D(filters, 3, padding=1), Conv2D(filters, 3, padding=1)

    def call(self, x: Tensor) -> Tensor:
        return x + self.conv2(tf.nn.relu(self.conv1(x)))


@register
class SCNetBBoxHead(BBoxHead):
    """``BBoxHead`` whose third output are the features that both branches share, ``[N,units]``."""

    def call(self, x: Tensor, training: bool = False) -> Any:
        x = self.shared(x)
        return self.fc_cls(x), self.fc_reg(x), x


@register
class SCNetMaskHead(FCNMaskHead):
    """``FCNMaskHead`` with ``num_blocks`` residual blocks for convolutions."""

    def __init__(self, num_classes: int, num_blocks: int = 6, filters: int = 256, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, num_convs=0, filters=filters, **kwargs)
        self.convs = [PlainBlock(filters) for _ in range(num_blocks)]


@register
class SCNetSemanticHead(FusedSemanticHead):
    """``FusedSemanticHead`` with ``num_blocks`` residual blocks for convolutions."""

    def __init__(
        self, num_classes: int, loss: Loss, num_blocks: int = 2, filters: int = 256, **kwargs: Any
    ) -> None:
        super().__init__(num_classes=num_classes, loss=loss, num_convs=0, filters=filters, **kwargs)
        self.convs = [PlainBlock(filters) for _ in range(num_blocks)]


@register
class GlobalContextHead(Composite):
    """Which classes are in the image, from the coarsest map.

    Args:
        num_classes: without background.
        num_blocks, filters: residual blocks.
        loss_weight: factor of the loss.

    Call: ``tuple of [B,h,w,C] -> (logits [B,classes], features [B,1,1,filters])``.
    """

    def __init__(
        self,
        num_classes: int,
        num_blocks: int = 2,
        filters: int = 256,
        loss_weight: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.loss = CrossEntropyLoss(use_sigmoid=True, loss_weight=loss_weight)
        self.convs = [PlainBlock(filters) for _ in range(num_blocks)]
        self.fc = Linear(num_classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))

    def call(self, maps: Maps, training: bool = False) -> tuple[Any, Tensor]:
        x = maps[-1]
        for block in self.convs:
            x = block(x)
        x = tf.reduce_mean(x, [1, 2], keepdims=True)
        return self.fc(x[:, 0, 0]), x

    def compute_losses(self, logits: Tensor, targets: Targets) -> Losses:
        """``{"loss_glbctx": scalar}``."""
        present = tf.reduce_max(tf.one_hot(targets["labels"], self.num_classes), 1)  # -1 gives zeros
        return {"loss_glbctx": self.loss(logits, present)}


@register
class FeatureRelayHead(Composite):
    """Makes a map again out of the box branch's features: ``[N,units] -> [N,2*size,2*size,filters]``."""

    def __init__(self, filters: int = 256, size: int = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.size = filters, size
        self.fc = Linear(filters * size**2, kernel_initializer="he_normal")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        # the checkpoints' order is (channel, y, x)
        maps = tf.reshape(self.fc(x), [-1, self.filters, self.size, self.size])
        return resize_corners(tf.transpose(maps, [0, 2, 3, 1]), [2 * self.size] * 2)


@register
class SCNetStage(HTCStage):
    """Stage whose crops get semantic features and the context of the image, the last two maps."""

    def crop(
        self, extractor: keras.Layer, features: Maps, rois: Tensor, training: bool = False, scale: float = 1.0
    ) -> Tensor:
        crops = super().crop(extractor, features[:-1], rois, training, scale)
        return crops + tf.repeat(features[-1], tf.shape(rois)[1], axis=0)


@register
class SCNetRoIHead(CascadeRoIHead):
    """Box cascade, and one mask branch on the last stage's regions that also gets their box features.

    Args:
        stages: ``SCNetStage`` without mask branches, whose box heads are ``SCNetBBoxHead``.
        mask_roi_extractor, mask_head: mask branch.
        semantic_roi_extractor, semantic_head: semantic branch.
        glbctx_head: ``GlobalContextHead``.
        feat_relay_head: ``FeatureRelayHead``.
        other arguments: see ``CascadeRoIHead``.
    """

    @property
    def has_masks(self) -> bool:
        return True

    @property
    def mask_threshold(self) -> float:
        return self.mask_head.mask_threshold

    def __init__(
        self,
        stages: Sequence[Any],
        mask_roi_extractor: keras.Layer,
        mask_head: SCNetMaskHead,
        semantic_roi_extractor: keras.Layer,
        semantic_head: SCNetSemanticHead,
        glbctx_head: GlobalContextHead,
        feat_relay_head: FeatureRelayHead,
        **kwargs: Any,
    ) -> None:
        super().__init__(stages, **kwargs)
        self.mask_roi_extractor, self.mask_head = mask_roi_extractor, mask_head
        self.semantic_roi_extractor, self.semantic_head = semantic_roi_extractor, semantic_head
        self.glbctx_head, self.feat_relay_head = glbctx_head, feat_relay_head
        for stage in stages:
            stage.connect(semantic_roi_extractor, [])

    def context_branches(self, features: Maps, training: bool = False) -> tuple[Maps, Tensor, Tensor]:
        """Maps with the semantic map and the context, and the logits of both branches."""
        semantic_logits, semantic = self.semantic_head(features, training=training)
        context_logits, context = self.glbctx_head(features, training=training)
        return (*features, semantic, context), semantic_logits, context_logits

    def relayed_mask_logits(
        self, features: Maps, rois: Tensor, shared: Tensor, training: bool = False
    ) -> Tensor:
        """Mask logits of regions ``[B,N,4]`` with box features ``[B*N,units]``."""
        crops = self._stages[-1].crop(self.mask_roi_extractor, features, rois, training)
        return self.mask_head(crops + self.feat_relay_head(shared), training=training)

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        features, semantic_logits, context_logits = self.context_branches(features, training=True)
        losses = self.semantic_head.compute_losses(semantic_logits, targets)
        losses.update(self.glbctx_head.compute_losses(context_logits, targets))
        losses.update(super().compute_losses(features, proposals, targets, info))
        return losses

    def final_losses(
        self,
        features: Maps,
        rois: Tensor,
        assignment: Assignment,
        outputs: Any,
        targets: Targets,
        info: ImageInfo,
    ) -> Losses:
        limit = min(self._stages[-1].sampler.max_positives, rois.shape[1])
        shared = merge_batch(split_batch(outputs[2], rois)[:, :limit])
        rois, assignment = first_rows(rois, assignment, limit)
        logits = self.relayed_mask_logits(features, rois, shared, training=True)
        losses = self.mask_head.compute_losses(logits, rois, assignment, targets, info)
        return {name: sum(self.stage_loss_weights) * value for name, value in losses.items()}

    def with_context(self, features: Maps) -> Maps:
        return self.context_branches(features)[0]

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, Tensor]:
        rois = network_boxes(detections["boxes"], info)
        shared = self._stages[-1].bbox_forward(features, rois)[2]
        logits = self.relayed_mask_logits(features, rois, shared)
        return {"masks": self.mask_head.probabilities(logits, detections["labels"])}
