"""Masks of whole images inside a graph, as ``Detector.image_masks`` makes them outside of one."""

import tensorflow as tf

from kdet import ops
from kdet.detectors.prototype import YOLACT


def on_images(model, detections, original_size):
    """Masks as uint8 ``[N,M,H,W]`` of 0 and 1, (H, W) being the largest height and width of the images.

    Args:
        model: the detector, for its threshold and for what its masks are the frame of.
        detections: of the detector, with ``masks [N,M,m,m]``.
        original_size: float32 ``[N,2]`` (h, w).
    """
    largest = tf.cast(tf.reduce_max(original_size, 0), tf.int32)
    whole = isinstance(model, YOLACT)
    threshold = _threshold(model)

    def one(mask, box, size):
        if whole:
            height, width = tf.unstack(tf.cast(size, tf.int32))
            inside = tf.image.resize(mask[..., None], (height, width))[..., 0] > threshold
            inside = tf.pad(inside, [[0, largest[0] - height], [0, largest[1] - width]])
        else:
            rows, columns = tf.range(largest[0]), tf.range(largest[1])
            inside = ops.paste_masks(mask[None, None], box[None, None], *tf.unstack(largest), threshold)[0, 0]
            inside &= (rows < tf.cast(size[0], tf.int32))[:, None] & (columns < tf.cast(size[1], tf.int32))
        return tf.cast(inside, tf.uint8)

    def image(row):
        masks, boxes, size = row
        spec = tf.TensorSpec([None, None], tf.uint8)
        return tf.map_fn(lambda pair: one(*pair, size), (masks, boxes), fn_output_signature=spec)

    spec = tf.TensorSpec([None, None, None], tf.uint8)
    rows = (tf.cast(detections["masks"], tf.float32), detections["boxes"], original_size)
    return tf.map_fn(image, rows, fn_output_signature=spec)


def _threshold(model):
    head = model.mask_head if isinstance(model, YOLACT) else model.roi_head.mask_head
    return getattr(head, "mask_threshold", 0.5)
