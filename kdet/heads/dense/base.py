"""What all heads with a prediction at every cell share."""

import tensorflow as tf

from kdet.layers import Composite, NoXla
from kdet.postprocess import PostProcess, keep_above, top_candidates
from kdet.structures import original_boxes


def level_shapes(maps):
    """``[(h, w), ...]`` of the maps ``[B,h,w,C]``; ints where known."""
    shapes = []
    for x in maps:
        dynamic = tf.shape(x)
        shapes.append(tuple(x.shape[i] if x.shape[i] is not None else dynamic[i] for i in (1, 2)))
    return shapes


def flatten_map(x, channels):
    """``[B,h,w,A*channels] -> [B,h*w*A,channels]`` float32."""
    x = tf.cast(x, tf.float32)
    rows = -1
    if None not in x.shape[1:]:
        rows = x.shape[1] * x.shape[2] * x.shape[3] // channels
    return tf.reshape(x, [tf.shape(x)[0], rows, channels])


def flatten_levels(maps, channels):
    """All levels of one output, one after the other: ``[B,P,channels]`` float32."""
    return tf.concat([flatten_map(x, channels) for x in maps], 1)


class DenseHead(NoXla, Composite):
    """A head that predicts scores and boxes at every cell of every level.

    Subclasses give ``call(features) -> tuple of outputs`` (each a tuple over levels), ``compute_losses`` and
    the hooks ``level_predictions``, ``priors`` and ``decode_boxes`` of the inference flow below.

    Args:
        num_classes: classes without background.
        postprocess: ``PostProcess``.
    """

    def __init__(self, num_classes, postprocess=None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.postprocess = postprocess or PostProcess()

    def priors(self, shapes):
        """Priors of every level, a list of ``[n,4]`` (boxes) or ``[n,k]`` (points)."""
        raise NotImplementedError(f"{type(self).__name__} must define priors().")

    def level_predictions(self, outputs):
        """Per level ``(scores [B,n,C], rank, regression [B,n,R], factor [B,n] or None)``.

        ``rank`` is the function that turns the ranked values into probabilities (identity when they
        are probabilities already); it must be monotone.
        """
        raise NotImplementedError(f"{type(self).__name__} must define level_predictions().")

    def decode_boxes(self, priors, regression, info):
        """Boxes ``[B,k,4]`` in network pixels from chosen priors and predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define decode_boxes().")

    def candidates(self, outputs, info):
        """Best candidates of all levels before suppression, in original pixels.

        Returns:
            ``(boxes [B,K,4], scores [B,K], labels [B,K])``.
        """
        settings = self.postprocess
        priors = self.priors(level_shapes(outputs[0]))
        found = []
        for level_priors, (scores, probability, regression, factor) in zip(
            priors, self.level_predictions(outputs), strict=True
        ):
            scores, rows, labels = top_candidates(scores, settings.nms_pre)
            scores = keep_above(probability(scores), settings.score_threshold)
            if factor is not None:
                factor = tf.gather(factor, rows, batch_dims=1)
                scores = tf.where(scores > 0.0, scores * factor, scores)
            chosen = tf.gather(level_priors, rows)  # [B, k, 4]
            boxes = self.decode_boxes(chosen, tf.gather(regression, rows, batch_dims=1), info)
            found.append((boxes, scores, labels))
        boxes, scores, labels = (tf.concat(parts, 1) for parts in zip(*found))
        return original_boxes(boxes, info), scores, labels

    def suppress(self, boxes, scores, labels):
        """Detections from candidates (of one view of the images, or of several)."""
        return self.postprocess(boxes, scores, labels)

    def decode(self, outputs, info):
        """Detections in original pixels from the outputs of ``call``."""
        return self.suppress(*self.candidates(outputs, info))
