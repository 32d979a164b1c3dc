"""Ops without images or boxes, where the shapes show that there are none.

TensorFlow (with oneDNN, on the CPU) gives a convolution of no images the shape of its input, and XLA has no
loops that never run.
"""

from typing import Any

import tensorflow as tf

from kdet.typing import Pair, Tensor


def is_empty(tensor: Tensor) -> bool:
    """Return whether a size of the tensor is known to be 0."""
    return tensor.shape.rank is not None and 0 in tensor.shape.as_list()


def has_no_images(x: Tensor) -> bool:
    """Return whether ``x [B,...]`` is known to hold no image."""
    return x.shape[0] == 0


def zeros_linked_to(shape: Any, dtype: tf.DType, *sources: Tensor) -> Tensor:
    """Return zeros of a shape whose gradients with respect to ``sources`` are zeros, not None.

    Args:
        shape: of the result.
        dtype: of the result.
        sources: tensors of rank 1 or more.
    """
    return tf.zeros(shape, dtype) * tf.add_n([tf.reduce_sum(tf.cast(s[:0], dtype)) for s in sources])


def convolve_empty(x: Tensor, kernel: Tensor, strides: Pair, padding: Pair, dilations: Pair) -> Tensor:
    """Return what a convolution gives for an empty batch.

    Args:
        x: ``[0,H,W,in]``.
        kernel: ``[kh,kw,in/groups,out]``.
        strides, padding, dilations: ``(y, x)``.

    Returns:
        ``[0,H',W',out]``, whose gradients are zeros.
    """
    return zeros_linked_to(convolved_shape(x, kernel, strides, padding, dilations), x.dtype, x, kernel)


def convolved_shape(x: Tensor, kernel: Tensor, strides: Pair, padding: Pair, dilations: Pair) -> Tensor:
    """Return int32 ``[4]``, the shape of a convolution, of no images too; see `convolve_empty`."""
    extents = (
        tf.shape(x)[1:3] + 2 * tf.constant(padding) - tf.constant(dilations) * (tf.shape(kernel)[:2] - 1)
    )
    sizes = (extents - 1) // tf.constant(strides) + 1
    return tf.concat([tf.shape(x)[:1], sizes, [kernel.shape[3]]], 0)
