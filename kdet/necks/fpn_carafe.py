"""FPN with content-aware up-sampling (Wang et al., 2019, arXiv:1905.02188)."""

import tensorflow as tf

from kdet.layers import CarafeUpsample, ConvModule
from kdet.necks.fpn import FPN
from kdet.registry import register


@register
class FPNCarafe(FPN):
    """FPN whose coarse maps are enlarged by ``CarafeUpsample``.

    Levels that the backbone does not have are made by strided convolutions on its last map and take part
    in the top-down path.

    Args: see ``FPN``.
    """

    def __init__(self, out_channels=256, num_outs=5, norm=None, conv=None, activation=None, **kwargs):
        super().__init__(
            out_channels=out_channels,
            num_outs=num_outs,
            norm=norm,
            conv=conv,
            activation=activation,
            **kwargs,
        )
        extra = range(len(self.lateral_convs), num_outs)

        def modules(stride):
            return [
                ConvModule(
                    out_channels, 3, stride=stride, padding=1, norm=norm, conv=conv, activation=activation,
                    kernel_initializer="glorot_uniform",
                )
                for _ in extra
            ]  # fmt: skip

        self.lateral_convs += modules(stride=2)
        self.fpn_convs += modules(stride=1)
        self.upsample_modules = [CarafeUpsample() for _ in range(num_outs - 1)]

    def laterals(self, inputs):
        levels = len(inputs)
        laterals = super().laterals(inputs)
        x = inputs[-1]
        for conv in self.lateral_convs[levels:]:
            x = conv(x)
            laterals.append(x)
        return laterals

    def upsample(self, index, x, like):
        x = self.upsample_modules[index - 1](x)
        size = tf.shape(like)
        return tf.ensure_shape(x[:, : size[1], : size[2]], like.shape)
