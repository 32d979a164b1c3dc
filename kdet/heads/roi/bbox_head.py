"""Class and box of a region of interest."""

from typing import Any

import keras
import tensorflow as tf

from kdet.coders import Coder
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.layers import Composite, ConvModule, Linear, replica_mean
from kdet.losses import Loss
from kdet.registry import register
from kdet.typing import Spec, Tensor


@register
class BBoxHead(Composite):
    """Shared convolutions and dense layers, then one dense layer for classes and one for boxes.

    Covers MMDetection's ``BBoxHead``, ``Shared2FCBBoxHead`` and ``Shared4Conv1FCBBoxHead``.

    Args:
        num_classes: without background, which is the last score.
        coder: box coding.
        loss_cls, loss_bbox: losses; a box loss with ``uses_boxes`` gets decoded boxes.
        num_shared_convs, conv_filters: 3x3 convolutions on the region.
        num_shared_fcs, fc_units: dense layers after them.
        average_pool: average the region first (C4 detectors).
        class_agnostic: one box per region instead of one per class.
        regress: False for a head that only classifies; its regions stay as they are.
        norm, conv: specs of the convolutions.

    Call: ``[N,h,w,C] -> (scores [N,classes+1], deltas [N,4*classes], [N,4] or None)``.
    """

    fc_reg: Any  # None for a head that only classifies

    def __init__(
        self,
        num_classes: int,
        coder: Coder,
        loss_cls: Loss,
        loss_bbox: Loss,
        num_shared_convs: int = 0,
        conv_filters: int = 256,
        num_shared_fcs: int = 2,
        fc_units: int = 1024,
        average_pool: bool = False,
        class_agnostic: bool = False,
        regress: bool = True,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.coder = num_classes, coder
        self.loss_cls, self.loss_bbox = loss_cls, loss_bbox
        self.average_pool, self.class_agnostic = average_pool, class_agnostic
        self.shared_convs = [
            ConvModule(conv_filters, 3, padding=1, norm=norm, conv=conv) for _ in range(num_shared_convs)
        ]
        self.shared_fcs = [
            Linear(fc_units, flatten=i == 0 and not average_pool) for i in range(num_shared_fcs)
        ]
        flatten = not average_pool and not num_shared_fcs
        self.fc_cls = self.classifier(num_classes, flatten)
        boxes = 1 if class_agnostic else num_classes
        self.fc_reg = None
        if regress:
            self.fc_reg = self.regressor(boxes, flatten)

    def classifier(self, num_classes: int, flatten: bool) -> Any:
        """The dense layer that gives the scores of the classes and of background."""
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return Linear(num_classes + 1, flatten=flatten, kernel_initializer=normal)

    def regressor(self, boxes: int, flatten: bool) -> Any:
        """The dense layer that gives the deltas of a number of boxes."""
        normal = keras.initializers.RandomNormal(stddev=0.001)
        return Linear(4 * boxes, flatten=flatten, kernel_initializer=normal)

    def shared(self, x: Tensor) -> Tensor:
        """Maps that both branches see: ``[N,units]`` (or the map when there are no dense layers)."""
        for conv in self.shared_convs:
            x = conv(x)
        if self.average_pool:
            x = tf.reduce_mean(x, [1, 2])
        for fc in self.shared_fcs:
            x = tf.nn.relu(fc(x))
        return x

    def call(self, x: Any, training: bool = False) -> tuple[Any, Any]:
        x = self.shared(x)
        return self.fc_cls(x), None if self.fc_reg is None else self.fc_reg(x)

    def class_boxes(self, deltas: Tensor, rois: Tensor, info: ImageInfo | None = None) -> Tensor:
        """Decoded boxes of every class.

        Args:
            deltas: ``[B*N,4*classes]`` or ``[B*N,4]``.
            rois: ``[B,N,4]``.
            info: ImageInfo to clip to the image, or None.

        Returns:
            ``[B,N,classes or 1,4]``.
        """
        if deltas is None:
            return rois[:, :, None, :]
        batch, count = tf.shape(rois)[0], rois.shape[1] or tf.shape(rois)[1]
        deltas = tf.reshape(deltas, [batch, count, 1 if self.class_agnostic else self.num_classes, 4])
        return self.coder.decode(rois[:, :, None, :], deltas, None if info is None else info["valid_size"])

    def confidence(self, deltas: Tensor) -> Tensor | None:
        """Factors ``[B*N]`` of the scores by how sure the boxes are; None for none."""
        return None

    def class_logits(self, scores: Tensor) -> Tensor:
        """The scores ``[..., classes]`` of the classes alone."""
        return scores[..., :-1]

    def probabilities(self, scores: Tensor) -> Tensor:
        """``[..., classes+1]`` logits to ``[..., classes]`` probabilities without background."""
        return tf.nn.softmax(tf.cast(scores, tf.float32))[..., :-1]

    def refine(
        self, scores: Tensor, deltas: Tensor, rois: Tensor, info: ImageInfo, labels: Tensor | None = None
    ) -> Tensor:
        """The regions moved by the deltas of their best (or given) class: ``[B,N,4]``, no gradient.

        Args:
            scores, deltas: of ``call`` for ``B*N`` regions.
            rois: ``[B,N,4]``.
            info: ImageInfo.
            labels: int32 ``[B,N]``, classes that take the place of the best one where they are no
                background.
        """
        boxes = self.class_boxes(deltas, rois, info)
        best = tf.argmax(self.class_logits(scores), -1, tf.int32)
        best = tf.reshape(best, tf.shape(rois)[:2])
        if labels is not None:
            best = tf.where(labels < self.num_classes, labels, best)
        best = tf.zeros_like(best) if self.class_agnostic else best
        return tf.stop_gradient(tf.gather(boxes, best, batch_dims=2))

    def compute_losses(
        self,
        scores: Tensor,
        deltas: Tensor,
        rois: Tensor,
        assignment: Assignment,
        targets: Targets,
        loss_bbox: Loss | None = None,
    ) -> Losses:
        """Losses of sampled regions.

        Args:
            scores, deltas: of ``call`` for ``B*S`` regions.
            rois: ``[B,S,4]``.
            assignment: ``Assignment [B,S]``.
            targets: the data contract's dict.
            loss_bbox: takes the place of the head's own, where the stage adapts it.

        Returns:
            ``{"loss_cls": scalar, "loss_bbox": scalar}`` (the first only without deltas).
        """
        labels = assignment.labels(targets, background=self.num_classes)  # [B, S]
        count = self.sampled(assignment)
        weight = tf.reshape(assignment.weight, [-1])
        loss_cls = self.loss_cls(scores, tf.reshape(labels, [-1]), weight, tf.maximum(count, 1.0))
        if deltas is None:
            return {"loss_cls": loss_cls}
        found = self.box_loss(deltas, rois, labels, assignment, targets, count, loss_bbox or self.loss_bbox)
        return {"loss_cls": loss_cls, "loss_bbox": found}

    @staticmethod
    def sampled(assignment: Assignment) -> Tensor:
        """Number of sampled regions, the mean over replicas."""
        return replica_mean(tf.reduce_sum(tf.cast(assignment.weight > 0.0, tf.float32)))

    def own_deltas(self, deltas: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
        """Each region's deltas for its class ``labels [B,S]``: ``[B,S,4]``."""
        deltas = tf.reshape(deltas, [*tf.unstack(tf.shape(rois)[:2]), -1, 4])  # [B, S, classes, 4]
        own = 0 if self.class_agnostic else tf.minimum(labels, self.num_classes - 1)
        return tf.gather(deltas, own + tf.zeros_like(labels), batch_dims=2)

    def encoded(self, rois: Tensor, assignment: Assignment, targets: Targets) -> Tensor:
        """The deltas ``[B,S,4]`` that the positives should have; those of the others are finite."""
        safe = assignment.positive[..., None]
        boxes = tf.where(safe, assignment.gather(targets["boxes"]), UNIT_BOX)
        return self.coder.encode(tf.where(safe, rois, UNIT_BOX), boxes)

    def box_loss(
        self,
        deltas: Tensor,
        rois: Tensor,
        labels: Tensor,
        assignment: Assignment,
        targets: Targets,
        count: Tensor,
        loss_bbox: Loss,
    ) -> Tensor:
        """Loss of the positives' boxes over the number of sampled regions."""
        deltas = self.own_deltas(deltas, rois, labels)
        positive = tf.cast(assignment.positive, tf.float32)
        if loss_bbox.uses_boxes:
            boxes = assignment.gather(targets["boxes"])  # [B, S, 4]
            return loss_bbox(self.coder.decode(rois, deltas), boxes, positive, count)
        return loss_bbox(deltas, self.encoded(rois, assignment, targets), positive, count)


# rows that take no part encode this box onto itself, so that no infinity or NaN arises
UNIT_BOX = (0.0, 0.0, 1.0, 1.0)
