"""ResNet-vd (He et al., 2019, arXiv:1812.01187) as RT-DETR has it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.backbones.resnet import DEPTHS, AveragePool
from kdet.layers import Composite, ConvModule, apply_list, max_pool
from kdet.registry import register
from kdet.typing import Norm, Tensor


class BackboneConv(ConvModule):
    """``ConvModule`` with the names that Transformers gives its parts; odd kernels keep the size."""

    torch_names = {"conv": "convolution", "bn": "normalization"}

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, padding=(kernel_size - 1) // 2, **kwargs)


class ResidualBlock(Composite):
    """Convolutions in a row and a shortcut around them.

    Args:
        filters: channels of the result.
        stride: of the block.
        bottleneck: 1x1, 3x3, 1x1 with a quarter of the channels; else 3x3, 3x3.
        shortcut: "none" (the input itself), "projected" or "pooled" (averaged before the projection).
        norm: spec of the norms.

    Call: ``[B,h,w,C] -> [B,h',w',filters]``.
    """

    def __init__(
        self, filters: int, stride: int, bottleneck: bool, shortcut: str, norm: Norm, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shortcut: Any = None
        if shortcut != "none":
            own = BackboneConv(filters, 1, norm=norm, activation=None)
            self.shortcut = [AveragePool(2), own] if shortcut == "pooled" else own
        if bottleneck:
            inner = filters // 4
            self.layer = [
                BackboneConv(inner, 1, norm=norm),
                BackboneConv(inner, 3, stride=stride, norm=norm),
                BackboneConv(filters, 1, norm=norm, activation=None),
            ]
        else:
            self.layer = [
                BackboneConv(filters, 3, stride=stride, norm=norm),
                BackboneConv(filters, 3, norm=norm, activation=None),
            ]

    def call(self, x: Tensor) -> Tensor:
        around = x
        if isinstance(self.shortcut, keras.Layer):
            around = self.shortcut(x)
        elif self.shortcut is not None:
            around = apply_list(self.shortcut, x)
        return tf.nn.relu(apply_list(self.layer, x) + around)


@register
class ResNetVd(Composite):
    """ResNet with a stem of three 3x3 convolutions and shortcuts that are averaged before their projection.

    Args:
        depth: 18, 34, 50 or 101.
        out_indices: stages to return, counted from 0.
        base_channels: filters of the first stage's 3x3 convolutions.
        norm: spec for ``kdet.layers.make_norm``. Transformers never trains the norms of this backbone, which
            is ``{kind: bn, trainable: false}``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``.
    """

    torch_names = {"embedder": "model.embedder.embedder", "stages": "model.encoder.stages"}

    def __init__(
        self,
        depth: int = 50,
        out_indices: Sequence[int] = (1, 2, 3),
        base_channels: int = 64,
        norm: Norm = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if depth not in DEPTHS:
            raise ValueError(f"ResNetVd: depth {depth!r} is unknown, choose one of {sorted(DEPTHS)}.")
        bottleneck, counts = DEPTHS[depth]
        self.depth, self.out_indices = depth, tuple(out_indices)
        half = base_channels // 2
        self.embedder = [
            BackboneConv(half, 3, stride=2, norm=norm),
            BackboneConv(half, 3, norm=norm),
            BackboneConv(base_channels, 3, norm=norm),
        ]
        self.feature_info, stages = [], []
        for i, count in enumerate(counts):
            filters, stride = base_channels * 2**i * (4 if bottleneck else 1), 1 if i == 0 else 2
            kinds = ["projected" if i == 0 else "pooled"] + ["none"] * (count - 1)
            blocks = [
                ResidualBlock(filters, stride if j == 0 else 1, bottleneck, kind, norm)
                for j, kind in enumerate(kinds)
            ]
            stages.append({"layers": blocks})
            if i in self.out_indices:
                self.feature_info.append((filters, 4 * 2**i))
        self.stages: list[Any] = stages  # whole, for Composite looks into a list when it is assigned

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        x = max_pool(apply_list(self.embedder, x), 3, 2, padding=1)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = apply_list(stage["layers"], x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
