"""PAA: probabilistic anchor assignment (Kim & Lee, 2020, arXiv:2007.08103)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.assigners import MixtureSelection
from kdet.contract import Assignment, Candidates, Detections, ImageInfo, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses
from kdet.heads.dense.atss import ATSSHead
from kdet.heads.dense.base import flatten_levels, flatten_map, level_shapes
from kdet.layers import replica_mean
from kdet.postprocess import keep_above, top_rows
from kdet.priors import PriorGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Tensor

# votes count by exp(-(1 - IoU)^2 / VOTE_WIDTH), from this overlap on
VOTE_WIDTH, LEAST_VOTE = 0.025, 0.01


@register
class PAAHead(ATSSHead):
    """ATSS whose positives are chosen by how well the network does on them, and that predicts the IoU.

    Args:
        top_k: see ``MixtureSelection``.
        score_voting: boxes become the mean of their neighbors, weighted by score and overlap.
        max_candidates: pairs of box and class of one image that enter the suppression.
        other arguments: see ``ATSSHead``; the third output is the IoU, ``loss_centerness`` its loss.
    """

    def __init__(
        self,
        num_classes: int,
        anchor_generator: PriorGenerator,
        top_k: int = 9,
        score_voting: bool = True,
        max_candidates: int = 20000,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, anchor_generator=anchor_generator, **kwargs)
        self.selection = MixtureSelection(top_k)
        self.score_voting, self.max_candidates = score_voting, max_candidates

    # ---- training

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_bbox", "loss_iou"}``; boxes weigh as much as they overlap."""
        return self.chosen_losses(outputs, self.chosen(outputs, targets, info), targets)

    def predicted(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """Scores ``[B,P,C]`` and boxes ``[B,P,4]`` of all levels."""
        anchors = tf.concat(self.priors(level_shapes(outputs[0])), 0)
        decoded = self.coder.decode(anchors, flatten_levels(outputs[1], 4))
        return flatten_levels(outputs[0], self.num_classes), decoded

    def chosen(self, outputs: Any, targets: Targets, info: ImageInfo) -> Assignment:
        """Which anchor answers for which object, by what the network does on them."""
        shapes = level_shapes(outputs[0])
        assignment, _ = self.assign(tf.concat(self.priors(shapes), 0), shapes, targets, info)
        return self.select(*self.predicted(outputs), assignment, targets, shapes)

    def box_weight(self, overlap: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
        """Weights ``[B,P]`` of the boxes' loss, and its normalizer."""
        return tf.maximum(overlap, 1e-12) * positive, tf.reduce_sum(overlap)

    def chosen_losses(self, outputs: Any, assignment: Assignment, targets: Targets) -> Losses:
        """Losses by name, given which anchor answers for what."""
        scores, decoded = self.predicted(outputs)
        boxes, positive = assignment.gather(targets["boxes"]), tf.cast(assignment.positive, tf.float32)
        count = replica_mean(tf.reduce_sum(positive))
        images = tf.cast(tf.shape(scores)[0], tf.float32)
        overlap = tf.stop_gradient(geometry.aligned_iou(decoded, boxes)) * positive
        weight, total = self.box_weight(overlap, positive)
        labels = assignment.labels(targets, background=self.num_classes)
        predicted = flatten_levels(outputs[2], 1)[..., 0]
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, tf.maximum(count, images)),
            "loss_bbox": self.loss_bbox(decoded, boxes, weight, replica_mean(total)),
            "loss_iou": self.loss_centerness(predicted, overlap, positive, count),
        }

    def select(
        self,
        scores: Tensor,
        decoded: Tensor,
        assignment: Assignment,
        targets: Targets,
        shapes: Sequence[Shape],
    ) -> Assignment:
        """The assignment after the second step."""
        labels = assignment.labels(targets, background=self.num_classes)
        classification = tf.reduce_sum(self.loss_cls.elementwise(scores, labels), -1)
        box = self.loss_bbox.elementwise(decoded, assignment.gather(targets["boxes"]))
        losses = self.loss_cls.loss_weight * classification + self.loss_bbox.loss_weight * box
        sizes = [h * w * self.num_anchors for h, w in shapes]
        objects = tf.shape(targets["labels"])[1]
        return self.selection(assignment, tf.stop_gradient(losses), sizes, objects)

    # ---- inference

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        """As ``DenseHead``; the best anchors of every level with all their classes."""
        settings = self.postprocess
        levels = zip(self.priors(level_shapes(outputs[0])), *outputs, strict=True)
        boxes, scores = [], []
        for anchors, level_scores, deltas, overlap in levels:
            probability = tf.sigmoid(flatten_map(level_scores, self.num_classes))
            score = tf.sqrt(probability * tf.sigmoid(flatten_map(overlap, 1)))  # [B, n, C]
            _, rows = top_rows(tf.reduce_max(score, -1), settings.nms_pre)
            deltas = tf.gather(flatten_map(deltas, 4), rows, batch_dims=1)
            boxes.append(self.decode_boxes(tf.gather(anchors, rows), deltas, info))
            scores.append(tf.gather(score, rows, batch_dims=1))
        boxes, scores = tf.concat(boxes, 1), tf.concat(scores, 1)
        flat = tf.reshape(scores, [tf.shape(scores)[0], -1])
        scores, pairs = top_rows(flat, self.max_candidates)
        boxes = tf.gather(boxes, pairs // self.num_classes, batch_dims=1)
        scores = keep_above(scores, settings.score_threshold)
        return Candidates(original_boxes(boxes, info), scores, pairs % self.num_classes)

    def suppress(self, candidates: Candidates) -> Detections:
        """As ``DenseHead``, with voting."""
        found: Detections = self.postprocess(candidates)
        if self.score_voting:
            found["boxes"] = vote(found, candidates)
        return found


def vote(found: Detections, candidates: Candidates) -> tf.Tensor:
    """Boxes ``[B,N,4]`` of detections as means of the candidates ``[B,K]`` of their class around them."""
    boxes, scores, labels = candidates
    overlap = geometry.pairwise_iou(found["boxes"], boxes)  # [B, N, K]
    counts = (overlap > LEAST_VOTE) & (found["labels"][:, :, None] == labels[:, None]) & (scores > 0)[:, None]
    weight = tf.exp(-tf.square(1.0 - overlap) / VOTE_WIDTH) * scores[:, None]
    weight = tf.where(counts, weight, 0.0)
    # no matrix product: GPUs round those to ten bits, too few for pixels
    total = [tf.reduce_sum(weight * side[:, None], -1) for side in tf.unstack(boxes, axis=-1)]
    return tf.math.divide_no_nan(tf.stack(total, -1), tf.reduce_sum(weight, -1, keepdims=True))
