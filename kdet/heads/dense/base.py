"""What all heads with a prediction at every cell share."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import Candidates, ImageInfo, LevelPrediction
from kdet.coordinates import original_boxes
from kdet.heads.base import Head
from kdet.layers import NoXla
from kdet.postprocess import INVALID_SCORE, PostProcess, keep_above, top_candidates
from kdet.priors.base import Shape
from kdet.typing import Maps, Tensor


def level_shapes(maps: Maps) -> list[Shape]:
    """``[(h, w), ...]`` of the maps ``[B,h,w,C]``; ints where known."""
    shapes = []
    for x in maps:
        dynamic = tf.shape(x)
        shapes.append(tuple(x.shape[i] if x.shape[i] is not None else dynamic[i] for i in (1, 2)))
    return shapes


def flatten_map(x: Tensor, channels: int) -> Tensor:
    """``[B,h,w,A*channels] -> [B,h*w*A,channels]`` float32."""
    x = tf.cast(x, tf.float32)
    rows = -1
    if None not in x.shape[1:]:
        rows = x.shape[1] * x.shape[2] * x.shape[3] // channels
    return tf.reshape(x, [tf.shape(x)[0], rows, channels])


def flatten_levels(maps: Maps, channels: int) -> Tensor:
    """All levels of one output, one after the other: ``[B,P,channels]`` float32."""
    return tf.concat([flatten_map(x, channels) for x in maps], 1)


class DenseHead(NoXla, Head):
    """A head that predicts scores and boxes at every cell of every level.

    Outputs are a tuple, each of them a tuple over the levels. Subclasses give ``call``, ``compute_losses``
    and the hooks ``level_predictions``, ``priors`` and ``decode_boxes`` of the inference flow below.

    Args:
        num_classes: classes without background.
        postprocess: ``PostProcess``.
    """

    def __init__(self, num_classes: int, postprocess: PostProcess | None = None, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or PostProcess(), **kwargs)

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        """Priors of every level, a list of ``[n,4]`` (boxes) or ``[n,k]`` (points)."""
        raise NotImplementedError(f"{type(self).__name__} must define priors().")

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        """What is predicted on every level, in their order."""
        raise NotImplementedError(f"{type(self).__name__} must define level_predictions().")

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        """Boxes ``[B,k,4]`` in network pixels from chosen priors and predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define decode_boxes().")

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        """Best candidates of all levels before suppression, in original pixels."""
        return self.located_candidates(outputs, info)[0]

    def located_candidates(self, outputs: Any, info: ImageInfo) -> tuple[Candidates, Tensor]:
        """The candidates, and the prior that each comes from: int32 ``[B,K]``, counted over all levels."""
        settings, first = self.postprocess, 0
        priors = self.priors(level_shapes(outputs[0]))
        found = []
        for level_priors, level in zip(priors, self.level_predictions(outputs), strict=True):
            scores, rows, labels = top_candidates(level.scores, settings.nms_pre)
            scores = keep_above(level.probability(scores), settings.score_threshold)
            if level.factor is not None:
                factor = tf.gather(level.factor, rows, batch_dims=1)
                scores = tf.where(scores > 0.0, scores * factor, scores)
            chosen = tf.gather(level_priors, rows)  # [B, k, 4]
            boxes = self.decode_boxes(chosen, tf.gather(level.regression, rows, batch_dims=1), info)
            found.append((boxes, scores, labels, rows + first))
            first += tf.shape(level_priors)[0]
        boxes, scores, labels, rows = (tf.concat(parts, 1) for parts in zip(*found))
        boxes = original_boxes(boxes, info)
        if settings.min_size is not None:
            longer = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] > float(settings.min_size), -1)
            scores = tf.where(longer, scores, INVALID_SCORE)
        return Candidates(boxes, scores, labels), rows
