"""Guided anchoring: where anchors are and what shape they have is predicted (Wang et al., 2019)."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.assigners import Assigner
from kdet.assigners.region import region_levels
from kdet.coders import Coder
from kdet.contract import ImageInfo, LevelPrediction, Proposals, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead, sample_and_count
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.rpn import select_proposals
from kdet.heads.dense.towers import FeatureAdaption, apply_tower, conv_tower, prediction, small_normal
from kdet.layers import Conv2D, MaskedConv2D, replica_mean
from kdet.losses import Loss
from kdet.postprocess import ProposalSelection
from kdet.priors import AnchorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.samplers import Sampler
from kdet.typing import Maps, Spec, Tensor

# weight of the places without an object in the loss of the locations
BACKGROUND_WEIGHT = 0.1
# deviation of the initial kernels from shapes to the offsets of the feature adaption
OFFSET_DEVIATION = 0.1


class GuidedAnchorHead(AnchorHead):
    """One square per cell, given a shape by the head, scored and refined where the head expects objects.

    At inference only cells whose location score reaches ``location_threshold`` are computed and become
    candidates, in every image by its own scores. (MMDetection computes the cells of the batch's first
    image for all of them; with one image the two are the same.) In training all cells count.

    Args:
        approx_generator: the anchors that a square stands for when the shapes learn which object is theirs.
        anchor_generator: the squares.
        anchor_coder: from squares and predicted shapes to anchors.
        loss_location, loss_shape: losses on the location scores and, on boxes, on the shapes.
        location_assigner: ``RegionAssigner``, which cells lie in the middle of objects.
        shape_assigner, shape_sampler: ``ApproxMaxIoUAssigner`` and what draws from its choice.
        location_threshold: least location score of a candidate.
        coder, assigner, sampler, other arguments: see ``AnchorHead``; they work on the guided anchors.

    Outputs: ``(scores, deltas, shapes, locations)``, tuples over levels of
    ``[B,h,w,classes]``, ``[B,h,w,4]``, ``[B,h,w,2]`` (log-ratios of width and height to those of the square,
    divided by the coder's deviations) and ``[B,h,w,1]``.
    """

    anchor_generator: AnchorGenerator

    def __init__(
        self,
        approx_generator: AnchorGenerator,
        anchor_generator: AnchorGenerator,
        anchor_coder: Coder,
        loss_location: Loss,
        loss_shape: Loss,
        location_assigner: Assigner,
        shape_assigner: Assigner,
        shape_sampler: Sampler,
        location_threshold: float = 0.01,
        **kwargs: Any,
    ) -> None:
        # guided anchors are where they are: there is no border to cross
        super().__init__(anchor_generator=anchor_generator, allowed_border=-1, **kwargs)
        if anchor_generator.num_anchors != 1 or anchor_generator.strides != approx_generator.strides:
            raise ValueError(
                f"{type(self).__name__}: anchor_generator must give one square per cell with the strides of "
                f"approx_generator, {approx_generator.strides}; it gives {anchor_generator.num_anchors} with "
                f"{anchor_generator.strides}."
            )
        self.approx_generator, self.anchor_coder = approx_generator, anchor_coder
        self.loss_location, self.loss_shape = loss_location, loss_shape
        self.location_assigner = location_assigner
        self.shape_assigner, self.shape_sampler = shape_assigner, shape_sampler
        self.location_threshold = location_threshold
        self.conv_loc = prediction(1, kernel_size=1, probability=0.01)
        self.conv_shape = prediction(2, kernel_size=1)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        return tuple(zip(*(self.level_outputs(x, training) for x in features)))

    def level_outputs(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(scores, deltas, shapes, locations)`` of one level."""
        raise NotImplementedError(f"{type(self).__name__} must define level_outputs().")

    def expected(self, locations: Tensor) -> Tensor:
        """Where objects are expected: bool, of the shape of the location scores."""
        return tf.sigmoid(tf.cast(locations, tf.float32)) >= self.location_threshold

    def places(self, locations: Tensor, training: bool) -> Tensor | None:
        """The cells ``[B,h,w]`` that the last convolutions compute; None for all."""
        return None if training else self.expected(locations[..., 0])

    def guide(self, squares: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """Anchors ``[B,n,4]`` from squares ``[n,4]`` or ``[B,n,4]`` and predicted shapes ``[B,n,2]``."""
        return self.anchor_coder.decode(squares, tf.concat([tf.zeros_like(shapes), shapes], -1))

    # ---- training

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox", "loss_shape", "loss_loc"}``; see ``AnchorHead``."""
        shapes = level_shapes(outputs[0])
        squares = tf.concat(self.anchor_generator(shapes), 0)  # [P, 4]
        guided = self.guide(squares, flatten_levels(outputs[2], 2))  # [B, P, 4]
        anchors = tf.stop_gradient(guided)
        assignment, count = self.assign(anchors, shapes, targets, info)
        losses = self.assigned_losses(outputs, anchors, assignment, targets, count)
        losses["loss_shape"] = self.shape_loss(guided, shapes, targets, info)
        losses["loss_loc"] = self.location_loss(outputs[3], squares, shapes, targets)
        return losses

    def shape_loss(
        self, guided: Tensor, shapes: Sequence[Shape], targets: Targets, info: ImageInfo
    ) -> Tensor:
        """Loss of the anchors ``[B,P,4]`` of the cells that an object is matched with, a scalar."""
        usable = self.anchor_generator.valid(shapes, info["padded_size"])
        assignment = self.shape_assigner(self.approx_generator.by_cell(shapes), targets, usable)
        assignment, count = sample_and_count(assignment, self.shape_sampler, info, stream=2)
        positive = tf.cast(assignment.positive, tf.float32)
        return self.loss_shape(guided, assignment.gather(targets["boxes"]), positive, count)

    def location_loss(
        self, locations: Tensor, squares: Tensor, shapes: Sequence[Shape], targets: Targets
    ) -> Tensor:
        """Loss of the location scores, a scalar.

        As in MMDetection the middle of an object has the label 1 and everything else 0, and a loss with
        one class takes 1 for the background. (Labels of MMDetection's first release began with 1.) So the
        scores of empty places rise, and the threshold takes out places that are sure of their object.
        """
        levels = region_levels(self.anchor_generator, shapes)
        assignment = self.location_assigner(squares, targets, True, **levels)
        weight = tf.where(assignment.negative, BACKGROUND_WEIGHT, assignment.weight)
        # the published number of cells per unit of loss
        count = replica_mean(tf.cast(tf.size(weight), tf.float32) / 200.0)
        middle = tf.cast(assignment.positive, tf.int32)
        return self.loss_location(flatten_levels(locations, 1), middle, weight, count)


@register
class GARPNHead(GuidedAnchorHead):
    """Proposals from guided anchors.

    Args:
        filters: channels of the shared convolution and of the adapted features.
        deform_groups: groups of offsets of the feature adaption.
        train_proposals, test_proposals: ``ProposalSelection`` in training and at inference.
        other arguments: see ``GuidedAnchorHead``.
    """

    def __init__(
        self,
        filters: int = 256,
        deform_groups: int = 4,
        train_proposals: ProposalSelection | None = None,
        test_proposals: ProposalSelection | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=1, **kwargs)
        self.train_proposals = train_proposals or ProposalSelection(nms_pre=2000)
        self.test_proposals = test_proposals or ProposalSelection()
        self.rpn_conv = Conv2D(filters, 3, padding=1, kernel_initializer=small_normal())
        self.feature_adaption = FeatureAdaption(filters, deform_groups, OFFSET_DEVIATION)
        self.conv_cls = prediction(1, kernel_size=1, layer=MaskedConv2D)
        self.conv_reg = prediction(4, kernel_size=1, layer=MaskedConv2D)

    def level_outputs(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = tf.nn.relu(self.rpn_conv(x))
        locations, shapes = self.conv_loc(x), self.conv_shape(x)
        x, places = self.feature_adaption(x, tf.stop_gradient(shapes)), self.places(locations, training)
        return self.conv_cls(x, places), self.conv_reg(x, places), shapes, locations

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        targets = {**targets, "labels": tf.minimum(targets["labels"], 0)}  # one class: object
        losses = super().compute_losses(outputs, targets, info)
        return {
            "loss_rpn_cls": losses["loss_cls"],
            "loss_rpn_bbox": losses["loss_bbox"],
            "loss_anchor_shape": losses["loss_shape"],
            "loss_anchor_loc": losses["loss_loc"],
        }

    def proposals(self, outputs: Any, info: ImageInfo, training: bool = False) -> Proposals:
        """The best boxes of the batch, in network pixels; in training from all cells."""
        levels = []
        for squares, (scores, deltas, shapes, locations) in zip(
            self.priors(level_shapes(outputs[0])), zip(*outputs), strict=True
        ):
            if not training:
                scores = tf.where(self.expected(locations), tf.cast(scores, tf.float32), float("-inf"))
            levels.append((self.guide(squares, flatten_map(shapes, 2)), scores, deltas))
        settings = self.train_proposals if training else self.test_proposals
        return select_proposals(settings, self.coder, levels, info)


@register
class GARetinaHead(GuidedAnchorHead):
    """RetinaNet's towers on guided anchors.

    Args:
        stacked_convs, filters, conv, norm: of the towers.
        deform_groups: groups of offsets of the feature adaptions.
        other arguments: see ``GuidedAnchorHead``.
    """

    def __init__(
        self,
        stacked_convs: int = 4,
        filters: int = 256,
        conv: str | Spec | keras.Layer | None = None,
        norm: str | Spec | None = None,
        deform_groups: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cls_convs = conv_tower(stacked_convs, filters, conv, norm)
        self.reg_convs = conv_tower(stacked_convs, filters, conv, norm)
        self.feature_adaption_cls = FeatureAdaption(filters, deform_groups, OFFSET_DEVIATION)
        self.feature_adaption_reg = FeatureAdaption(filters, deform_groups, OFFSET_DEVIATION)
        self.retina_cls = prediction(self.num_classes, probability=0.01, layer=MaskedConv2D)
        self.retina_reg = prediction(4, layer=MaskedConv2D)

    def level_outputs(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        classes, boxes = apply_tower(self.cls_convs, x), apply_tower(self.reg_convs, x)
        locations, shapes = self.conv_loc(classes), self.conv_shape(boxes)
        places, fixed = self.places(locations, training), tf.stop_gradient(shapes)
        scores = self.retina_cls(self.feature_adaption_cls(classes, fixed), places)
        return scores, self.retina_reg(self.feature_adaption_reg(boxes, fixed), places), shapes, locations

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, deltas, shapes, locations in zip(*outputs):
            expected = self.expected(flatten_map(locations, 1))
            scores = tf.where(expected, flatten_map(scores, self.num_classes), float("-inf"))
            regression = tf.concat([flatten_map(deltas, 4), flatten_map(shapes, 2)], -1)
            yield LevelPrediction(scores, tf.sigmoid, regression)

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        deltas, shapes = tf.split(regression, [4, 2], -1)
        return super().decode_boxes(self.guide(priors, shapes), deltas, info)
