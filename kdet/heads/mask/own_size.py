"""Maps of a canvas brought to the images' own sizes, and the boxes of masks."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo
from kdet.layers import resize_bilinear
from kdet.typing import Tensor


class OwnSizes:
    """The sizes that the maps of a batch are brought to.

    Args:
        info: ImageInfo.
        canvas: int32 ``[2]``, height and width of the network's input.
    """

    def __init__(self, info: ImageInfo, canvas: Tensor) -> None:
        self.canvas = canvas
        self.sizes = tf.cast(info["original_size"], tf.int32)
        self.valid = tf.cast(info["valid_size"], tf.int32)
        self.largest = tf.reduce_max(self.sizes, 0)

    def each(self, function: Callable[..., Any], rows: Sequence[Tensor], specs: Any) -> Any:
        """``function(valid, size, *rows)`` of every image, stacked.

        Args:
            function: of one image: int32 ``[2]`` (h, w) of it within the canvas and on disk, and its rows.
            rows: tensors ``[B,...]``.
            specs: what the function returns, a ``tf.TensorSpec`` or a structure of them.
        """
        rows = (self.valid, self.sizes, *rows)
        batch = rows[-1].shape[0]
        if batch is None:
            return tf.map_fn(lambda one: function(*one), rows, fn_output_signature=specs)
        # without a loop, which TFLite cannot run on sizes that it does not know
        found = [function(*(x[i] for x in rows)) for i in range(batch)]
        return tf.nest.map_structure(lambda *parts: tf.stack(parts), *found)

    def resized(self, maps: Tensor, valid: Tensor, size: Tensor) -> Tensor:
        """Maps ``[h,w,N]`` of the canvas as maps of the image ``[H,W,N]``, float32.

        They are enlarged to the canvas, cut to the image and resized again, as MMDetection does.
        """
        x = resize_bilinear(tf.cast(maps[None], tf.float32), self.canvas)[:, : valid[0], : valid[1]]
        return resize_bilinear(x, size)[0]

    def filled(self, maps: Tensor, size: Tensor) -> Tensor:
        """Maps ``[...,H,W]`` of one image with zeros up to the largest height and width of the batch."""
        below, right = tf.unstack(self.largest - size)
        return tf.pad(maps, [[0, 0]] * (maps.shape.rank - 2) + [[0, below], [0, right]])


def image_masks(masks: Tensor, info: ImageInfo, canvas: Tensor, threshold: float) -> Tensor:
    """Probabilities ``[B,N,h,w]`` of the canvas as masks of the images: uint8 ``[B,N,H,W]`` of 0 and 1.

    Args:
        masks: of the whole canvas.
        info: ImageInfo.
        canvas: int32 ``[2]``, height and width of the network's input.
        threshold: a pixel of the object has a higher probability.
    """
    own = OwnSizes(info, canvas)

    def one(valid: Tensor, size: Tensor, maps: Tensor) -> Tensor:
        inside = tf.cast(own.resized(maps, valid, size) > threshold, tf.uint8)
        return own.filled(tf.transpose(inside, [2, 0, 1]), size)

    spec = tf.TensorSpec([None, None, None], tf.uint8)
    found = own.each(one, [tf.transpose(masks, [0, 2, 3, 1])], spec)
    return tf.ensure_shape(found, [*masks.shape[:2], None, None])


def mask_boxes(masks: Tensor) -> Tensor:
    """The boxes around masks ``[...,H,W]``: float32 ``[...,4]`` xyxy, zeros for an empty mask."""
    sides = []
    for axis in (-2, -1):  # columns, rows
        some = tf.cast(tf.reduce_max(masks, axis), tf.int32)
        first = tf.argmax(some, -1, tf.int32)
        last = tf.shape(some)[-1] - tf.argmax(some[..., ::-1], -1, tf.int32)
        sides.append((first, tf.where(tf.reduce_max(some, -1) > 0, last, 0)))
    (x1, x2), (y1, y2) = sides
    return tf.cast(tf.stack([x1, y1, x2, y2], -1), tf.float32)
