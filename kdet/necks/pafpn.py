"""Path aggregation network (Liu et al., 2018, arXiv:1803.01534)."""

from kdet.layers import ConvModule
from kdet.necks.fpn import FPN
from kdet.registry import register


@register
class PAFPN(FPN):
    """FPN with a second, bottom-up path over its outputs.

    Args: see ``FPN``.
    """

    def __init__(self, out_channels=256, norm=None, conv=None, activation=None, **kwargs):
        super().__init__(out_channels=out_channels, norm=norm, conv=conv, activation=activation, **kwargs)

        def modules(stride):
            return [
                ConvModule(
                    out_channels, 3, stride=stride, padding=1, norm=norm, conv=conv, activation=activation,
                    kernel_initializer="glorot_uniform",
                )
                for _ in self.lateral_convs[1:]
            ]  # fmt: skip

        self.downsample_convs, self.pafpn_convs = modules(stride=2), modules(stride=1)

    def refine(self, outputs):
        for i, conv in enumerate(self.downsample_convs):
            outputs[i + 1] = outputs[i + 1] + conv(outputs[i])
        return [outputs[0], *(conv(x) for conv, x in zip(self.pafpn_convs, outputs[1:]))]
