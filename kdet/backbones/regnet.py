"""RegNetX feature extractors (Radosavovic et al., 2020, arXiv:2003.13678)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdet.backbones.resnet import Bottleneck, ResNet
from kdet.registry import register
from kdet.typing import Spec, Tensor

# name -> (first width, slope of the widths, ratio of neighboring widths, blocks, channels of a group)
ARCHITECTURES = {
    "regnetx_400mf": (24, 24.48, 2.54, 22, 16),
    "regnetx_800mf": (56, 35.73, 2.28, 16, 16),
    "regnetx_1.6gf": (80, 34.01, 2.25, 18, 24),
    "regnetx_3.2gf": (88, 26.31, 2.25, 25, 48),
    "regnetx_4.0gf": (96, 38.65, 2.43, 23, 40),
    "regnetx_6.4gf": (184, 60.83, 2.07, 17, 56),
    "regnetx_8.0gf": (80, 49.56, 2.88, 23, 120),
    "regnetx_12gf": (168, 73.36, 2.37, 19, 112),
}


class RegNetBlock(Bottleneck):
    """A bottleneck without a bottleneck: all three convolutions have the same channels."""

    expansion = 1


def stage_widths(
    first: int, slope: float, ratio: float, depth: int, group_width: int, divisor: int = 8
) -> list[tuple[int, int]]:
    """``[(channels, blocks), ...]`` of the stages.

    The widths of the blocks lie on a line (equation 2 of the paper), are moved to the nearest power of
    ``ratio`` (3, 4), then to a multiple of 8; equal neighbors are a stage, whose channels are made to
    hold whole groups.
    """
    line = first + slope * np.arange(depth)
    powers = np.round(np.log(line / first) / np.log(ratio))
    widths = np.round(first * ratio**powers / divisor) * divisor
    stages, blocks = np.unique(widths.astype(int), return_counts=True)
    group = [min(group_width, int(w)) for w in stages]
    return [(round(int(w) / g) * g, int(n)) for w, g, n in zip(stages, group, blocks)]


@register
class RegNet(ResNet):
    """RegNetX.

    Args:
        arch: "regnetx_400mf" ... "regnetx_12gf".
        stem_channels: channels of the one convolution before the stages.
        other arguments: see ``ResNet``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]`` of strides 4, 8, 16, 32.
    """

    stem_stride = 2

    def __init__(
        self, arch: str, stem_channels: int = 32, strides: Sequence[int] = (2, 2, 2, 2), **kwargs: Any
    ) -> None:
        if arch not in ARCHITECTURES:
            raise ValueError(f"RegNet: arch {arch!r} is unknown, choose one of {sorted(ARCHITECTURES)}.")
        super().__init__(depth=arch, stem_channels=stem_channels, strides=strides, **kwargs)

    def plan(self, depth: Any) -> list[tuple[Any, ...]]:
        first, slope, ratio, blocks_in_all, group_width = ARCHITECTURES[depth]
        stages = stage_widths(first, slope, ratio, blocks_in_all, group_width)
        return [
            (RegNetBlock, width, blocks, {"groups": width // min(group_width, width)})
            for width, blocks in stages
        ]

    def add_stem(self, channels: int, conv: str | Spec | keras.Layer | None, norm: str | Spec | None) -> None:
        self.add_conv(1, conv, norm, channels, 3, stride=2, padding=1)

    def apply_stem(self, x: Tensor) -> Tensor:
        return self.conv_norm(1, x, relu=True)
