"""Deformable DETR, plain, with box refinement and in two stages (Zhu et al., 2021)."""

import functools
from typing import Any

import keras
import tensorflow as tf

from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.towers import prior_bias
from kdet.heads.query.base import QueryHead, valid_cells
from kdet.heads.query.deformable_transformer import valid_ratios
from kdet.layers import Embedding, Linear, apply_list
from kdet.registry import register
from kdet.typing import Maps, Tensor


def inverse_sigmoid(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Logits of probabilities, which are kept ``epsilon`` away from 0 and 1."""
    x = tf.clip_by_value(x, 0.0, 1.0)
    return tf.math.log(tf.maximum(x, epsilon) / tf.maximum(1.0 - x, epsilon))


def move(references: Tensor, deltas: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Boxes ``[...,4]`` in 0..1: references ``[...,2 or 4]`` moved by ``deltas [...,4]`` in logits.

    References are kept ``epsilon`` away from 0 and 1.
    """
    start = inverse_sigmoid(references, epsilon)
    if references.shape[-1] == 2:
        start = tf.concat([start, tf.zeros_like(start)], -1)
    return tf.sigmoid(tf.cast(deltas, tf.float32) + start)


def box_branch(units: int, first_size: float) -> list[keras.Layer | None]:
    """Three dense layers, at their places in the checkpoint's sequence; ``first_size``: bias of w and h."""
    first = keras.initializers.Constant([0.0, 0.0, first_size, first_size])
    last = Linear(4, kernel_initializer="zeros", bias_initializer=first)
    return [Linear(units), None, Linear(units), None, last]


@register
class DeformableDETRHead(QueryHead):
    """Deformable transformer on all levels; boxes are moves of references.

    Args:
        num_queries: number of queries.
        refine: every decoder layer has branches of its own and starts from the boxes of the one before.
        two_stage: queries start from the encoder's best cells (the transformer's ``two_stage`` too).
        other arguments: see ``QueryHead``.

    Outputs: ``(logits [L,B,Q,classes], boxes [L,B,Q,4])``, in two stages also those of
    all cells, ``[B,S,...]``.
    """

    def __init__(
        self, num_queries: int = 300, refine: bool = False, two_stage: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_queries, self.refine, self.two_stage = num_queries, refine, two_stage
        units, count = self.transformer.units, len(self.transformer.decoder.layers) + two_stage
        sizes = [-2.0 if i == 0 and not two_stage else 0.0 for i in range(count if refine else 1)]
        self.cls_branches = [Linear(self.num_classes, bias_initializer=prior_bias()) for _ in sizes]
        self.reg_branches = [box_branch(units, size) for size in sizes]
        if not refine:  # the same layers under every index
            self.cls_branches, self.reg_branches = self.cls_branches * count, self.reg_branches * count
        if not two_stage:
            self.query_embedding = Embedding(num_queries, 2 * units)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        masks = self.dropout_masks(info, training)
        valid = [valid_cells(x, info) for x in features]
        positions = [self.position(v) for v in valid]
        memory, levels = self.transformer.encode(features, valid, positions, masks=masks)
        cells: tuple[Tensor, ...] = ()
        if self.two_stage:
            cells, references = self.best_cells(memory, valid, levels)
            query, query_pos = self.transformer.queries_from(references)
        else:
            query_pos, query = tf.split(self.query_embedding(memory), 2, axis=-1)
            references = tf.sigmoid(tf.cast(self.transformer.reference_points(query_pos), tf.float32))
        states, boxes = self.transformer.decoder(
            query,
            memory,
            query_pos=query_pos,
            references=references,
            ratios=valid_ratios(valid),
            levels=levels,
            refine=[functools.partial(self.boxes, i) for i in range(len(self.reg_branches))]
            if self.refine
            else None,
            masks=masks,
        )
        states = tf.unstack(states)
        if not self.refine:
            boxes = tf.stack([self.boxes(i, x, references) for i, x in enumerate(states)])
        return tf.stack([branch(x) for branch, x in zip(self.cls_branches, states)]), boxes, *cells

    def boxes(self, index: int, state: Tensor, references: Tensor) -> Tensor:
        """Boxes ``[B,Q,4]`` of one decoder layer."""
        return move(references, apply_list(self.reg_branches[index], state))

    def best_cells(self, memory: Tensor, valid: Tensor, levels: Any) -> tuple[tuple[Any, Tensor], Tensor]:
        """Logits and boxes of all cells, and the boxes ``[B,Q,4]`` that the queries start from."""
        x, start = self.transformer.cell_proposals(memory, valid, levels)
        logits = self.cls_branches[-1](x)
        boxes = tf.sigmoid(tf.cast(apply_list(self.reg_branches[-1], x), tf.float32) + start)
        # the encoder learns one class only: whether there is an object
        count = min(self.num_queries, logits.shape[1] or self.num_queries)
        best = tf.math.top_k(tf.cast(logits[..., 0], tf.float32), count).indices
        return (logits, boxes), tf.stop_gradient(tf.gather(boxes, best, batch_dims=1))

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """As ``QueryHead``; in two stages also the losses of the cells, ``enc_loss_cls`` and so on."""
        losses = super().compute_losses(outputs, targets, info)
        if self.two_stage:
            labels = tf.minimum(targets["labels"], 0)
            logits, boxes = (x[None] for x in outputs[2:])
            (found,) = self.criterion(logits, boxes, {**targets, "labels": labels}, info)
            losses.update({f"enc_{name}": value for name, value in found.items()})
        return losses
