"""From pixels of the network's input to pixels of the image on disk, and back."""

import tensorflow as tf

from kdet.contract import ImageInfo


def size_as_box(size: tf.Tensor) -> tf.Tensor:
    """Sizes or factors ``[B,2]`` (y, x) laid out like boxes: ``[B,1,4]`` (x, y, x, y)."""
    return tf.stack([size[:, 1], size[:, 0]] * 2, axis=-1)[:, None, :]


def original_boxes(boxes: tf.Tensor, info: ImageInfo) -> tf.Tensor:
    """Boxes ``[B,K,4]`` in network pixels as boxes in pixels of the original image, mirrored back."""
    if "flipped" in info:
        boxes = _mirrored(boxes, info)
    return boxes / size_as_box(info["scale"])


def network_boxes(boxes: tf.Tensor, info: ImageInfo) -> tf.Tensor:
    """The inverse of ``original_boxes``: boxes ``[B,K,4]`` in network pixels."""
    boxes = boxes * size_as_box(info["scale"])
    return _mirrored(boxes, info) if "flipped" in info else boxes


def upright_masks(masks: tf.Tensor, info: ImageInfo) -> tf.Tensor:
    """Masks ``[B,N,h,w]`` seen in the network's input, mirrored back."""
    if "flipped" not in info:
        return masks
    return tf.where(info["flipped"][:, None, None, None], masks[..., ::-1], masks)


def _mirrored(boxes: tf.Tensor, info: ImageInfo) -> tf.Tensor:
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    width = info["valid_size"][:, 1, None]
    turned = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return tf.where(info["flipped"][:, None, None], turned, boxes)
