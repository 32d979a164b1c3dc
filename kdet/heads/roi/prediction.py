"""How second stages come to detections, from one view of the images or from several."""

from typing import NamedTuple

import tensorflow as tf

from kdet.postprocess import INVALID_SCORE, keep_above
from kdet.structures import is_real_box, original_boxes, upright_masks


class View(NamedTuple):
    """The images of a batch as the network saw them once.

    Attributes:
        features: tuple of ``[B,h,w,C]``.
        proposals: ``[B,N,4]`` in pixels of this view; zero area is padding. Row n is the same region of the
            image in all views.
        info: ImageInfo of this view.
    """

    features: tuple
    proposals: tf.Tensor
    info: dict


class Prediction:
    """Inference of a second stage: mixed into its layer.

    Expects ``postprocess`` and ``has_masks``, ``predict_boxes(features, proposals, info) -> (scores
    [B,N,classes], boxes [B,N,classes or 1,4] in network pixels, confidence [B*N] or None)`` and
    ``predict_masks(features, detections, info) -> {"masks": [B,N,m,m], ...}``.
    """

    def with_context(self, features):
        """The maps that the other methods get; heads with branches on the whole image add theirs."""
        return features

    def predict(self, features, proposals, info):
        """Detections in original pixels.

        Args:
            features: tuple of ``[B,h,w,C]``.
            proposals: ``[B,N,4]``; zero area is padding.
            info: ImageInfo.
        """
        return self.predict_views([View(features, proposals, info)])

    def predict_views(self, views):
        """Detections in original pixels: scores, boxes and masks are means over the views (``View``).

        How sure a head is of its boxes (``confidence``) counts with a single view only: so the published
        procedure is.
        """
        views = [view._replace(features=self.with_context(view.features)) for view in views]
        scores, boxes, confidence = zip(*(self.predict_boxes(*view) for view in views))
        boxes = [class_boxes_in_image(b, view.info) for b, view in zip(boxes, views)]
        confidence = confidence[0] if len(views) == 1 else None
        detections = suppress(self.postprocess, mean(scores), mean(boxes), views[0].proposals, confidence)
        if self.has_masks:
            found = [self.predict_masks(view.features, detections, view.info) for view in views]
            for one, view in zip(found, views):
                one["masks"] = upright_masks(one["masks"], view.info)
            detections.update({name: mean([one[name] for one in found]) for name in found[0]})
        return detections


def mean(values):
    """Mean of tensors of one shape."""
    return values[0] if len(values) == 1 else tf.add_n(list(values)) / len(values)


def class_boxes_in_image(boxes, info):
    """Boxes ``[B,N,classes,4]`` in network pixels as boxes in original pixels."""
    shape = tf.shape(boxes)
    flat = original_boxes(tf.reshape(boxes, [shape[0], -1, 4]), info)
    return tf.ensure_shape(tf.reshape(flat, shape), boxes.shape)


def suppress(postprocess, scores, boxes, proposals, confidence=None):
    """Class-wise suppression over all (region, class) pairs.

    Args:
        postprocess: ``PostProcess``.
        scores: ``[B,N,classes]``.
        boxes: ``[B,N,classes or 1,4]`` in original pixels.
        proposals: ``[B,N,4]``; rows of zero area give no detections.
        confidence: ``[B*N]``, factors of the scores that pass the threshold, or None.

    Returns:
        Detections.
    """
    scores = keep_above(scores, postprocess.score_threshold)
    shape = tf.shape(scores)
    if confidence is not None:
        factors = tf.reshape(confidence, [shape[0], shape[1], 1])
        scores = tf.where(scores > 0.0, scores * factors, scores)
    scores = tf.where(is_real_box(proposals)[..., None], scores, INVALID_SCORE)
    boxes = tf.broadcast_to(boxes, tf.concat([shape, [4]], 0))
    labels = tf.broadcast_to(tf.range(shape[2]), shape)
    pairs = -1 if scores.shape[1] is None else scores.shape[1] * scores.shape[2]
    boxes = tf.reshape(boxes, [shape[0], pairs, 4])
    scores, labels = (tf.reshape(x, [shape[0], pairs]) for x in (scores, labels))
    return postprocess(boxes, scores, labels)
