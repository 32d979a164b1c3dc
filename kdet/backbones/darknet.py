"""DarkNet-53 (Redmon & Farhadi, 2018)."""

from collections.abc import Sequence
from typing import Any

from kdet.layers import Composite, darknet_conv
from kdet.registry import register
from kdet.typing import Spec, Tensor

# DarkNet-53
_BLOCKS, _CHANNELS = (1, 2, 8, 8, 4), (64, 128, 256, 512, 1024)


class ResidualBlock(Composite):
    """A 1x1 convolution to half the channels and a 3x3 one back, around them a shortcut."""

    def __init__(self, filters: int, norm: str | Spec | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = darknet_conv(filters // 2, 1, norm=norm)
        self.conv2 = darknet_conv(filters, 3, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class Stage(Composite):
    """A strided convolution and residual blocks (``res0``, ``res1`` ...)."""

    def __init__(self, blocks: int, filters: int, norm: str | Spec | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = darknet_conv(filters, 3, stride=2, norm=norm)
        self.blocks = blocks
        for i in range(blocks):
            setattr(self, f"res{i}", ResidualBlock(filters, norm))

    def call(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for i in range(self.blocks):
            x = self.part(f"res{i}")(x)
        return x


@register
class Darknet(Composite):
    """The backbone of YOLOv3.

    Args:
        out_indices: stages whose maps are returned; 5 is the last.
        norm_eval: batch norm uses its running statistics while training.
        pretrained: name of the published ImageNet weights for ``weights="imagenet"``.
        blocks, channels: residual blocks and channels of each of the five stages.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``, fine to coarse.
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (3, 4, 5),
        norm_eval: bool = True,
        pretrained: str | None = None,
        blocks: Sequence[int] = _BLOCKS,
        channels: Sequence[int] = _CHANNELS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        norm = {"kind": "bn", "use_running_stats": norm_eval}
        self.conv1 = darknet_conv(channels[0] // 2, 3, norm=norm)
        self.feature_info = []
        for i, (depth, filters) in enumerate(zip(blocks, channels, strict=True), start=1):
            setattr(self, f"conv_res_block{i}", Stage(depth, filters, norm))
            if i in self.out_indices:
                self.feature_info.append((filters, 2**i))

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        x, outputs = self.conv1(x), []
        for i in range(1, 6):
            x = self.part(f"conv_res_block{i}")(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
