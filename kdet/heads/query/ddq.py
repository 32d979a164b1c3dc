"""DDQ-DETR: queries that are dense at first and distinct then (Zhang et al., 2023, arXiv:2303.12776)."""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from kdet import geometry, ops
from kdet.contract import Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.heads.query.criterion import named_by_layer
from kdet.heads.query.deformable_detr import box_branch
from kdet.heads.query.denoising import ContrastiveDenoising, NoisedQueries
from kdet.heads.query.dino import CellQueryHead, EncodedCells, next_references, predictions
from kdet.heads.query.one_to_many import OneToManyCriterion
from kdet.layers import Linear, NoXla
from kdet.registry import register
from kdet.typing import Maps, Tensor


class DDQOutputs(NamedTuple):
    """What the head predicts; noised and dense queries are apart.

    Attributes:
        logits: ``[L,B,Q,C]`` of all decoder layers.
        boxes: ``[L,B,Q,4]`` (cx, cy, w, h) in 0..1 of the image.
        distinct: bool ``[L,B,Q]``, the queries that count in each layer.
        cell_logits, cell_boxes: ``[B,Q,C]`` and ``[B,Q,4]`` of the cells that the queries start from.
        noised: ``(queries, logits, boxes)`` of the noised queries, None at inference.
        dense: ``(logits, boxes)`` of the dense queries in all layers ``[L,B,n,...]`` and those of their cells
            ``[1,B,n,...]``, None at inference.
    """

    logits: Tensor
    boxes: Tensor
    distinct: Tensor
    cell_logits: Tensor
    cell_boxes: Tensor
    noised: tuple[NoisedQueries, Tensor, Tensor] | None
    dense: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None


