"""Detections under the names and in the forms of the TensorFlow 2 detection zoo."""

import numbers

import tensorflow as tf

from kdet.contract import Detections
from kdet.coordinates import size_as_box
from kdet.typing import Tensor

BOX_FORMATS = ("rel_yxyx", "rel_xyxy", "yxyx", "xyxy", "xywh")


class Naming:
    """How detections are called and written.

    Args:
        box_format: one of `BOX_FORMATS`: order of the coordinates (``xywh``: corner and size), in shares of
            the image (``rel_``) or in its pixels.
        label_offset: the number of the first class, from 0 on. The zoo counts from 1.

    Raises:
        ValueError: naming the option and what it can be.
    """

    def __init__(self, box_format: str = "rel_yxyx", label_offset: int = 1) -> None:
        if box_format not in BOX_FORMATS:
            raise ValueError(f"box_format is one of {', '.join(BOX_FORMATS)}, not {box_format!r}.")
        if not isinstance(label_offset, (int, numbers.Integral)) or label_offset < 0:
            raise ValueError(
                "label_offset, the number of the first class, is a whole number from 0 on, not "
                f"{label_offset!r}."
            )
        self.box_format = box_format
        self.label_offset = int(label_offset)

    def __call__(self, detections: Detections, original_size: Tensor) -> dict[str, Tensor]:
        """The outputs of a signature.

        Args:
            detections: of a detector (boxes xyxy in pixels of the original image).
            original_size: ``[N,2]`` (h, w).

        Returns:
            float32 ``detection_boxes [N,M,4]``, ``detection_scores [N,M]``, ``detection_classes [N,M]``,
            ``num_detections [N]``, and ``detection_masks`` where there are masks. Rows beyond
            ``num_detections`` are boxes of zeros with score 0 and a class one below the first. Of panoptic
            models also int32 ``panoptic_map [N,H,W]`` (0, or 1 + the row of a pixel's segment), and float32
            ``segment_classes``, ``segment_scores`` and ``segment_areas`` ``[N,S]``.
        """
        found = {
            "detection_boxes": self._boxes(detections["boxes"], size_as_box(original_size)),
            "detection_scores": tf.cast(detections["scores"], tf.float32),
            "detection_classes": tf.cast(detections["labels"] + self.label_offset, tf.float32),
            "num_detections": tf.cast(detections["num_detections"], tf.float32),
        }
        if "masks" in detections:
            found["detection_masks"] = detections["masks"]
        if "panoptic" in detections:
            found["panoptic_map"] = detections["panoptic"]
            found["segment_classes"] = tf.cast(detections["segment_labels"] + self.label_offset, tf.float32)
            found["segment_scores"] = detections["segment_scores"]
            found["segment_areas"] = tf.cast(detections["segment_areas"], tf.float32)
        return found

    def read_boxes(self, boxes: Tensor, original_size: Tensor) -> Tensor:
        """Boxes ``[N,P,4]`` written in ``box_format`` as xyxy in pixels of the image."""
        if self.box_format.endswith("yxyx"):
            boxes = tf.gather(boxes, [1, 0, 3, 2], axis=-1)
        if self.box_format == "xywh":
            boxes = tf.concat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
        if self.box_format.startswith("rel_"):
            boxes = boxes * size_as_box(original_size)
        return boxes

    def _boxes(self, boxes: Tensor, size: Tensor) -> Tensor:
        boxes = tf.cast(boxes, tf.float32)
        if self.box_format.startswith("rel_"):
            boxes = boxes / size
        if self.box_format.endswith("yxyx"):
            return tf.gather(boxes, [1, 0, 3, 2], axis=-1)
        if self.box_format == "xywh":
            return tf.concat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)
        return boxes
