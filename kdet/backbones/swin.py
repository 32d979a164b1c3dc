"""Swin Transformer (Liu et al., 2021, https://arxiv.org/abs/2103.14030)."""

from collections.abc import Sequence
from typing import Any

from kdet.layers import (
    FFN,
    Composite,
    LayerNorm,
    PatchEmbed,
    PatchMerging,
    ShiftedWindowAttention,
    drop_path,
    drop_path_rates,
    truncated_normal,
)
from kdet.registry import register
from kdet.typing import Tensor


class SwinBlock(Composite):
    """Attention within windows and a feed-forward network, each behind a norm, around each a shortcut."""

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        window_size: int,
        shift: int,
        path_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path_rate = path_rate
        self.norm1, self.norm2 = LayerNorm(), LayerNorm()
        self.attn = ShiftedWindowAttention(units, num_heads, window_size, shift)
        self.ffn = FFN(ffn_units, units, activation="gelu", kernel_initializer=truncated_normal())

    def call(self, x: Tensor) -> Tensor:
        x += drop_path(self.attn(self.norm1(x)), self.path_rate)
        return x + drop_path(self.ffn(self.norm2(x)), self.path_rate)


class SwinStage(Composite):
    """Blocks, every second of them with shifted windows, and the way to the next stage."""

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        window_size: int,
        path_rates: Sequence[float],
        last: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.blocks = [
            SwinBlock(units, num_heads, ffn_units, window_size, i % 2 * (window_size // 2), rate)
            for i, rate in enumerate(path_rates)
        ]
        self.downsample = None if last else PatchMerging(2 * units)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map of this stage, and what the next one starts from."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


@register
class SwinTransformer(Composite):
    """Swin: four stages of attention within windows, which are shifted from block to block.

    Args:
        embed_dims: channels of the first stage; they double from stage to stage.
        depths, num_heads: blocks and attention heads of every stage.
        window_size: side of the windows, in pixels of a map.
        mlp_ratio: hidden units of the feed-forward networks, by the channels.
        drop_path_rate: of the last block, see ``kdet.layers.drop_path``; it rises from 0.
        out_indices: stages to return; each has a norm of its own behind it.
        frozen_stages: -1 trains all; k >= 0 freezes the patches' embedding and the first k stages.
        pretrained: name or address of the ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]`` of strides 4, 8, 16, 32, one per ``out_indices``, sizes rounded
    up.
    """

    def __init__(
        self,
        embed_dims: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        self.patch_embed = PatchEmbed(embed_dims, 4, 4)
        rates = drop_path_rates(drop_path_rate, depths)
        units = [embed_dims * 2**i for i in range(len(depths))]
        self.stages = [
            SwinStage(n, heads, mlp_ratio * n, window_size, own, last=i + 1 == len(depths))
            for i, (n, heads, own) in enumerate(zip(units, num_heads, rates, strict=True))
        ]
        self.feature_info = [(units[i], 4 * 2**i) for i in self.out_indices]
        for i in self.out_indices:
            setattr(self, f"norm{i}", LayerNorm())
        if frozen_stages >= 0:
            outputs = [self.part(f"norm{i}") for i in self.out_indices if i < frozen_stages]
            for layer in (self.patch_embed, *self.stages[:frozen_stages], *outputs):
                layer.trainable = False

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        x, outputs = self.patch_embed(x), []
        for i, stage in enumerate(self.stages):
            y, x = stage(x)
            if i in self.out_indices:
                outputs.append(self.part(f"norm{i}")(y))
        return tuple(outputs)
