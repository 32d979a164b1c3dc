"""Images, rows and index maps padded to the static sizes of a batch."""

import tensorflow as tf


def pad_image(image: tf.Tensor, canvas: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Pad ``[h,w,3]`` with zeros below and to the right up to ``canvas`` (h, w)."""
    shape = tf.shape(image)
    image = tf.pad(image, [[0, canvas[0] - shape[0]], [0, canvas[1] - shape[1]], [0, 0]])
    return tf.ensure_shape(image, [tf.get_static_value(canvas[0]), tf.get_static_value(canvas[1]), 3])


def pad_rows(values: tf.Tensor, count: int, padding: float) -> tf.Tensor:
    """Pad or cut the first axis to ``count``."""
    values = values[:count]
    missing = count - tf.shape(values)[0]
    values = tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1), constant_values=padding)
    return tf.ensure_shape(values, [count, *values.shape[1:]])


def pad_index(index: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Pad an index map ``[n]`` with -1, which is outside of the image, up to ``length``."""
    return tf.pad(index, [[0, length - tf.shape(index)[0]]], constant_values=-1)
