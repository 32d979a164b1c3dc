"""Detectors that learn from another one."""

from typing import Any

import tensorflow as tf

from kdet.backbones import Backbone
from kdet.contract import ImageInfo, Targets
from kdet.detectors.single_stage import SingleStageDetector
from kdet.heads.base import Head, Losses
from kdet.necks import Neck
from kdet.registry import register


class _Teacher:
    """Holds a detector where neither Keras nor the walk over checkpoint names looks for layers."""

    def __init__(self, model: SingleStageDetector | None) -> None:
        self.model = model


@register
class DistilledDetector(SingleStageDetector):
    """A single-stage detector whose head learns from what a teacher's head makes of the images.

    The teacher is needed for training only and is no part of the model: it is neither saved nor trained.

    Args:
        backbone, neck: feature extractors; the neck may be None or a list (one after the other).
        bbox_head: dense head with ``taught_losses`` (``LDHead``, ``LADHead``).
        teacher: name of the teacher's recipe.
        other arguments: see ``Detector``.
    """

    def __init__(
        self,
        backbone: Backbone,
        bbox_head: Head,
        teacher: str,
        neck: Neck | list[Neck] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, bbox_head=bbox_head, neck=neck, **kwargs)
        self.teacher_name = teacher
        self.attach_teacher(None)

    def attach_teacher(self, model: SingleStageDetector | None) -> None:
        """Set the detector to learn from, with its weights; None for none."""
        self._taught_by = _Teacher(model)

    def forward_losses(
        self, images: tf.Tensor, info: ImageInfo, targets: Targets, proposals: tf.Tensor | None = None
    ) -> Losses:
        teacher = self._taught_by.model
        if teacher is None:
            raise ValueError(
                f"{type(self).__name__} trains with a teacher: call "
                f"model.attach_teacher(kdet.zoo.load({self.teacher_name!r})) first."
            )
        taught = tf.nest.map_structure(tf.stop_gradient, teacher.outputs(images, info))
        outputs = self.outputs(images, info, training=True)
        return self.bbox_head.taught_losses(outputs, taught, teacher.bbox_head, targets, info)
