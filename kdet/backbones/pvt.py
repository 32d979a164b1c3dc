"""Pyramid Vision Transformers (Wang et al., 2021, https://arxiv.org/abs/2102.12122)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import (
    Composite,
    Conv2D,
    Layer,
    LayerNorm,
    PatchEmbed,
    SpatialReductionAttention,
    drop_path,
    drop_path_rates,
    resize_bilinear,
    truncated_normal,
)
from kdet.registry import register
from kdet.typing import Tensor

_EPSILON = 1e-6  # of all norms


class PositionTable(Layer):
    """A learned vector per place of a square grid, added to a map of any size.

    Args:
        units: channels.
        side: of the grid, which is resized bilinearly to the map.

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.side = units, side

    def build(self, *input_shapes: Any) -> None:
        self.pos_embed = self.add_weight(
            name="pos_embed", shape=(1, self.side**2, self.units), initializer=truncated_normal()
        )

    def call(self, x: Tensor) -> Tensor:
        table = tf.reshape(tf.convert_to_tensor(self.pos_embed), [1, self.side, self.side, self.units])
        return x + resize_bilinear(table, tf.shape(x)[1:3])


class MapFFN(Composite):
    """A feed-forward network on a map, by convolutions.

    Args:
        hidden_units, units: channels of the two 1x1 convolutions.
        depthwise: a 3x3 convolution of every channel stands before the activation (PVT v2).
    """

    def __init__(self, hidden_units: int, units: int, depthwise: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        between = [Conv2D(hidden_units, 3, padding=1, groups=hidden_units)] if depthwise else []
        # positions as in the checkpoint's Sequential, which has an activation and dropout before the last
        self.layers: list[Any] = [Conv2D(hidden_units, 1), *between, None, None, Conv2D(units, 1)]

    def call(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-3]:
            x = layer(x)
        return self.layers[-1](tf.nn.gelu(x, approximate=False))


class PVTBlock(Composite):
    """Attention to the reduced map and a feed-forward network, each behind a norm, around each a shortcut."""

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        reduction: int,
        depthwise: bool,
        path_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path_rate = path_rate
        self.norm1, self.norm2 = LayerNorm(_EPSILON), LayerNorm(_EPSILON)
        self.attn = SpatialReductionAttention(units, num_heads, reduction, _EPSILON)
        self.ffn = MapFFN(ffn_units, units, depthwise)

    def call(self, x: Tensor) -> Tensor:
        x += drop_path(self.attn(self.norm1(x)), self.path_rate)
        return x + drop_path(self.ffn(self.norm2(x)), self.path_rate)


@register
class PyramidVisionTransformer(Composite):
    """PVT: four stages of attention to a reduced map, with tables of positions.

    Args:
        embed_dims: channels per attention head.
        depths, num_heads: blocks and attention heads of every stage.
        reductions: sides of the patches that the maps of the stages are reduced by.
        mlp_ratios: hidden units of the feed-forward networks of every stage, by its channels.
        drop_path_rate: of the last block, see ``kdet.layers.drop_path``; it rises from 0.
        out_indices: stages to return.
        pretrained: name or address of the ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]`` of strides 4, 8, 16, 32, one per ``out_indices``, sizes rounded
    down.
    """

    strides = (4, 2, 2, 2)
    patches = strides  # sides of the patches that become a pixel
    paddings = (0, 0, 0, 0)
    tables: tuple[int, ...] = (56, 28, 14, 7)  # sides of the tables, of images of 224 pixels
    is_second = False

    def __init__(
        self,
        embed_dims: int = 64,
        depths: Sequence[int] = (3, 4, 6, 3),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratios: Sequence[int] = (8, 8, 4, 4),
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        units = [embed_dims * heads for heads in num_heads]
        self.feature_info = [(units[i], 4 * 2**i) for i in self.out_indices]
        rates = drop_path_rates(drop_path_rate, depths)
        # positions as in the checkpoint: [embedding, [table of positions (v1), blocks ...], norm (v2)]
        self.layers: list[Any] = []
        for i, n in enumerate(units):
            embedding = PatchEmbed(n, self.patches[i], self.strides[i], self.paddings[i], _EPSILON)
            blocks = [
                PVTBlock(n, num_heads[i], mlp_ratios[i] * n, reductions[i], self.is_second, rate)
                for rate in rates[i]
            ]
            tables = [] if self.is_second else [PositionTable(n, self.tables[i])]
            norm = LayerNorm(_EPSILON) if self.is_second else None
            self.layers = [*self.layers, [embedding, [*tables, *blocks], norm]]

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        outputs = []
        for i, (embedding, blocks, norm) in enumerate(self.layers):
            x = embedding(x)
            for block in blocks:
                x = block(x)
            x = x if norm is None else norm(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


@register
class PyramidVisionTransformerV2(PyramidVisionTransformer):
    """PVT v2 (Wang et al., 2022, https://arxiv.org/abs/2106.13797).

    Patches overlap, depthwise convolutions in the feed-forward networks take the place of tables of
    positions, and there is a norm behind every stage.

    Args:
        other arguments: see ``PyramidVisionTransformer``.
    """

    patches = (7, 3, 3, 3)
    paddings = (3, 1, 1, 1)
    is_second = True
