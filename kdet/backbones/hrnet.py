"""High-resolution network (Sun et al., 2019, arXiv:1904.04514)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.backbones.resnet import BasicBlock, Bottleneck, NormedConvs, make_stage, with_running_stats
from kdet.layers import Composite, make_conv, make_norm, sequence, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor

# modules of the stages with 2, 3 and 4 branches
MODULES = (1, 4, 3)
BLOCKS = 4


def conv_and_norm(
    norm: str | Spec | None, filters: int, kernel_size: int = 3, stride: int = 1
) -> list[keras.Layer]:
    """``[convolution, norm]``."""
    conv = make_conv(None, filters, kernel_size, stride=stride, padding=kernel_size // 2, use_bias=False)
    return [conv, make_norm(norm)[1]]


def reduce_size(steps: Sequence[Any], x: Tensor, last_relu: bool) -> Tensor:
    """Applies ``[[convolution, norm], ...]`` with ReLUs between, and at the end if ``last_relu``."""
    for i, step in enumerate(steps):
        x = sequence(step, x)
        if last_relu or i + 1 < len(steps):
            x = tf.nn.relu(x)
    return x


class HRModule(Composite):
    """Parallel branches of residual blocks, then every branch sums up all of them at its own size.

    Args:
        channels: of the branches, fine to coarse.
        norm: spec.

    Call: list of ``[B,h,w,C]`` -> list of the same shapes.
    """

    def __init__(self, channels: Sequence[int], norm: str | Spec | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branches = [make_stage(BasicBlock, c, BLOCKS, 1, 1, c, norm) for c in channels]
        self.fuse_layers = [
            [self._fuse(channels, source, to, norm) for source in range(len(channels))]
            for to in range(len(channels))
        ]

    @staticmethod
    def _fuse(channels: Sequence[int], source: int, to: int, norm: str | Spec | None) -> Any:
        if source == to:
            return None
        if source > to:
            return conv_and_norm(norm, channels[to], kernel_size=1)
        widths = [channels[source]] * (to - source - 1) + [channels[to]]
        return [conv_and_norm(norm, width, stride=2) for width in widths]

    def call(self, maps: Maps) -> list[Tensor]:
        maps = [sequence(branch, x) for branch, x in zip(self.branches, maps)]
        return [tf.nn.relu(self._sum(to, maps)) for to in range(len(maps))]

    def _sum(self, to: int, maps: Maps) -> Tensor:
        parts = []
        for source, (layers, x) in enumerate(zip(self.fuse_layers[to], maps)):
            if source > to:
                x = upsample_nearest(sequence(layers, x), maps[to])
            elif source < to:
                x = reduce_size(layers, x, last_relu=False)
            parts.append(x)
        return tf.add_n(parts)


@register
class HRNet(NormedConvs):
    """HRNetV2: a branch of stride 4 all the way, joined by coarser ones stage by stage.

    Args:
        width: channels of the finest branch (18, 32, 40); the others have 2, 4 and 8 times as many.
        norm: spec for ``kdet.layers.make_norm``.
        norm_eval: batch norm uses its running statistics while training.
        pretrained: name of the published ImageNet weights.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]`` of strides 4, 8, 16, 32; H and W divisible by 32.
    """

    def __init__(
        self,
        width: int = 32,
        norm: str | Spec = "bn",
        norm_eval: bool = True,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pretrained = pretrained
        norm = with_running_stats(norm, norm_eval)
        for i in (1, 2):
            self.add_conv(i, None, norm, 64, 3, stride=2, padding=1)
        self.layer1 = make_stage(Bottleneck, 64, BLOCKS, 1, 1, 64, norm)

        channels = [width * 2**i for i in range(len(MODULES) + 1)]
        self.feature_info = [(c, 4 * 2**i) for i, c in enumerate(channels)]
        for i, modules in enumerate(MODULES, 1):
            transition = [None] * i + [[conv_and_norm(norm, channels[i], stride=2)]]
            if i == 1:  # the single map before has other channels
                transition[0] = conv_and_norm(norm, channels[0])
            setattr(self, f"transition{i}", transition)
            setattr(self, f"stage{i + 1}", [HRModule(channels[: i + 1], norm) for _ in range(modules)])

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        x = self.conv_norm(1, x, relu=True)
        x = self.conv_norm(2, x, relu=True)
        maps = [sequence(self.layer1, x)]
        for i in range(1, len(MODULES) + 1):
            transition = self.part(f"transition{i}")
            coarsest = maps[-1]
            if transition[0] is not None:
                maps[0] = tf.nn.relu(sequence(transition[0], maps[0]))
            maps = sequence(
                self.part(f"stage{i + 1}"), [*maps, reduce_size(transition[-1], coarsest, last_relu=True)]
            )
        return tuple(maps)
