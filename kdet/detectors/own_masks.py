"""Detectors whose masks are those of the images already."""

import numpy as np
import tensorflow as tf

from kdet.detectors.base import Detector


class OwnMasks(Detector):
    """A detector with ``masks`` uint8 ``[B,N,H,W]`` of 0 and 1, in the images' own sizes at the top left."""

    def image_masks(self, detections: dict[str, np.ndarray], height: int, width: int) -> np.ndarray:
        count = int(detections["num_detections"])
        return np.asarray(detections["masks"])[:count, :height, :width] > 0

    def mask_in_image(self, mask: tf.Tensor, box: tf.Tensor, size: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        return mask[: canvas[0], : canvas[1]] > 0
