"""Losses on the distributions of edges (Peng et al., 2024, arXiv:2410.13842)."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.heads.query.dfine_decoder import bin_places
from kdet.heads.query.quality_criterion import QualityCriterion
from kdet.layers import replica_mean
from kdet.registry import register
from kdet.typing import Tensor


def edge_distances(frames: Tensor, corners: Tensor, reg_scale: Tensor) -> Tensor:
    """Distances ``[...,4]`` of boxes' edges from those of frames; the inverse of ``boxes_of``.

    Args:
        frames: ``[...,4]`` (cx, cy, w, h).
        corners: ``[...,4]`` xyxy.
    """
    center, unit = tf.tile(frames[..., :2], [1] * (frames.shape.rank - 1) + [2]), frames[..., 2:] / reg_scale
    unit = tf.concat([unit, unit], -1) + 1e-16
    outwards = tf.constant([-1.0, -1.0, 1.0, 1.0])
    return (corners - center) * outwards / unit - 0.5 * reg_scale


def soft_bins(distances: Tensor, places: Tensor) -> Tensor:
    """Distances as distributions over the two bins around each: ``[...] -> [...,bins+1]``."""
    bins = places.shape[0] - 1
    left = tf.reduce_sum(tf.cast(places <= distances[..., None], tf.int32), -1) - 1
    inside = tf.clip_by_value(left, 0, bins - 1)
    low, high = tf.gather(places, inside), tf.gather(places, inside + 1)
    share = tf.clip_by_value((distances - low) / (high - low), 0.0, 1.0)
    near = tf.one_hot(inside, bins + 1) * (1.0 - share[..., None])
    return near + tf.one_hot(inside + 1, bins + 1) * share[..., None]


@register
class DistributionCriterion(QualityCriterion):
    """``QualityCriterion`` with two losses on the distributions of all layers.

    ``loss_fgl``: cross entropy of matched queries with the bins around their objects' edges, weighed by the
    IoU. ``loss_ddf``: every layer learns the last layer's distributions, weighed by the IoU of the matched
    and the score of the others.

    Args:
        fgl_weight, ddf_weight: of the two.
        temperature: of the distributions that are learned.
        union: boxes and distributions of every layer learn the matches of all of them: a query that was
            matched with several objects, the one that most layers gave it (DEIM).
        other arguments: see ``QualityCriterion``.
    """

    def __init__(
        self,
        fgl_weight: float = 0.15,
        ddf_weight: float = 1.5,
        temperature: float = 5.0,
        union: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.union = union
        self.fgl_weight, self.ddf_weight, self.temperature = fgl_weight, ddf_weight, temperature

    def for_boxes(self, assignments: list[Assignment], targets: Targets) -> list[Assignment]:
        """The assignments that boxes and distributions learn, per layer, from those of all layers."""
        if not self.union:
            return assignments
        objects = targets["labels"].shape[1] or tf.shape(targets["labels"])[1]
        votes = tf.add_n([tf.one_hot(one.gt_index, objects) for one in assignments])  # [B, Q, G]
        best = tf.cast(tf.argmax(votes, -1), tf.int32)
        chosen = tf.where(tf.reduce_max(votes, -1) > 0.0, best, -1)
        return [Assignment(chosen, assignments[0].weight)] * len(assignments)

    def apart(
        self,
        logits: list[Tensor],
        boxes: list[Tensor],
        assignments: list[Assignment],
        of_boxes: list[Assignment],
        targets: Targets,
        info: ImageInfo,
    ) -> list[Losses]:
        """The losses of several sets whose classes and boxes learn by different assignments."""
        size = size_as_box(info["valid_size"])
        counts = [
            replica_mean(tf.reduce_sum(tf.cast(one[0].positive, tf.float32)))
            for one in (assignments, of_boxes)
        ]
        return [
            {
                **self.class_loss(logit, box, own, targets, size, counts[0]),
                **self.box_losses(box, other, targets, size, counts[1]),
            }
            for logit, box, own, other in zip(logits, boxes, assignments, of_boxes, strict=True)
        ]

    def edge_losses(
        self,
        edges: list[Tensor],
        frames: list[Tensor],
        boxes: list[Tensor],
        teacher: tuple[Tensor, Tensor],
        assignments: list[Assignment],
        targets: Targets,
        info: ImageInfo,
        places: tuple[Tensor, Tensor],
    ) -> list[Losses]:
        """The two losses of several layers.

        Args:
            edges: per layer ``[B,Q,4*(bins+1)]``.
            frames, boxes: per layer ``[B,Q,4]`` in 0..1: what edges are distances from; the boxes whose IoU
                counts.
            teacher: logits ``[B,Q,C]`` and edges of the last layer.
            assignments: per layer.
            targets, info: as in a call.
            places: ``up`` and ``reg_scale``, ``[1]`` each.
        """
        size = size_as_box(info["valid_size"])
        matched = replica_mean(tf.reduce_sum(tf.cast(assignments[0].positive, tf.float32)))
        count, losses = tf.maximum(matched, 1.0), []
        up, reg_scale = places
        for edge, frame, box, assignment in zip(edges, frames, boxes, assignments, strict=True):
            positive = tf.cast(assignment.positive, tf.float32)
            truth = assignment.gather(targets["boxes"])
            overlap = geometry.aligned_iou(geometry.from_center_size(box) * size, truth)
            overlap = tf.stop_gradient(overlap) * positive
            bins = edge.shape[-1] // 4 - 1
            distances = edge_distances(frame, truth / size, reg_scale)
            wanted = tf.stop_gradient(soft_bins(distances, bin_places(bins, up, reg_scale)))
            shape = [*tf.unstack(tf.shape(edge)[:2]), 4, bins + 1]
            entropy = -tf.reduce_sum(wanted * tf.nn.log_softmax(tf.reshape(edge, shape)), -1)
            local = tf.reduce_sum(tf.where(positive > 0.0, tf.reduce_sum(entropy, -1) * overlap, 0.0)) / count
            losses.append(
                {
                    "loss_fgl": self.fgl_weight * local,
                    "loss_ddf": self.ddf_weight
                    * self.distilled(tf.reshape(edge, shape), teacher, overlap, assignment),
                }
            )
        return losses

    def distilled(
        self, edges: Tensor, teacher: tuple[Tensor, Tensor], overlap: Tensor, assignment: Assignment
    ) -> Tensor:
        """How far distributions ``[B,Q,4,bins+1]`` are from the teacher's."""
        logits, taught = teacher
        heat = self.temperature
        wanted = tf.stop_gradient(tf.nn.log_softmax(tf.reshape(taught, tf.shape(edges)) / heat))
        found = tf.nn.log_softmax(edges / heat)
        apart = tf.reduce_sum(tf.reduce_sum(tf.exp(wanted) * (wanted - found), -1), -1) * heat**2  # [B, Q]
        score = tf.stop_gradient(tf.reduce_max(tf.sigmoid(tf.cast(logits, tf.float32)), -1))
        weight = tf.where(assignment.positive, overlap, score)
        batch = tf.cast(tf.shape(edges)[0], tf.float32)
        means, shares = [], []
        for chosen in (assignment.positive, assignment.negative):
            number = 4.0 * tf.reduce_sum(tf.cast(chosen, tf.float32))
            total = tf.reduce_sum(tf.where(chosen, apart * weight, 0.0))
            means.append(total / tf.maximum(number, 1.0))
            shares.append(tf.sqrt(number / batch))
        return (means[0] * shares[0] + means[1] * shares[1]) / tf.maximum(shares[0] + shares[1], 1e-9)
