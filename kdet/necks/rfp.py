"""Recursive feature pyramid (Qiao et al., 2020, arXiv:2006.02334)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import Composite, Conv2D
from kdet.necks.fpn import FPN
from kdet.registry import register
from kdet.typing import Maps, Tensor


class AtrousPooling(Composite):
    """Parallel convolutions of several dilations, the last one on the mean of the map, concatenated.

    Args:
        filters: of each.
        dilations: one per convolution, 1 for a 1x1.
    """

    def __init__(self, filters: int, dilations: Sequence[int] = (1, 3, 6, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aspp = [
            Conv2D(filters, 3, padding=d, dilation=d) if d > 1 else Conv2D(filters, 1) for d in dilations
        ]

    def call(self, x: Tensor) -> Tensor:
        *convs, last = self.aspp
        maps = [tf.nn.relu(conv(x)) for conv in convs]
        mean = tf.nn.relu(last(tf.reduce_mean(x, [1, 2], keepdims=True)))
        return tf.concat([*maps, tf.broadcast_to(mean, tf.shape(maps[-1]))], -1)


@register
class RFP(FPN):
    """FPN whose outputs go back into a second backbone, whose pyramid is mixed with the first.

    Args:
        rfp_backbone: ``FeedbackResNet`` with ``feedback``.
        aspp_filters: channels of each of the four convolutions on the way back.
        other arguments: see ``FPN``.

    Call: ``(images, *maps) -> tuple of [B,h,w,out_channels]``.
    """

    def __init__(self, rfp_backbone: Any, aspp_filters: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rfp_modules = [rfp_backbone]
        self.rfp_aspp = AtrousPooling(aspp_filters)
        self.rfp_weight = Conv2D(1, 1, kernel_initializer="zeros")

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        images, *maps = inputs
        outputs = super().call(tuple(maps), training=training)
        for backbone in self.rfp_modules:
            # the backbone's first stage takes no feedback
            feedback = [outputs[0], *(self.rfp_aspp(x) for x in outputs[1:])]
            again = super().call(backbone(images, feedback, training=training), training=training)
            weights = [tf.sigmoid(self.rfp_weight(x)) for x in again]
            outputs = tuple(w * new + (1 - w) * old for w, new, old in zip(weights, again, outputs))
        return outputs
