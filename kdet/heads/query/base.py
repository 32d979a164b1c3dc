"""What heads with decoder layers share."""

from typing import Any

import keras
import tensorflow as tf

from kdet import geometry
from kdet.contract import Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Head, Losses
from kdet.heads.dense.base import level_shapes
from kdet.heads.query.criterion import SetCriterion, named_by_layer
from kdet.layers import DropoutMasks
from kdet.postprocess import TopQueries
from kdet.typing import Tensor


def valid_cells(x: Tensor, info: ImageInfo) -> Tensor:
    """Cells of a map ``[B,h,w,C]`` whose corner lies in the image: bool ``[B,h,w]``."""
    (shape,) = level_shapes([x])
    inside = []
    for axis, cells in enumerate(shape):
        step = info["canvas"][axis] / tf.cast(cells, tf.float32)
        corner = tf.floor(tf.cast(tf.range(cells), tf.float32) * step)
        inside.append(corner < info["valid_size"][:, axis, None])  # [B, cells]
    return inside[0][:, :, None] & inside[1][:, None, :]


class QueryHead(Head):
    """A head whose decoder layers each give classes and boxes of all queries.

    Outputs: ``(logits [L,B,Q,C], boxes [L,B,Q,4], ...)``; boxes are (cx, cy, w, h) in 0..1 of the valid
    image. The call needs ``canvas`` in its ImageInfo.

    Args:
        num_classes: classes without background.
        transformer: the encoder and decoder.
        position: position encoding of maps.
        criterion: ``SetCriterion``.
        postprocess: ``TopQueries``.
    """

    merges_views = False

    def __init__(
        self,
        num_classes: int,
        transformer: keras.Layer,
        position: Tensor,
        criterion: SetCriterion,
        postprocess: TopQueries | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or TopQueries(), **kwargs)
        self.transformer, self.position, self.criterion = transformer, position, criterion

    def dropout_masks(self, info: ImageInfo, training: bool) -> DropoutMasks | None:
        """Masks of this step, None where nothing is dropped."""
        return DropoutMasks(info["seed"]) if training else None

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of every decoder layer: ``loss_cls``, ..., and ``d0.loss_cls``, ... of all but the last."""
        logits, boxes, *_ = outputs
        return named_by_layer(self.criterion(logits, boxes, targets, info))

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections in original pixels from the last layer's outputs."""
        scores = self.criterion.probabilities(outputs[0][-1])
        boxes = geometry.from_center_size(outputs[1][-1]) * size_as_box(info["valid_size"])
        return self.postprocess(scores, geometry.clip(boxes, info["valid_size"]), info)
