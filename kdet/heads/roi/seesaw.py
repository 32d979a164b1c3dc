"""The box head of Seesaw loss (Wang et al., 2021, https://arxiv.org/abs/2008.10032)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.contract import Assignment, Targets
from kdet.heads.base import Losses
from kdet.heads.roi.bbox_head import BBoxHead
from kdet.layers import NormedLinear, replica_sum
from kdet.losses import Loss, SeesawLoss
from kdet.registry import register
from kdet.typing import Tensor


@register
class SeesawBBoxHead(BBoxHead):
    """A box head whose classes do not compete with background, which has two scores of its own.

    Counts the objects of every class that it is trained on.

    Args:
        loss_cls: ``SeesawLoss``, of the classes and of object against background.
        temperature: of the normalized dense layer that classifies.
        other arguments: see ``BBoxHead``.

    Call: ``[N,h,w,C] -> (scores [N,classes+2], deltas)``; the last two scores are those of "object" and
    "background".
    """

    torch_tensors = {"loss_cls.cum_samples": ("cum_samples", None)}
    loss_cls: SeesawLoss

    def __init__(self, num_classes: int, temperature: float = 20.0, **kwargs: Any) -> None:
        self.temperature = temperature
        super().__init__(num_classes=num_classes, **kwargs)
        self.cum_samples = self.add_weight(
            name="cum_samples", shape=(num_classes + 1,), initializer="zeros", trainable=False,
            dtype="float32", autocast=False,
        )  # fmt: skip

    def classifier(self, num_classes: int, flatten: bool) -> keras.Layer:
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return NormedLinear(num_classes + 2, self.temperature, flatten=flatten, kernel_initializer=normal)

    def class_logits(self, scores: Tensor) -> Tensor:
        return scores[..., :-2]

    def probabilities(self, scores: Tensor) -> Tensor:
        scores = tf.cast(scores, tf.float32)
        return tf.nn.softmax(scores[..., :-2]) * tf.nn.softmax(scores[..., -2:])[..., :1]

    def compute_losses(
        self,
        scores: Tensor,
        deltas: Tensor,
        rois: Tensor,
        assignment: Assignment,
        targets: Targets,
        loss_bbox: Loss | None = None,
    ) -> Losses:
        """As in ``BBoxHead``, with ``loss_cls_objectness`` and ``loss_cls_classes`` for ``loss_cls``."""
        labels = assignment.labels(targets, background=self.num_classes)  # [B, S]
        count = self.sampled(assignment)
        flat, weight = tf.reshape(labels, [-1]), tf.reshape(assignment.weight, [-1])
        seen = tf.math.unsorted_segment_sum(tf.cast(weight > 0.0, tf.float32), flat, self.num_classes + 1)
        self.cum_samples.assign_add(replica_sum(seen))
        is_object = flat < self.num_classes
        own = tf.where(is_object, flat, 0)
        counts = tf.convert_to_tensor(self.cum_samples)[:-1]
        classes = self.loss_cls.weighed(self.class_logits(scores), own, counts)
        total = tf.maximum(count, 1.0)
        found = self.box_loss(deltas, rois, labels, assignment, targets, count, loss_bbox or self.loss_bbox)
        background = tf.cast(~is_object, tf.int32)
        return {
            "loss_cls_objectness": self.loss_cls(scores[..., -2:], background, weight, total),
            "loss_cls_classes": self.loss_cls(classes, own, tf.where(is_object, weight, 0.0), total),
            "loss_bbox": found,
        }
