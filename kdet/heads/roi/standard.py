"""The second stage of Fast, Faster and Mask R-CNN."""

from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.assigners import Assigner
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes
from kdet.geometry import is_real_box
from kdet.heads.base import Losses
from kdet.heads.roi.base import RoIHead
from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.layers import statistics_of_rows
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.samplers import Sampler
from kdet.typing import Maps, Tensor


def merge_batch(x: Tensor) -> Tensor:
    """``[B,N,...] -> [B*N,...]``."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def split_batch(x: Tensor, like: Tensor) -> Tensor:
    """``[B*N,...] -> [B,N,...]`` with ``B, N`` of ``like``."""
    count = like.shape[1] if like.shape[1] is not None else tf.shape(like)[1]
    return tf.reshape(x, [tf.shape(like)[0], count, *x.shape[1:]])


@register
class StandardRoIHead(RoIHead):
    """Proposals -> assign -> sample -> crop -> classify, refine, segment.

    Args:
        bbox_roi_extractor, bbox_head: box branch.
        mask_roi_extractor, mask_head: mask branch or None; without an extractor of its own it uses the
            box branch's.
        shared_head: layers on every crop before the heads (C4), or None.
        assigner, sampler: training targets.
        postprocess: ``PostProcess`` of the detections.
    """

    def __init__(
        self,
        bbox_roi_extractor: keras.Layer,
        bbox_head: BBoxHead,
        assigner: Assigner,
        sampler: Sampler,
        mask_roi_extractor: keras.Layer | None = None,
        mask_head: FCNMaskHead | None = None,
        shared_head: keras.Layer | None = None,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(postprocess=postprocess, **kwargs)
        self.bbox_roi_extractor, self.bbox_head = bbox_roi_extractor, bbox_head
        self.mask_roi_extractor: Any = mask_roi_extractor
        self.mask_head: Any = mask_head
        self.shared_head = shared_head
        self.assigner, self.sampler = assigner, sampler

    @property
    def num_classes(self) -> int:
        """Classes without background."""
        return self.bbox_head.num_classes

    # ---- forward

    def crop(
        self, extractor: keras.Layer, features: Maps, rois: Tensor, training: bool = False, scale: float = 1.0
    ) -> Tensor:
        """Maps of regions (enlarged by ``scale``), merged over the batch: ``[B*N,h,w,C]``."""
        enlarged = {} if scale == 1.0 else {"scale": scale}  # not every extractor can enlarge
        crops = merge_batch(extractor(features, rois, **enlarged))
        return crops if self.shared_head is None else self.shared_head(crops, training=training)

    def bbox_forward(self, features: Maps, rois: Tensor, training: bool = False) -> Any:
        """Scores and deltas of regions ``[B,N,4]``, merged over the batch."""
        crops = self.crop(self.bbox_roi_extractor, features, rois, training)
        return self.bbox_head(crops, training=training)

    def mask_forward(self, features: Maps, rois: Tensor, training: bool = False) -> Tensor:
        """Mask logits of regions ``[B,N,4]``, merged over the batch."""
        extractor = self.mask_roi_extractor or self.bbox_roi_extractor
        return self.mask_head(self.crop(extractor, features, rois, training), training=training)

    # ---- training

    def match(self, proposals: tf.Tensor, targets: Targets, present: Tensor) -> Assignment:
        """What the assigner makes of proposals ``[B,P,4]``, of which ``present [B,P]`` are no padding."""
        return self.assigner(proposals, targets, present)

    def assign(self, proposals: tf.Tensor, targets: Targets, present: Tensor) -> tuple[tf.Tensor, Assignment]:
        """Assignment of ``[objects; proposals]`` when the sampler adds the objects, else of proposals.

        Args:
            proposals: ``[B,P,4]``.
            targets: the objects.
            present: bool ``[B,P]``, False for padding.

        Returns:
            ``(rois [B,P,4], Assignment [B,P])``.
        """
        assignment = self.match(proposals, targets, present)
        if not self.sampler.add_gt_as_proposals:
            return proposals, assignment
        real = targets["labels"] >= 0
        own = tf.where(real, tf.range(tf.shape(real)[1])[None, :], -1)
        gt = Assignment(own, tf.cast(real, tf.float32), tf.cast(real, tf.float32))
        parts = (tf.concat(pair, 1) for pair in zip(gt, assignment))
        return tf.concat([targets["boxes"], proposals], 1), Assignment(*parts)

    def sample(
        self,
        features: Maps,
        proposals: Tensor,
        targets: Targets,
        info: ImageInfo,
        present: Tensor | None = None,
    ) -> tuple[Tensor, Assignment, Tensor]:
        """The regions of the loss, positives first.

        Args:
            features: tuple of ``[B,h,w,C]``.
            proposals: ``[B,P,4]`` in network pixels.
            targets: the objects.
            info: ImageInfo with ``seed``.
            present: bool ``[B,P]``, False for padding; None where padding is what has no area.

        Returns:
            ``(rois [B,S,4], Assignment [B,S], is_object bool [B,S])``; the last marks the objects
            themselves, which the sampler may add.
        """
        present = is_real_box(proposals) if present is None else present
        rois, assignment = self.assign(tf.stop_gradient(proposals), targets, present)
        seed = ops.fold_in(info["seed"], 2)
        rows, sampled = self.draw(features, rois, assignment, targets, seed)
        is_object = rows < tf.shape(rois)[1] - tf.shape(proposals)[1]
        return tf.gather(rois, rows, batch_dims=1), sampled, is_object

    def draw(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets, seed: Tensor
    ) -> tuple[Tensor, Assignment]:
        """The rows of ``rois`` that the sampler takes; see its ``select``."""
        if self.sampler.needs_losses:
            return self.sampler.select(assignment, self.proposal_losses(features, rois, assignment, targets))
        return self.sampler.select(assignment, seed)

    def proposal_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets
    ) -> Tensor:
        """Classification loss of every proposal, for hard example mining: ``[B,P]``."""
        scores, _ = self.bbox_forward(features, rois)
        labels = assignment.labels(targets, background=self.bbox_head.num_classes)
        losses = self.bbox_head.loss_cls.elementwise(tf.cast(scores, tf.float32), tf.reshape(labels, [-1]))
        return tf.stop_gradient(split_batch(losses, rois))

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        rois, assignment, _ = self.sample(features, proposals, targets, info)
        losses, _ = self.bbox_losses(features, rois, assignment, targets)
        if self.mask_head is not None:
            losses.update(self.mask_losses(features, rois, assignment, targets, info))
        return losses

    def bbox_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets
    ) -> tuple[Losses, Any]:
        """Losses of the box branch on sampled regions, and its outputs."""
        with statistics_of_rows(merge_batch(assignment.weight)):
            outputs = self.bbox_forward(features, rois, training=True)
        return self.box_head_losses(outputs, rois, assignment, targets), outputs

    def box_head_losses(
        self, outputs: tuple[Any, ...], rois: tf.Tensor, assignment: Assignment, targets: Targets
    ) -> Losses:
        """Losses of the box head from its outputs for sampled regions ``[B,S,4]``."""
        scores, deltas, *_ = outputs
        return self.bbox_head.compute_losses(scores, deltas, rois, assignment, targets)

    def mask_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets, info: ImageInfo
    ) -> Losses:
        """Losses of the mask branch on the positives of sampled regions."""
        rois, assignment = first_rows(rois, assignment, self.sampler.max_positives)
        with statistics_of_rows(merge_batch(tf.cast(assignment.positive, tf.float32))):
            logits = self.mask_forward(features, rois, training=True)
        return self.mask_head.compute_losses(logits, rois, assignment, targets, info)

    # ---- inference

    @property
    def has_masks(self) -> bool:
        return self.mask_head is not None

    @property
    def mask_threshold(self) -> float:
        return super().mask_threshold if self.mask_head is None else self.mask_head.mask_threshold

    def predict_boxes(
        self, features: Maps, proposals: Tensor, info: ImageInfo
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        scores, deltas = self.bbox_forward(features, proposals)
        scores = split_batch(self.bbox_head.probabilities(scores), proposals)
        boxes = self.bbox_head.class_boxes(deltas, proposals, info)
        return scores, boxes, self.bbox_head.confidence(deltas)

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, Tensor]:
        rois = network_boxes(detections["boxes"], info)
        logits = self.mask_forward(features, rois)
        return {"masks": self.mask_head.probabilities(logits, detections["labels"])}


def first_rows(rois: Tensor, assignment: Assignment, limit: int) -> tuple[Tensor, Assignment]:
    """The first ``limit`` rows of regions and their assignment."""
    if rois.shape[1] is not None and limit >= rois.shape[1]:
        return rois, assignment
    return rois[:, :limit], Assignment(*(None if x is None else x[:, :limit] for x in assignment))
