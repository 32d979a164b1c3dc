"""TridentNet (Li et al., 2019, arXiv:1901.01892)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.backbones.resnet import ResNet
from kdet.layers import Conv2D, NoXla, register_conv, sequence
from kdet.registry import register
from kdet.typing import Tensor


@register_conv("trident")
@register
class TridentConv2D(NoXla, Conv2D):
    """One set of filters, applied with another dilation to every third of the batch.

    At inference the whole batch goes through one dilation.

    Args:
        dilations: of the branches.
        test_branch: index of the one at inference.
        other arguments: see ``Conv2D``; padding follows the dilation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        dilations: Sequence[int] = (1, 2, 3),
        test_branch: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, **kwargs)
        self.dilations, self.test_branch = tuple(dilations), test_branch

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if not training:
            return self._branch(x, self.dilations[self.test_branch])
        parts = tf.split(x, len(self.dilations), 0)
        return tf.concat([self._branch(p, d) for p, d in zip(parts, self.dilations)], 0)

    def _branch(self, x: Tensor, dilation: int) -> Tensor:
        size, kernel = (dilation, dilation), tf.cast(self.kernel, x.dtype)
        return self.add_bias(ops.grouped_conv2d(x, kernel, self.stride, size, size, self.groups))


@register
class TridentResNet(ResNet):
    """ResNet up to its third stage, which runs in branches of different dilation.

    Args:
        dilations, test_branch: see ``TridentConv2D``.
        other arguments: see ``ResNet``.

    Call: ``[B,H,W,3] -> ([B,h,w,C],)``; in training ``[branches*B,h,w,C]``, branch by branch.
    """

    def __init__(
        self, depth: int = 50, dilations: Sequence[int] = (1, 2, 3), test_branch: int = 1, **kwargs: Any
    ) -> None:
        self.num_branches = len(dilations)
        conv = {"kind": "trident", "dilations": dilations, "test_branch": test_branch}
        super().__init__(
            depth=depth, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,),
            dcn=conv, stage_with_dcn=(False, False, True), **kwargs,
        )  # fmt: skip

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor]:
        x = sequence([*self.layer1, *self.layer2], self.apply_stem(x))
        if training:
            x = tf.tile(x, [self.num_branches, 1, 1, 1])
        return (sequence(self.layer3, x),)
