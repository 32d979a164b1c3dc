"""Segments of an image that do not overlap, from the masks of queries (MaskFormer, Cheng et al., 2021)."""

from typing import NamedTuple

import tensorflow as tf

from kdet.contract import PADDING_LABEL, Detections, ImageInfo
from kdet.heads.mask.own_size import OwnSizes, mask_boxes
from kdet.postprocess import top_candidates
from kdet.registry import Component, register
from kdet.typing import Tensor


class Segments(NamedTuple):
    """The segments of one image, or of a batch with ``B`` in front of all axes.

    Attributes:
        panoptic: int32 ``[H,W]``, 0 where no segment is, else 1 + its row in the other attributes.
        labels: int32 ``[S]``, -1 for padding.
        scores: float32 ``[S]``.
        areas: int32 ``[S]`` in pixels.
    """

    panoptic: Tensor
    labels: Tensor
    scores: Tensor
    areas: Tensor

    def as_detections(self) -> Detections:
        """The keys of the data contract."""
        return {  # type: ignore[typeddict-item]  # the other keys are for the caller to add
            "panoptic": self.panoptic,
            "segment_labels": self.labels,
            "segment_scores": self.scores,
            "segment_areas": self.areas,
        }


def pixels_of(owner: Tensor, rows: Tensor) -> Tensor:
    """Pixels of a map ``[H,W]`` that have each of the numbers ``rows [Q]``: int32 ``[Q]``."""
    return tf.reduce_sum(tf.cast(owner[..., None] == rows, tf.int32), [0, 1])


def numbered(owner: Tensor, labels: Tensor, scores: Tensor, is_stuff: Tensor) -> Segments:
    """Segments from the candidates that own the pixels.

    Those of one class of stuff become one segment with the best of their scores.

    Args:
        owner: int32 ``[H,W]``, row of a candidate, -1 for none.
        labels: int32 ``[Q]`` of the candidates.
        scores: ``[Q]``.
        is_stuff: bool ``[Q]``.
    """
    count = tf.shape(labels)[0]
    rows = tf.range(count)
    areas = pixels_of(owner, rows)
    there = areas > 0
    same = (labels[:, None] == labels) & is_stuff[:, None] & is_stuff & there  # [Q, Q]
    first = tf.where(is_stuff & there, tf.argmax(tf.cast(same, tf.int32), -1, tf.int32), rows)
    leads = there & (first == rows)
    number = tf.cumsum(tf.cast(leads, tf.int32))  # of the segment, from 1 on, where a row leads one
    own = tf.where(there, tf.gather(number, first), 0)
    panoptic = tf.where(owner >= 0, tf.gather(own, tf.maximum(owner, 0)), 0)

    def of_segments(values: Tensor, filler: float) -> Tensor:
        place = tf.where(leads, number - 1, count)  # rows that lead none go to one that is cut off
        rows = tf.fill([count + 1], tf.cast(filler, values.dtype))
        return tf.tensor_scatter_nd_update(rows, place[:, None], tf.where(leads, values, rows[:-1]))[:-1]

    best = tf.reduce_max(tf.where(same, scores, 0.0), -1)
    total = tf.reduce_sum(tf.where(same, areas, 0), -1)
    return Segments(
        panoptic,
        of_segments(labels, PADDING_LABEL),
        of_segments(tf.where(is_stuff, best, scores), 0.0),
        of_segments(tf.where(is_stuff, total, areas), 0),
    )


