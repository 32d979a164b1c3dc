"""RF-DETR's head with masks."""

from typing import Any, NamedTuple

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.heads.mask.own_size import OwnSizes
from kdet.heads.query.lwdetr import GroupOutputs, LWDETRHead, named_sets, sets_of
from kdet.heads.query.point_masks import PointMaskLosses
from kdet.layers import (
    Composite,
    Conv2D,
    LayerNorm,
    Linear,
    TwoLayers,
    gelu,
    replica_mean,
    resize_bilinear,
    sizes_of,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor


class DepthwiseBlock(Composite):
    """A depthwise 3x3 convolution and a dense layer with a norm between them, with a residual.

    Call: ``[B,h,w,units] -> [B,h,w,units]``.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depthwise_conv = Conv2D(units, 3, padding=1, groups=units)
        self.layernorm = LayerNorm(1e-6)
        self.pointwise_conv = Linear(units)

    def call(self, x: Tensor) -> Tensor:
        return x + gelu(self.pointwise_conv(self.layernorm(self.depthwise_conv(x))))


class QueryBlock(Composite):
    """Dense layers behind a norm, with a residual.

    Call: ``[...,units] -> [...,units]``.
    """

    def __init__(self, units: int, hidden_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = LayerNorm()
        self.mlp = TwoLayers(hidden_units, units, gelu)

    def call(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class MaskSet(NamedTuple):
    """Masks of a set of queries: the products of vectors and map, plus the head's bias.

    Attributes:
        vectors: float32 ``[B,Q,units]``.
        features: float32 ``[B,h,w,units]``.
    """

    vectors: Tensor
    features: Tensor


class MaskOutputs(NamedTuple):
    """What the head predicts.

    Attributes:
        groups: boxes and classes.
        masks: of the decoder's layers; at inference of the last one.
        cells: of the cells that the queries start from.
    """

    groups: GroupOutputs
    masks: list[MaskSet]
    cells: MaskSet


@register
class RFDETRMaskHead(LWDETRHead):
    """``LWDETRHead`` whose queries have masks: products with a map, which every layer looks at anew.

    Args:
        point_losses: losses of the masks.
        mask_units: of the dense layers that make vectors of the queries.
        stride: of the masks, in pixels.
        other arguments: see ``LWDETRHead``.

    Outputs: ``MaskOutputs``. The call needs ``canvas`` in its ImageInfo.
    """

    torch_names = {
        **{name: f"model.{place}" for name, place in LWDETRHead.torch_names.items()},
        "class_embed": "model.class_embed",
        "bbox_embed": "model.bbox_embed",
    }

    def __init__(
        self, point_losses: PointMaskLosses, mask_units: int = 1024, stride: int = 4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        units = self.decoder.units
        self.point_losses, self.stride = point_losses, stride
        self.blocks = [DepthwiseBlock(units) for _ in self.decoder.layers]
        self.spatial_features_proj = Conv2D(units, 1)
        self.query_features_block = QueryBlock(units, mask_units)
        self.query_features_proj = Linear(units)
        self.segmentation_bias = self.add_weight(name="segmentation_bias", shape=(1,), initializer="zeros")

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> MaskOutputs:
        groups = super().call(features, info, training)
        known = tf.get_static_value(info["canvas"])
        canvas = info["canvas"] if known is None else known
        size = tf.cast(canvas, tf.int32) // self.stride
        x = resize_bilinear(features[0], size)
        if known is not None:
            x.set_shape([x.shape[0], *(int(side) // self.stride for side in known), x.shape[3]])
        cells = self.mask_set(groups.cells.states, x)
        masks, states = [], groups.layers.states
        for i, (block, own) in enumerate(zip(self.blocks, states, strict=True)):
            x = block(x)
            if training or i + 1 == len(states):
                masks.append(self.mask_set(own, self.spatial_features_proj(x)))
        return MaskOutputs(groups, masks, cells)

    def mask_set(self, states: Tensor, features: Tensor) -> MaskSet:
        """The masks of queries ``[B,Q,units]`` on a map."""
        vectors = self.query_features_proj(self.query_features_block(states))
        return MaskSet(tf.cast(vectors, tf.float32), tf.cast(features, tf.float32))

    def logits_of(self, masks: MaskSet, rows: Tensor | None = None) -> Tensor:
        """Logits ``[B,M,h,w]`` of the masks of queries ``rows [B,M]``, by default of all."""
        vectors = masks.vectors if rows is None else tf.gather(masks.vectors, rows, batch_dims=1)
        return tf.einsum("bqc,bhwc->bqhw", vectors, masks.features) + self.bias()

    def bias(self) -> Tensor:
        """What is added to all logits, float32 ``[1]``."""
        return tf.cast(tf.convert_to_tensor(self.segmentation_bias), tf.float32)

    # ---- training

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """As ``LWDETRHead``, with ``loss_mask_ce`` and ``loss_mask_dice`` of all sets.

        Raises:
            ValueError: the targets have no masks.
        """
        if "masks" not in targets:
            raise ValueError(
                f"{type(self).__name__} learns masks: the data must have them (data.train.masks: true)."
            )
        targets = self.with_columns(targets)
        canvas = tuple(side * self.stride for side in sizes_of(outputs.cells.features)[1:3])
        logits, boxes = sets_of(outputs.groups)
        masks, last = [*outputs.masks, outputs.cells], len(outputs.masks) - 1
        # which draws a set takes: the last layer the first ones, as in Transformers
        turns = [*range(1, last + 1), 0, last + 1]
        given = targets, canvas, info["seed"]
        costs = [
            self.point_losses.costs(turn, one.features, one.vectors, self.bias(), *given)
            for turn, one in zip(turns, masks, strict=True)
        ]
        assignments = self.assign(logits, boxes, targets, info, tf.stack(costs))
        found = self.criterion.losses(logits, boxes, assignments, targets, info)
        for turn, losses, one, assignment in zip(turns, found, masks, assignments, strict=True):
            losses.update(self.mask_losses(turn, one, assignment, *given))
        return named_sets(found)

    def mask_losses(
        self, turn: int, masks: MaskSet, assignment: Assignment, targets: Targets, canvas: Any, seed: Tensor
    ) -> Losses:
        """The losses of one set's masks; ``turn``: which draws it takes."""
        positive = assignment.positive
        objects, queries = sizes_of(targets["labels"])[1], sizes_of(positive)[1] // self.groups
        known = isinstance(objects, int) and isinstance(queries, int)
        limit = self.groups * (min(objects, queries) if known else tf.minimum(objects, queries))
        real, rows = tf.math.top_k(tf.cast(positive, tf.int32), limit)
        count = tf.maximum(replica_mean(tf.reduce_sum(tf.cast(positive, tf.float32))), 1.0)
        owner = tf.gather(assignment.gt_index, rows, batch_dims=1)
        logits = self.logits_of(masks, rows)
        return self.point_losses.losses(turn, logits, owner, real > 0, count, targets, canvas, seed)

    # ---- inference

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """As ``LWDETRHead``, with ``masks`` uint8 ``[B,N,H,W]`` of the images."""
        groups = outputs.groups
        best = self.postprocess.best(self.scores(groups))
        boxes = geometry.from_center_size(groups.layers.boxes[-1]) * size_as_box(info["valid_size"])
        found = self.postprocess.detections(boxes, best, info)
        found["masks"] = self.image_masks(self.logits_of(outputs.masks[-1], best[1]), info)
        return found

    def image_masks(self, logits: Tensor, info: ImageInfo) -> Tensor:
        """Logits ``[B,N,h,w]`` of the canvas as masks of the images, uint8 ``[B,N,H,W]``.

        The canvas is brought to the size in which its image has its own, and the image cut out.
        """
        own = OwnSizes(info, tf.shape(logits)[2:] * self.stride)

        def one(valid: Tensor, size: Tensor, maps: Tensor) -> Tensor:
            factors = tf.cast(own.canvas, tf.float32) / tf.cast(valid, tf.float32)
            whole = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float32) * factors), tf.int32), size)
            x = resize_bilinear(maps[None], whole)[0, : size[0], : size[1]]
            return own.filled(tf.transpose(tf.cast(x > 0.0, tf.uint8), [2, 0, 1]), size)

        maps = tf.transpose(logits, [0, 2, 3, 1])
        found = own.each(one, [maps], tf.TensorSpec([None, None, None], tf.uint8))
        return tf.ensure_shape(found, [*logits.shape[:2], None, None])
