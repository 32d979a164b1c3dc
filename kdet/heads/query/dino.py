"""DINO (Zhang et al., 2023, arXiv:2203.03605)."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.base import QueryHead, valid_cells
from kdet.heads.query.conditional_detr import waves_of
from kdet.heads.query.criterion import named_by_layer
from kdet.heads.query.deformable_detr import box_branch, inverse_sigmoid, move
from kdet.heads.query.deformable_transformer import DeformableDecoder, DeformableEncoding, valid_ratios
from kdet.heads.query.denoising import ContrastiveDenoising, NoisedQueries
from kdet.layers import MLP, DropoutMasks, Embedding, LayerNorm, Linear, NamedTransformerLayer, apply_list
from kdet.registry import register
from kdet.typing import Maps, Tensor

# references stay so far from the border of the image
_MARGIN = 1e-3


@register
class DINODecoder(DeformableDecoder):
    """Decoder whose queries' positions follow from their references in every layer.

    Args:
        layers: list of ``TransformerLayer``.
        units: channels.
    """

    def __init__(self, layers: Any, units: int = 256, **kwargs: Any) -> None:
        super().__init__(layers=layers, **kwargs)
        self.units = units
        self.ref_point_head = MLP(units, units)
        self.norm = LayerNorm()

    def position(self, query_pos: Tensor | None, places: Tensor, dtype: tf.DType) -> Tensor:
        return self.ref_point_head(tf.cast(waves_of(places, self.units), dtype))

    def state(self, x: Tensor) -> Tensor:
        return self.norm(x)


@register
class DINOTransformer(DeformableEncoding):
    """Encoder over all cells and ``DINODecoder``.

    Args:
        as in ``DeformableTransformer``.
    """

    layer_type = NamedTransformerLayer
    torch_names = {
        "level_embeds": "level_embed",
        "enc_output": "memory_trans_fc",
        "enc_output_norm": "memory_trans_norm",
    }

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        ffn_units: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, num_heads, num_levels, num_points, ffn_units, encoder_layers, dropout, True, **kwargs
        )
        self.decoder = DINODecoder(self.make_decoder_layers(decoder_layers), units)


class EncodedCells(NamedTuple):
    """What the encoder says.

    Attributes:
        memory: ``[B,S,units]``.
        proposals: of every cell as a query: ``[B,S,units]``.
        start: its box before the sigmoid ``[B,S,4]``, infinite in the padding.
        ratios: ``[B,levels,2]``, which share of each map lies in the image.
        levels: ``FeatureLevels``.
    """

    memory: Tensor
    proposals: Tensor
    start: Tensor
    ratios: Tensor
    levels: Any


class QueryOutputs(NamedTuple):
    """What the head predicts; the noised queries are apart.

    Attributes:
        logits: ``[L,B,Q,C]`` of all decoder layers.
        boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
        cell_logits, cell_boxes: ``[B,Q,C]`` and ``[B,Q,4]`` of the cells that the queries start from.
        noised: ``(queries, logits, boxes)`` of the noised queries, None at inference.
    """

    logits: Tensor
    boxes: Tensor
    cell_logits: Tensor
    cell_boxes: Tensor
    noised: tuple[NoisedQueries, Tensor, Tensor] | None


class CellQueryHead(QueryHead):
    """What the heads share whose queries start from cells and that learn from noised queries.

    Args:
        num_queries: number of queries.
        denoising: makes the noised queries of the training.
        extra_branches: branches for classes and boxes beside those of the decoder's layers.
        other arguments: see ``QueryHead``.
    """

    torch_name = ""
    torch_names = {
        "transformer": "",
        "cls_branches": "bbox_head.cls_branches",
        "reg_branches": "bbox_head.reg_branches",
        "label_embedding": "dn_query_generator.label_embedding",
    }

    def __init__(
        self,
        num_queries: int,
        denoising: ContrastiveDenoising | None,
        extra_branches: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_queries, self.denoising = num_queries, denoising or ContrastiveDenoising()
        self.num_layers, self.units = len(self.transformer.decoder.layers), self.transformer.units
        count = self.num_layers + extra_branches
        self.cls_branches = [self.class_branch() for _ in range(count)]
        self.reg_branches = [box_branch(self.units, 0.0) for _ in range(count)]
        self.label_embedding = Embedding(self.num_classes, self.units)

    def class_branch(self) -> Linear:
        """A layer for classes."""
        return Linear(self.num_classes, bias_initializer=prior_bias())

    def outputs_for_losses(self, features: Maps, targets: Targets, info: ImageInfo) -> Any:
        return self(features, info, training=True, targets=targets)

    def encode(self, features: Maps, info: ImageInfo, masks: DropoutMasks | None) -> EncodedCells:
        """The encoder's cells."""
        valid = [valid_cells(x, info) for x in features]
        positions = [self.position(v) for v in valid]
        memory, levels = self.transformer.encode(features, valid, positions, masks=masks)
        proposals, start = self.transformer.cell_proposals(memory, valid, levels)
        return EncodedCells(memory, proposals, start, valid_ratios(valid), levels)

    def best_cells(self, scores: Tensor, count: int | None = None) -> Tensor:
        """Cells ``[B,count]`` of the highest scores ``[B,S]``; all where there are fewer."""
        count, cells = count or self.num_queries, scores.shape[1]
        count = min(count, cells) if cells else tf.minimum(count, tf.shape(scores)[1])
        return tf.math.top_k(scores, count).indices

    def cell_boxes(self, index: int, proposals: Tensor, start: Tensor) -> Tensor:
        """Boxes ``[B,n,4]`` in 0..1 of cells, by the branch ``index``."""
        return tf.sigmoid(tf.cast(apply_list(self.reg_branches[index], proposals), tf.float32) + start)

    def noised_queries(self, noised: NoisedQueries, dtype: tf.DType) -> tuple[Tensor, Tensor]:
        """Contents ``[B,D,units]`` and references ``[B,D,4]`` of noised queries; padding is in the middle."""
        real = noised.real[..., None]
        table = tf.cast(self.label_embedding.weight, dtype)
        contents = tf.gather(table, tf.maximum(noised.labels, 0))
        places = tf.sigmoid(inverse_sigmoid(noised.boxes, _MARGIN))
        return tf.where(real, contents, tf.zeros([], dtype)), tf.where(real, places, 0.5)

    def decode_queries(
        self, queries: Tensor, references: Tensor, cells: EncodedCells, refine: Sequence[Any], **more: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The decoder's states ``[B,n,units]`` and the references ``[B,n,4]`` of the layers' boxes.

        Gradients go through those references, though not from layer to layer ("look forward twice").
        """
        states, moved = self.transformer.decoder(
            queries,
            cells.memory,
            references=references,
            ratios=cells.ratios,
            levels=cells.levels,
            refine=refine,
            **more,
        )
        return tf.unstack(states), [references, *tf.unstack(moved)[:-1]]

    def compute_losses(self, outputs: QueryOutputs, targets: Targets, info: ImageInfo) -> Losses:
        """Those of the queries, of the cells (``enc_``) and of the noised queries (``dn_``)."""
        losses = self.query_losses(outputs, targets, info)
        (found,) = self.criterion(outputs.cell_logits[None], outputs.cell_boxes[None], targets, info)
        losses.update({f"enc_{name}": value for name, value in found.items()})
        if outputs.noised is not None:
            queries, logits, boxes = outputs.noised
            assignments = [queries.assignment] * self.num_layers
            again = self.criterion.losses(logits, boxes, assignments, targets, info)
            losses.update(named_by_layer(again, "dn_"))
        return losses

    def query_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of the queries in all decoder layers."""
        return named_by_layer(self.criterion(outputs.logits, outputs.boxes, targets, info))


def predictions(
    cls_branches: Sequence[Any], reg_branches: Sequence[Any], states: list[Tensor], starts: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Logits ``[L,B,n,C]`` and boxes ``[L,B,n,4]`` of all decoder layers."""
    logits = tf.stack([branch(x) for branch, x in zip(cls_branches, states)])
    moves = [apply_list(branch, x) for branch, x in zip(reg_branches, states)]
    return logits, tf.stack([move(*pair) for pair in zip(starts, moves)])


def next_references(branch: Any, state: Tensor, references: Tensor) -> Tensor:
    """References ``[B,n,4]`` of the next layer, from a layer's result before its norm."""
    return move(references, apply_list(branch, state), _MARGIN)


@register
class DINOHead(CellQueryHead):
    """Queries whose places are the encoder's best cells and whose contents are learned.

    Args:
        num_queries: number of queries.
        denoising: makes the noised queries of the training.
        other arguments: see ``QueryHead``.

    Outputs: ``QueryOutputs``.
    """

    def __init__(
        self, num_queries: int = 900, denoising: ContrastiveDenoising | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_queries=num_queries, denoising=denoising, extra_branches=1, **kwargs)
        self.query_embedding = Embedding(num_queries, self.units, initializer="glorot_uniform")

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False, targets: Targets | None = None
    ) -> QueryOutputs:
        masks = self.dropout_masks(info, training)
        cells = self.encode(features, info, masks)
        cell_logits = self.cls_branches[-1](cells.proposals)
        chosen = self.best_cells(tf.cast(tf.reduce_max(cell_logits, -1), tf.float32))
        proposals, start, cell_logits = (
            tf.gather(x, chosen, batch_dims=1) for x in (cells.proposals, cells.start, cell_logits)
        )
        cell_boxes = self.cell_boxes(-1, proposals, start)
        references, count = tf.stop_gradient(cell_boxes), tf.shape(chosen)[1]
        queries = self.query_embedding(cells.memory)[:, :count]
        noised, visible, first = None, None, 0
        if targets is not None:
            noised = self.denoising(targets, info, self.num_classes)
            visible, first = noised.visible(count), tf.shape(noised.labels)[1]
            contents, places = self.noised_queries(noised, queries.dtype)
            queries, references = tf.concat([contents, queries], 1), tf.concat([places, references], 1)
        refine = [functools.partial(next_references, branch) for branch in self.reg_branches[:-1]]
        states, starts = self.decode_queries(queries, references, cells, refine, visible=visible, masks=masks)
        logits, boxes = predictions(self.cls_branches, self.reg_branches, states, starts)
        apart = None if noised is None else (noised, logits[:, :, :first], boxes[:, :, :first])
        return QueryOutputs(logits[:, :, first:], boxes[:, :, first:], cell_logits, cell_boxes, apart)
