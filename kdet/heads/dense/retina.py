"""RetinaNet's head (Lin et al., 2017)."""

import math

import keras

from kdet.heads.dense.anchor import AnchorHead
from kdet.layers import Conv2D, ConvModule
from kdet.registry import register


def prior_bias(probability=0.01):
    """Bias initialiser under which a sigmoid starts at ``probability``."""
    return keras.initializers.Constant(-math.log((1 - probability) / probability))


@register
class RetinaHead(AnchorHead):
    """Two towers of convolutions, one for classes and one for boxes, shared by the levels.

    Args:
        stacked_convs: convolutions per tower.
        filters: their channels.
        conv, norm: their specs.
        other arguments: see ``AnchorHead``.

    Call: ``tuple of [B,h,w,C] -> (scores, deltas)``, tuples of ``[B,h,w,A*classes]``, ``[B,h,w,A*4]``.
    """

    def __init__(
        self,
        num_classes,
        anchor_generator,
        coder,
        loss_cls,
        loss_bbox,
        assigner,
        stacked_convs=4,
        filters=256,
        conv=None,
        norm=None,
        **kwargs,
    ):
        super().__init__(
            num_classes=num_classes,
            anchor_generator=anchor_generator,
            coder=coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            assigner=assigner,
            **kwargs,
        )
        normal = keras.initializers.RandomNormal(stddev=0.01)

        def tower():
            return [
                ConvModule(filters, 3, padding=1, conv=conv, norm=norm, kernel_initializer=normal)
                for _ in range(stacked_convs)
            ]

        self.cls_convs, self.reg_convs = tower(), tower()
        self.retina_cls = Conv2D(
            self.num_anchors * num_classes, 3, padding=1,
            kernel_initializer=normal, bias_initializer=prior_bias(),
        )  # fmt: skip
        self.retina_reg = Conv2D(self.num_anchors * 4, 3, padding=1, kernel_initializer=normal)

    def call(self, features, training=False):
        scores, deltas = [], []
        for x in features:
            cls = reg = x
            for cls_conv, reg_conv in zip(self.cls_convs, self.reg_convs):
                cls, reg = cls_conv(cls), reg_conv(reg)
            scores.append(self.retina_cls(cls))
            deltas.append(self.retina_reg(reg))
        return tuple(scores), tuple(deltas)
