"""What detectors ask of their second stages, and how these come to detections."""

from collections.abc import Sequence
from typing import Any, cast

import tensorflow as tf

from kdet.contract import Candidates, Detections, ImageInfo, RoIView, Targets
from kdet.coordinates import original_boxes, upright_masks
from kdet.geometry import is_real_box
from kdet.heads.base import Losses
from kdet.layers import Composite
from kdet.postprocess import INVALID_SCORE, PostProcess, keep_above
from kdet.typing import Maps


class RoIHead(Composite):
    """A second stage: losses of proposals, and detections from one view of the images or from several.

    A subclass gives ``num_classes``, ``compute_losses``, ``predict_boxes`` and, where it has masks,
    ``predict_masks``.

    Args:
        postprocess: ``PostProcess`` of the detections.
    """

    def __init__(self, postprocess: PostProcess | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.postprocess = postprocess or PostProcess()

    @property
    def has_masks(self) -> bool:
        """Whether its detections have masks."""
        return False

    @property
    def mask_threshold(self) -> float:
        """Probability from which a pixel belongs to the object."""
        return 0.5

    @property
    def num_classes(self) -> int:
        """Classes without background."""
        raise NotImplementedError(f"{type(self).__name__} must define num_classes.")

    def compute_losses(
        self, features: Maps, proposals: tf.Tensor, targets: Targets, info: ImageInfo
    ) -> Losses:
        """Losses of the second stage by name.

        Args:
            features: tuple of ``[B,h,w,C]``.
            proposals: ``[B,P,4]`` in network pixels; zero area is padding.
            targets: the objects.
            info: ImageInfo with ``seed``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compute_losses().")

    def predict_boxes(
        self, features: Maps, proposals: tf.Tensor, info: ImageInfo
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Scores, boxes and confidence of regions.

        Returns:
            ``(scores [B,N,classes], boxes [B,N,classes or 1,4], confidence [B*N] or None)``; boxes are in
            network pixels, the last are factors of the scores, see ``BBoxHead.confidence``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict_boxes().")

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, tf.Tensor]:
        """``{"masks": [B,N,m,m]}``, probabilities in the frames of the detected boxes (original pixels)."""
        raise NotImplementedError(f"{type(self).__name__} has no masks.")

    def with_context(self, features: Maps) -> Maps:
        """The maps that the other methods get; heads with branches on the whole image add theirs."""
        return features

    def build_on(self, features: Maps, proposals: tf.Tensor, info: ImageInfo) -> None:
        """Call every branch once.

        Args:
            features: tuple of ``[1,h,w,C]``.
            proposals: one region, ``[1,1,4]`` in network pixels.
            info: ImageInfo.
        """
        features = self.with_context(features)
        self.predict_boxes(features, proposals, info)
        if self.has_masks:
            found: Detections = {
                "boxes": original_boxes(proposals, info),
                "scores": tf.ones([1, 1]),
                "labels": tf.zeros([1, 1], tf.int32),
                "num_detections": tf.ones([1], tf.int32),
            }
            self.predict_masks(features, found, info)

    def predict(
        self,
        features: Maps,
        proposals: tf.Tensor,
        info: ImageInfo,
        postprocess: PostProcess | None = None,
    ) -> Detections:
        """Detections in original pixels.

        Args:
            features: tuple of ``[B,h,w,C]``.
            proposals: ``[B,N,4]``; zero area is padding.
            info: ImageInfo.
            postprocess: in the place of the head's own.
        """
        return self.predict_views([RoIView(features, proposals, info)], postprocess)

    def predict_views(self, views: list[RoIView], postprocess: PostProcess | None = None) -> Detections:
        """Detections in original pixels: scores, boxes and masks are means over the views (``RoIView``).

        ``postprocess`` may take the place of the head's own. How sure a head is of its boxes (``confidence``)
        counts with a single view only, as in MMDetection.
        """
        views = [view._replace(features=self.with_context(view.features)) for view in views]
        scores, boxes, factors = zip(*(self.predict_boxes(*view) for view in views))
        placed = [class_boxes_in_image(b, view.info) for b, view in zip(boxes, views)]
        confidence = factors[0] if len(views) == 1 else None
        rule = postprocess or self.postprocess
        detections = self.suppress(rule, mean(scores), mean(placed), views[0].proposals, confidence)
        if self.has_masks:
            found = [self.predict_masks(view.features, detections, view.info) for view in views]
            for one, view in zip(found, views):
                one["masks"] = upright_masks(one["masks"], view.info)
            masks = {name: mean([one[name] for one in found]) for name in found[0]}
            detections = cast(Detections, {**detections, **masks})
        return detections

    def suppress(
        self,
        postprocess: PostProcess,
        scores: tf.Tensor,
        boxes: tf.Tensor,
        proposals: tf.Tensor,
        confidence: tf.Tensor | None = None,
    ) -> Detections:
        """Detections from what ``predict_boxes`` gives; see :func:`suppress`."""
        return suppress(postprocess, scores, boxes, proposals, confidence)


def mean(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Mean of tensors of one shape."""
    return values[0] if len(values) == 1 else tf.add_n(list(values)) / len(values)


def class_boxes_in_image(boxes: tf.Tensor, info: ImageInfo) -> tf.Tensor:
    """Boxes ``[B,N,classes,4]`` in network pixels as boxes in original pixels."""
    shape = tf.shape(boxes)
    flat = original_boxes(tf.reshape(boxes, [shape[0], -1, 4]), info)
    return tf.ensure_shape(tf.reshape(flat, shape), boxes.shape)


def suppress(
    postprocess: PostProcess,
    scores: tf.Tensor,
    boxes: tf.Tensor,
    proposals: tf.Tensor,
    confidence: tf.Tensor | None = None,
    classes: tf.Tensor | None = None,
) -> Detections:
    """Class-wise suppression over all (region, class) pairs.

    Args:
        postprocess: ``PostProcess``.
        scores: ``[B,N,classes]``.
        boxes: ``[B,N,classes or 1,4]`` in original pixels.
        proposals: ``[B,N,4]``; rows of zero area give no detections.
        confidence: ``[B*N]``, factors of the scores that pass the threshold, or None.
        classes: int32 ``[classes]``, of the columns of ``scores``; their numbers when None.

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
    labels = tf.broadcast_to(tf.range(shape[2]) if classes is None else classes, shape)
    pairs = -1 if scores.shape[1] is None else scores.shape[1] * scores.shape[2]
    boxes = tf.reshape(boxes, [shape[0], pairs, 4])
    scores, labels = (tf.reshape(x, [shape[0], pairs]) for x in (scores, labels))
    return postprocess(Candidates(boxes, scores, labels))
