"""The box head of YOLACT (Bolya et al., 2019)."""

import tensorflow as tf

from kdet.heads.dense.base import flatten_map, level_shapes
from kdet.heads.dense.ssd import SoftmaxAnchorHead
from kdet.layers import Conv2D, ConvModule
from kdet.registry import register
from kdet.structures import original_boxes


@register
class YOLACTHead(SoftmaxAnchorHead):
    """Classes, deltas and mask coefficients from one shared tower.

    Args:
        stacked_convs, filters: of the tower.
        num_protos: mask coefficients per anchor.
        other arguments: see ``AnchorHead`` and ``SoftmaxAnchorHead``; ``postprocess.nms`` is a ``FastNMS``.

    Call: ``tuple of [B,h,w,C] -> (scores, deltas, coefficients)``, tuples of ``[B,h,w,A*(classes+1)]``,
    ``[B,h,w,A*4]`` and ``[B,h,w,A*num_protos]``.
    """

    def __init__(
        self,
        num_classes,
        anchor_generator,
        coder,
        loss_cls,
        loss_bbox,
        assigner,
        neg_pos_ratio=3,
        stacked_convs=1,
        filters=256,
        num_protos=32,
        **kwargs,
    ):
        super().__init__(
            num_classes=num_classes,
            anchor_generator=anchor_generator,
            coder=coder,
            loss_cls=loss_cls,
            loss_bbox=loss_bbox,
            assigner=assigner,
            neg_pos_ratio=neg_pos_ratio,
            all_negatives_without_objects=True,
            **kwargs,
        )
        self.num_protos = num_protos

        def predictor(channels):
            return Conv2D(self.num_anchors * channels, 3, padding=1, kernel_initializer="glorot_uniform")

        self.head_convs = [
            ConvModule(filters, 3, padding=1, kernel_initializer="glorot_uniform")
            for _ in range(stacked_convs)
        ]
        self.conv_cls, self.conv_reg = predictor(self.score_channels), predictor(4)
        self.conv_coeff = predictor(num_protos)

    def call(self, features, training=False):
        found = []
        for x in features:
            for conv in self.head_convs:
                x = conv(x)
            found.append((self.conv_cls(x), self.conv_reg(x), tf.tanh(self.conv_coeff(x))))
        return tuple(zip(*found))

    def assigned(self, outputs, targets, info):
        """``(losses by name, Assignment [B,P])``: the mask head learns on the same positives."""
        shapes = level_shapes(outputs[0])
        anchors = tf.concat(self.priors(shapes), 0)
        assignment, normalizer = self.assign(anchors, shapes, targets, info)
        return self.assigned_losses(outputs, anchors, assignment, targets, normalizer), assignment

    def decode(self, outputs, info):
        """Detections with ``coefficients [B,N,num_protos]``, in original pixels."""
        settings, found = self.postprocess, []
        levels = zip(self.priors(level_shapes(outputs[0])), self.level_predictions(outputs), outputs[2])
        for anchors, (scores, _, deltas, _), coefficients in levels:
            best = tf.reduce_max(scores, -1)
            size = best.shape[1]
            limit = min(settings.nms_pre, size) if size else tf.minimum(settings.nms_pre, tf.shape(best)[1])
            rows = tf.math.top_k(best, limit).indices
            scores, deltas, coefficients = (
                tf.gather(x, rows, batch_dims=1)
                for x in (scores, deltas, flatten_map(coefficients, self.num_protos))
            )
            found.append((self.decode_boxes(tf.gather(anchors, rows), deltas, info), scores, coefficients))
        boxes, scores, coefficients = (tf.concat(parts, 1) for parts in zip(*found))
        boxes = original_boxes(boxes, info)
        detections, rows = settings.nms(boxes, scores, settings.score_threshold, settings.max_per_image)
        return {**detections, "coefficients": tf.gather(coefficients, rows, batch_dims=1)}
