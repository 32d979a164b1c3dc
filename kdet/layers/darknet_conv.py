"""The convolution that DarkNet and what stands on it are made of."""

import tensorflow as tf

from kdet.layers.conv_module import ConvModule


def leaky_relu(x):
    """Leaky ReLU of slope 0.1."""
    return tf.nn.leaky_relu(x, 0.1)


def darknet_conv(filters, kernel_size, stride=1, norm="bn", kernel_initializer=None):
    """Convolution, batch norm, leaky ReLU; padded to keep the size but for the stride."""
    return ConvModule(
        filters, kernel_size, stride=stride, padding=kernel_size // 2, norm=norm, activation=leaky_relu,
        kernel_initializer=kernel_initializer,
    )  # fmt: skip
