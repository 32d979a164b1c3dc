"""Feature pyramid network (Lin et al., 2016)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, ConvModule, max_pool, resize_bilinear, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class FPN(Composite):
    """Top-down pyramid over backbone maps.

    Args:
        out_channels: channels of every output.
        num_outs: number of outputs; more than the inputs adds coarser ones.
        num_inputs: number of backbone maps.
        start_level, end_level: first and last (inclusive, -1 the last) input to use.
        extra_convs: None (extra levels by sub-sampling), or the source of strided 3x3 convolutions:
            "on_input" (last backbone map), "on_lateral", "on_output".
        relu_before_extra_convs: ReLU between extra convolutions.
        norm, conv, activation: specs of all convolutions.
        upsample: "nearest" or "bilinear", how the coarser map is enlarged.
        no_norm_on_lateral: lateral convolutions go without the norm.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(
        self,
        out_channels: int = 256,
        num_outs: int = 5,
        num_inputs: int = 4,
        start_level: int = 0,
        end_level: int = -1,
        extra_convs: str | bool | None = None,
        relu_before_extra_convs: bool = False,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        activation: str | None = None,
        upsample: str = "nearest",
        no_norm_on_lateral: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if extra_convs not in (None, "on_input", "on_lateral", "on_output"):
            raise ValueError(f"FPN: extra_convs {extra_convs!r} must be on_input, on_lateral or on_output.")
        self.start_level, self.num_outs, self.extra_convs = start_level, num_outs, extra_convs
        self.relu_before_extra_convs = relu_before_extra_convs
        self.upsample_mode = upsample
        self.end_level = num_inputs if end_level == -1 else end_level + 1

        def module(kernel_size: int, norm: Any = norm, **kwargs: Any) -> ConvModule:
            return ConvModule(
                out_channels, kernel_size, norm=norm, conv=conv, activation=activation,
                kernel_initializer="glorot_uniform", **kwargs,
            )  # fmt: skip

        levels = range(start_level, self.end_level)
        self.lateral_convs = [module(1, norm=None if no_norm_on_lateral else norm) for _ in levels]
        self.fpn_convs = [module(3, padding=1) for _ in levels]
        if extra_convs:
            extra = num_outs - len(levels)
            self.fpn_convs += [module(3, stride=2, padding=1) for _ in range(extra)]

    def laterals(self, inputs: Maps) -> list[Tensor]:
        """What enters the top-down path, a list."""
        return [conv(x) for conv, x in zip(self.lateral_convs, inputs)]

    def upsample(self, index: int, x: Tensor, like: Tensor) -> Tensor:
        """Enlarges level ``index`` to the size of the finer map ``like``."""
        if self.upsample_mode == "bilinear":
            return resize_bilinear(x, tf.shape(like)[1:3])
        return upsample_nearest(x, like)

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        inputs = inputs[self.start_level : self.end_level]
        laterals = self.laterals(inputs)
        merged = [laterals[-1]]
        for i in reversed(range(len(laterals) - 1)):
            merged.insert(0, laterals[i] + self.upsample(i + 1, merged[0], laterals[i]))
        outputs = self.refine([conv(x) for conv, x in zip(self.fpn_convs, merged)])
        return tuple(self.add_levels(outputs, inputs[-1], merged[-1]))

    def refine(self, outputs: list[Tensor]) -> list[Tensor]:
        """What happens to the list of outputs before coarser levels are added."""
        return outputs

    def add_levels(self, outputs: list[Tensor], last_input: Tensor, last_lateral: Tensor) -> list[Tensor]:
        """Appends the coarser levels that the backbone does not have."""
        if not self.extra_convs:
            while len(outputs) < self.num_outs:
                outputs.append(max_pool(outputs[-1], 1, 2))
            return outputs
        x = {"on_input": last_input, "on_lateral": last_lateral, "on_output": outputs[-1]}[self.extra_convs]
        for i, conv in enumerate(self.fpn_convs[len(outputs) :]):
            if i and self.relu_before_extra_convs:
                x = tf.nn.relu(x)
            x = conv(x)
            outputs.append(x)
        return outputs