@register
class DDQHead(NoXla, CellQueryHead):
    """Queries are the cells that suppression keeps, and every layer attends to those that it keeps again.

    In training there are dense queries too, the best cells without suppression, with branches of their own.

    Args:
        num_queries: number of queries.
        denoising: makes the noised queries of the training.
        dense_criterion: losses of the dense queries.
        dense_ratio: how many dense queries there are for a query.
        iou_threshold: of the suppression.
        other arguments: see ``QueryHead``.

    Outputs: ``DDQOutputs``.
    """

    torch_names = {
        **CellQueryHead.torch_names,
        "aux_cls_branches": "bbox_head.aux_cls_branches",
        "aux_reg_branches": "bbox_head.aux_reg_branches",
    }

    def __init__(
        self,
        dense_criterion: OneToManyCriterion,
        num_queries: int = 900,
        denoising: ContrastiveDenoising | None = None,
        dense_ratio: float = 1.5,
        iou_threshold: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_queries=num_queries, denoising=denoising, extra_branches=2, **kwargs)
        self.dense_criterion = dense_criterion
        self.num_dense, self.iou_threshold = int(num_queries * dense_ratio), iou_threshold
        self.aux_cls_branches = [self.class_branch() for _ in range(self.num_layers)]
        self.aux_reg_branches = [box_branch(self.units, 0.0) for _ in range(self.num_layers)]
        self.query_map = Linear(self.units)
        aux = [self.reg_branches[-1], *self.aux_reg_branches]
        for layer in (self.cls_branches[-1], *self.aux_cls_branches, *(x for branch in aux for x in branch)):
            if layer is not None:
                layer.build([None, self.units])  # inference does not call them

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False, targets: Targets | None = None
    ) -> DDQOutputs:
        masks = self.dropout_masks(info, training)
        cells = self.encode(features, info, masks)
        contents = self.query_map(tf.stop_gradient(cells.memory))
        queries, cell_logits, cell_boxes = self.distinct_cells(cells, contents)
        references = tf.stop_gradient(cell_boxes)
        layout = Layout(tf.shape(queries)[1])
        noised, of_cells = None, None
        if targets is not None:
            noised = self.denoising(targets, info, self.num_classes)
            first = self.noised_queries(noised, queries.dtype)
            dense, *of_cells = self.dense_cells(cells, contents)
            queries = tf.concat([first[0], queries, dense], 1)
            references = tf.concat([first[1], references, tf.stop_gradient(of_cells[1])], 1)
            layout = Layout(layout.count, noised, tf.shape(dense)[1])
        distinct = [tf.ones(tf.shape(cell_boxes)[:2], tf.bool)]

        def narrow(index: int, state: Tensor, boxes: Tensor) -> Tensor:
            state, boxes = layout.matching(state), layout.matching(boxes)
            logits = tf.reduce_max(tf.cast(self.cls_branches[index](state), tf.float32), -1)
            kept = self.kept(boxes, tf.where(distinct[-1], tf.sigmoid(logits), -1.0))
            # as in MMDetection the queries that the first one sees are those that count
            distinct.append(kept | kept[:, :1])
            return layout.visible(kept)

        refine = [functools.partial(self.refined, layout, i) for i in range(self.num_layers)]
        visible = None if noised is None else layout.visible(distinct[0])
        states, starts = self.decode_queries(
            queries, references, cells, refine, visible=visible, narrow=narrow, masks=masks
        )
        states, starts = ([layout.parts(x) for x in rows] for rows in (states, starts))
        sparse = [[row[0] for row in rows] for rows in (states, starts)]
        logits, boxes = predictions(self.cls_branches, self.reg_branches, *sparse)
        if noised is None or of_cells is None:
            return DDQOutputs(logits, boxes, tf.stack(distinct), cell_logits, cell_boxes, None, None)
        rows = [[row[1] for row in rows] for rows in (states, starts)]
        in_layers = predictions(self.aux_cls_branches, self.aux_reg_branches, *rows)
        slots = tf.shape(noised.labels)[1]
        return DDQOutputs(
            logits[:, :, slots:],
            boxes[:, :, slots:],
            tf.stack(distinct),
            cell_logits,
            cell_boxes,
            (noised, logits[:, :, :slots], boxes[:, :, :slots]),
            (in_layers, (of_cells[0][None], of_cells[1][None])),
        )

    def distinct_cells(self, cells: EncodedCells, contents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Contents ``[B,Q,units]``, logits ``[B,Q,C]`` and boxes ``[B,Q,4]`` of the cells that are kept.

        Where fewer are kept, contents and logits are 0 and boxes lie in the middle.
        """
        logits = self.cls_branches[self.num_layers](cells.proposals)
        boxes = self.cell_boxes(self.num_layers, cells.proposals, cells.start)
        scores = tf.sigmoid(tf.cast(tf.reduce_max(logits, -1), tf.float32))
        rows, count = self.suppress_boxes(boxes, scores, self.num_queries)
        there = (tf.range(self.num_queries) < count[:, None])[..., None]
        contents, logits, boxes = (tf.gather(x, rows, batch_dims=1) for x in (contents, logits, boxes))
        contents, logits = (tf.where(there, x, tf.zeros([], x.dtype)) for x in (contents, logits))
        return contents, logits, tf.where(there, boxes, 0.5)

    def dense_cells(self, cells: EncodedCells, contents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Contents ``[B,n,units]``, logits ``[B,n,C]`` and boxes ``[B,n,4]`` of the best cells."""
        logits = self.cls_branches[-1](cells.proposals)
        scores = tf.sigmoid(tf.cast(tf.reduce_max(logits, -1), tf.float32))
        chosen = self.best_cells(scores, self.num_dense)
        contents, logits, proposals, start = (
            tf.gather(x, chosen, batch_dims=1) for x in (contents, logits, cells.proposals, cells.start)
        )
        return contents, logits, self.cell_boxes(-1, proposals, start)

    def suppress_boxes(self, boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Rows ``[B,count]`` of the boxes that are kept and how many they are; scores of 0 or more count."""
        corners = geometry.from_center_size(boxes)
        # one label, by which MMDetection moves the boxes
        labels = tf.ones_like(scores, tf.int32)
        return ops.nms(
            corners,
            scores,
            labels,
            iou_threshold=self.iou_threshold,
            max_output=count,
            score_threshold=-0.5,
        )

    def kept(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Which of the boxes ``[B,Q,4]`` suppression keeps: bool ``[B,Q]``."""
        rows, count = self.suppress_boxes(boxes, scores, self.num_queries)
        there = tf.cast(tf.range(self.num_queries) < count[:, None], tf.int32)
        image = tf.broadcast_to(tf.range(tf.shape(rows)[0])[:, None], tf.shape(rows))
        return tf.scatter_nd(tf.stack([image, rows], -1), there, tf.shape(scores)) > 0

    def refined(self, layout: "Layout", index: int, state: Tensor, references: Tensor) -> Tensor:
        """References ``[B,n,4]`` of the next layer; those of the dense queries by their own branch."""
        parts = zip(
            (self.reg_branches[index], self.aux_reg_branches[index]),
            layout.parts(state),
            layout.parts(references),
        )
        return tf.concat([next_references(*part) for part in parts], 1)

    def query_losses(self, outputs: DDQOutputs, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of the distinct queries and of the dense ones, in layers (``0_aux_``) and in cells."""
        found = self.criterion(outputs.logits, outputs.boxes, targets, info, outputs.distinct)
        losses = named_by_layer(found)
        if outputs.dense is not None:
            in_layers, in_cells = outputs.dense
            (of_cells,) = self.dense_criterion(*in_cells, targets, info)
            named = {"aux_enc": of_cells}
            for i, one in enumerate(self.dense_criterion(*in_layers, targets, info)):
                named[f"{i}_aux"] = one
            for key, one in named.items():
                losses.update({f"{key}_aux_{name}": value for name, value in one.items()})
        return losses

    def decode(self, outputs: DDQOutputs, info: ImageInfo) -> Detections:
        """Detections in original pixels of the queries that are distinct in the last layer."""
        scores = self.criterion.probabilities(outputs.logits[-1])
        scores = tf.where(outputs.distinct[-1][..., None], scores, -1.0)
        boxes = geometry.from_center_size(outputs.boxes[-1]) * size_as_box(info["valid_size"])
        return self.postprocess(scores, geometry.clip(boxes, info["valid_size"]), info)


class Layout:
    """How the queries of a step lie: noised, matching, dense.

    Args:
        count: matching queries.
        noised: the noised queries in front of them, if there are any.
        dense: dense queries behind them.
    """

    def __init__(self, count: Tensor, noised: NoisedQueries | None = None, dense: Tensor | int = 0) -> None:
        self.count, self.noised, self.dense = count, noised, dense
        self.first = 0 if noised is None else tf.shape(noised.labels)[1]

    def matching(self, x: Tensor) -> Tensor:
        """The matching queries of all ``[B,n,...]``."""
        return x[:, self.first : self.first + self.count]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of all queries ``[B,n,...]`` the noised and matching ones, and the dense ones."""
        end = self.first + self.count
        return x[:, :end], x[:, end:]

    def visible(self, kept: Tensor) -> Tensor:
        """Which query may look at which: bool ``[B,n,n]``, the key last.

        Noised and dense queries see as they always do. A matching query that is not kept sees only those
        that are.

        Args:
            kept: bool ``[B,Q]`` of the matching queries.
        """
        pair = kept[:, :, None] | kept[:, None, :]
        if self.noised is None:
            return pair
        pair = tf.pad(pair, [[0, 0], [self.first, 0], [self.first, 0]], constant_values=True)
        behind = [[0, 0], [0, self.dense], [0, self.dense]]
        seen = tf.pad(self.noised.visible(self.count) & pair, behind)
        is_dense = tf.range(tf.shape(seen)[1]) >= self.first + self.count
        return seen | (is_dense[:, None] & is_dense[None])
