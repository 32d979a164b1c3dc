"""Images of any size onto the canvas of the network inside a graph, by the rule of ``predict``."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.data import buckets, resize
from kdet.data import spec as specs
from kdet.detectors.preprocessor import Preprocessor
from kdet.typing import Pair, Tensor


class Canvas:
    """The canvases of an exported model and the way of images onto one.

    An image is resized as ``predict`` does and put into the upper left corner. Without a ``shape`` the
    canvas is the batch's own, as in ``predict``: the largest height and width, rounded up. With a (height,
    width) images that would be larger than it are made to fit it; models that stretch images to a fixed
    size stretch them to the shape.

    Args:
        preprocessor: of the detector, for its size rule.
        shape: (height, width) of the one canvas; "buckets" for the smallest of ``kdet.data.bucket_shapes``
            that holds all images of the batch (a square one where wide and tall images meet); or None.
            Images in (a factor of) their own size have no buckets.
        smallest: without a ``shape`` no side of the canvas is shorter.

    Attributes:
        shapes: the canvases to choose from, from the smallest on; empty where the images decide.
    """

    def __init__(
        self, preprocessor: Preprocessor, shape: Pair | str | None = None, smallest: int = 1
    ) -> None:
        limit: Any = preprocessor.size
        self.rule, self.limit, self.smallest = preprocessor, limit, smallest
        # images in (a factor of) their own size get canvases of their own
        self.own_size = isinstance(limit, (int, float))
        self.stretches = not preprocessor.keep_ratio and not self.own_size
        one = None if shape is None or isinstance(shape, str) else shape
        if self.stretches:
            self.stretched_size = one or limit[::-1]
        self.shapes: list[Pair]
        if one:
            height, width = one
            self.shapes = [(height, width)]
        elif self.own_size or (shape is None and not self.stretches):
            self.shapes = []
        else:
            self.shapes = _bucket_shapes(preprocessor, smallest)

    @property
    def static_shape(self) -> tuple[int | None, int | None]:
        """(height, width), each None where the images decide."""
        return self.shapes[0] if len(self.shapes) == 1 else (None, None)

    def inputs(self, read: Callable[[Tensor], Tensor], count: Tensor) -> dict[str, Tensor]:
        """Network inputs of a batch.

        Args:
            read: function of an index that gives an image ``[h,w,3]`` uint8.
            count: scalar int32.

        Returns:
            ``images`` uint8 ``[count,H,W,3]``, ``valid_size``, ``original_size`` and ``scale`` (float32
            ``[count,2]``), as in the data contract.
        """
        shape = [None, None, 3]
        resized = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=shape)
        sizes = tf.TensorArray(tf.int32, count, element_shape=[2, 2])

        def add(i: Tensor, resized: Any, sizes: Any) -> tuple[Any, ...]:
            image = tf.ensure_shape(read(i), shape)
            original = tf.shape(image)[:2]
            target = self.target(original)
            small = resize.resize_bilinear(image, target, portable=True, antialias=self.rule.antialias)
            resized = resized.write(i, small)
            return i + 1, resized, sizes.write(i, tf.stack([target, original]))

        _, resized, sizes = tf.while_loop(lambda i, *_: i < count, add, (0, resized, sizes))
        valid, original = tf.unstack(sizes.stack(), axis=1)  # [N,2]
        height, width = self.chosen(valid)

        def pad(i: Tensor) -> Tensor:
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

    def target(self, size: Tensor) -> Tensor:
        """Size ``[2]`` (h, w) that an image of ``size`` is resized to."""
        if self.stretches:
            return tf.constant(self.stretched_size, tf.int32)
        fit = resize.scaled_size if self.own_size else resize.keep_ratio_size
        target = fit(size, self.limit)
        if self.static_shape[0] is None:
            return target
        largest = resize.inside_size(size, self.static_shape)
        return tf.where(tf.reduce_all(target <= self.static_shape), target, largest)

    def chosen(self, sizes: Tensor) -> Tensor:
        """(height, width) of the smallest canvas that holds all of ``sizes [N,2]``."""
        if len(self.shapes) == 1:
            return self.shapes[0]
        largest = tf.reduce_max(sizes, 0)
        if not self.shapes:
            own = buckets.own_canvas_tensor(largest, self.rule.pad_divisor, self.rule.center_pad)
            return tf.unstack(tf.maximum(own, self.smallest))
        shapes = tf.constant(self.shapes)
        holds = tf.reduce_all(largest <= shapes, axis=1)  # the last one always does
        return tf.unstack(shapes[tf.argmax(tf.cast(holds, tf.int32))])


def _bucket_shapes(preprocessor: Preprocessor, smallest: int) -> list[Pair]:
    """The bucket canvases of ``predict`` from the smallest to one that holds every resized image."""
    stretches = not preprocessor.keep_ratio
    size: Any = preprocessor.size
    shapes = specs.canvas_shapes(size, stretches, preprocessor.pad_divisor)
    shapes = sorted(shapes, key=lambda shape: shape[0] * shape[1])
    square = (max(height for height, _ in shapes), max(width for _, width in shapes))
    shapes = shapes if square in shapes else [*shapes, square]
    return [(max(height, smallest), max(width, smallest)) for height, width in shapes]
