"""Convolution at the places that a mask marks (guided anchoring, Wang et al. 2019)."""

import tensorflow as tf

from kdet.ops import dispatch


def masked_conv2d(x, mask, kernel, bias=None, *, strides=(1, 1), padding=(0, 0), implementation=None):
    """A convolution whose output is 0, without bias, where the mask is not positive.

    Args:
        x: ``[B,H,W,in]``.
        mask: ``[B,H',W']`` of any numeric dtype or bool.
        kernel: ``[kh,kw,in,out]``; bias: ``[out]`` or None.
        strides, padding: ``(y, x)`` or an int; padding is symmetric.

    Returns:
        ``[B,H',W',out]`` of the dtype of ``x``.
    """
    strides, padding = (
        (value, value) if isinstance(value, int) else tuple(value) for value in (strides, padding)
    )
    x, mask = tf.convert_to_tensor(x), tf.convert_to_tensor(mask)
    mask = mask if mask.dtype == tf.bool else mask > 0
    kernel = tf.cast(kernel, x.dtype)
    bias = tf.zeros([kernel.shape[3]], x.dtype) if bias is None else tf.cast(bias, x.dtype)
    form = dispatch.choose("masked_conv2d", implementation, portable=_portable)
    return form(x, mask, kernel, bias, strides=strides, padding=padding)


def _portable(x, mask, kernel, bias, strides, padding):
    pads = [[0, 0], [padding[0]] * 2, [padding[1]] * 2, [0, 0]]
    everywhere = tf.nn.conv2d(x, kernel, strides, pads) + bias
    return tf.where(mask[..., None], everywhere, tf.zeros([], x.dtype))
