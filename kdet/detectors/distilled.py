"""Detectors that learn from another one."""

import tensorflow as tf

from kdet.detectors.single_stage import SingleStageDetector
from kdet.registry import register


class _Teacher:
    """Holds a detector where neither Keras nor the walk over checkpoint names looks for layers."""

    def __init__(self, model):
        self.model = model


@register
class DistilledDetector(SingleStageDetector):
    """A single-stage detector whose head also gets what a teacher's head makes of the images.

    The teacher is needed for training only and is no part of the model: it is neither saved nor trained.

    Args:
        teacher: name of the teacher's recipe.
        other arguments: see ``SingleStageDetector``.
    """

    def __init__(self, backbone, bbox_head, teacher, **kwargs):
        super().__init__(backbone=backbone, bbox_head=bbox_head, **kwargs)
        self.teacher_name = teacher
        self.attach_teacher(None)

    def attach_teacher(self, model: SingleStageDetector | None) -> None:
        """Sets the detector to learn from, with its weights; None for none."""
        self._taught_by = _Teacher(model)

    def forward_losses(self, images, info, targets, proposals=None):
        teacher = self._taught_by.model
        if teacher is None:
            raise ValueError(
                f"{type(self).__name__} trains with a teacher: call "
                f"model.attach_teacher(kdet.zoo.load({self.teacher_name!r})) first."
            )
        taught = teacher.bbox_head(teacher.extract_features(images))[1]
        outputs = self.bbox_head(self.extract_features(images, training=True), training=True)
        outputs += (tuple(tf.stop_gradient(x) for x in taught),)
        return self.bbox_head.compute_losses(outputs, targets, info)
