"""Patches of images and maps as the pixels of a smaller map."""

from typing import Any

import tensorflow as tf

from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D
from kdet.layers.initializers import truncated_normal
from kdet.layers.linear import Linear
from kdet.layers.norm import LayerNorm
from kdet.layers.shapes import sizes_of
from kdet.typing import Tensor


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """``[B,h,w,C]`` with zeros right and below, so that ``divisor`` divides height and width."""
    _, height, width, _ = sizes_of(x)
    return tf.pad(x, [[0, 0], [0, -height % divisor], [0, -width % divisor], [0, 0]])


class PatchEmbed(Composite):
    """Every patch becomes a vector: a strided convolution and a norm over the channels.

    Args:
        units: channels of the result.
        size: side of a patch.
        stride: distance of the patches.
        padding: zeros on all sides; None: right and below, up to a multiple of ``stride``.
        epsilon: of the norm.

    Call: ``[B,H,W,C] -> [B,h,w,units]``.
    """

    def __init__(
        self,
        units: int,
        size: int,
        stride: int,
        padding: int | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stride, self.to_multiple = stride, padding is None
        self.projection = Conv2D(units, size, stride=stride, padding=padding or 0)
        self.norm = LayerNorm(epsilon)

    def call(self, x: Tensor) -> Tensor:
        return self.norm(self.projection(pad_to_multiple(x, self.stride) if self.to_multiple else x))


class PatchMerging(Composite):
    """Two by two pixels become one: their channels in a row, a norm, and a projection.

    Args:
        units: channels of the result.

    Call: ``[B,h,w,C] -> [B,h/2,w/2,units]``, sizes rounded up.
    """

    # the checkpoints hold the four pixels of a channel one after the other, the layer those of a pixel
    torch_tensors = {
        "norm.weight": ("norm.gamma", ("chw", (2, 2))),
        "norm.bias": ("norm.beta", ("chw", (2, 2))),
        "reduction.weight": ("reduction.kernel", ("linear_chw", (2, 2))),
    }

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = LayerNorm()
        self.reduction = Linear(units, use_bias=False, kernel_initializer=truncated_normal())

    def call(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(tf.nn.space_to_depth(pad_to_multiple(x, 2), 2)))
