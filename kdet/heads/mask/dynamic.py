"""Masks from small networks that points predict (CondInst, Tian et al., 2020, arXiv:2003.05664)."""

import dataclasses

import tensorflow as tf

from kdet import ops
from kdet.priors.points import grid_points
from kdet.typing import Tensor


@dataclasses.dataclass(frozen=True)
class DynamicConvs:
    """1x1 convolutions with ReLUs between them, whose weights are predicted, on one common map.

    The first one also sees where a pixel lies: x and y of the point that predicts, less those of the pixel.

    Args:
        in_channels: of the common map.
        channels: between the convolutions.
        depth: number of convolutions; the last one gives one channel.
        stride: of the common map, in pixels.
        offset: place of a cell's point in the cell, in strides.
    """

    in_channels: int
    channels: int = 8
    depth: int = 3
    stride: int = 8
    offset: float = 0.5

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(outputs, inputs) of every convolution."""
        inputs = [self.in_channels + 2, *[self.channels] * (self.depth - 1)]
        outputs = [*[self.channels] * (self.depth - 1), 1]
        return list(zip(outputs, inputs, strict=True))

    @property
    def count(self) -> int:
        """Numbers that a point predicts: all kernels, then all biases."""
        return sum(rows * columns + rows for rows, columns in self.shapes)

    def parts(self, predicted: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Kernels ``[B,N,outputs,inputs]`` and biases ``[B,N,outputs,1]`` of ``predicted [B,N,count]``."""
        sizes = [rows * columns for rows, columns in self.shapes] + [rows for rows, _ in self.shapes]
        split = tf.split(predicted, sizes, -1)
        batch, number = tf.unstack(tf.shape(predicted)[:2])
        kernels = [tf.reshape(x, [batch, number, *shape]) for x, shape in zip(split, self.shapes)]
        return list(zip(kernels, (x[..., None] for x in split[self.depth :]), strict=True))

    def masks(self, common: Tensor, predicted: Tensor, points: Tensor, reach: Tensor) -> Tensor:
        """Logits of masks on the whole map, ``[B,N,h,w]``.

        Args:
            common: ``[B,h,w,in_channels]``.
            predicted: ``[B,N,count]``.
            points: ``[B,N,2]`` (x, y) that predict them, in pixels.
            reach: ``[B,N]``, distance in pixels that is 1.
        """
        batch, height, width = tf.unstack(tf.shape(common)[:3])
        pixels = grid_points(self.stride, self.offset, height, width)  # [h*w, 3]
        apart = (points[:, :, None] - pixels[:, :2]) / reach[:, :, None, None]  # [B, N, h*w, 2]
        flat = tf.reshape(common, [batch, 1, height * width, self.in_channels])
        (kernel, bias), *others = self.parts(predicted)
        x = tf.matmul(kernel[..., :2], apart, transpose_b=True)
        x += tf.matmul(kernel[..., 2:], flat, transpose_b=True) + bias  # [B, N, channels, h*w]
        for kernel, bias in others:
            x = tf.matmul(kernel, tf.nn.relu(x)) + bias
        return tf.reshape(x, [batch, tf.shape(predicted)[1], height, width])


def chosen_rows(wanted: Tensor, limit: Tensor | int) -> tuple[Tensor, Tensor]:
    """The rows that are wanted, as many for each image as the most of an image.

    Args:
        wanted: bool ``[B,P]``.
        limit: no image wants more.

    Returns:
        Rows int32 ``[B,M]``, and which of them are wanted, bool ``[B,M]``; the others fill the batch.
    """
    flags = tf.cast(wanted, tf.int32)
    most = tf.minimum(limit, tf.shape(flags)[1])
    if not ops.under_xla():  # which has static shapes alone
        most = tf.minimum(most, tf.maximum(tf.reduce_max(tf.reduce_sum(flags, 1)), 1))
    real, rows = tf.math.top_k(flags, most)
    return rows, real > 0
