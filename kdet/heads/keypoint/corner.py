"""The head of CornerNet (Law & Deng, 2018): objects as pairs of corners."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.contract import Candidates, ImageInfo, Targets
from kdet.coordinates import original_boxes, size_as_box
from kdet.heads.base import Head, Losses
from kdet.heads.dense.towers import prior_bias
from kdet.heads.keypoint.heatmaps import (
    gaussian_heatmap,
    gaussian_radius,
    last_of_its_place,
    top_peaks,
    values_at,
)
from kdet.layers import Composite, ConvModule, NoXla, replica_mean
from kdet.losses import AssociativeEmbeddingLoss, Loss
from kdet.postprocess import INVALID_SCORE, PostProcess
from kdet.registry import register
from kdet.typing import Maps, Tensor

CORNERS = ("tl", "br")  # top-left, bottom-right


class BiCornerPool(NoXla, Composite):
    """Maps of a corner: maxima along the two sides that meet in it, summed, with a shortcut.

    Args:
        directions: of the two ``kdet.ops.corner_pool``.
        filters: channels of the output; the pooled maps have 128.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, directions: Sequence[str], filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.directions = tuple(directions)

        def module(width: int, kernel_size: int, **kwargs: Any) -> ConvModule:
            return ConvModule(width, kernel_size, padding=kernel_size // 2, norm="bn", **kwargs)

        self.direction1_conv, self.direction2_conv = module(128, 3), module(128, 3)
        self.aftpool_conv = module(filters, 3, activation=None)
        self.conv1, self.conv2 = module(filters, 1, activation=None), module(filters, 3)

    def call(self, x: Tensor) -> Tensor:
        first, second = self.directions
        pooled = ops.corner_pool(self.direction1_conv(x), first)
        pooled += ops.corner_pool(self.direction2_conv(x), second)
        return self.conv2(tf.nn.relu(self.aftpool_conv(pooled) + self.conv1(x)))


class CornerBranch(Composite):
    """A 3x3 convolution with ReLU and a 1x1 projection to ``channels``."""

    torch_names = {"steps": ""}

    def __init__(self, channels: int, filters: int, bias_initializer: str = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        projection = ConvModule(
            channels, 1, activation=None, kernel_initializer=uniform, bias_initializer=bias_initializer
        )
        self.steps = [ConvModule(filters, 3, padding=1), projection]

    def call(self, x: Tensor) -> Tensor:
        return self.steps[1](self.steps[0](x))


@register
class CornerHead(Head):
    """Heat maps, embeddings and sub-cell offsets of top-left and bottom-right corners.

    Args:
        num_classes: classes without background.
        loss_heatmap, loss_offset, loss_embedding: of the three kinds of maps.
        stacks: stacks of the backbone, each with maps of its own; the last one is decoded.
        filters: channels of the features.
        topk: corners of each kind that are paired.
        kernel_size: side of the window in which a corner is the maximum.
        max_distance: pairs that differ by more are rejected.
        max_pairs: pairs that enter the suppression.
        postprocess: ``PostProcess``.

    Outputs: ``(tl_heat, br_heat, tl_emb, br_emb, tl_off, br_off)``, each a tuple over the
    stacks.
    """

    # kinds of maps in the order of the outputs, and their channels (None: one per class)
    kinds: dict[str, int | None] = {"heat": None, "emb": 1, "off": 2}

    loss_embedding: Any  # None where corners are paired in another way

    def __init__(
        self,
        num_classes: int,
        loss_heatmap: Loss,
        loss_offset: Loss,
        loss_embedding: AssociativeEmbeddingLoss | None = None,
        stacks: int = 2,
        filters: int = 256,
        topk: int = 100,
        kernel_size: int = 3,
        max_distance: float = 0.5,
        max_pairs: int = 1000,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or PostProcess(), **kwargs)
        self.loss_heatmap, self.loss_offset, self.loss_embedding = loss_heatmap, loss_offset, loss_embedding
        self.topk, self.kernel_size = topk, kernel_size
        self.max_distance, self.max_pairs = max_distance, max_pairs
        for corner, directions in zip(CORNERS, (("top", "left"), ("bottom", "right"))):
            setattr(self, f"{corner}_pool", [BiCornerPool(directions, filters) for _ in range(stacks)])
            for kind, channels in self.kinds.items():
                bias = prior_bias(0.1) if kind == "heat" else "zeros"
                branches = [CornerBranch(channels or num_classes, filters, bias) for _ in range(stacks)]
                setattr(self, f"{corner}_{kind}", branches)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        found = []
        for stack, x in enumerate(features):
            tl, br = (
                self.predictions(stack, corner, self.part(f"{corner}_pool")[stack](x)) for corner in CORNERS
            )
            found.append([maps for pair in zip(tl, br) for maps in pair])
        return tuple(tuple(maps) for maps in zip(*found))

    def predictions(self, stack: int, corner: str, pooled: Tensor) -> list[Tensor]:
        """Maps of all kinds for one corner of one stack, from its pooled features."""
        return [self.part(f"{corner}_{kind}")[stack](pooled) for kind in self.kinds]

    def by_kind(self, outputs: Any) -> dict[str, Any]:
        """``{kind: (top-left maps, bottom-right maps)}``, tuples over the stacks."""
        return {kind: outputs[2 * i : 2 * i + 2] for i, kind in enumerate(self.kinds)}

    # ---- training

    def corner_targets(
        self, boxes: Tensor, labels: Tensor, shape: Any, canvas: Any
    ) -> tuple[Tensor, list[Any]]:
        """Where the corners of objects lie on the maps.

        Args:
            boxes: ``[B,G,4]``; labels: ``[B,G]``.
            shape: (h, w) of the maps.
            canvas: ``[B,2]`` (h, w) of the images with their padding.

        Returns:
            ``(scaled, corners)``: the boxes in cells, and for top-left and bottom-right corners each
            ``heat [B,h,w,C]``, ``cells [B,G]`` int32, ``place [B,G,2]`` (x, y of the cell, float32) and
            ``counted [B,G]``, the corners at which shifts are learned.
        """
        h, w = shape
        cells = tf.cast(tf.stack([w, h, w, h]), tf.float32)
        scaled = boxes * (cells / size_as_box(canvas))
        size = tf.math.ceil(scaled[..., 2:] - scaled[..., :2])
        radius = tf.cast(tf.maximum(gaussian_radius(size[..., 1], size[..., 0], 0.3), 0.0), tf.int32)
        real, found = labels >= 0, []
        for corner in (scaled[..., :2], scaled[..., 2:]):
            place = tf.cast(tf.minimum(corner, cells[:2] - 1.0), tf.int32)  # [B, G, 2] (x, y)
            place = tf.where(real[..., None], place, 0)
            index = place[..., 1] * w + place[..., 0]
            heat = gaussian_heatmap(place, radius, labels, shape, self.num_classes)
            found.append((heat, index, tf.cast(place, tf.float32), last_of_its_place(index, real)))
        return scaled, found

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``det_loss``, ``off_loss`` and those of ``pair_losses``, summed over the stacks."""
        shape = tf.unstack(tf.shape(outputs[0][-1])[1:3])
        scaled, corners = self.corner_targets(targets["boxes"], targets["labels"], shape, info["padded_size"])
        maps = self.by_kind(outputs)
        det_loss = 0.0
        for heats, (heat, *_) in zip(maps["heat"], corners):
            peaks = _count(heat == 1.0)
            for found in heats:
                det_loss += self.loss_heatmap(tf.sigmoid(found), heat, None, peaks) / 2.0
        offsets = [scaled[..., :2] - corners[0][2], scaled[..., 2:] - corners[1][2]]
        return {
            "det_loss": det_loss,
            "off_loss": self.shift_loss(self.loss_offset, maps["off"], offsets, corners),
            **self.pair_losses(maps, scaled, corners, targets),
        }

    def shift_loss(self, loss: Loss, maps: Any, shifts: Sequence[Tensor], corners: Any) -> Tensor:
        """Loss of two-channel maps at the corners, summed over stacks, the mean over both corners.

        Args:
            loss: component.
            maps: (top-left, bottom-right) maps over the stacks.
            shifts: ``[B,G,2]`` targets of both.
            corners: of ``corner_targets``.
        """
        total = 0.0
        for stacks, shift, (_, cells, _, counted) in zip(maps, shifts, corners):
            weight = tf.cast(counted, tf.float32)
            for found in stacks:
                total += loss(values_at(found, cells), shift, weight, _count(counted)) / 2.0
        return total

    def pair_losses(self, maps: dict[str, Any], scaled: Tensor, corners: Any, targets: Targets) -> Losses:
        """Losses of what tells which corners belong together."""
        total = {"pull_loss": 0.0, "push_loss": 0.0}
        for tl, br in zip(*maps["emb"]):
            embeddings = values_at(tl, corners[0][1]), values_at(br, corners[1][1])
            pull, push = self.loss_embedding(*embeddings, targets["labels"] >= 0)
            total["pull_loss"] += pull
            total["push_loss"] += push
        return total

    # ---- inference

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        """Best pairs of corners of the last stack before suppression, in original pixels."""
        maps = {kind: (tl[-1], br[-1]) for kind, (tl, br) in self.by_kind(outputs).items()}
        tl_scores, tl_labels, *tl = self.corners(maps["heat"][0], maps["off"][0], info)
        br_scores, br_labels, *br = self.corners(maps["heat"][1], maps["off"][1], info)
        boxes = self.every_pair(tf.maximum(tl[1], 0.0), tf.maximum(br[1], 0.0))  # [B, k, k, 4]
        possible = (
            (tl_labels[:, :, None] == br_labels[:, None])
            & tf.reduce_all(boxes[..., 2:] > boxes[..., :2], -1)
            & self.belong_together(maps, tl, br, boxes, info)
        )
        scores = (tl_scores[:, :, None] + br_scores[:, None]) / 2.0
        scores = tf.reshape(tf.where(possible, scores, INVALID_SCORE), [-1, self.topk**2])
        scores, pairs = tf.math.top_k(scores, self.max_pairs)
        boxes = tf.gather(tf.reshape(boxes, [-1, self.topk**2, 4]), pairs, batch_dims=1)
        labels = tf.gather(tl_labels, pairs // self.topk, batch_dims=1)
        return Candidates(original_boxes(boxes, info), scores, labels)

    def corners(self, heat: Tensor, offsets: Tensor, info: ImageInfo) -> tuple[Tensor, ...]:
        """The best corners of one kind: scores, labels, cells ``[B,k]`` and places ``[B,k,2]`` (x, y).

        Places are in network pixels, measured from the image's top-left where it lies within a border.
        """
        scores, labels, cells = top_peaks(tf.sigmoid(tf.cast(heat, tf.float32)), self.kernel_size, self.topk)
        w = tf.shape(heat)[2]
        place = tf.cast(tf.stack([cells % w, cells // w], -1), tf.float32) + values_at(offsets, cells)
        place *= cell_size(heat, info)
        if "border" in info:
            place -= tf.stack([info["border"][:, 2], info["border"][:, 0]], -1)[:, None]
        return scores, labels, cells, place

    def every_pair(self, tl: Tensor, br: Tensor) -> Tensor:
        """``[B,k,k,4]`` from points ``[B,k,2]``: every first one with every second one."""
        tl, br = tf.repeat(tl[:, :, None], self.topk, 2), tf.repeat(br[:, None], self.topk, 1)
        return tf.concat([tl, br], -1)

    def belong_together(
        self, maps: dict[str, Any], tl: Sequence[Tensor], br: Sequence[Tensor], boxes: Tensor, info: ImageInfo
    ) -> Tensor:
        """Which corners may be of one object: bool ``[B,k,k]``; ``tl`` and ``br`` are (cells, places)."""
        first, second = values_at(maps["emb"][0], tl[0]), values_at(maps["emb"][1], br[0])
        return tf.abs(first - second[..., 0][:, None]) <= self.max_distance


def cell_size(maps: Tensor, info: ImageInfo) -> Tensor:
    """Network pixels per cell of a map ``[B,h,w,C]``: ``[B,1,2]`` (x, y)."""
    shape = tf.cast(tf.shape(maps)[1:3], tf.float32)
    return info["padded_size"][:, None, ::-1] / shape[::-1]


def _count(flags: Tensor) -> Tensor:
    return tf.maximum(replica_mean(tf.reduce_sum(tf.cast(flags, tf.float32))), 1.0)
