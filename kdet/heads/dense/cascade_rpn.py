"""Cascade RPN: proposals in two steps, with convolutions that follow the anchors (Vu et al., 2019)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.assigners.region import region_levels
from kdet.contract import ImageInfo, Proposals, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.rpn import select_proposals
from kdet.heads.dense.towers import prediction, small_normal
from kdet.layers import Composite, Conv2D, DeformConv2D, replica_mean
from kdet.losses import Loss
from kdet.postprocess import ProposalSelection
from kdet.priors import AnchorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Tensor


class AdaptiveConv(Composite):
    """3x3 convolution that looks where the anchors are: dilated (``dilation``) or with offsets (None)."""

    def __init__(self, filters: int, dilation: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        initializer = small_normal()
        if dilation is None:
            self.conv = DeformConv2D(filters, 3, padding=1, use_bias=False, kernel_initializer=initializer)
        else:
            self.conv = Conv2D(
                filters, 3, padding=dilation, dilation=dilation, kernel_initializer=initializer
            )

    def call(self, x: Tensor, offsets: Tensor | None = None) -> Tensor:
        return tf.nn.relu(self.conv(x) if offsets is None else self.conv(x, offsets))


def anchor_offsets(anchors: Tensor, stride: int, h: Any, w: Any) -> Tensor:
    """Offsets ``[B,h,w,18]`` (per cell y, x) that spread a 3x3 kernel over anchors ``[B,h*w,4]``."""
    anchors = tf.reshape(anchors, [-1, h, w, 4]) / stride
    steps = tf.constant([-1.0, 0.0, 1.0])
    rows, columns = tf.range(h, dtype=tf.float32)[:, None], tf.range(w, dtype=tf.float32)[None, :]

    def along(low: Tensor, high: Tensor, cells: Tensor) -> Tensor:
        """``[B,h,w,3]``, where the kernel's cells are moved along one axis."""
        spread = (high - low) / 2.0 - 1.0
        return ((low + high) * 0.5 - cells)[..., None] + spread[..., None] * steps

    x1, y1, x2, y2 = tf.unstack(anchors, axis=-1)
    y = tf.repeat(along(y1, y2, rows)[..., :, None], 3, -1)
    x = tf.repeat(along(x1, x2, columns)[..., None, :], 3, -2)
    return tf.reshape(tf.stack([y, x], -1), [-1, h, w, 18])


