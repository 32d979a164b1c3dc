"""ConvNeXt (Liu et al., 2022, https://arxiv.org/abs/2201.03545)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import (
    Composite,
    Conv2D,
    Layer,
    LayerNorm,
    Linear,
    drop_path,
    drop_path_rates,
    truncated_normal,
)
from kdet.registry import register
from kdet.typing import Shape, Tensor

# blocks and channels of the stages
ARCHITECTURES = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}
_EPSILON = 1e-6


class ConvNeXtBlock(Layer):
    """A 7x7 convolution of every channel, a norm, two dense layers, and a shortcut around them.

    Args:
        units: channels.
        path_rate: see ``kdet.layers.drop_path``.
        layer_scale: first value of what each channel of the residual is multiplied by.
    """

    def __init__(self, units: int, path_rate: float, layer_scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.path_rate, self.layer_scale = units, path_rate, layer_scale
        normal = truncated_normal()
        self.depthwise_conv = Conv2D(units, 7, padding=3, groups=units, kernel_initializer=normal)
        self.norm = LayerNorm(_EPSILON)
        self.pointwise_conv1 = Linear(4 * units, kernel_initializer=truncated_normal())
        self.pointwise_conv2 = Linear(units, kernel_initializer=truncated_normal())

    def build(self, input_shape: Shape) -> None:
        first = keras.initializers.Constant(self.layer_scale)
        self.gamma = self.add_weight(name="gamma", shape=(self.units,), initializer=first)

    def call(self, x: Tensor) -> Tensor:
        y = self.pointwise_conv1(self.norm(self.depthwise_conv(x)))
        y = self.pointwise_conv2(tf.nn.gelu(y, approximate=False))
        return x + drop_path(y * self.gamma, self.path_rate)


@register
class ConvNeXt(Composite):
    """ConvNeXt: four stages of large depthwise convolutions, without any batch norm.

    Args:
        arch: "tiny", "small", "base", "large" or "xlarge".
        drop_path_rate: of the last block, see ``kdet.layers.drop_path``; it rises from 0.
        layer_scale: first value of what each channel of a residual is multiplied by.
        out_indices: stages to return; each has a norm of its own behind it.
        downsample_epsilon: of the norms between the stages: 1e-5 in models of MMDetection 2.x, 1e-6 (as in
            the other norms) in those with the backbone of MMPretrain.
        pretrained: name or address of the ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]`` of strides 4, 8, 16, 32, one per ``out_indices``, sizes rounded
    down.
    """

    def __init__(
        self,
        arch: str = "tiny",
        drop_path_rate: float = 0.0,
        layer_scale: float = 1e-6,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        downsample_epsilon: float = 1e-5,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if arch not in ARCHITECTURES:
            raise ValueError(f"ConvNeXt: arch {arch!r} is unknown, choose one of {sorted(ARCHITECTURES)}.")
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        depths, units = ARCHITECTURES[arch]
        rates = drop_path_rates(drop_path_rate, depths)

        def patches(filters: int, side: int) -> Conv2D:
            return Conv2D(filters, side, stride=side, kernel_initializer=truncated_normal())

        self.downsample_layers = [
            [patches(units[0], 4), LayerNorm(_EPSILON)],
            *([LayerNorm(downsample_epsilon), patches(n, 2)] for n in units[1:]),
        ]
        self.stages = [[ConvNeXtBlock(n, rate, layer_scale) for rate in own] for n, own in zip(units, rates)]
        for i in self.out_indices:
            setattr(self, f"norm{i}", LayerNorm(_EPSILON))
        self.feature_info = [(units[i], 4 * 2**i) for i in self.out_indices]
        self.thirds = depths[2] // 3

    def layers_above(self, name: str) -> int:
        """Counts the stem and the stages as layers, of the third stage every three blocks."""
        last = 3 + self.thirds
        part, *indices = name.split(".")
        stage, block = (int(index) if index.isdigit() else 0 for index in (*indices[:2], "0")[:2])
        if part == "downsample_layers":
            return last + 1 - (0, 2, 3, last)[stage]
        if part == "stages":
            return last + 1 - (1, 2, 3 + block // 3, last)[stage]
        return 0  # norms of the outputs

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        outputs = []
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages)):
            for layer in (*downsample, *stage):
                x = layer(x)
            if i in self.out_indices:
                outputs.append(self.part(f"norm{i}")(x))
        return tuple(outputs)
