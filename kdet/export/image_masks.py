"""Masks of whole images inside a graph, as ``Detector.image_masks`` makes them outside of one."""

from typing import Any

import tensorflow as tf

from kdet.contract import Detections
from kdet.detectors import Detector
from kdet.typing import Tensor


def on_images(model: Detector, detections: Detections, original_size: Tensor) -> Tensor:
    """Masks as uint8 ``[N,M,H,W]`` of 0 and 1, (H, W) being the largest height and width of the images.

    Args:
        model: the detector, which knows what its masks are the frame of.
        detections: of the detector, with ``masks [N,M,m,m]``.
        original_size: float32 ``[N,2]`` (h, w).
    """
    canvas = tf.cast(tf.reduce_max(original_size, 0), tf.int32)

    def one(mask: Tensor, box: Tensor, size: Tensor) -> Tensor:
        return tf.cast(model.mask_in_image(mask, box, tf.cast(size, tf.int32), canvas), tf.uint8)

    def image(row: Any) -> Tensor:
        masks, boxes, size = row
        spec = tf.TensorSpec([None, None], tf.uint8)
        return tf.map_fn(lambda pair: one(pair[0], pair[1], size), (masks, boxes), fn_output_signature=spec)

    spec = tf.TensorSpec([None, None, None], tf.uint8)
    rows = (tf.cast(detections["masks"], tf.float32), detections["boxes"], original_size)
    return tf.map_fn(image, rows, fn_output_signature=spec)
