"""The hybrid encoder of RT-DETR (Zhao et al., 2023, arXiv:2304.08069)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from kdet.layers import (
    BatchNorm,
    Composite,
    Conv2D,
    ConvModule,
    EncoderLayer,
    apply_list,
    conv_norm,
    sizes_of,
    upsample_nearest,
)
from kdet.registry import register
from kdet.typing import Activation, Maps, Tensor


class EncoderConv(ConvModule):
    """Convolution without bias and batch norm, with the names that Transformers gives them."""

    torch_names = {"bn": "norm"}

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            norm="bn",
            activation=activation,
            **kwargs,
        )


class RepVGGBlock(Composite):
    """A 3x3 and a 1x1 convolution side by side, summed before the activation (Ding et al., 2021).

    Call: ``[B,h,w,filters] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = EncoderConv(filters, 3, activation=None)
        self.conv2 = EncoderConv(filters, 1, activation=None)

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.silu(self.conv1(x) + self.conv2(x))


class CSPRepLayer(Composite):
    """Two halves, one through RepVGG blocks, summed.

    Args:
        filters: channels of the result.
        blocks: number of RepVGG blocks.
        expansion: channels inside of the layer, as a share of ``filters``.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, blocks: int = 3, expansion: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inner = int(filters * expansion)
        self.conv1, self.conv2 = EncoderConv(inner, 1), EncoderConv(inner, 1)
        self.bottlenecks = [RepVGGBlock(inner) for _ in range(blocks)]
        self.conv3 = EncoderConv(filters, 1) if inner != filters else None

    def call(self, x: Tensor) -> Tensor:
        y = apply_list(self.bottlenecks, self.conv1(x)) + self.conv2(x)
        return y if self.conv3 is None else self.conv3(y)


def place_waves(height: Tensor | int, width: Tensor | int, units: int) -> Tensor:
    """Sines and cosines of the rows and columns of a map: float32 ``[1,h*w,units]``.

    A quarter of the channels each: sine and cosine of the row, sine and cosine of the column.
    """
    count = units // 4
    steps = tf.constant(1.0 / 10000.0 ** (np.arange(count) / count), tf.float64)
    rows, columns = (tf.cast(tf.range(n), tf.float64)[:, None] * steps for n in (height, width))
    shape = tf.stack([height, width, 2 * count])
    by_row = tf.concat([tf.sin(rows), tf.cos(rows)], -1)[:, None]
    by_column = tf.concat([tf.sin(columns), tf.cos(columns)], -1)[None]
    waves = tf.concat([tf.broadcast_to(by_row, shape), tf.broadcast_to(by_column, shape)], -1)
    return tf.cast(tf.reshape(waves, [1, height * width, units]), tf.float32)


class IntraScaleAttention(Composite):
    """Encoder layers over the cells of one map (AIFI).

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, layers: list[EncoderLayer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.layers = units, layers

    def call(self, x: Tensor) -> Tensor:
        shape = sizes_of(x)
        height, width = shape[1:3]
        position = place_waves(height, width, self.units)
        cells = tf.reshape(x, [shape[0], height * width, self.units])
        for layer in self.layers:
            cells = layer(cells, position=position)
        return tf.ensure_shape(tf.reshape(cells, shape), x.shape)


class CrossScaleFusion(Composite):
    """Attention within the coarse maps, then top-down and bottom-up paths of convolutions.

    Args:
        num_levels: maps.
        units: channels of all of them.
        attended: maps that attend to themselves, by index.
        num_heads, ffn_units, encoder_layers: of that attention.
        blocks, expansion: of the layers that fuse two maps.

    Call: maps ``[B,h,w,units]`` fine to coarse -> as many.
    """

    def __init__(
        self,
        num_levels: int,
        units: int,
        attended: Sequence[int],
        num_heads: int,
        ffn_units: int,
        encoder_layers: int,
        blocks: int,
        expansion: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.blocks, self.expansion, self.attended = units, blocks, expansion, tuple(attended)
        self.num_heads, self.ffn_units = num_heads, ffn_units
        self.aifi = [
            IntraScaleAttention(units, [self.make_attention() for _ in range(encoder_layers)])
            for _ in attended
        ]
        steps = range(num_levels - 1)
        self.lateral_convs = [self.make_lateral() for _ in steps]
        self.fpn_blocks = [self.make_fusion() for _ in steps]
        self.downsample_convs = [self.make_downsampling() for _ in steps]
        self.pan_blocks = [self.make_fusion() for _ in steps]

    def make_attention(self) -> EncoderLayer:
        """A layer of the attention within a map."""
        return EncoderLayer(self.units, self.num_heads, self.ffn_units)

    def make_lateral(self) -> Any:
        """What a map goes through before it is enlarged."""
        return EncoderConv(self.units, 1)

    def make_fusion(self) -> Any:
        """What two maps behind each other become one by."""
        return CSPRepLayer(self.units, self.blocks, self.expansion)

    def make_downsampling(self) -> Any:
        """What halves a map."""
        return EncoderConv(self.units, 3, stride=2)

    def call(self, maps: Maps) -> tuple[Tensor, ...]:
        maps = list(maps)
        for index, attention in zip(self.attended, self.aifi, strict=True):
            maps[index] = attention(maps[index])
        down = [maps[-1]]  # coarse to fine
        for finer, lateral, fuse in zip(maps[-2::-1], self.lateral_convs, self.fpn_blocks, strict=True):
            down[-1] = lateral(down[-1])
            down.append(fuse(self.join(upsample_nearest(down[-1], finer), finer)))
        up = [down[-1]]  # fine to coarse
        for coarser, halve, fuse in zip(down[-2::-1], self.downsample_convs, self.pan_blocks, strict=True):
            up.append(fuse(self.join(halve(up[-1]), coarser)))
        return tuple(up)

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        """Two maps as one."""
        return tf.concat([one, other], -1)


@register
class HybridEncoder(Composite):
    """Projects the backbone's maps and fuses them: attention on the coarsest, convolutions between all.

    Sides of images must be multiples of the coarsest stride.

    Args:
        num_inputs: maps of the backbone.
        units: channels of all maps.
        attended: maps that attend to themselves, by index; None for the last.
        num_heads, ffn_units, encoder_layers: of that attention.
        blocks, expansion: RepVGG blocks of the layers that fuse two maps, and the share of channels that
            they have.
        projected: whether maps are projected first; they have ``units`` channels where not.

    Call: maps ``[B,h,w,C]`` fine to coarse -> ``num_inputs`` maps ``[B,h,w,units]``.

    Attributes:
        fusion: class of what fuses the maps.
        backbone_name: what checkpoints call the backbone that is in front of it.

    Example:
        >>> neck = HybridEncoder(num_inputs=3, expansion=0.5)
    """

    fusion: Any = CrossScaleFusion
    backbone_name: ClassVar[str] = "backbone"

    def __init__(
        self,
        num_inputs: int = 3,
        units: int = 256,
        attended: Sequence[int] | None = None,
        num_heads: int = 8,
        ffn_units: int = 1024,
        encoder_layers: int = 1,
        blocks: int = 3,
        expansion: float = 1.0,
        projected: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        attended = [num_inputs - 1] if attended is None else attended
        count = num_inputs if projected else 0
        self.encoder_input_proj = [self.make_projection(units) for _ in range(count)]
        self.encoder = self.fusion(
            num_inputs,
            units,
            attended,
            num_heads,
            ffn_units,
            encoder_layers,
            blocks,
            expansion,
        )

    def make_projection(self, units: int) -> Any:
        """What a map of the backbone goes through first."""
        return [Conv2D(units, 1, use_bias=False), BatchNorm()]

    def project(self, layers: Any, x: Tensor) -> Tensor:
        """A map through what ``make_projection`` gave."""
        conv, norm = layers
        return conv_norm(conv, norm, x)

    def call(self, maps: Maps, training: bool = False) -> tuple[Tensor, ...]:
        if self.encoder_input_proj:
            pairs = zip(self.encoder_input_proj, maps, strict=True)
            maps = [self.project(layers, x) for layers, x in pairs]
        return self.encoder(maps)
