"""D-FINE (Peng et al., 2024, arXiv:2410.13842)."""

from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.query.rtdetr import RTDETRHead, RTDETROutputs
from kdet.registry import register


@register
class DFineHead(RTDETRHead):
    """RT-DETR's head around a ``DFineDecoder``, with the losses of distributions.

    Args:
        decoder: ``DFineDecoder``.
        criterion: ``DistributionCriterion``.
        other arguments: see ``RTDETRHead``.

    Outputs: ``RTDETROutputs`` whose layers are ``DistributionOutputs``.
    """

    def compute_losses(self, outputs: RTDETROutputs, targets: Targets, info: ImageInfo) -> Losses:
        """As ``RTDETRHead``, with ``loss_fgl`` and ``loss_ddf`` of the layers.

        As in Transformers, entry ``i`` pairs the distributions of layer ``i`` with the scores and boxes
        before them: the first with the plain boxes. So scores and boxes of the layer before the last have no
        loss of their own.
        """
        layers: Any = outputs.layers
        decoder: Any = self.decoder
        criterion: Any = self.criterion
        places = tf.convert_to_tensor(decoder.up), tf.convert_to_tensor(decoder.reg_scale)
        count = len(layers.edges) - 1
        cells = tf.sigmoid(outputs.cell_boxes)
        logits = [*layers.logits[:count], outputs.cell_logits, layers.logits[-1]]
        boxes = [tf.clip_by_value(x, 0.0, 1.0) for x in (*layers.boxes[:count], cells, layers.boxes[-1])]
        assignments = criterion.assign(tf.stack(logits), tf.stack(boxes), targets, info)
        of_boxes = criterion.for_boxes(assignments, targets)
        *found, last = criterion.apart(logits, boxes, assignments, of_boxes, targets, info)
        edges = criterion.edge_losses(
            layers.edges[:count],
            layers.frames[:count],
            boxes[:count],
            (layers.logits[-1], layers.edges[-1]),
            of_boxes[:count],
            targets,
            info,
            places,
        )
        losses = dict(last)
        for i, one in enumerate(found):
            one.update(edges[i] if i < count else {})
            losses.update({f"{name}_aux_{i}": value for name, value in one.items()})
        if outputs.noised is None:
            return losses
        queries: Any
        own: Any
        queries, own = outputs.noised
        number = len(own.edges)
        boxes = [tf.clip_by_value(x, 0.0, 1.0) for x in own.boxes[:number]]
        same = [queries.assignment] * number
        again = criterion.losses(tf.stack(own.logits[:number]), tf.stack(boxes), same, targets, info)
        edges = criterion.edge_losses(
            own.edges, own.frames, boxes, (own.logits[-1], own.edges[-1]), same, targets, info, places
        )
        for i, (one, other) in enumerate(zip(again, edges, strict=True)):
            both = {**one, **other}
            losses.update({f"{name}_dn_{i}": value for name, value in both.items()})
        return losses
