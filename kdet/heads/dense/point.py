"""Heads that predict at points instead of anchors."""

from kdet.coders import DistanceCoder
from kdet.heads.dense.base import DenseHead
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction
from kdet.layers import ConvModule
from kdet.priors import PointGenerator


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

    def __init__(
        self,
        num_classes,
        strides,
        loss_cls,
        loss_bbox,
        assigner=None,
        stacked_convs=4,
        filters=256,
        norm=None,
        last_conv=None,
        conv_bias=None,
        class_tower=None,
        tower=None,
        **kwargs,
    ):
        super().__init__(num_classes=num_classes, **kwargs)
        self.loss_cls, self.loss_bbox, self.assigner = loss_cls, loss_bbox, assigner
        self.strides, self.coder = tuple(strides), DistanceCoder()
        self.point_generator = PointGenerator(strides)

        def layers():
            if tower:
                return [ConvModule(filters, norm=norm, padding=c["kernel_size"] // 2, **c) for c in tower]
            return conv_tower(stacked_convs, filters, norm=norm, last_conv=last_conv, use_bias=conv_bias)

        self.cls_convs, self.reg_convs = class_tower or layers(), layers()
        self.conv_cls = prediction(num_classes, probability=0.01)
        self.conv_reg = prediction(4)

    def class_tower(self, x):
        """The map that classes are predicted from."""
        return apply_tower(self.cls_convs, x)

    def box_tower(self, x):
        """The map ``[B,h,w,filters]`` that boxes are predicted from."""
        return apply_tower(self.reg_convs, x)

    def priors(self, shapes):
        return self.point_generator(shapes)

    def decode_boxes(self, priors, regression, info):
        return self.coder.decode(priors, regression, info["valid_size"])
