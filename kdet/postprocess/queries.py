"""Detections of models that need no suppression."""

import tensorflow as tf

from kdet.contract import Detections, ImageInfo
from kdet.coordinates import original_boxes
from kdet.postprocess.candidates import top_candidates
from kdet.registry import Component, register
from kdet.typing import Tensor


@register
class TopQueries(Component):
    """The best scores are the detections.

    Args:
        max_per_image: how many.
        one_label: a query gives its best class only.
    """

    def __init__(self, max_per_image: int = 100, one_label: bool = False) -> None:
        self.max_per_image, self.one_label = max_per_image, one_label

    def __call__(self, scores: Tensor, boxes: Tensor, info: ImageInfo) -> Detections:
        """Detections in original pixels.

        Args:
            scores: probabilities ``[B,Q,C]``.
            boxes: ``[B,Q,4]`` in network pixels.
            info: ImageInfo.
        """
        return self.detections(boxes, self.best(scores), info)

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, queries and labels of the detections, ``[B,K]`` each, from probabilities ``[B,Q,C]``."""
        if self.one_label:
            best = tf.argmax(scores, -1)
            scores = tf.where(tf.one_hot(best, scores.shape[-1], True, False), scores, -1.0)
        scores, rows, labels = top_candidates(scores, self.max_per_image)
        if self.one_label:  # the other classes of a query are no candidates
            queries = min(self.max_per_image, best.shape[1])
            scores, rows, labels = scores[:, :queries], rows[:, :queries], labels[:, :queries]
        return scores, rows, labels

    def detections(self, boxes: Tensor, best: tuple[Tensor, Tensor, Tensor], info: ImageInfo) -> Detections:
        """Detections in original pixels from what ``best`` gave."""
        scores, rows, labels = best
        return {
            "boxes": original_boxes(tf.gather(boxes, rows, batch_dims=1), info),
            "scores": scores,
            "labels": labels,
            "num_detections": tf.fill([tf.shape(scores)[0]], tf.shape(scores)[1]),
        }
