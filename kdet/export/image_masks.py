"""Masks of whole images inside a graph, as ``Detector.image_masks`` makes them outside of one."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.detectors import Detector
from kdet.detectors.prototype import YOLACT
from kdet.typing import Tensor


def on_images(model: Detector, detections: dict[str, Tensor], original_size: Tensor) -> Tensor:
    """Masks as uint8 ``[N,M,H,W]`` of 0 and 1, (H, W) being the largest height and width of the images.

    Args:
        model: the detector, for its threshold and for what its masks are the frame of.
        detections: of the detector, with ``masks [N,M,m,m]``.
        original_size: float32 ``[N,2]`` (h, w).
    """
    largest = tf.cast(tf.reduce_max(original_size, 0), tf.int32)
    whole = isinstance(model, YOLACT)
    threshold = _threshold(model)

    def one(mask: Tensor, box: Tensor, size: Tensor) -> Tensor:
        if whole:
            height, width = tf.unstack(tf.cast(size, tf.int32))
            inside = tf.image.resize(mask[..., None], (height, width))[..., 0] > threshold
            inside = tf.pad(inside, [[0, largest[0] - height], [0, largest[1] - width]])
        else:
            rows, columns = tf.range(largest[0]), tf.range(largest[1])
            height, width = tf.unstack(largest)
            inside = ops.paste_masks(mask[None, None], box[None, None], height, width, threshold)[0, 0]
            inside &= (rows < tf.cast(size[0], tf.int32))[:, None] & (columns < tf.cast(size[1], tf.int32))
        return tf.cast(inside, tf.uint8)

    def image(row: Any) -> Tensor:
        masks, boxes, size = row
        spec = tf.TensorSpec([None, None], tf.uint8)
        return tf.map_fn(lambda pair: one(pair[0], pair[1], size), (masks, boxes), fn_output_signature=spec)

    spec = tf.TensorSpec([None, None, None], tf.uint8)
    rows = (tf.cast(detections["masks"], tf.float32), detections["boxes"], original_size)
    return tf.map_fn(image, rows, fn_output_signature=spec)


def _threshold(model: Detector) -> float:
    head = model.mask_head if isinstance(model, YOLACT) else model.roi_head.mask_head
    return getattr(head, "mask_threshold", 0.5)
