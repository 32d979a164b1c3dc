"""RT-DETR (Zhao et al., 2023, arXiv:2304.08069)."""

from typing import Any, NamedTuple

import tensorflow as tf

from kdet import geometry
from kdet.contract import Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Head, Losses
from kdet.heads.dense.base import level_shapes
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.cells import best_cells, cell_anchors
from kdet.heads.query.deformable_detr import inverse_sigmoid
from kdet.heads.query.deformable_transformer import flatten_cells
from kdet.heads.query.denoising import ContrastiveDenoising, NoisedQueries
from kdet.heads.query.quality_criterion import QualityCriterion
from kdet.heads.query.rtdetr_decoder import LayerOutputs, RTDETRDecoder
from kdet.layers import (
    MLP,
    BatchNorm,
    Conv2D,
    Embedding,
    FeatureLevels,
    LayerNorm,
    Linear,
    conv_norm,
)
from kdet.postprocess import TopQueries
from kdet.registry import register
from kdet.typing import Maps, Tensor


class RTDETROutputs(NamedTuple):
    """What the head predicts.

    Attributes:
        layers: of the decoder's layers.
        cell_logits: ``[B,Q,C]`` of the cells that the queries start from.
        cell_boxes: float32 ``[B,Q,4]`` of them, logits of (cx, cy, w, h).
        noised: ``(queries, LayerOutputs)`` of the noised queries, None at inference.
    """

    layers: LayerOutputs
    cell_logits: Tensor
    cell_boxes: Tensor
    noised: tuple[NoisedQueries, LayerOutputs] | None


@register
class RTDETRHead(Head):
    """Queries start from the cells with the best scores, which learn to tell the IoU too.

    Args:
        decoder: ``RTDETRDecoder`` or another.
        criterion: losses.
        num_queries: number of queries.
        denoising: makes the noised queries of the training.
        num_levels: maps.
        projected: whether maps are projected once more for the decoder.
        other arguments: see ``Head``.

    Outputs: ``RTDETROutputs``.
    """

    torch_name = "model"
    merges_views = False

    def __init__(
        self,
        num_classes: int,
        decoder: RTDETRDecoder,
        criterion: QualityCriterion,
        num_queries: int = 300,
        denoising: ContrastiveDenoising | None = None,
        num_levels: int = 3,
        projected: bool = True,
        postprocess: TopQueries | None = None,
        **kwargs: Any,
    ) -> None:
        postprocess = postprocess or TopQueries(max_per_image=num_queries)
        super().__init__(num_classes=num_classes, postprocess=postprocess, **kwargs)
        units = decoder.units
        self.num_queries, self.criterion = num_queries, criterion
        self.denoising = denoising or ContrastiveDenoising()
        self.denoising_class_embed = Embedding(num_classes + 1, units, initializer="glorot_uniform")
        self.enc_output = [Linear(units), LayerNorm()]
        self.enc_score_head = Linear(num_classes, bias_initializer=prior_bias(1.0 / (num_classes + 1)))
        self.enc_bbox_head = MLP(4, units, 3)
        self.decoder_input_proj = [
            [Conv2D(units, 1, use_bias=False), BatchNorm()] for _ in range(num_levels if projected else 0)
        ]
        self.decoder = decoder

    def outputs_for_losses(self, features: Maps, targets: Targets, info: ImageInfo) -> RTDETROutputs:
        return self(features, info, training=True, targets=targets)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False, targets: Targets | None = None
    ) -> RTDETROutputs:
        if self.decoder_input_proj:
            features = [
                conv_norm(conv, norm, x)
                for (conv, norm), x in zip(self.decoder_input_proj, features, strict=True)
            ]
        memory, levels = flatten_cells(features), FeatureLevels(level_shapes(features))
        anchors, inside = cell_anchors(levels.shapes)
        cells = tf.where(inside, memory, tf.zeros([], memory.dtype))
        for layer in self.enc_output:
            cells = layer(cells)
        scores = self.enc_score_head(cells)
        chosen = self.best_cells(tf.cast(tf.reduce_max(scores, -1), tf.float32))
        x, cell_logits = (tf.gather(v, chosen, batch_dims=1) for v in (cells, scores))
        cell_boxes = tf.cast(self.enc_bbox_head(x), tf.float32) + tf.gather(anchors[0], chosen)
        x, references = tf.stop_gradient(x), tf.stop_gradient(cell_boxes)
        if targets is None:
            found = self.decoder(x, memory, references, levels=levels)
            return RTDETROutputs(found, cell_logits, cell_boxes, None)
        noised = self.denoising(targets, info, self.num_classes)
        table = tf.cast(self.denoising_class_embed.weight, x.dtype)
        contents = tf.gather(table, tf.maximum(noised.labels, 0))
        # the row of those that are no object stays what it is
        contents = tf.where(noised.real[..., None], contents, tf.stop_gradient(table[self.num_classes]))
        found = self.decoder(
            tf.concat([contents, x], 1),
            memory,
            tf.concat([inverse_sigmoid(noised.boxes), references], 1),
            levels=levels,
            visible=noised.visible(tf.shape(x)[1]),
        )
        first = tf.shape(noised.labels)[1]
        of_noised, of_queries = (
            type(found)(*([v if v is None else v[:, part] for v in values] for values in found))
            for part in (slice(None, first), slice(first, None))
        )
        return RTDETROutputs(of_queries, cell_logits, cell_boxes, (noised, of_noised))

    def best_cells(self, scores: Tensor) -> Tensor:
        """Cells ``[B,Q]`` of the highest scores ``[B,S]``; all where there are fewer than queries."""
        return best_cells(scores, self.num_queries)

    def compute_losses(self, outputs: RTDETROutputs, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of the last layer; of the others (``_aux_i``), the chosen cells (last of them), and the
        noised queries (``_dn_i``)."""
        layers = outputs.layers
        logits = tf.stack([*layers.logits, outputs.cell_logits])
        boxes = tf.stack([*layers.boxes, tf.sigmoid(outputs.cell_boxes)])
        *found, of_cells = self.criterion(logits, boxes, targets, info)
        losses = dict(found[-1])
        for i, one in enumerate([*found[:-1], of_cells]):
            losses.update({f"{name}_aux_{i}": value for name, value in one.items()})
        if outputs.noised is not None:
            queries, own = outputs.noised
            count = len(own.logits)
            again = self.criterion.losses(
                tf.stack(own.logits), tf.stack(own.boxes), [queries.assignment] * count, targets, info
            )
            for i, one in enumerate(again):
                losses.update({f"{name}_dn_{i}": value for name, value in one.items()})
        return losses

    def decode(self, outputs: RTDETROutputs, info: ImageInfo) -> Detections:
        """Detections in original pixels from the last layer's outputs."""
        scores = tf.sigmoid(tf.cast(outputs.layers.logits[-1], tf.float32))
        boxes = geometry.from_center_size(outputs.layers.boxes[-1]) * size_as_box(info["valid_size"])
        return self.postprocess(scores, boxes, info)
