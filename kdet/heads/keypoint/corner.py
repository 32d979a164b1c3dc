"""The head of CornerNet (Law & Deng, 2018): objects as pairs of corners."""

import keras
import tensorflow as tf

from kdet import ops
from kdet.heads.dense.towers import prior_bias
from kdet.heads.keypoint.heatmaps import (
    gaussian_heatmap,
    gaussian_radius,
    last_of_its_place,
    top_peaks,
    values_at,
)
from kdet.layers import Composite, ConvModule, replica_mean
from kdet.postprocess import INVALID_SCORE, PostProcess
from kdet.registry import register
from kdet.structures import size_as_box


class BiCornerPool(Composite):
    """Features of a corner: maxima along the two sides that meet in it, summed, with a shortcut.

    Args:
        directions: of the two ``kdet.ops.corner_pool``.
        filters: channels of the output; the pooled maps have 128.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, directions, filters, **kwargs):
        super().__init__(**kwargs)
        self.directions = tuple(directions)

        def module(width, kernel_size, **kwargs):
            return ConvModule(width, kernel_size, padding=kernel_size // 2, norm="bn", **kwargs)

        self.direction1_conv, self.direction2_conv = module(128, 3), module(128, 3)
        self.aftpool_conv = module(filters, 3, activation=None)
        self.conv1, self.conv2 = module(filters, 1, activation=None), module(filters, 3)

    def call(self, x):
        first, second = self.directions
        pooled = ops.corner_pool(self.direction1_conv(x), first)
        pooled += ops.corner_pool(self.direction2_conv(x), second)
        return self.conv2(tf.nn.relu(self.aftpool_conv(pooled) + self.conv1(x)))


def branch(channels, filters, bias_initializer="zeros"):
    """A 3x3 convolution with ReLU and a 1x1 projection to ``channels``."""
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    projection = ConvModule(
        channels, 1, activation=None, kernel_initializer=uniform, bias_initializer=bias_initializer
    )
    return [ConvModule(filters, 3, padding=1), projection]


def run(layers, x):
    """``x`` through a list of layers."""
    for layer in layers:
        x = layer(x)
    return x


@register
class CornerHead(Composite):
    """Heat maps, embeddings and sub-cell offsets of top-left and bottom-right corners.

    Args:
        num_classes: classes without background.
        loss_heatmap, loss_embedding, loss_offset: of the three kinds of maps.
        stacks: stacks of the backbone, each with maps of its own; the last one is decoded.
        filters: channels of the features.
        embedding_channels: length of the embeddings.
        topk: corners of each kind that are paired.
        kernel_size: side of the window in which a corner is the maximum.
        max_distance: corners whose embeddings differ by more are no pair.
        max_pairs: pairs that enter the suppression.
        postprocess: ``PostProcess``.

    Call: ``tuple of [B,h,w,C] -> (tl_heat, br_heat, tl_emb, br_emb, tl_off, br_off)``, each a tuple over the
    stacks.
    """

    def __init__(
        self,
        num_classes,
        loss_heatmap,
        loss_embedding,
        loss_offset,
        stacks=2,
        filters=256,
        embedding_channels=1,
        topk=100,
        kernel_size=3,
        max_distance=0.5,
        max_pairs=1000,
        postprocess=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.postprocess = num_classes, postprocess or PostProcess()
        self.loss_heatmap, self.loss_embedding, self.loss_offset = loss_heatmap, loss_embedding, loss_offset
        self.topk, self.kernel_size = topk, kernel_size
        self.max_distance, self.max_pairs = max_distance, max_pairs
        for corner, directions in (("tl", ("top", "left")), ("br", ("bottom", "right"))):
            setattr(self, f"{corner}_pool", [BiCornerPool(directions, filters) for _ in range(stacks)])
            for name, channels, bias in (
                ("heat", num_classes, prior_bias(0.1)),
                ("emb", embedding_channels, "zeros"),
                ("off", 2, "zeros"),
            ):
                branches = [branch(channels, filters, bias) for _ in range(stacks)]
                setattr(self, f"{corner}_{name}", branches)

    def call(self, features, training=False):
        found = []
        for i, x in enumerate(features):
            tl, br = self.tl_pool[i](x), self.br_pool[i](x)
            found.append(
                tuple(
                    run(getattr(self, f"{corner}_{name}")[i], pooled)
                    for name in ("heat", "emb", "off")
                    for corner, pooled in (("tl", tl), ("br", br))
                )
            )
        return tuple(zip(*found))

    # ---- training

    def corner_targets(self, boxes, labels, shape, canvas):
        """Where the corners of objects lie on the maps.

        Args:
            boxes: ``[B,G,4]``; labels: ``[B,G]``.
            shape: (h, w) of the maps.
            canvas: ``[B,2]`` (h, w) of the pictures with their padding.

        Returns:
            For top-left and bottom-right corners each: ``heat [B,h,w,C]``, ``cells [B,G]`` int32, ``offsets
            [B,G,2]`` (x, y) and ``counted [B,G]``, the corners that offsets are learnt at.
        """
        h, w = shape
        cells = tf.cast(tf.stack([w, h, w, h]), tf.float32)
        scaled = boxes * cells / size_as_box(canvas)
        size = tf.math.ceil(scaled[..., 2:] - scaled[..., :2])
        radius = tf.cast(tf.maximum(gaussian_radius(size[..., 1], size[..., 0], 0.3), 0.0), tf.int32)
        real, found = labels >= 0, []
        for corner in (scaled[..., :2], scaled[..., 2:]):
            place = tf.cast(tf.minimum(corner, cells[:2] - 1.0), tf.int32)  # [B, G, 2] (x, y)
            place = tf.where(real[..., None], place, 0)
            index = place[..., 1] * w + place[..., 0]
            heat = gaussian_heatmap(place, radius, labels, shape, self.num_classes)
            offsets = corner - tf.cast(place, tf.float32)
            found.append((heat, index, offsets, last_of_its_place(index, real)))
        return found

    def compute_losses(self, outputs, targets, info):
        """``det_loss``, ``off_loss``, ``pull_loss`` and ``push_loss``, summed over the stacks."""
        shape = tf.unstack(tf.shape(outputs[0][-1])[1:3])
        corners = self.corner_targets(targets["boxes"], targets["labels"], shape, info["padded_size"])
        real = targets["labels"] >= 0
        losses = dict.fromkeys(("det_loss", "off_loss", "pull_loss", "push_loss"), 0.0)
        for tl_heat, br_heat, tl_emb, br_emb, tl_off, br_off in zip(*outputs):
            for maps, offsets, truth in ((tl_heat, tl_off, corners[0]), (br_heat, br_off, corners[1])):
                heat, cells, shift, counted = truth
                peaks = _count(heat == 1.0)
                losses["det_loss"] += self.loss_heatmap(tf.sigmoid(maps), heat, None, peaks) / 2.0
                weight = tf.cast(counted, tf.float32)
                offsets = values_at(offsets, cells)
                losses["off_loss"] += self.loss_offset(offsets, shift, weight, _count(counted)) / 2.0
            pull, push = self.loss_embedding(
                values_at(tl_emb, corners[0][1]), values_at(br_emb, corners[1][1]), real
            )
            losses["pull_loss"] += pull
            losses["push_loss"] += push
        return losses

    # ---- inference

    def decode(self, outputs, info):
        """Detections in original pixels from the maps of the last stack."""
        tl_heat, br_heat, tl_emb, br_emb, tl_off, br_off = (maps[-1] for maps in outputs)
        tl_scores, tl_labels, tl_cells, tl = self.corners(tl_heat, tl_off, info)
        br_scores, br_labels, br_cells, br = self.corners(br_heat, br_off, info)
        # every top-left corner with every bottom-right one: [B, k, k, ...]
        boxes = tf.concat([tf.repeat(tl[:, :, None], self.topk, 2), tf.repeat(br[:, None], self.topk, 1)], -1)
        distance = tf.abs(values_at(tl_emb, tl_cells) - values_at(br_emb, br_cells)[..., 0][:, None])
        possible = (
            (tl_labels[:, :, None] == br_labels[:, None])
            & tf.reduce_all(boxes[..., 2:] > boxes[..., :2], -1)
            & (distance <= self.max_distance)
        )
        scores = (tl_scores[:, :, None] + br_scores[:, None]) / 2.0
        scores = tf.reshape(tf.where(possible, scores, INVALID_SCORE), [-1, self.topk**2])
        scores, pairs = tf.math.top_k(scores, self.max_pairs)
        boxes = tf.gather(tf.reshape(boxes, [-1, self.topk**2, 4]), pairs, batch_dims=1)
        labels = tf.gather(tl_labels, pairs // self.topk, batch_dims=1)
        boxes = boxes / size_as_box(info["scale"])
        return self.postprocess.nms(boxes, scores, labels, self.postprocess.max_per_image)[0]

    def corners(self, heat, offsets, info):
        """The best corners of one kind: scores, labels, cells ``[B,k]`` and places ``[B,k,2]`` (x, y).

        Places are in network pixels, measured from the picture's top-left where it lies within a border, and
        not negative.
        """
        scores, labels, cells = top_peaks(tf.sigmoid(tf.cast(heat, tf.float32)), self.kernel_size, self.topk)
        h, w = tf.unstack(tf.shape(heat)[1:3])
        place = tf.cast(tf.stack([cells % w, cells // w], -1), tf.float32) + values_at(offsets, cells)
        place *= info["padded_size"][:, None, ::-1] / tf.cast(tf.stack([w, h]), tf.float32)
        if "border" in info:
            place -= tf.stack([info["border"][:, 2], info["border"][:, 0]], -1)[:, None]
        return scores, labels, cells, tf.maximum(place, 0.0)


def _count(flags):
    return tf.maximum(replica_mean(tf.reduce_sum(tf.cast(flags, tf.float32))), 1.0)
