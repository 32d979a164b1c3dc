"""What heads with decoder layers share."""

import tensorflow as tf

from kdet import geometry
from kdet.heads.dense.base import level_shapes
from kdet.heads.query.criterion import named_by_layer
from kdet.layers import Composite, DropoutMasks
from kdet.postprocess import TopQueries
from kdet.structures import size_as_box


def valid_cells(x, info):
    """Cells of a map ``[B,h,w,C]`` whose corner lies in the image: bool ``[B,h,w]``."""
    (shape,) = level_shapes([x])
    inside = []
    for axis, cells in enumerate(shape):
        step = info["canvas"][axis] / tf.cast(cells, tf.float32)
        corner = tf.floor(tf.cast(tf.range(cells), tf.float32) * step)
        inside.append(corner < info["valid_size"][:, axis, None])  # [B, cells]
    return inside[0][:, :, None] & inside[1][:, None, :]


class QueryHead(Composite):
    """A head whose decoder layers each give classes and boxes of all queries.

    Subclasses give ``call(features, info) -> (logits [L,B,Q,C], boxes [L,B,Q,4], ...)``; boxes are
    (cx, cy, w, h) in 0..1 of the valid image.

    Args:
        num_classes: classes without background.
        transformer: the encoder and decoder.
        position: position encoding of maps.
        criterion: ``SetCriterion``.
        postprocess: ``TopQueries``.
    """

    def __init__(self, num_classes, transformer, position, criterion, postprocess=None, **kwargs):
        # boxes and sizes must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.num_classes, self.transformer, self.position = num_classes, transformer, position
        self.criterion = criterion
        self.postprocess = postprocess or TopQueries()

    def dropout_masks(self, info, training):
        """Masks of this step, None where nothing is dropped."""
        return DropoutMasks(info["seed"]) if training else None

    def compute_losses(self, outputs, targets, info):
        """Losses of every decoder layer: ``loss_cls``, ..., and ``d0.loss_cls``, ... of all but the last."""
        return named_by_layer(self.criterion(*outputs[:2], targets, info))

    def decode(self, outputs, info):
        """Detections in original pixels from the last layer's outputs."""
        scores = self.criterion.probabilities(outputs[0][-1])
        boxes = geometry.from_center_size(outputs[1][-1]) * size_as_box(info["valid_size"])
        return self.postprocess(scores, geometry.clip(boxes, info["valid_size"]), info)