@register
class MaskQueries(Component):
    """From classes and masks of queries to instances and to panoptic segments.

    Args:
        instances: whether there are detections with masks.
        panoptic: whether there are panoptic segments.
        max_per_image: instances of one image.
        object_threshold: queries take part in the panoptic segments with a higher score.
        overlap_threshold: least share of its mask that a query must win against the others.
        drop_unsure: pixels belong to no segment where the winner's mask is below one half (Mask2Former).
    """

    def __init__(
        self,
        instances: bool = True,
        panoptic: bool = True,
        max_per_image: int = 100,
        object_threshold: float = 0.8,
        overlap_threshold: float = 0.8,
        drop_unsure: bool = True,
    ) -> None:
        self.instances, self.panoptic, self.max_per_image = instances, panoptic, max_per_image
        self.object_threshold, self.overlap_threshold = object_threshold, overlap_threshold
        self.drop_unsure = drop_unsure

    def __call__(
        self, logits: Tensor, masks: Tensor, info: ImageInfo, canvas: Tensor, num_stuff: int
    ) -> Detections:
        """Detections and segments in original pixels.

        Args:
            logits: ``[B,Q,C+1]``, the last class is none, the ``num_stuff`` before it are stuff.
            masks: logits ``[B,h,w,Q]``.
            info: ImageInfo.
            canvas: int32 ``[2]``, height and width of the network's input.
            num_stuff: see ``logits``.
        """
        own, things = OwnSizes(info, canvas), logits.shape[-1] - 1 - num_stuff
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
        queries, maps = logits.shape[1], tf.TensorSpec([None, None], tf.int32)

        def one(valid: Tensor, size: Tensor, probabilities: Tensor, masks: Tensor) -> dict[str, Tensor]:
            masks = own.resized(masks, valid, size)  # [H, W, Q]
            found = {}
            if self.instances:
                inside = tf.cast(masks > 0.0, tf.float32)
                sureness = tf.reduce_sum(tf.sigmoid(masks) * inside, [0, 1])
                found["sureness"] = sureness / (tf.reduce_sum(inside, [0, 1]) + 1e-6)
                inside = tf.transpose(tf.cast(inside, tf.uint8), [2, 0, 1])
                found["masks"] = own.filled(inside, size)
            if self.panoptic:
                segments = self.fuse(probabilities, tf.sigmoid(masks), things)
                found.update(segments.as_detections())
                found["panoptic"] = own.filled(segments.panoptic, size)
            return found

        specs = {}
        if self.instances:
            specs["sureness"] = tf.TensorSpec([queries], tf.float32)
            specs["masks"] = tf.TensorSpec([queries, None, None], tf.uint8)
        if self.panoptic:
            rows = [tf.TensorSpec([queries], dtype) for dtype in (tf.int32, tf.float32, tf.int32)]
            specs.update(Segments(maps, *rows).as_detections())
        found = own.each(one, [probabilities, masks], specs)
        instances = self.chosen(probabilities, found, things)
        return {**found, **instances}

    def chosen(self, probabilities: Tensor, found: dict[str, Tensor], things: int) -> Detections:
        """The instances among the queries, from their masks and how sure these are of themselves.

        Takes ``masks`` of the queries and ``sureness`` out of ``found``.
        """
        batch = tf.shape(probabilities)[0]
        if not self.instances:
            return {
                "boxes": tf.zeros([batch, 0, 4]),
                "scores": tf.zeros([batch, 0]),
                "labels": tf.zeros([batch, 0], tf.int32),
                "num_detections": tf.zeros([batch], tf.int32),
            }
        scores, rows, labels = top_candidates(probabilities[..., :-1], self.max_per_image)
        scores = scores * tf.gather(found.pop("sureness"), rows, batch_dims=1)
        # stuff among the best takes the place of instances, as in MMDetection
        scores, order = tf.math.top_k(tf.where(labels < things, scores, -1.0), scores.shape[1])
        rows, labels = (tf.gather(x, order, batch_dims=1) for x in (rows, labels))
        real = scores >= 0.0
        masks = tf.gather(found.pop("masks"), rows, batch_dims=1)
        masks = tf.where(real[..., None, None], masks, tf.zeros([], tf.uint8))
        return {
            "boxes": mask_boxes(masks),
            "scores": tf.where(real, scores, 0.0),
            "labels": tf.where(real, labels, PADDING_LABEL),
            "num_detections": tf.reduce_sum(tf.cast(real, tf.int32), 1),
            "masks": masks,
        }

    def fuse(self, probabilities: Tensor, masks: Tensor, things: int) -> Segments:
        """Segments of one image.

        Args:
            probabilities: ``[Q,C+1]``.
            masks: probabilities ``[H,W,Q]`` in the image's own size.
            things: number of the first class of stuff.
        """
        labels = tf.argmax(probabilities, -1, tf.int32)
        scores = tf.reduce_max(probabilities, -1)
        kept = (labels < probabilities.shape[-1] - 1) & (scores > self.object_threshold)
        contest = tf.where(kept, scores * masks, -1.0)
        owner = tf.argmax(contest, -1, tf.int32)  # [H, W]
        queries = tf.shape(labels)[0]
        won = pixels_of(owner, tf.range(queries))
        claimed = tf.reduce_sum(tf.cast(masks >= 0.5, tf.int32), [0, 1])
        share = tf.cast(won, tf.float32) / tf.cast(tf.maximum(claimed, 1), tf.float32)
        kept &= (claimed > 0) & (share >= self.overlap_threshold)
        there = tf.gather(kept, owner)
        if self.drop_unsure:
            there &= tf.gather(masks, owner, batch_dims=2) >= 0.5
        return numbered(tf.where(there, owner, -1), labels, scores, labels >= things)
