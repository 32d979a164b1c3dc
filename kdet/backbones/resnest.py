"""ResNeSt feature extractors (Zhang et al., 2020, arXiv:2004.08955)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.backbones.resnet import Bottleneck, NormedConvs, ResNet
from kdet.layers import Conv2D, conv_norm, make_conv, make_norm, padded_average
from kdet.registry import register
from kdet.typing import Spec, Tensor


class SplitAttention(NormedConvs):
    """3x3 convolution into ``radix`` branches that attention over the whole map mixes into one.

    Args:
        filters: channels of a branch.
        stride, dilation, groups: of the convolution.
        radix: branches.
        reduction: the attention's hidden layer has ``filters * radix / reduction`` channels, at least 32.
        norm, conv: specs.
    """

    def __init__(
        self,
        filters: int,
        stride: int,
        dilation: int,
        groups: int,
        radix: int,
        reduction: int,
        norm: str | Spec | None,
        conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.groups, self.radix = filters, groups, radix
        self.conv = make_conv(
            conv, filters * radix, 3,
            stride=stride, padding=dilation, dilation=dilation, groups=groups * radix, use_bias=False,
        )  # fmt: skip
        self.norm_prefix, layer = make_norm(norm)
        setattr(self, f"{self.norm_prefix}0", layer)
        self.fc1 = Conv2D(max(filters * radix // reduction, 32), 1, groups=groups)
        setattr(self, f"{self.norm_prefix}1", make_norm(norm)[1])
        self.fc2 = Conv2D(filters * radix, 1, groups=groups)

    def call(self, x: Tensor) -> Tensor:
        x = tf.nn.relu(conv_norm(self.conv, self.part(f"{self.norm_prefix}0"), x))
        branches = tf.stack(tf.split(x, self.radix, -1), 3)  # [B, h, w, radix, C]
        pooled = tf.reduce_mean(tf.reduce_sum(branches, 3), [1, 2], keepdims=True)  # [B, 1, 1, C]
        hidden = tf.nn.relu(conv_norm(self.fc1, self.part(f"{self.norm_prefix}1"), pooled))
        # the channels of the logits are in the order (group, radix, channel of the group)
        shape = [-1, self.groups, self.radix, self.filters // self.groups]
        weights = tf.nn.softmax(tf.reshape(self.fc2(hidden), shape), 2)
        weights = tf.reshape(tf.transpose(weights, [0, 2, 1, 3]), [-1, 1, 1, self.radix, self.filters])
        return tf.reduce_sum(branches * weights, 3)


class ResNeStBlock(Bottleneck):
    """Bottleneck with split attention; strides by average pooling behind it.

    Args:
        radix, reduction: see ``SplitAttention``.
        other arguments: see ``Bottleneck``.
    """

    def __init__(self, *args: Any, radix: int = 2, reduction: int = 4, **kwargs: Any) -> None:
        self.radix, self.reduction = radix, reduction
        super().__init__(*args, **kwargs)

    def add_middle(
        self,
        conv: str | Spec | keras.Layer | None,
        norm: str | Spec | None,
        width: int,
        stride: int,
        dilation: int,
        groups: int,
    ) -> None:
        self.middle_stride = stride
        self.conv2 = SplitAttention(width, 1, dilation, groups, self.radix, self.reduction, norm, conv)

    def middle(self, x: Tensor) -> Tensor:
        x = self.conv2(x)
        return x if self.middle_stride == 1 else padded_average(x, self.middle_stride)


@register
class ResNeSt(ResNet):
    """ResNeSt on ResNet-D (three convolutions in the stem, pooled shortcuts).

    Args:
        radix: branches of the split attention.
        reduction: of the attention's hidden layer.
        other arguments: see ``ResNet``.
    """

    block_classes = (None, ResNeStBlock)

    def __init__(
        self, depth: int = 50, radix: int = 2, reduction: int = 4, base_width: int = 4, **kwargs: Any
    ) -> None:
        self.radix, self.reduction = radix, reduction
        super().__init__(depth=depth, base_width=base_width, deep_stem=True, avg_down=True, **kwargs)

    def bottleneck_arguments(self, filters: int) -> dict[str, Any]:
        return {**super().bottleneck_arguments(filters), "radix": self.radix, "reduction": self.reduction}