@register
class CascadeRPNStage(AnchorHead):
    """One step of ``CascadeRPNHead``, with one anchor per cell.

    Args:
        loss_cls: loss of the objectness, None for a stage without.
        dilation: of the convolution; None for one that follows the anchors.
        filters: its channels.
        bridge: hand the convolution's features to the next stage instead of the inputs.
        other arguments: see ``AnchorHead``; the box loss gets decoded boxes.

    Call: ``tuple of [B,h,w,C], offsets of every level or None -> (features, scores or None, deltas)``, tuples
    over levels.
    """

    anchor_generator: AnchorGenerator

    def __init__(
        self,
        loss_cls: Loss | None = None,
        dilation: int | None = None,
        filters: int = 256,
        bridge: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=1, loss_cls=loss_cls, **kwargs)
        self.dilation, self.bridge = dilation, bridge
        self.rpn_conv = AdaptiveConv(filters, dilation)
        self.rpn_cls = None if loss_cls is None else prediction(1, kernel_size=1)
        self.rpn_reg = prediction(4, kernel_size=1)

    def call(
        self, features: Maps, info: ImageInfo, offsets: Tensor | None = None, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...] | None, tuple[Any, ...]]:
        offsets = [None] * len(features) if offsets is None else offsets
        maps = [self.rpn_conv(x, offsets=o) for x, o in zip(features, offsets)]
        scores = None if self.rpn_cls is None else tuple(self.rpn_cls(x) for x in maps)
        return tuple(maps if self.bridge else features), scores, tuple(self.rpn_reg(x) for x in maps)

    def run(
        self, features: Maps, anchors: Tensor, info: ImageInfo, training: bool = False
    ) -> tuple[Any, ...]:
        """Outputs for anchors ``[B,n,4]`` of every level."""
        if self.dilation is not None:
            return self(features, info, training=training)
        shapes, strides = level_shapes(features), self.anchor_generator.strides
        offsets = [anchor_offsets(a, s, *shape) for a, s, shape in zip(anchors, strides, shapes)]
        return self(features, info, offsets=offsets, training=training)

    def refine(self, anchors: Tensor, deltas: Tensor, info: ImageInfo) -> Tensor:
        """The anchors ``[B,n,4]`` of every level moved by the deltas, no gradient."""
        deltas = [tf.stop_gradient(flatten_map(x, 4)) for x in deltas]
        return [self.coder.decode(a, d, info["valid_size"]) for a, d in zip(anchors, deltas)]

    def level_arguments(self, shapes: Sequence[Shape]) -> dict[str, Any]:
        if self.sampler is not None:
            return {}
        return region_levels(self.anchor_generator, shapes)

    def stage_losses(self, outputs: Any, anchors: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_rpn_cls", "loss_rpn_reg"}``, the first only from stages with scores."""
        _, scores, deltas = outputs
        anchors = tf.concat(anchors, 1)  # [B, P, 4]
        # a stage that takes all anchors gets the grid's, the same for every image
        priors = anchors[0] if self.sampler is None else anchors
        targets = {**targets, "labels": tf.minimum(targets["labels"], 0)}
        assignment, count = self.assign(priors, level_shapes(deltas), targets, info)
        if self.sampler is None:
            # the published number of anchors per positive
            count = replica_mean(tf.cast(tf.size(assignment.weight), tf.float32) / 200.0)
        losses = {}
        if scores is not None:
            labels = assignment.labels(targets, background=1)
            scores = flatten_levels(scores, 1)
            losses["loss_rpn_cls"] = self.loss_cls(scores, labels, assignment.weight, count)
        deltas = flatten_levels(deltas, 4)
        losses["loss_rpn_reg"] = self.box_loss(anchors, deltas, assignment, targets, count)
        return losses


@register
class CascadeRPNHead(Composite):
    """Proposals from stages that refine the anchors in turn; the last one scores them.

    Args:
        stages: ``CascadeRPNStage`` of every step.
        train_proposals, test_proposals: ``ProposalSelection`` in training and at inference.

    Outputs: per stage ``(anchors, outputs)``; anchors are ``[B,n,4]`` per level.
    """

    def __init__(
        self,
        stages: Sequence[Any],
        train_proposals: ProposalSelection | None = None,
        test_proposals: ProposalSelection | None = None,
        **kwargs: Any,
    ) -> None:
        # sizes and boxes must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.stages = list(stages)
        self.train_proposals = train_proposals or ProposalSelection()
        self.test_proposals = test_proposals or ProposalSelection()

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> Any:
        batch = tf.shape(features[0])[0]
        grid = self.stages[0].anchor_generator(level_shapes(features))
        anchors = [tf.repeat(a[None], batch, 0) for a in grid]
        found: list[tuple[list[Tensor], tuple[Any, ...]]] = []
        for stage in self.stages:
            if found:
                anchors = self.stages[len(found) - 1].refine(anchors, found[-1][1][2], info)
            outputs = stage.run(features, anchors, info, training)
            features = outputs[0]
            found.append((anchors, outputs))
        return found

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of all stages, named ``s0.loss_rpn_reg`` and so on."""
        losses = {}
        for i, (stage, (anchors, found)) in enumerate(zip(self.stages, outputs)):
            for name, value in stage.stage_losses(found, anchors, targets, info).items():
                losses[f"s{i}.{name}"] = value
        return losses

    def proposals(self, outputs: Any, info: ImageInfo, training: bool = False) -> Proposals:
        """The best boxes of the batch, in network pixels."""
        settings = self.train_proposals if training else self.test_proposals
        anchors, (_, scores, deltas) = outputs[-1]
        return select_proposals(settings, self.stages[-1].coder, zip(anchors, scores, deltas), info)
