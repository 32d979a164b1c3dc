"""MobileNetV2 (Sandler et al., 2018, https://arxiv.org/abs/1801.04381)."""

from collections.abc import Sequence
from typing import Any, Literal

from kdet.backbones.resnet import with_running_stats
from kdet.layers import Composite, ConvModule, InvertedResidual, leaky_relu
from kdet.registry import register
from kdet.typing import Activation, Norm, Tensor

# expansion, channels, blocks and stride of the stages
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_ACTIVATIONS: dict[str, Activation] = {"relu6": "relu6", "leaky_relu": leaky_relu}


@register
class MobileNetV2(Composite):
    """Inverted bottlenecks in seven stages, and a 1x1 convolution to 1280 channels.

    Args:
        out_indices: stages to return, from 0; 7 is the last convolution.
        activation: "relu6", or "leaky_relu" of slope 0.1.
        norm: spec for ``kdet.layers.make_norm``.
        norm_eval: batch norm uses its running statistics while training.
        pretrained: name of the published ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``.
    """

    def __init__(
        self,
        out_indices: Sequence[int] = (1, 2, 4, 7),
        activation: Literal["relu6", "leaky_relu"] = "relu6",
        norm: Norm = "bn",
        norm_eval: bool = False,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_indices, self.pretrained = tuple(out_indices), pretrained
        shared: dict[str, Any] = {
            "norm": with_running_stats(norm or "bn", norm_eval),
            "activation": _ACTIVATIONS[activation],
        }
        channels, total = 32, 2
        self.conv1 = ConvModule(channels, 3, stride=2, padding=1, **shared)
        info = []
        for i, (expansion, filters, blocks, stride) in enumerate(_STAGES):
            stage = []
            for block in range(blocks):
                step = stride if block == 0 else 1
                stage.append(InvertedResidual(channels, filters, expansion * channels, stride=step, **shared))
                channels = filters
            setattr(self, f"layer{i + 1}", stage)
            total *= stride
            info.append((channels, total))
        self.conv2 = ConvModule(1280, 1, **shared)
        info.append((1280, total))
        self.feature_info = [info[i] for i in self.out_indices]

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        x, outputs = self.conv1(x), []
        for i in range(len(_STAGES) + 1):
            for layer in [self.conv2] if i == len(_STAGES) else self.part(f"layer{i + 1}"):
                x = layer(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
