"""Region proposal network (Ren et al., 2015)."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from kdet.coders import Coder
from kdet.contract import PADDING_LABEL, Detections, ImageInfo, Proposals, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses, ProposalHead
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.base import flatten_map, level_shapes
from kdet.heads.dense.towers import apply_tower
from kdet.layers import Conv2D, ConvModule
from kdet.postprocess import INVALID_SCORE, ProposalSelection, top_rows
from kdet.registry import register
from kdet.typing import Maps


@register
class RPNHead(AnchorHead):
    """Objectness and deltas of anchors; makes the proposals of two-stage detectors.

    Args:
        filters: channels of the shared convolutions.
        num_convs: how many of them there are.
        train_proposals, test_proposals: ``ProposalSelection`` in training and at inference.
        scores_background: background has a score of its own beside the object's, as under a softmax.
        other arguments: see ``AnchorHead``; the loss of classes is one of logits of objects in either case.

    Outputs: ``(scores, deltas)``, tuples of ``[B,h,w,A]`` (``[B,h,w,2A]`` with scores of background) and
    ``[B,h,w,4A]``.
    """

    def __init__(
        self,
        filters: int = 256,
        num_convs: int = 1,
        train_proposals: ProposalSelection | None = None,
        test_proposals: ProposalSelection | None = None,
        scores_background: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=1, **kwargs)
        self.train_proposals = train_proposals or ProposalSelection(nms_pre=2000)
        self.test_proposals = test_proposals or ProposalSelection()
        normal = keras.initializers.RandomNormal(stddev=0.01)
        arguments: dict[str, Any] = dict(filters=filters, kernel_size=3, padding=1, kernel_initializer=normal)
        # a sequence in the checkpoints only where there are several
        self.rpn_conv: Any = (
            Conv2D(**arguments) if num_convs == 1 else [ConvModule(**arguments) for _ in range(num_convs)]
        )
        self.scores_background = scores_background
        scores = self.num_anchors * (2 if scores_background else 1)
        self.rpn_cls = Conv2D(scores, 1, kernel_initializer=normal)
        self.rpn_reg = Conv2D(self.num_anchors * 4, 1, kernel_initializer=normal)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        shared = [self.shared(x) for x in features]
        return tuple(self.rpn_cls(x) for x in shared), tuple(self.rpn_reg(x) for x in shared)

    def shared(self, x: tf.Tensor) -> tf.Tensor:
        """A map ``[B,h,w,C]`` through the convolutions that both predictions see: ``[B,h,w,filters]``."""
        if isinstance(self.rpn_conv, list):
            return apply_tower(self.rpn_conv, x)
        return tf.nn.relu(self.rpn_conv(x))

    def logits(self, scores: tuple[Any, ...]) -> tuple[Any, ...]:
        """Logits of objects ``[B,h,w,A]`` from the scores of every level."""
        if not self.scores_background:
            return scores
        pairs = [tf.reshape(x, [*tf.unstack(tf.shape(x)[:3]), self.num_anchors, 2]) for x in scores]
        return tuple(pair[..., 0] - pair[..., 1] for pair in pairs)  # a softmax of two is a sigmoid

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        outputs = (self.logits(outputs[0]), *outputs[1:])
        targets = {**targets, "labels": tf.minimum(targets["labels"], 0)}  # one class: object
        losses = super().compute_losses(outputs, targets, info)
        return {name.replace("loss_", "loss_rpn_"): value for name, value in losses.items()}

    def proposals(self, outputs: Any, info: ImageInfo, training: bool = False) -> Proposals:
        """The best boxes of the batch, in network pixels."""
        settings = self.train_proposals if training else self.test_proposals
        scores, deltas = self.logits(outputs[0]), outputs[1]
        levels = zip(self.priors(level_shapes(scores)), scores, deltas, strict=True)
        return select_proposals(settings, self.coder, levels, info)


def select_proposals(
    settings: ProposalSelection, coder: Coder, levels: Iterable[Any], info: ImageInfo
) -> Proposals:
    """The best boxes of all levels, in network pixels.

    Args:
        settings: ``ProposalSelection``.
        coder: box coding.
        levels: per level ``(anchors [n,4] or [B,n,4], scores [B,h,w,A], deltas [B,h,w,4A])``; a score of
            minus infinity takes its anchor out.
        info: ImageInfo.
    """
    found = []
    for level, (anchors, scores, deltas) in enumerate(levels):
        scores, deltas = flatten_map(scores, 1)[..., 0], flatten_map(deltas, 4)
        scores, rows = top_rows(scores, settings.nms_pre)
        anchors = tf.gather(anchors, rows, batch_dims=anchors.shape.rank - 2)
        deltas = tf.gather(deltas, rows, batch_dims=1)
        boxes = coder.decode(anchors, deltas, info["valid_size"])
        scores = tf.where(scores == float("-inf"), INVALID_SCORE, tf.sigmoid(scores))
        found.append((boxes, scores, tf.fill(tf.shape(rows), level)))
    boxes, scores, levels = (tf.concat(parts, 1) for parts in zip(*found))
    big = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] > float(settings.min_size), -1)
    scores = tf.where(big, scores, INVALID_SCORE)
    # boxes that became NaN are dropped here, and the loss that is NaN gets to say so
    boxes = tf.where(big[..., None], boxes, 0.0)
    boxes, scores = tf.stop_gradient(boxes), tf.stop_gradient(scores)
    # boxes of different levels do not compete, as boxes of different classes do not
    kept = settings.nms(boxes, scores, levels, settings.max_per_image)[0]
    return {
        "boxes": kept["boxes"],
        "scores": kept["scores"],
        "levels": kept["labels"],
        "num_detections": kept["num_detections"],
    }


def view_proposals(rpn_head: ProposalHead, features: list[Maps], infos: list[ImageInfo]) -> Detections:
    """The best proposals of several views of the same images, in original pixels.

    Args:
        rpn_head: makes the proposals of each view.
        features: per view a tuple of ``[B,h,w,C]``.
        infos: ImageInfo of the views.

    Returns:
        Detections of label 0: here boxes of different levels compete.
    """
    found = []
    for maps, info in zip(features, infos):
        one = rpn_head.proposals(rpn_head(maps, info), info)
        scores = tf.where(one["levels"] == PADDING_LABEL, INVALID_SCORE, one["scores"])
        found.append((original_boxes(one["boxes"], info), scores, tf.zeros_like(one["levels"])))
    settings = rpn_head.test_proposals
    return settings.nms(*(tf.concat(parts, 1) for parts in zip(*found)), settings.max_per_image)[0]
