"""CSPDarknet, the backbone of YOLOX (Ge et al., 2021, arXiv:2107.08430)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import Composite, CSPLayer, apply_list, swish_conv
from kdet.registry import register
from kdet.typing import Norm, Tensor

# channels of the stem and of each stage, and bottlenecks of each stage, before the factors
_CHANNELS, _DEPTHS = (64, 128, 256, 512, 1024), (3, 9, 9, 3)


class Focus(Composite):
    """Half the size: the four pixels of every 2x2 window become channels, then a 3x3 convolution."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = swish_conv(12, filters, 3)

    def call(self, x: Tensor) -> Tensor:
        # column by column: top left, bottom left, top right, bottom right
        windows = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(tf.concat(windows, -1))


class SpatialPyramidPooling(Composite):
    """A 1x1 convolution to half the channels, maxima over three windows beside it, a 1x1 convolution."""

    windows = (5, 9, 13)

    def __init__(self, filters: int, norm: Norm | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = swish_conv(filters, filters // 2, 1, norm=norm)
        self.conv2 = swish_conv(filters // 2 * (len(self.windows) + 1), filters, 1, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [tf.nn.max_pool2d(x, window, 1, "SAME") for window in self.windows]
        return self.conv2(tf.concat([x, *pooled], -1))


class CrossStageBackbone(Composite):
    """A stem and stages, lists of layers as the checkpoints number them.

    Args:
        stem: a layer or a list of layers, which halves the image.
        stages: lists of layers, each of which halves the map.
        channels: of the maps of the stem and of each stage.
        out_indices: stages whose maps are returned; 0 is the stem.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``, fine to coarse.
    """

    def __init__(
        self,
        stem: Any,
        stages: Sequence[list[Any]],
        channels: Sequence[int],
        out_indices: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stem, self.depth, self.out_indices = stem, len(stages), tuple(out_indices)
        for i, stage in enumerate(stages, start=1):
            setattr(self, f"stage{i}", stage)
        self.feature_info = [(channels[i], 2 ** (i + 1)) for i in self.out_indices]

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        outputs = [apply_list(self.stem, x) if isinstance(self.stem, list) else self.stem(x)]
        for i in range(1, self.depth + 1):
            outputs.append(apply_list(self.part(f"stage{i}"), outputs[-1]))
        return tuple(outputs[i] for i in self.out_indices)


@register
class CSPDarknet(CrossStageBackbone):
    """A stem that folds pixels into channels, and four stages of cross stage partial layers.

    Args:
        depth_factor: of the bottlenecks in every stage (3, 9, 9, 3).
        width_factor: of the channels of stem and stages (64, 128, 256, 512, 1024).
        out_indices: stages whose maps are returned; 0 is the stem, 4 the last.
        separable: 3x3 convolutions are separable (YOLOX-nano).

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``, fine to coarse. Height and width are
    even.
    """

    def __init__(
        self,
        depth_factor: float = 1.0,
        width_factor: float = 1.0,
        out_indices: Sequence[int] = (2, 3, 4),
        separable: bool = False,
        **kwargs: Any,
    ) -> None:
        channels = [int(width * width_factor) for width in _CHANNELS]
        stages = []
        for i, base in enumerate(_DEPTHS, start=1):
            before, filters, last = channels[i - 1], channels[i], i == len(_DEPTHS)
            depth = max(round(base * depth_factor), 1)
            steps: list[Any] = [swish_conv(before, filters, 3, stride=2, separable=separable)]
            if last:
                steps.append(SpatialPyramidPooling(filters))
            steps.append(CSPLayer(filters, filters, depth, shortcut=not last, separable=separable))
            stages.append(steps)
        super().__init__(Focus(channels[0]), stages, channels, out_indices, **kwargs)
