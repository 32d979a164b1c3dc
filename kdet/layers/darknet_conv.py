"""The convolution that DarkNet and what stands on it are made of."""

from typing import Any

import tensorflow as tf

from kdet.layers.conv_module import ConvModule
from kdet.typing import Norm, Tensor


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.1."""
    return tf.nn.leaky_relu(x, 0.1)


def darknet_conv(
    filters: int, kernel_size: int, stride: int = 1, norm: Norm = "bn", kernel_initializer: Any = None
) -> ConvModule:
    """Convolution, batch norm, leaky ReLU; padded to keep the size but for the stride."""
    return ConvModule(
        filters, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm, activation=leaky_relu,
        kernel_initializer=kernel_initializer,
    )  # fmt: skip
