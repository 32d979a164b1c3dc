"""LW-DETR (Chen et al., 2024, arXiv:2406.03459) and RF-DETR: groups of queries, boxes moved as they are."""

from typing import Any, NamedTuple

import tensorflow as tf

from kdet import geometry
from kdet.assigners.base import objects_of
from kdet.assigners.hungarian import cheapest
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Head, Losses
from kdet.heads.dense.base import level_shapes
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.cells import best_cells, cell_boxes
from kdet.heads.query.deformable_transformer import flatten_cells
from kdet.heads.query.lwdetr_decoder import LWDETRDecoder
from kdet.heads.query.quality_criterion import QualityCriterion
from kdet.heads.query.rtdetr_decoder import LayerOutputs
from kdet.layers import MLP, Embedding, FeatureLevels, LayerNorm, Linear, sizes_of
from kdet.postprocess import TopQueries
from kdet.registry import register
from kdet.typing import Maps, Tensor

# COCO's category ids of its 80 classes
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))


def moved(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes ``[...,4]`` (cx, cy, w, h) moved by ``deltas [...,4]`` in units of their size.

    Unlike ``deformable_detr.move`` without logits: boxes may leave 0..1.
    """
    deltas = tf.cast(deltas, tf.float32)
    center, size = boxes[..., :2], boxes[..., 2:]
    return tf.concat([deltas[..., :2] * size + center, tf.exp(deltas[..., 2:]) * size], -1)


class Cells(NamedTuple):
    """The cells that a group's queries start from.

    Attributes:
        states: ``[B,Q,units]``.
        logits: ``[B,Q,C]``.
        boxes: float32 ``[B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
    """

    states: Tensor
    logits: Tensor
    boxes: Tensor


class GroupOutputs(NamedTuple):
    """What the head predicts, the groups one behind the other (at inference there is one).

    Attributes:
        layers: of the decoder's layers, boxes in 0..1 of the image, but not limited to that.
        cells: of the cells that the queries start from.
        references: float32 ``[B,groups*Q,4]``, the boxes that all layers look around.
    """

    layers: LayerOutputs
    cells: Cells
    references: Tensor


def sets_of(outputs: GroupOutputs) -> tuple[Tensor, Tensor]:
    """Logits ``[L,B,groups*Q,C]`` and boxes ``[L,B,groups*Q,4]`` of all layers and, the last, the cells."""
    layers, cells = outputs.layers, outputs.cells
    return tf.stack([*layers.logits, cells.logits]), tf.stack([*layers.boxes, cells.boxes])


def named_sets(found: list[Losses]) -> Losses:
    """Losses of those sets under one dict."""
    *layers, cells = found
    losses = dict(layers[-1])
    for i, one in enumerate(layers[:-1]):
        losses.update({f"{name}_{i}": value for name, value in one.items()})
    return {**losses, **{f"{name}_enc": value for name, value in cells.items()}}


@register
class LWDETRHead(Head):
    """Learned queries at the boxes of the best cells; in training several groups of them, which learn alone.

    Args:
        decoder: ``LWDETRDecoder``.
        criterion: losses.
        num_queries: number of queries of a group.
        groups: of the training (Group DETR, Chen et al., 2022, arXiv:2207.13085); the first is used at
            inference.
        coco_ids: a head for COCO's 80 classes has an output for every category id of COCO from 0 on, 91 in
            all, as the published models do. It says nothing about other numbers of classes.
        other arguments: see ``Head``.

    Outputs: ``GroupOutputs``.
    """

    torch_name = ""
    merges_views = False
    torch_names = {
        name: f"model.{name}"
        for name in (
            "reference_point_embed",
            "query_feat",
            "decoder",
            "enc_output",
            "enc_output_norm",
            "enc_out_bbox_embed",
            "enc_out_class_embed",
        )
    }

    def __init__(
        self,
        num_classes: int,
        decoder: LWDETRDecoder,
        criterion: QualityCriterion,
        num_queries: int = 300,
        groups: int = 13,
        coco_ids: bool = False,
        postprocess: TopQueries | None = None,
        **kwargs: Any,
    ) -> None:
        postprocess = postprocess or TopQueries(max_per_image=num_queries)
        super().__init__(num_classes=num_classes, postprocess=postprocess, **kwargs)
        units = decoder.units
        self.num_queries, self.groups, self.criterion = num_queries, groups, criterion
        self.columns = COCO_IDS if coco_ids and num_classes == len(COCO_IDS) else None
        outputs = num_classes if self.columns is None else self.columns[-1] + 1
        self.reference_point_embed = Embedding(num_queries * groups, 4, "zeros")
        self.query_feat = Embedding(num_queries * groups, units)
        self.decoder = decoder
        self.enc_output = [Linear(units) for _ in range(groups)]
        self.enc_output_norm = [LayerNorm() for _ in range(groups)]
        self.enc_out_bbox_embed = [MLP(4, units, 3, last_kernel="zeros") for _ in range(groups)]
        self.enc_out_class_embed = [Linear(outputs, bias_initializer=prior_bias()) for _ in range(groups)]
        self.class_embed = Linear(outputs, bias_initializer=prior_bias())
        self.bbox_embed = MLP(4, units, 3, last_kernel="zeros")
        # inference, which builds the other layers, uses those of the first group alone
        boxes = [layer for branch in self.enc_out_bbox_embed for layer in branch.layers]
        for layer in (*self.enc_output, *self.enc_output_norm, *boxes, *self.enc_out_class_embed):
            layer.build((None, None, units))

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> GroupOutputs:
        memory, levels = flatten_cells(features), FeatureLevels(level_shapes(features))
        boxes, inside = cell_boxes(levels.shapes)
        boxes = tf.where(inside, boxes, 0.0)
        cells = tf.where(inside, memory, tf.zeros([], memory.dtype))
        groups = self.groups if training else 1
        found = [self.chosen_cells(i, cells, boxes, inside) for i in range(groups)]
        count = tf.shape(found[0].boxes)[1]
        starts = Cells(*(tf.concat(parts, 1) for parts in zip(*found, strict=True)))
        deltas, x = (
            self.rows_of(table, groups, count, starts.states)
            for table in (self.reference_point_embed, self.query_feat)
        )
        references = moved(tf.stop_gradient(starts.boxes), deltas)
        states = self.decoder(x, memory, references, levels=levels, groups=groups)
        layers = LayerOutputs(
            states,
            [self.class_embed(state) for state in states],
            [moved(references, self.bbox_embed(state)) for state in states],
        )
        return GroupOutputs(layers, starts, references)

    def chosen_cells(self, group: int, cells: Tensor, boxes: Tensor, inside: Tensor) -> Cells:
        """The best cells of a group.

        Args:
            group: its number.
            cells: ``[B,S,units]``.
            boxes, inside: of all cells, ``[1,S,4]`` and bool ``[1,S,1]``.
        """
        states = self.enc_output_norm[group](self.enc_output[group](cells))
        logits = self.enc_out_class_embed[group](states)
        scores = tf.cast(tf.reduce_max(logits, -1), tf.float32)
        chosen = self.best_cells(tf.where(inside[..., 0], scores, tf.float32.min))
        states, logits = (tf.gather(v, chosen, batch_dims=1) for v in (states, logits))
        return Cells(
            states, logits, moved(tf.gather(boxes[0], chosen), self.enc_out_bbox_embed[group](states))
        )

    def best_cells(self, scores: Tensor) -> Tensor:
        """Cells ``[B,Q]`` of the highest scores ``[B,S]``; all where there are fewer than queries."""
        return best_cells(scores, self.num_queries)

    def rows_of(self, table: Embedding, groups: int, count: Tensor, like: Tensor) -> Tensor:
        """The first ``count`` rows of every group's part of a table: ``[B,groups*count,C]``."""
        weight = tf.convert_to_tensor(table.weight)
        rows = tf.reshape(weight, [self.groups, self.num_queries, weight.shape[1]])[:groups, :count]
        rows = tf.reshape(tf.cast(rows, like.dtype), [1, -1, weight.shape[1]])
        rows = tf.tile(rows, [tf.shape(like)[0], 1, 1])
        return tf.ensure_shape(rows, [*like.shape[:2], weight.shape[1]])

    def compute_losses(self, outputs: GroupOutputs, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of the last layer; of the others (``_i``), and of the cells (``_enc``)."""
        targets = self.with_columns(targets)
        logits, boxes = sets_of(outputs)
        assignments = self.assign(logits, boxes, targets, info)
        return named_sets(self.criterion.losses(logits, boxes, assignments, targets, info))

    def with_columns(self, targets: Targets) -> Targets:
        """The targets with the outputs of their classes as labels."""
        if self.columns is None:
            return targets
        labels = targets["labels"]
        columns = tf.gather(tf.constant(self.columns, labels.dtype), tf.maximum(labels, 0))
        return {**targets, "labels": tf.where(labels < 0, labels, columns)}

    def assign(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: Targets,
        info: ImageInfo,
        further: Tensor | float = 0.0,
    ) -> list[Assignment]:
        """Which query answers for which object, per set; every group is matched by itself.

        Args:
            logits, boxes: ``[L,B,groups*Q,C]`` and ``[L,B,groups*Q,4]``.
            targets, info: of the batch.
            further: cost of every pair beside those of class and box, ``[L,B,groups*Q,G]``.
        """
        size = size_as_box(info["valid_size"])
        cost = self.criterion.assigner.costs(tf.cast(logits, tf.float32), boxes, targets, size) + further
        found = cheapest(self.by_group(cost), objects_of(targets)[1])
        sets = [found[i : i + self.groups] for i in range(0, len(found), self.groups)]
        return [
            Assignment(tf.concat([x.gt_index for x in one], 1), tf.concat([x.weight for x in one], 1))
            for one in sets
        ]

    def by_group(self, x: Tensor) -> Tensor:
        """``[L,B,groups*Q,C] -> [L*groups,B,Q,C]``."""
        sets, batch, rows, width = sizes_of(x)
        x = tf.reshape(x, [sets, batch, self.groups, rows // self.groups, width])
        x = tf.transpose(x, [0, 2, 1, 3, 4])
        return tf.reshape(x, [sets * self.groups, batch, rows // self.groups, width])

    def decode(self, outputs: GroupOutputs, info: ImageInfo) -> Detections:
        """Detections in original pixels from the last layer's outputs."""
        boxes = geometry.from_center_size(outputs.layers.boxes[-1]) * size_as_box(info["valid_size"])
        return self.postprocess(self.scores(outputs), boxes, info)

    def scores(self, outputs: GroupOutputs) -> Tensor:
        """Probabilities of the classes ``[B,Q,num_classes]``, of the last layer."""
        scores = tf.sigmoid(tf.cast(outputs.layers.logits[-1], tf.float32))
        return scores if self.columns is None else tf.gather(scores, self.columns, axis=-1)
