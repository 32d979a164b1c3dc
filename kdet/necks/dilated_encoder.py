"""The encoder of YOLOF (Chen et al., 2021): one level that sees objects of all sizes."""

from kdet.layers import BatchNorm, Composite, Conv2D, ConvModule
from kdet.registry import register


class DilatedBlock(Composite):
    """1x1, dilated 3x3 and 1x1 convolutions, around them a shortcut."""

    def __init__(self, filters, middle, dilation, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = ConvModule(middle, 1, norm="bn")
        self.conv2 = ConvModule(middle, 3, padding=dilation, dilation=dilation, norm="bn")
        self.conv3 = ConvModule(filters, 1, norm="bn")

    def call(self, x):
        return x + self.conv3(self.conv2(self.conv1(x)))


@register
class DilatedEncoder(Composite):
    """Projects the last backbone map and widens its receptive field step by step.

    Args:
        filters: channels of the output.
        middle: channels of the dilated convolutions.
        dilations: one block each.

    Call: ``tuple of [B,h,w,C] -> ([B,h,w,filters],)``.
    """

    def __init__(self, filters=512, middle=128, dilations=(2, 4, 6, 8), **kwargs):
        super().__init__(**kwargs)
        self.lateral_conv, self.lateral_norm = Conv2D(filters, 1), BatchNorm()
        self.fpn_conv, self.fpn_norm = Conv2D(filters, 3, padding=1), BatchNorm()
        self.dilated_encoder_blocks = [DilatedBlock(filters, middle, dilation) for dilation in dilations]

    def call(self, inputs, training=False):
        x = self.lateral_norm(self.lateral_conv(inputs[-1]))
        x = self.fpn_norm(self.fpn_conv(x))
        for block in self.dilated_encoder_blocks:
            x = block(x)
        return (x,)
