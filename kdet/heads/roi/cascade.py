"""A sequence of second stages, each on the boxes of the one before (Cai & Vasconcelos, 2018)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes
from kdet.geometry import is_real_box
from kdet.heads.base import Losses
from kdet.heads.roi.base import RoIHead, mean
from kdet.heads.roi.standard import split_batch
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class CascadeRoIHead(RoIHead):
    """Stages that refine the regions in turn; class scores and masks are averaged over the stages.

    The parts of the stages are listed as ``bbox_head``, ``mask_head`` ... too: under these names the
    checkpoints know them.

    Args:
        stages: ``StandardRoIHead`` of every stage, with its own assigner and sampler.
        stage_loss_weights: weight of each stage's losses.
        postprocess: ``PostProcess`` of the detections.
    """

    mask_roi_extractor: Any
    mask_head: Any

    def __init__(
        self,
        stages: Sequence[Any],
        stage_loss_weights: Sequence[float] = (1.0, 0.5, 0.25),
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(postprocess=postprocess, **kwargs)
        if len(stages) != len(stage_loss_weights):
            counts = f"{len(stages)} stages but {len(stage_loss_weights)} stage_loss_weights"
            raise ValueError(f"{type(self).__name__}: {counts}.")
        self._stages = list(stages)
        self.stage_loss_weights = tuple(stage_loss_weights)
        self.bbox_roi_extractor = [stage.bbox_roi_extractor for stage in stages]
        self.bbox_head = [stage.bbox_head for stage in stages]
        self.mask_roi_extractor = [stage.mask_roi_extractor for stage in stages]
        self.mask_head = [stage.mask_head for stage in stages]

    @property
    def num_classes(self) -> int:
        """Classes without background."""
        return self.bbox_head[0].num_classes

    @property
    def has_masks(self) -> bool:
        return self.mask_head[-1] is not None

    @property
    def mask_threshold(self) -> float:
        return self._stages[-1].mask_threshold

    # ---- training

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of all stages, named ``s0.loss_cls`` and so on; see ``StandardRoIHead``."""
        losses = {}
        present = is_real_box(proposals)
        for i, weight in enumerate(self.stage_loss_weights):
            # every stage draws its own regions
            seeded: ImageInfo = {
                **info,
                "seed": ops.fold_in(info["seed"], 16 + i),
            }
            found, (proposals, present), sampled = self.stage_losses(
                i, features, proposals, present, targets, seeded
            )
            losses.update({f"s{i}.{name}": weight * value for name, value in found.items()})
        losses.update(self.final_losses(features, *sampled, targets, info))
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
        """Losses of one stage, and what the next one goes on from.

        Args:
            index: of the stage.
            features: tuple of ``[B,h,w,C]``.
            proposals: ``[B,P,4]`` in network pixels.
            present: bool ``[B,P]``, False for padding. A region that a stage has cut off or turned over has
                no area, but is present: an example of background.
            targets: the objects.
            info: ImageInfo with ``seed``.

        Returns:
            ``(losses, (proposals [B,S,4], present [B,S]) of the next stage, (rois [B,S,4], assignment,
            outputs))``, the last as its box head saw them.
        """
        stage = self._stages[index]
        rois, assignment, is_object = stage.sample(features, proposals, targets, info, present)
        losses, outputs = stage.bbox_losses(features, rois, assignment, targets)
        if stage.mask_head is not None:
            losses.update(stage.mask_losses(features, rois, assignment, targets, info))
        refined = self.refine(index, outputs, rois, assignment, is_object, targets, info)
        return losses, refined, (rois, assignment, outputs)

    def final_losses(
        self,
        features: Maps,
        rois: Tensor,
        assignment: Assignment,
        outputs: Any,
        targets: Targets,
        info: ImageInfo,
    ) -> Losses:
        """Losses after the last stage, on its sampled regions."""
        return {}

    def refine(
        self,
        index: int,
        outputs: Any,
        rois: Tensor,
        assignment: Assignment,
        is_object: Tensor,
        targets: Targets,
        info: ImageInfo,
    ) -> tuple[Tensor, Tensor]:
        """Sampled regions moved by their stage, and which of them are present.

        The objects among them and empty rows are left out: they become padding.
        """
        head = self.bbox_head[index]
        labels = assignment.labels(targets, background=head.num_classes)
        boxes = head.refine(*outputs[:2], rois, info, labels)
        present = (assignment.weight > 0.0) & ~is_object
        return tf.where(present[..., None], boxes, 0.0), present

    # ---- inference

    def predict_boxes(
        self, features: Maps, proposals: Tensor, info: ImageInfo
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Probabilities averaged over the stages and the last stage's boxes."""
        rois, logits = proposals, []
        head: Any = None
        outputs: Any = None
        for i, stage in enumerate(self._stages):
            if i > 0:
                rois = head.refine(*outputs[:2], rois, info)
            head = stage.bbox_head
            outputs = stage.bbox_forward(features, rois)
            logits.append(tf.cast(outputs[0], tf.float32))
        scores = split_batch(head.probabilities(mean(logits)), proposals)
        return scores, head.class_boxes(outputs[1], rois, info), head.confidence(outputs[1])

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, Tensor]:
        """``{"masks": [B,N,m,m]}``, probabilities averaged over the stages."""
        rois = network_boxes(detections["boxes"], info)
        logits = self.mask_logits(features, rois)
        labels = detections["labels"]
        masks = [head.probabilities(x, labels) for head, x in zip(self.mask_head, logits)]
        return {"masks": mean(masks)}

    def mask_logits(self, features: Maps, rois: Tensor) -> list[Tensor]:
        """Mask logits of regions ``[B,N,4]`` from every stage, merged over the batch."""
        return [stage.mask_forward(features, rois) for stage in self._stages]
