"""Regions that predict two objects each (CrowdDet; Chu et al., 2020, arXiv:2003.09163)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.assigners import BestTwoAssigner
from kdet.assigners.best_two import MATCHES, Matches
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.geometry import is_real_box
from kdet.heads.base import Losses
from kdet.heads.roi.base import suppress
from kdet.heads.roi.bbox_head import UNIT_BOX, BBoxHead
from kdet.heads.roi.standard import StandardRoIHead, split_batch
from kdet.layers import Linear, replica_mean
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.typing import Maps, Tensor

REPEATS = 4  # how often what was predicted stands beside the features that refine it


@register
class MultiInstanceBBoxHead(BBoxHead):
    """Two predictions of class and box for every region, of which either may be of either object.

    Args:
        num_classes: without background, which is the *first* score here.
        coder: box coding.
        loss_cls, loss_bbox: losses by element; their weights do not count.
        refine: whether each prediction is made a second time, from the features and from what it was.
        other arguments: see ``BBoxHead``; boxes are always per class.

    Call: ``[N,h,w,C] -> (scores [N,2*(classes+1)], deltas [N,2*4*classes])``, with ``refine`` followed by the
    refined ``scores`` and ``deltas``.
    """

    def __init__(self, num_classes: int, refine: bool = False, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        self.has_refinement = refine
        if refine:
            self.shared_fcs_ref = Linear(self.shared_fcs[-1].units)
            self.fc_cls_ref = self.classifier(num_classes, flatten=False)
            self.fc_reg_ref = self.regressor(num_classes, flatten=False)

    def classifier(self, num_classes: int, flatten: bool) -> Any:
        return [super(MultiInstanceBBoxHead, self).classifier(num_classes, flatten) for _ in range(MATCHES)]

    def regressor(self, boxes: int, flatten: bool) -> Any:
        return [super(MultiInstanceBBoxHead, self).regressor(boxes, flatten) for _ in range(MATCHES)]

    def call(self, x: Any, training: bool = False) -> tuple[Any, ...]:
        x = self.shared(x)
        scores, deltas = [fc(x) for fc in self.fc_cls], [fc(x) for fc in self.fc_reg]
        outputs = [scores, deltas]
        if self.has_refinement:
            seen = [self._with_prediction(x, *found) for found in zip(scores, deltas, strict=True)]
            outputs.append([fc(one) for fc, one in zip(self.fc_cls_ref, seen, strict=True)])
            outputs.append([fc(one) for fc, one in zip(self.fc_reg_ref, seen, strict=True)])
        return tuple(tf.concat(pair, -1) for pair in outputs)

    def _with_prediction(self, x: Tensor, scores: Tensor, deltas: Tensor) -> Tensor:
        """Features ``[N,units]`` that have seen one prediction: its deltas and probabilities of objects."""
        objects = tf.nn.softmax(scores)[:, 1:]
        told = tf.tile(tf.concat([deltas, objects], -1), [1, REPEATS])
        return tf.nn.relu(self.shared_fcs_ref(tf.concat([x, told], -1)))

    def probabilities(self, scores: Tensor) -> Tensor:
        """``[N,2*(classes+1)]`` logits to probabilities ``[N,classes*2]``: those of a class side by side."""
        logits = tf.reshape(tf.cast(scores, tf.float32), [-1, MATCHES, self.num_classes + 1])
        return tf.reshape(tf.transpose(tf.nn.softmax(logits)[..., 1:], [0, 2, 1]), [-1, self.columns])

    def class_boxes(self, deltas: Tensor, rois: Tensor, info: ImageInfo | None = None) -> Tensor:
        """Decoded boxes ``[B,N,classes*2,4]``, in the order of ``probabilities``."""
        batch, count = tf.shape(rois)[0], rois.shape[1] or tf.shape(rois)[1]
        deltas = tf.reshape(deltas, [batch, count, MATCHES, self.num_classes, 4])
        deltas = tf.reshape(tf.transpose(deltas, [0, 1, 3, 2, 4]), [batch, count, self.columns, 4])
        return self.coder.decode(rois[:, :, None, :], deltas, None if info is None else info["valid_size"])

    @property
    def columns(self) -> int:
        """Boxes that a region predicts."""
        return self.num_classes * MATCHES

    def set_loss(
        self, scores: Tensor, deltas: Tensor, rois: Tensor, matches: Matches, weight: Tensor, targets: Targets
    ) -> Tensor:
        """The smaller loss of both ways to give a region's two objects to its two predictions.

        Args:
            scores, deltas: of ``call`` for ``B*S`` regions.
            rois: ``[B,S,4]``.
            matches: of the regions.
            weight: ``[B,S]``, 0 for rows that hold no region.
            targets: the objects.
        """
        count = tf.reduce_sum(weight)
        weight = tf.reshape(weight, [-1])
        logits = tf.reshape(tf.cast(scores, tf.float32), [-1, MATCHES, self.num_classes + 1])
        deltas = tf.reshape(tf.cast(deltas, tf.float32), [-1, MATCHES, self.num_classes, 4])
        positive = matches.positive
        labels = tf.where(positive, tf.gather(targets["labels"], matches.gt_index, batch_dims=1), -1)
        labels = tf.reshape(labels, [-1, MATCHES])
        # an ignore region that is a region's second match counts as background, as in MMDetection
        boxes = tf.gather(targets["boxes"], matches.gt_index, batch_dims=1)
        boxes = tf.where(positive[..., None], boxes, UNIT_BOX)
        own = tf.where(positive[..., None], rois[:, :, None, :], UNIT_BOX)
        wanted = tf.reshape(self.coder.encode(own, boxes), [-1, MATCHES, 4])
        ways = []
        for way in ((0, 1), (1, 0)):
            found = [
                self._match_loss(logits[:, k], deltas[:, k], labels[:, j], wanted[:, j])
                for j, k in enumerate(way)
            ]
            ways.append(tf.add_n(found))
        loss = tf.where(weight > 0.0, tf.minimum(*ways), 0.0)
        return tf.reduce_sum(loss) / tf.maximum(replica_mean(count), 1.0)

    def _match_loss(self, logits: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
        """Loss ``[N]`` of a prediction if it were of the objects ``labels [N]`` (-1: background)."""
        positive = labels >= 0
        loss = self.loss_cls.elementwise(logits, labels + 1)
        deltas = tf.gather(deltas, tf.maximum(labels, 0), batch_dims=1)
        boxes = tf.reduce_sum(self.loss_bbox.elementwise(deltas, wanted), -1)
        return loss + tf.where(positive, boxes, 0.0)


@register
class MultiInstanceRoIHead(StandardRoIHead):
    """The second stage of CrowdDet: regions of two objects each, and suppression between sets.

    Args:
        bbox_roi_extractor, bbox_head: box branch, a ``MultiInstanceBBoxHead``.
        assigner: a ``BestTwoAssigner``.
        sampler: draws regions by their better match. Objects and ignore regions join the proposals.
        postprocess: ``PostProcess`` with a ``SetNMS`` of two.
    """

    bbox_head: MultiInstanceBBoxHead
    assigner: BestTwoAssigner

    def __init__(
        self,
        bbox_roi_extractor: keras.Layer,
        bbox_head: MultiInstanceBBoxHead,
        assigner: BestTwoAssigner,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            bbox_roi_extractor=bbox_roi_extractor,
            bbox_head=bbox_head,
            assigner=assigner,
            postprocess=postprocess,
            **kwargs,
        )

    def assign(self, proposals: Tensor, targets: Targets, present: Tensor) -> tuple[Tensor, Assignment]:
        """The better matches of ``[objects; ignore regions; proposals]``."""
        rois, there = [targets["boxes"]], [targets["labels"] >= 0]
        if "ignore_boxes" in targets:
            rois.append(targets["ignore_boxes"])
            there.append(is_real_box(targets["ignore_boxes"]))
        given = tf.concat([*rois, proposals], 1)
        return given, self.match(given, targets, tf.concat([*there, present], 1))

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        rois, assignment, _ = self.sample(features, proposals, targets, info)
        outputs = self.bbox_forward(features, rois, training=True)
        matches = self.assigner.matches(rois, targets)
        names = ("loss_rcnn_emd", "loss_rcnn_emd_ref")
        pairs = zip(names, zip(outputs[::2], outputs[1::2], strict=True), strict=False)
        return {
            name: self.bbox_head.set_loss(scores, deltas, rois, matches, assignment.weight, targets)
            for name, (scores, deltas) in pairs
        }

    def predict_boxes(
        self, features: Maps, proposals: Tensor, info: ImageInfo
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        *_, scores, deltas = self.bbox_forward(features, proposals)
        scores = split_batch(self.bbox_head.probabilities(scores), proposals)
        return scores, self.bbox_head.class_boxes(deltas, proposals, info), None

    def suppress(
        self,
        postprocess: PostProcess,
        scores: Tensor,
        boxes: Tensor,
        proposals: Tensor,
        confidence: Tensor | None = None,
    ) -> Detections:
        classes = tf.repeat(tf.range(self.num_classes), MATCHES)
        return suppress(postprocess, scores, boxes, proposals, confidence, classes)
