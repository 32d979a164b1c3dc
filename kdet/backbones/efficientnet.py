"""EfficientNet (Tan & Le, 2019, https://arxiv.org/abs/1905.11946)."""

import math
from collections.abc import Sequence
from typing import Any

from kdet.backbones.resnet import with_running_stats
from kdet.layers import Composite, ConvModule, InvertedResidual, divisible, drop_path_rates
from kdet.registry import register
from kdet.typing import Conv, Norm, Tensor

# factors of channels and of blocks
ARCHITECTURES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
    "b8": (2.2, 3.6),
}
# kernel, channels, stride, blocks and expansion of B0's groups of equal blocks; those of a stage together
_STAGES: tuple[tuple[tuple[int, int, int, int, int], ...], ...] = (
    ((3, 16, 1, 1, 1),),
    ((3, 24, 2, 2, 6),),
    ((5, 40, 2, 2, 6),),
    ((3, 80, 2, 3, 6), (5, 112, 1, 3, 6)),
    ((5, 192, 2, 4, 6), (3, 320, 1, 1, 6)),
)


@register
class EfficientNet(Composite):
    """Inverted bottlenecks with squeeze-and-excite, scaled in depth and width together.

    Args:
        arch: "b0" to "b8".
        drop_path_rate: of the last block, see ``kdet.layers.drop_path``; it rises from 0.
        out_indices: stages to return; 0 is the first convolution, 5 the last stage.
        norm: spec for ``kdet.layers.make_norm``.
        norm_eval: batch norm uses its running statistics while training.
        conv: spec of all convolutions: "conv_same" for weights from TensorFlow, which pads by the map's size;
            None for symmetric padding.
        pretrained: name or address of the ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``: strides 2, 2, 4, 8, 16, 32.
    """

    def __init__(
        self,
        arch: str = "b0",
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (3, 4, 5),
        norm: Norm = "bn",
        norm_eval: bool = False,
        conv: Conv = "conv_same",
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if arch not in ARCHITECTURES:
            raise ValueError(
                f"EfficientNet: arch {arch!r} is unknown, choose one of {sorted(ARCHITECTURES)}."
            )
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        width, depth = ARCHITECTURES[arch]
        shared: dict[str, Any] = {
            "norm": with_running_stats(norm or "bn", norm_eval),
            "conv": conv,
            "activation": "silu",
        }
        counts = [sum(math.ceil(depth * group[3]) for group in stage) for stage in _STAGES]
        rates = drop_path_rates(drop_path_rate, counts)
        channels, total = divisible(32 * width), 2
        stem, info = ConvModule(channels, 3, stride=2, padding=1, **shared), [(channels, 2)]
        stages: list[Any] = []
        for groups, own in zip(_STAGES, rates):
            blocks: list[Any] = []
            for kernel_size, base, stride, count, expansion in groups:
                filters = divisible(base * width)
                for i in range(math.ceil(depth * count)):
                    blocks.append(
                        InvertedResidual(
                            channels, filters, expansion * channels, kernel_size, stride if i == 0 else 1,
                            squeezed=channels // 4, path_rate=own[len(blocks)], **shared,
                        )
                    )  # fmt: skip
                    channels = filters
                total *= stride
            stages.append(blocks)
            info.append((channels, total))
        # the first convolution is no sequence in the checkpoints
        self.layers: list[Any] = [stem, *stages]
        self.feature_info = [info[i] for i in self.out_indices]

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        outputs = []
        for i, stage in enumerate(self.layers):
            for layer in stage if i else [stage]:
                x = layer(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
