"""Hybrid Task Cascade (Chen et al., 2019)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.semantic import FusedSemanticHead
from kdet.heads.roi.standard import StandardRoIHead, merge_batch
from kdet.layers import ConvModule
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class HTCMaskHead(FCNMaskHead):
    """Mask head that takes the features of the stage before.

    Args:
        use_previous: False in the first stage.
        other arguments: see ``FCNMaskHead``.

    Call: ``[N,h,w,C], features of the stage before or None -> (logits [N,2h,2w,classes], features)``.
    """

    def __init__(
        self, num_classes: int, filters: int = 256, use_previous: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(num_classes=num_classes, filters=filters, **kwargs)
        self.conv_res = ConvModule(filters, 1) if use_previous else None

    def call(
        self, x: Tensor, previous: Tensor | None = None, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        if previous is not None and self.conv_res is not None:
            x = x + self.conv_res(previous)
        x = self.features(x)
        return self.logits(x), x


@register
class HTCStage(StandardRoIHead):
    """Stage whose crops get the semantic features and whose mask head goes on from those before it.

    ``HTCRoIHead`` tells it both with ``connect``. Where there is a semantic branch, its features are the
    last of the maps that the methods get.
    """

    def connect(self, semantic_roi_extractor: keras.Layer | None, mask_heads: Sequence[Any]) -> None:
        """Args: extractor of the semantic features or None; mask heads up to this stage's own."""
        self._semantic_roi_extractor, self._mask_heads = semantic_roi_extractor, mask_heads

    def crop(
        self, extractor: keras.Layer, features: Maps, rois: Tensor, training: bool = False, scale: float = 1.0
    ) -> Tensor:
        crops = super().crop(extractor, features, rois, training, scale)
        if self._semantic_roi_extractor is None:
            return crops
        semantic = merge_batch(self._semantic_roi_extractor(features[-1:], rois))
        shrink = semantic.shape[1] // crops.shape[1]
        return crops + (tf.nn.avg_pool2d(semantic, shrink, shrink, "VALID") if shrink > 1 else semantic)

    def mask_forward(self, features: Maps, rois: Tensor, training: bool = False) -> Tensor:
        return self.all_mask_logits(features, rois, training)[-1]

    def all_mask_logits(self, features: Maps, rois: Tensor, training: bool = False) -> list[Tensor]:
        """Logits of the mask heads up to this stage, each from the features of the one before."""
        crops, previous, logits = self.crop(self.mask_roi_extractor, features, rois, training), None, []
        for head in self._mask_heads:
            masks, previous = head(crops, previous=previous, training=training)
            logits.append(masks)
        return logits


@register
class HTCRoIHead(CascadeRoIHead):
    """Cascade with a semantic branch, in which masks learn on the boxes that their own stage refined.

    Args:
        stages: ``HTCStage`` of every stage.
        semantic_head, semantic_roi_extractor: semantic branch, or None.
        other arguments: see ``CascadeRoIHead``.
    """

    def __init__(
        self,
        stages: Sequence[Any],
        semantic_head: FusedSemanticHead | None = None,
        semantic_roi_extractor: keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(stages, **kwargs)
        self.semantic_head, self.semantic_roi_extractor = semantic_head, semantic_roi_extractor
        for i, stage in enumerate(stages):
            stage.connect(semantic_roi_extractor, [s.mask_head for s in stages[: i + 1]])

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        losses = {}
        if self.semantic_head is not None:
            logits, semantic = self.semantic_head(features, training=True)
            losses = self.semantic_head.compute_losses(logits, targets)
            features = (*features, semantic)
        losses.update(super().compute_losses(features, proposals, targets, info))
        return losses

    def stage_losses(
        self,
        index: int,
        features: Maps,
        proposals: Tensor,
        present: Tensor,
        targets: Targets,
        info: ImageInfo,
    ) -> tuple[Losses, tuple[Tensor, Tensor], tuple[Tensor, Assignment, Any]]:
        stage = self._stages[index]
        rois, assignment, is_object = stage.sample(features, proposals, targets, info, present)
        losses, outputs = stage.bbox_losses(features, rois, assignment, targets)
        refined, present = self.refine(index, outputs, rois, assignment, is_object, targets, info)
        again = {**info, "seed": ops.fold_in(info["seed"], 1)}
        rois, assignment, _ = stage.sample(features, refined, targets, again, present)
        losses.update(stage.mask_losses(features, rois, assignment, targets, info))
        return losses, (refined, present), (rois, assignment, outputs)

    def with_context(self, features: Maps) -> Maps:
        return features if self.semantic_head is None else (*features, self.semantic_head(features)[1])

    def mask_logits(self, features: Maps, rois: Tensor) -> list[Tensor]:
        return self._stages[-1].all_mask_logits(features, rois)
