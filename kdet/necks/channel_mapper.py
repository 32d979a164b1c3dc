"""Every backbone map brought to the same number of channels."""

from typing import Any

from kdet.layers import Composite, ConvModule
from kdet.registry import register
from kdet.typing import Maps, Spec


@register
class ChannelMapper(Composite):
    """One convolution per map, and strided ones for coarser maps, without a top-down path.

    Args:
        num_inputs: number of backbone maps.
        out_channels: channels of every output.
        kernel_size: of the convolutions on backbone maps.
        num_outs: number of outputs; the extra ones start from the last backbone map.
        norm, activation: specs of all convolutions.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(
        self,
        num_inputs: int = 3,
        out_channels: int = 256,
        kernel_size: int = 3,
        num_outs: int = 4,
        norm: str | Spec | None = None,
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        common: dict[str, Any] = {
            "norm": norm,
            "activation": activation,
            "kernel_initializer": "glorot_uniform",
        }
        padding, extra = kernel_size // 2, num_outs - num_inputs
        self.convs = [
            ConvModule(out_channels, kernel_size, padding=padding, **common) for _ in range(num_inputs)
        ]
        self.extra_convs = [ConvModule(out_channels, 3, stride=2, padding=1, **common) for _ in range(extra)]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        outputs = [conv(x) for conv, x in zip(self.convs, inputs, strict=True)]
        x = inputs[-1]
        for conv in self.extra_convs:
            x = conv(x)
            outputs.append(x)
        return tuple(outputs)
