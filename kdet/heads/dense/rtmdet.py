"""The head of RTMDet (Lyu et al., 2022, arXiv:2212.07784)."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet.assigners import Assigner
from kdet.coders import DistanceCoder
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import DenseHead, flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction, towers_of_levels
from kdet.layers import Conv2D, ConvModule, replica_mean
from kdet.losses import Loss
from kdet.priors import PointGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


@register
class RTMDetHead(DenseHead):
    """Class scores and distances to the sides of the box from the corner of every cell.

    The convolutions of the towers are the same on all levels, their norms and the predictions are not. What
    a class score learns is the IoU of the box; boxes weigh as much as their IoU.

    Args:
        num_classes, postprocess: see ``DenseHead``.
        strides: of the levels.
        assigner: ``DynamicSoftLabelAssigner``.
        loss_cls: of the scores, with soft targets.
        loss_bbox: of decoded boxes.
        stacked_convs, filters, norm: of the towers, which end in Swish.
        exp_on_reg: distances are exponentials, in strides, not the numbers themselves (all but tiny and s).

    Outputs: ``(scores, distances)``, tuples over the levels of ``[B,h,w,classes]`` and ``[B,h,w,4]`` in
    pixels.
    """

    # where the distances start, before training
    first_distance = 0.0
    assigner: Any

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        assigner: Assigner,
        loss_cls: Loss,
        loss_bbox: Loss,
        stacked_convs: int = 2,
        filters: int = 256,
        norm: Norm = "bn",
        exp_on_reg: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        self.assigner, self.loss_cls, self.loss_bbox = assigner, loss_cls, loss_bbox
        self.strides, self.exp_on_reg, self.coder = tuple(strides), exp_on_reg, DistanceCoder()
        self.point_generator = PointGenerator(strides, offset=0.0)
        self.cls_convs = self.towers(stacked_convs, filters, norm)
        self.reg_convs = self.box_towers(stacked_convs, filters, norm)
        self.rtm_cls = self.predictions(num_classes, probability=0.01)
        self.rtm_reg = self.predictions(4, bias=self.first_distance)

    def towers(self, depth: int, filters: int, norm: Norm) -> list[list[ConvModule]]:
        """A tower for each level, with common convolutions."""
        tower = conv_tower(depth, filters, norm=norm, activation="silu")
        return towers_of_levels(tower, len(self.strides), norm, "silu")

    def box_towers(self, depth: int, filters: int, norm: Norm) -> list[list[ConvModule]]:
        """The towers that boxes are predicted from."""
        return self.towers(depth, filters, norm)

    def predictions(self, channels: int, **kwargs: Any) -> list[Conv2D]:
        """A 1x1 convolution for each level; ``kwargs`` as of ``prediction``."""
        return [prediction(channels, 1, **kwargs) for _ in self.strides]

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        return tuple(zip(*(self.level(i, x) for i, x in enumerate(features))))

    def level(self, index: int, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of one level."""
        cls, reg = (apply_tower(convs[index], x) for convs in (self.cls_convs, self.reg_convs))
        return self.rtm_cls[index](cls), self.distances(tf.cast(self.rtm_reg[index](reg), tf.float32), index)

    def distances(self, x: Tensor, index: int) -> Tensor:
        """Distances in pixels from what is predicted on a level."""
        return (tf.exp(x) if self.exp_on_reg else x) * self.strides[index]

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.point_generator(shapes)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, distances in zip(*outputs[:2]):
            scores = flatten_map(scores, self.num_classes)
            yield LevelPrediction(scores, tf.sigmoid, flatten_map(distances, 4))

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        # the reference pads before it calls the result the image
        return self.coder.decode(priors, regression, info["padded_size"])

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_cls`` and ``loss_bbox``."""
        return self.assigned_losses(outputs, targets, info)[0]

    def assigned_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> tuple[Losses, Assignment]:
        """The losses of classes and boxes, and which point answers for which object."""
        shapes = level_shapes(outputs[0])
        points = tf.concat(self.priors(shapes), 0)  # [P, 3]
        scores = flatten_levels(outputs[0], self.num_classes)
        boxes = self.coder.decode(points, flatten_levels(outputs[1], 4))  # [B, P, 4]
        assignment = self.assigner(
            points,
            targets,
            self.point_generator.valid(shapes, info["padded_size"]),
            tf.stop_gradient(boxes),
            scores=tf.stop_gradient(scores),
        )
        quality = assignment.overlaps * tf.cast(assignment.positive, tf.float32)  # [B, P]
        total = tf.maximum(replica_mean(tf.reduce_sum(quality)), 1.0)
        labels = assignment.labels(targets, background=self.num_classes)
        soft = tf.one_hot(labels, self.num_classes) * quality[..., None]
        losses = {
            "loss_cls": self.loss_cls(scores, soft, assignment.weight, total),
            "loss_bbox": self.loss_bbox(boxes, assignment.gather(targets["boxes"]), quality, total),
        }
        return losses, assignment
