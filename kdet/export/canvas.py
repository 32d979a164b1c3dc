"""Pictures of any size onto the canvas of the network inside a graph, by the rule of ``predict``."""

import tensorflow as tf

from kdet.data import resize
from kdet.data import spec as specs


class Canvas:
    """The canvases of an exported model and the way of pictures onto one.

    A picture is resized as ``predict`` does and put into the upper left corner. Without a ``shape`` the
    canvas is the smallest of the model's own that holds all pictures of the batch (a square one where wide
    and tall pictures meet). With a ``shape`` pictures that would be larger than it are made to fit it;
    models that stretch pictures to a fixed size stretch them to the shape.

    Args:
        preprocessor: of the detector, for its size rule.
        shape: (height, width) of the one canvas, or None.
    """

    def __init__(self, preprocessor, shape=None):
        self.rule, self.limit = preprocessor, preprocessor.size
        # pictures in (a factor of) their own size get canvases of their own
        self.own_size = isinstance(self.limit, (int, float))
        self.stretches = not preprocessor.keep_ratio and not self.own_size
        if self.stretches:
            self.stretched_size = self.limit[::-1] if shape is None else shape
        if shape is not None:
            self.shapes = [tuple(shape)]
        else:
            self.shapes = [] if self.own_size else _own_shapes(preprocessor)

    @property
    def static_shape(self):
        """(height, width), each None where the pictures decide."""
        return self.shapes[0] if len(self.shapes) == 1 else (None, None)

    def inputs(self, picture, count):
        """Network inputs of a batch.

        Args:
            picture: function of an index that gives a picture ``[h,w,3]`` uint8.
            count: scalar int32.

        Returns:
            ``images`` uint8 ``[count,H,W,3]``, ``valid_size``, ``original_size`` and ``scale`` (float32
            ``[count,2]``), as in the data contract.
        """
        shape = [None, None, 3]
        resized = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=shape)
        sizes = tf.TensorArray(tf.int32, count, element_shape=[2, 2])

        def add(i, resized, sizes):
            image = tf.ensure_shape(picture(i), shape)
            original = tf.shape(image)[:2]
            target = self._target(original)
            resized = resized.write(i, resize.resize_bilinear(image, target, portable=True))
            return i + 1, resized, sizes.write(i, tf.stack([target, original]))

        _, resized, sizes = tf.while_loop(lambda i, *_: i < count, add, (0, resized, sizes))
        valid, original = tf.unstack(sizes.stack(), axis=1)  # [N,2]
        height, width = self._chosen(valid)

        def pad(i):
            image = tf.ensure_shape(resized.read(i), shape)
            below, right = height - tf.shape(image)[0], width - tf.shape(image)[1]
            return tf.pad(image, [[0, below], [0, right], [0, 0]])

        spec = tf.TensorSpec([*self.static_shape, 3], tf.uint8)
        images = tf.map_fn(pad, tf.range(count), fn_output_signature=spec)
        return {
            "images": tf.ensure_shape(images, [None, *self.static_shape, 3]),
            "valid_size": tf.cast(valid, tf.float32),
            "original_size": tf.cast(original, tf.float32),
            "scale": tf.cast(valid / original, tf.float32),  # in float64 first
        }

    def _target(self, size):
        """Size ``[2]`` (h, w) that a picture of ``size`` is resized to."""
        if self.stretches:
            return tf.constant(self.stretched_size, tf.int32)
        limit = self.limit
        if self.own_size:
            limit = tf.cast(tf.cast(size, tf.float64) * self.limit, tf.int32)
        target = resize.keep_ratio_size(size, limit)
        if self.static_shape[0] is None:
            return target
        room = tf.constant(self.static_shape, tf.float64)
        size = tf.cast(size, tf.float64)
        largest = tf.maximum(tf.cast(size * tf.reduce_min(room / size) + 0.5, tf.int32), 1)
        return tf.where(tf.reduce_all(target <= self.static_shape), target, largest)

    def _chosen(self, sizes):
        """(height, width) of the smallest canvas that holds all of ``sizes [N,2]``."""
        if len(self.shapes) == 1:
            return self.shapes[0]
        if self.own_size:
            largest = tf.reduce_max(sizes, 0)
            if self.rule.center_pad is not None:
                return tf.unstack(tf.bitwise.bitwise_or(largest, self.rule.center_pad))
            return tf.unstack(-(-largest // self.rule.pad_divisor) * self.rule.pad_divisor)
        shapes = tf.constant(self.shapes)
        holds = tf.reduce_all(tf.reduce_max(sizes, 0) <= shapes, axis=1)  # the last one always does
        return tf.unstack(shapes[tf.argmax(tf.cast(holds, tf.int32))])


def _own_shapes(preprocessor):
    """The canvas shapes of ``predict`` from the smallest to one that holds every resized picture."""
    stretches = not preprocessor.keep_ratio
    shapes = specs.canvas_shapes(preprocessor.size, stretches, preprocessor.pad_divisor)
    shapes = sorted(shapes, key=lambda shape: shape[0] * shape[1])
    square = tuple(max(sides) for sides in zip(*shapes))
    return shapes if square in shapes else [*shapes, square]
