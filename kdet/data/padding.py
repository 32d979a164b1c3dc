"""Images, rows and index maps padded to the static sizes of a batch."""

import tensorflow as tf

FEWEST = 8  # objects that room is made for


def pad_image(image: tf.Tensor, canvas: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Pad ``[h,w,3]`` with zeros below and to the right up to ``canvas`` (h, w)."""
    shape = tf.shape(image)
    image = tf.pad(image, [[0, canvas[0] - shape[0]], [0, canvas[1] - shape[1]], [0, 0]])
    return tf.ensure_shape(image, [tf.get_static_value(canvas[0]), tf.get_static_value(canvas[1]), 3])


def object_counts(largest: int) -> tuple[int, ...]:
    """The few numbers that objects are padded to: 8, 32, 128 ..., and the largest.

    A step pays for the padding of its own batch, and at most four times for its objects; one crowded image
    costs the batch that it is in.
    """
    found, count = [], FEWEST
    while count < largest:
        found.append(count)
        count *= 4
    return (*found, largest)


def pad_rows(values: tf.Tensor, count: int | tf.Tensor, padding: float) -> tf.Tensor:
    """Pad or cut the first axis to ``count``."""
    values = values[:count]
    missing = count - tf.shape(values)[0]
    values = tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1), constant_values=padding)
    return tf.ensure_shape(values, [tf.get_static_value(count), *values.shape[1:]])


def pad_index(index: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Pad an index map ``[n]`` with -1, which is outside of the image, up to ``length``."""
    return tf.pad(index, [[0, length - tf.shape(index)[0]]], constant_values=-1)


def relaxed(data: tf.data.Dataset) -> tf.data.Dataset:
    """Forgets the static canvas size, so that datasets of different buckets can be concatenated."""

    def loosen(
        inputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor] | None = None
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]] | dict[str, tf.Tensor]:
        inputs = dict(inputs, images=_without_shape(inputs["images"], 3))
        if targets is None:
            return inputs
        if "masks" in targets:
            targets = dict(targets, masks=_without_shape(targets["masks"], 1))
        return inputs, targets

    return data.map(loosen)


def _without_shape(value: tf.Tensor, kind: int) -> tf.Tensor:
    shape = [None, None, None, 3] if kind == 3 else [None, value.shape[1], None, None]
    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=value, shape=shape), shape)
