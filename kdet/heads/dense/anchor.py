"""Heads that classify and refine anchors."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.assigners import Assigner
from kdet.coders import Coder
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import DenseHead, flatten_levels, flatten_map, level_shapes
from kdet.layers import replica_mean
from kdet.losses import Loss
from kdet.postprocess import PostProcess
from kdet.priors import PriorGenerator
from kdet.priors.base import Shape
from kdet.samplers import Sampler
from kdet.typing import Tensor


class AnchorHead(DenseHead):
    """Anchors -> assign -> sample -> encode -> normalize -> loss.

    Subclasses build their convolutions; the first two outputs of ``call`` are the class scores and the
    deltas, ``num_anchors`` of each per cell.

    Args:
        num_classes, postprocess: see ``DenseHead``.
        anchor_generator: priors.
        coder: box coding.
        loss_cls, loss_bbox: losses; a box loss with ``uses_boxes`` gets decoded boxes.
        assigner: matches anchors with objects.
        sampler: draws anchors for the loss; None uses all and normalizes by the positives.
        allowed_border: anchors may stick out of the image by so many pixels; negative for any.
    """

    # None where a subclass has a way of its own
    loss_cls: Any
    assigner: Any

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        coder: Coder,
        loss_cls: Loss | None,
        loss_bbox: Loss,
        assigner: Assigner | None,
        sampler: Sampler | None = None,
        allowed_border: int = -1,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess, **kwargs)
        self.anchor_generator, self.coder = anchor_generator, coder
        self.loss_cls, self.loss_bbox = loss_cls, loss_bbox
        self.assigner, self.sampler = assigner, sampler
        self.allowed_border = allowed_border

    @property
    def num_anchors(self) -> Any:
        return self.anchor_generator.num_anchors

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.anchor_generator(shapes)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, deltas in zip(*outputs[:2]):
            yield LevelPrediction(flatten_map(scores, self.num_classes), tf.sigmoid, flatten_map(deltas, 4))

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        return self.coder.decode(priors, regression, info["valid_size"])

    def usable(self, anchors: Tensor, shapes: Sequence[Shape], info: ImageInfo) -> Tensor:
        """Anchors ``[P,4]`` that may take part in training: bool ``[B,P]``."""
        valid = self.anchor_generator.valid(shapes, info["padded_size"])
        if self.allowed_border < 0:
            return valid
        border = float(self.allowed_border)
        size = tf.cast(info["valid_size"], tf.float32)[:, None, ::-1]  # [B, 1, (w, h)]
        inside = tf.reduce_all(anchors[:, :2] >= -border, -1) & tf.reduce_all(
            anchors[:, 2:] < size + border, -1
        )
        return valid & inside

    def assigned_priors(self, anchors: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """What the assigner compares with the objects: the anchors ``[P,4]``."""
        return anchors

    def level_arguments(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        """What the assigner must know of the levels, as keywords."""
        if self.assigner.needs_levels:
            return {"level_sizes": [h * w * self.num_anchors for h, w in shapes]}
        return {}

    def assign(
        self, anchors: Tensor, shapes: Sequence[Shape], targets: Targets, info: ImageInfo
    ) -> tuple[Tensor, Assignment]:
        """The sampled ``Assignment [B,P]`` and the loss normalizer."""
        priors, usable = self.assigned_priors(anchors, shapes), self.usable(anchors, shapes, info)
        assignment = self.assigner(priors, targets, usable, **self.level_arguments(shapes))
        return sample_and_count(assignment, self.sampler, info, stream=1)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of the batch.

        Args:
            outputs: of ``call``.
            targets: the data contract's dict.
            info: ImageInfo with ``padded_size`` and ``seed``.

        Returns:
            ``{"loss_cls": scalar, "loss_bbox": scalar}``.
        """
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.anchor_generator(shapes), 0)  # [P, 4]
        assignment, normalizer = self.assign(anchors, shapes, targets, info)
        return self.assigned_losses(outputs, anchors, assignment, targets, normalizer)

    def assigned_losses(
        self, outputs: Any, anchors: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Losses:
        """Losses by name, given which anchor ``[P,4]`` answers for what and the normalizer."""
        scores = flatten_levels(outputs[0], self.num_classes)
        deltas = flatten_levels(outputs[1], 4)
        labels = assignment.labels(targets, background=self.num_classes)
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, normalizer),
            "loss_bbox": self.box_loss(anchors, deltas, assignment, targets, normalizer),
        }

    def box_loss(
        self, anchors: Tensor, deltas: Tensor, assignment: Assignment, targets: Targets, normalizer: Tensor
    ) -> Tensor:
        """Loss of the positives' boxes, a scalar."""
        boxes = assignment.gather(targets["boxes"])  # [B, P, 4]
        positive = tf.cast(assignment.positive, tf.float32)
        if self.loss_bbox.uses_boxes:
            return self.loss_bbox(self.coder.decode(anchors, deltas), boxes, positive, normalizer)
        # background rows encode their own anchor, so that no infinity arises
        boxes = tf.where(assignment.positive[..., None], boxes, anchors)
        return self.loss_bbox(deltas, self.coder.encode(anchors, boxes), positive, normalizer)


def sample_and_count(
    assignment: Assignment, sampler: Sampler | None, info: ImageInfo, stream: int
) -> tuple[Assignment, Tensor]:
    """What a sampler leaves of an ``Assignment [B,P]``, and the normalizer of its losses.

    Args:
        sampler: None takes all and counts the positives only.
        info: ImageInfo with ``seed``.
        stream: number of the draw within the step, so that two draws differ.
    """
    if sampler is None:
        count = [assignment.positive]
    else:
        seed = ops.fold_in(info["seed"], stream)
        assignment = sampler(assignment, seed)
        count = [assignment.positive, assignment.negative]
    # as in MMDetection, at least one of each kind counts in every image
    totals = [tf.maximum(tf.reduce_sum(tf.cast(c, tf.float32), 1), 1.0) for c in count]
    return assignment, replica_mean(tf.reduce_sum(tf.add_n(totals)))
