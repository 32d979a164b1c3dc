"""Heads that predict at points instead of anchors."""

from collections.abc import Sequence
from typing import Any

import keras

from kdet.assigners import Assigner
from kdet.coders import DistanceCoder
from kdet.contract import ImageInfo
from kdet.heads.dense.base import DenseHead
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction
from kdet.layers import ConvModule
from kdet.losses import Loss
from kdet.priors import PointGenerator
from kdet.priors.base import Shape
from kdet.typing import Spec, Tensor


class PointHead(DenseHead):
    """Two towers, class scores and distances to the sides of the box at one point per cell.

    Args:
        num_classes, postprocess: see ``DenseHead``.
        strides: of the levels.
        loss_cls, loss_bbox: losses.
        assigner: matches points with objects.
        stacked_convs: convolutions per tower.
        filters: their channels.
        norm: its spec.
        last_conv: spec of each tower's last convolution where it is not a plain one.
        conv_bias: bias in the towers' convolutions; None for "only without a norm".
        class_tower: the layers of the class tower where it is not like the box tower.
        tower: the convolutions of both towers where they are not alike: a list of arguments of
            ``ConvModule`` (``kernel_size``, ``conv``, ``use_bias``) in the place of ``stacked_convs``.
    """

    # where the class probabilities and the distances start, before training
    first_probability = 0.01
    first_distance = 0.0
    assigner: Any
    loss_cls: Any  # this and the assigner are None where a subclass has a way of its own

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        loss_cls: Loss | None,
        loss_bbox: Loss,
        assigner: Assigner | None = None,
        stacked_convs: int = 4,
        filters: int = 256,
        norm: str | Spec | None = None,
        last_conv: str | Spec | keras.Layer | None = None,
        conv_bias: bool | None = None,
        class_tower: list[ConvModule] | None = None,
        tower: Sequence[Spec] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        self.loss_cls, self.loss_bbox, self.assigner = loss_cls, loss_bbox, assigner
        self.strides, self.coder = tuple(strides), DistanceCoder()
        self.point_generator = PointGenerator(strides)

        def layers() -> list[ConvModule]:
            if tower:
                return [ConvModule(filters, norm=norm, padding=c["kernel_size"] // 2, **c) for c in tower]
            return conv_tower(stacked_convs, filters, norm=norm, last_conv=last_conv, use_bias=conv_bias)

        self.cls_convs, self.reg_convs = class_tower or layers(), layers()
        self.conv_cls = prediction(num_classes, probability=self.first_probability)
        self.conv_reg = prediction(4, bias=self.first_distance)

    def class_tower(self, x: Tensor) -> Tensor:
        """The map that classes are predicted from."""
        return apply_tower(self.cls_convs, x)

    def box_tower(self, x: Tensor) -> Tensor:
        """The map ``[B,h,w,filters]`` that boxes are predicted from."""
        return apply_tower(self.reg_convs, x)

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.point_generator(shapes)

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        return self.coder.decode(priors, regression, info["valid_size"])
