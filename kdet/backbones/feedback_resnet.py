"""ResNet of the recursive feature pyramid (Qiao et al., 2020, arXiv:2006.02334)."""

from typing import Any

import tensorflow as tf

from kdet.backbones.resnet import Bottleneck, ResNet
from kdet.layers import Conv2D
from kdet.registry import register
from kdet.typing import Maps, Tensor


class FeedbackBlock(Bottleneck):
    """Bottleneck that can add a projected map to its sum.

    Args:
        feedback: the stage takes one; its first block has the projection.
        other arguments: see ``Bottleneck``.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        dilation: int = 1,
        shortcut: Any = None,
        feedback: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, stride, dilation, shortcut, **kwargs)
        self.rfp_conv = None
        if feedback and shortcut is not None:
            self.rfp_conv = Conv2D(filters * self.expansion, 1, kernel_initializer="zeros")

    def call(self, x: Tensor, feedback: Tensor | None = None) -> Tensor:
        y = self.total(x)
        return tf.nn.relu(y if self.rfp_conv is None else y + self.rfp_conv(feedback))


@register
class FeedbackResNet(ResNet):
    """ResNet at either end of a recursive feature pyramid.

    Args:
        feedback: the stages from the second on take maps of the pyramid (the backbone inside ``RFP``).
        output_image: the images are the first output (the backbone before ``RFP``).
        other arguments: see ``ResNet``.

    Call: ``[B,H,W,3]`` and, with ``feedback``, one map ``[B,h,w,C]`` per stage -> tuple of maps.
    """

    block_classes = (None, FeedbackBlock)
    # the smallest map (of the last stage) has to be larger than the window of the switches
    build_size = 128

    def __init__(
        self, depth: int = 50, feedback: bool = False, output_image: bool = False, **kwargs: Any
    ) -> None:
        self.feedback, self.output_image = feedback, output_image
        super().__init__(depth=depth, **kwargs)

    def plan(self, depth: int) -> list[tuple[Any, ...]]:
        stages = super().plan(depth)
        return [
            (block, filters, blocks, {**arguments, "feedback": self.feedback and i > 0})
            for i, (block, filters, blocks, arguments) in enumerate(stages)
        ]

    def call(self, x: Tensor, feedback: Maps | None = None, training: bool = False) -> tuple[Any, ...]:
        if feedback is None:
            maps = super().call(x, training=training)
            return (x, *maps) if self.output_image else maps
        outputs = []
        x = self.apply_stem(x)
        for i in range(self.num_stages):
            for block in self.part(f"layer{i + 1}"):
                x = block(x, feedback[i])
            outputs.append(x)
        return tuple(outputs)
