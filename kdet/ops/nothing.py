"""What ops give for nothing: no images or no boxes, where that shows in the shapes.

TensorFlow (with oneDNN, on the CPU) gives a convolution of no images the input's shape, and XLA has no
loops over nothing.
"""

import tensorflow as tf


def holds_nothing(tensor):
    """Whether a size of the tensor is known to be 0."""
    return tensor.shape.rank is not None and 0 in tensor.shape.as_list()


def is_empty(x):
    """Whether ``x`` is known to hold no image."""
    return x.shape[0] == 0


def nothing(shape, dtype, *sources):
    """A tensor that is empty, or of zeros, and whose gradients by its sources are zeros.

    Args:
        shape: of the tensor.
        sources: tensors of rank 1 or more.
    """
    return tf.zeros(shape, dtype) * tf.add_n([tf.reduce_sum(tf.cast(s[:0], dtype)) for s in sources])


def convolve_nothing(x, kernel, strides, padding, dilations):
    """What a convolution gives an empty batch.

    Args:
        x: ``[0,H,W,in]``.
        kernel: ``[kh,kw,in/groups,out]``.
        strides, padding, dilations: ``(y, x)``.

    Returns:
        ``[0,H',W',out]``, whose gradients are zeros.
    """
    extents = (
        tf.shape(x)[1:3] + 2 * tf.constant(padding) - tf.constant(dilations) * (tf.shape(kernel)[:2] - 1)
    )
    sizes = (extents - 1) // tf.constant(strides) + 1
    return nothing(tf.concat([[0], sizes, [kernel.shape[3]]], 0), x.dtype, x, kernel)
