"""SOLO: objects by their locations, without boxes (Wang et al., 2020)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kdet import ops
from kdet.contract import PADDING_LABEL, Detections, ImageInfo, Targets
from kdet.heads.base import Head, Losses
from kdet.heads.dense.towers import apply_tower, prediction, small_normal
from kdet.heads.mask.own_size import image_masks, mask_boxes
from kdet.layers import ConvModule, NoXla, place_maps, replica_mean, resize_bilinear, with_places
from kdet.losses import DiceLoss, Loss
from kdet.postprocess import MatrixNMS
from kdet.registry import register
from kdet.typing import Conv, Maps, Norm, Tensor

Grid = tuple[int, tuple[float, float]]
# the masks of the finest level, and what candidates are compared on, have a quarter of the canvas' sides
MASK_STRIDE = 4


class Cells(NamedTuple):
    """Some cells of the grid of one level.

    Attributes:
        rows: int32 ``[B,M]``, ``y * grid + x``.
        real: bool ``[B,M]``; the others fill the batch.
        choice: int32 ``[B,M]``, what else they were chosen by (an object, a class).
    """

    rows: Tensor
    real: Tensor
    choice: Tensor


def choose(wanted: Tensor, cell_axis: int) -> Cells:
    """The wanted pairs of a cell and something else, as many for each image as the most of an image.

    Args:
        wanted: bool ``[B,cells,K]`` (``cell_axis`` 1) or ``[B,K,cells]`` (2).
        cell_axis: axis of the cells.
    """
    batch, _, last = tf.unstack(tf.shape(wanted))
    flat = tf.cast(tf.reshape(wanted, [batch, -1]), tf.int32)
    most = tf.maximum(tf.reduce_max(tf.reduce_sum(flat, 1)), 1)
    real, rows = tf.math.top_k(flat, tf.minimum(most, tf.shape(flat)[1]))
    first, second = rows // last, rows % last
    return Cells(*((first, real > 0, second) if cell_axis == 1 else (second, real > 0, first)))


class LocationHead(NoXla, Head):
    """What the heads of SOLO and SOLOv2 share: every cell of a grid per level answers for one object.

    A subclass gives ``call``, whose last outputs are the classes of every level ``[B,S,S,classes]`` unless it
    says otherwise in ``classes``, and ``masks_at``.

    Args:
        num_classes: classes without background.
        num_grids: cells along each side of the canvas, per level.
        strides: least number of pixels of a mask, per level.
        scale_ranges: sizes (square roots of the boxes' areas) that each level learns, both ends included.
        center_scale: share of an object's box around its center of mass whose cells learn it.
        stacked_convs, filters: of the towers.
        norm: spec of the towers' norms.
        loss_mask: loss of every mask's probabilities.
        loss_cls: loss on class logits.
        postprocess: ``MatrixNMS``.
    """

    repeated_cells = False  # whether a cell learns all its objects or the last of them only
    conv_cls: keras.layers.Layer

    def __init__(
        self,
        num_classes: int,
        loss_cls: Loss,
        num_grids: Sequence[int] = (40, 36, 24, 16, 12),
        strides: Sequence[int] = (8, 8, 16, 32, 32),
        scale_ranges: Sequence[Sequence[float]] = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
        center_scale: float = 0.2,
        stacked_convs: int = 7,
        filters: int = 256,
        norm: Norm = None,
        loss_mask: Loss | None = None,
        postprocess: MatrixNMS | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or MatrixNMS(), **kwargs)
        self.num_grids, self.strides = list(num_grids), list(strides)
        self.scale_ranges = [tuple(one) for one in scale_ranges]
        self.center_scale, self.filters = center_scale, filters
        self.loss_cls, self.loss_mask = loss_cls, loss_mask or DiceLoss(loss_weight=3.0)
        self.norm = {"kind": "gn", "groups": 32} if norm is None else norm

    def tower(self, depth: int, convs: Sequence[Conv] = ()) -> list[ConvModule]:
        """``depth`` 3x3 convolutions; ``convs``: their specs where they are not plain."""
        specs = [*convs] or [None] * depth
        return [
            ConvModule(
                self.filters, 3, padding=1, norm=self.norm, conv=spec, kernel_initializer=small_normal()
            )
            for spec in specs
        ]

    def levels(self, features: Maps) -> list[Tensor]:
        """The maps with the finest and the coarsest in the size of their neighbors."""
        first, *inner, last = features
        sizes = tf.shape(inner[0])[1:3], tf.shape(inner[-1])[1:3]
        return [resize_bilinear(first, sizes[0]), *inner, resize_bilinear(last, sizes[1])]

    def classes(self, outputs: Any) -> tuple[Tensor, ...]:
        """The classes among the outputs: logits in training, probabilities at inference."""
        return outputs[-1]

    def masks_at(self, outputs: Any, level: int, cells: Tensor, training: bool = False) -> Tensor:
        """Masks of cells ``[B,M]`` (``y * grid + x``) of a level: probabilities ``[B,M,h,w]``, float32.

        ``training`` says of which kind of call the outputs are.
        """
        raise NotImplementedError(f"{type(self).__name__} must define masks_at().")

    # ---- training

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_mask`` (Dice of the positive cells' masks) and ``loss_cls`` (of all cells).

        Raises:
            ValueError: the targets have no masks.
        """
        if "masks" not in targets:
            raise ValueError(
                f"{type(self).__name__} learns masks: the data must have them (data.train.masks: true)."
            )
        canvas = tf.unstack(tf.cast(info["canvas"], tf.int32))
        centers, filled = ops.packed_mask_centers(targets["masks"]), ops.packed_mask_areas(targets["masks"])
        usable = (filled > 0.0) & (targets["labels"] >= 0)
        mask_total, positives, labels = 0.0, 0.0, []
        for level in range(len(self.num_grids)):
            covered = self.covered(level, targets["boxes"], centers, usable, info["canvas"])  # [B, G, S*S]
            owner = tf.reduce_max(tf.where(covered, tf.range(tf.shape(covered)[1])[:, None], -1), 1)
            classes = tf.gather(targets["labels"], tf.maximum(owner, 0), batch_dims=1)
            labels.append(tf.where(owner >= 0, classes, self.num_classes))
            positives += tf.reduce_sum(tf.cast(owner >= 0, tf.float32))
            if not self.repeated_cells:
                covered &= owner[:, None] == tf.range(tf.shape(covered)[1])[:, None]
            mask_total += self.mask_losses(outputs, level, choose(covered, 2), targets, canvas)
        logits = [tf.reshape(x, [tf.shape(x)[0], -1, self.num_classes]) for x in self.classes(outputs)]
        positives = replica_mean(positives)
        return {
            "loss_mask": mask_total / tf.maximum(positives, 1.0),
            "loss_cls": self.loss_cls(tf.concat(logits, 1), tf.concat(labels, 1), None, positives + 1.0),
        }

    def covered(self, level: int, boxes: Tensor, centers: Tensor, usable: Tensor, canvas: Tensor) -> Tensor:
        """Which cells of a level learn which object: bool ``[B,G,S*S]``.

        Args:
            level: its index.
            boxes: ``[B,G,4]``.
            centers: centers of mass ``[B,G,2]`` (y, x).
            usable: bool ``[B,G]``.
            canvas: float32 ``[2]`` (h, w).
        """
        grid, (low, high) = self.num_grids[level], self.scale_ranges[level]
        extent = (boxes[..., 2:] - boxes[..., :2])[..., ::-1]  # [B, G, 2] (h, w)
        size = tf.sqrt(extent[..., 0] * extent[..., 1])
        usable &= (size >= low) & (size <= high)
        reach = 0.5 * extent * self.center_scale

        def cell(place: Tensor) -> Tensor:
            return tf.cast(place / canvas / (1.0 / grid), tf.int32)  # towards zero

        middle = cell(centers)
        first = tf.maximum(tf.maximum(cell(centers - reach), 0), middle - 1)
        last = tf.minimum(tf.minimum(cell(centers + reach), grid - 1), middle + 1)
        places = tf.range(grid)
        inside = (places >= first[..., None]) & (places <= last[..., None])  # [B, G, 2, S]
        both = inside[..., 0, :, None] & inside[..., 1, None, :] & usable[..., None, None]
        return tf.reshape(both, [*tf.unstack(tf.shape(both)[:2]), grid * grid])

    def mask_losses(self, outputs: Any, level: int, cells: Cells, targets: Targets, canvas: Any) -> Tensor:
        """Summed loss of the masks of ``cells``, whose ``choice`` is an object."""
        masks = self.masks_at(outputs, level, cells.rows, training=True)
        truth = ops.resize_masks(targets["masks"], canvas, tf.unstack(tf.shape(masks)[2:]))
        truth = tf.gather(tf.cast(truth >= 0.5, tf.float32), cells.choice, batch_dims=1)
        shape = tf.shape(masks)
        masks, truth = (tf.reshape(x, [shape[0], shape[1], shape[2] * shape[3]]) for x in (masks, truth))
        each = self.loss_mask.elementwise(masks, truth)
        return self.loss_mask.loss_weight * tf.reduce_sum(tf.where(cells.real, each, 0.0))

    # ---- inference

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections in original pixels; ``masks [B,N,H,W]`` of the images, boxes around them."""
        settings, found = self.postprocess, []
        for level, scores in enumerate(self.classes(outputs)):
            scores = tf.reshape(scores, [tf.shape(scores)[0], self.num_grids[level] ** 2, self.num_classes])
            cells = choose(scores > settings.score_threshold, 1)
            own = tf.gather(scores, cells.rows, batch_dims=1)  # [B, M, classes]
            own = tf.gather(own, cells.choice, batch_dims=2)
            masks = self.masks_at(outputs, level, cells.rows)
            inside = tf.cast(masks > settings.mask_threshold, tf.float32)
            area = tf.reduce_sum(inside, [2, 3])
            # what is small for its level is none; how sure the mask is of itself counts too
            sureness = tf.reduce_sum(masks * inside, [2, 3]) / tf.maximum(area, 1.0)
            kept = cells.real & (area > self.strides[level])
            found.append((masks, tf.where(kept, own * sureness, 0.0), cells.choice))
        masks, scores, labels = (tf.concat(parts, 1) for parts in zip(*found))
        rows, scores, count = settings(masks, scores, labels)
        canvas = tf.shape(masks)[2:] * MASK_STRIDE
        masks, labels = (tf.gather(x, rows, batch_dims=1) for x in (masks, labels))
        real = scores > 0.0
        masks = tf.where(real[..., None, None], masks, 0.0)
        masks = image_masks(masks, info, canvas, settings.mask_threshold)
        return {
            "boxes": mask_boxes(masks),
            "scores": scores,
            "labels": tf.where(real, labels, PADDING_LABEL),
            "num_detections": count,
            "masks": masks,
        }


def peaks(scores: Tensor) -> Tensor:
    """Scores ``[B,S,S,C]``, 0 where a cell above, left or between these two has a higher one."""
    around = tf.pad(scores, [[0, 0], [1, 0], [1, 0], [0, 0]])  # scores are not negative
    return tf.where(tf.nn.max_pool2d(around, 2, 1, "VALID") == scores, scores, 0.0)


class GridHead(LocationHead):
    """SOLO's heads: masks are maps with a channel for every cell, or two for its row and its column.

    Outputs in training are logits, at inference probabilities, the masks all in the size of the finest and
    the classes' peaks only.
    """

    def __init__(self, num_classes: int, stacked_convs: int = 7, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, stacked_convs=stacked_convs, **kwargs)
        self.cls_convs = self.tower(stacked_convs)
        self.conv_cls = prediction(num_classes, probability=0.01)

    def mask_maps(self, x: Tensor, level: int) -> tuple[Tensor, ...]:
        """The logits' maps of a level, ``[B,2h,2w,...]`` each, from its features."""
        raise NotImplementedError(f"{type(self).__name__} must define mask_maps().")

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        found = []
        for level, x in enumerate(self.levels(features)):
            masks = self.mask_maps(x, level)
            grid = self.num_grids[level]
            classes = self.conv_cls(apply_tower(self.cls_convs, resize_bilinear(x, (grid, grid))))
            found.append((*(tf.cast(m, tf.float32) for m in masks), tf.cast(classes, tf.float32)))
        outputs = tuple(zip(*found))
        if training:
            return outputs
        size = tf.shape(outputs[0][0])[1:3]
        enlarged = [tuple(resize_bilinear(tf.sigmoid(x), size) for x in maps) for maps in outputs[:-1]]
        return *enlarged, tuple(peaks(tf.sigmoid(x)) for x in outputs[-1])

    def channels(self, maps: Tensor, index: Tensor, training: bool) -> Tensor:
        """Probabilities ``[B,M,h,w]`` of the channels ``index [B,M]`` of ``[B,h,w,C]``."""
        chosen = tf.gather(tf.transpose(maps, [0, 3, 1, 2]), index, batch_dims=1)
        return tf.sigmoid(chosen) if training else chosen


@register
class SOLOHead(GridHead):
    """SOLO's plain head.

    Args:
        arguments: see ``LocationHead``.

    Outputs: ``(masks, classes)``, tuples over the levels of ``[B,h,w,S*S]`` and ``[B,S,S,classes]``.
    """

    def __init__(self, num_classes: int, stacked_convs: int = 7, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, stacked_convs=stacked_convs, **kwargs)
        self.mask_convs = self.tower(stacked_convs)
        self.conv_mask_list = [prediction(grid**2, 1, probability=0.01) for grid in self.num_grids]

    def mask_maps(self, x: Tensor, level: int) -> tuple[Tensor, ...]:
        x = apply_tower(self.mask_convs, with_places(x))
        return (self.conv_mask_list[level](resize_bilinear(x, 2 * tf.shape(x)[1:3])),)

    def masks_at(self, outputs: Any, level: int, cells: Tensor, training: bool = False) -> Tensor:
        return self.channels(outputs[0][level], cells, training)


@register
class DecoupledSOLOHead(GridHead):
    """Decoupled SOLO: a mask is the product of a map of its column and a map of its row.

    Args:
        shared_tower: one tower for both maps (the light head) instead of one each.
        other arguments: see ``LocationHead``.

    Outputs: ``(masks of columns, masks of rows, classes)``, tuples over the levels of ``[B,h,w,S]`` twice and
    ``[B,S,S,classes]``.
    """

    def __init__(
        self, num_classes: int, stacked_convs: int = 7, shared_tower: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(num_classes=num_classes, stacked_convs=stacked_convs, **kwargs)
        self.shared_tower = shared_tower
        if shared_tower:
            self.mask_convs = self.tower(stacked_convs)
        else:
            self.mask_convs_x, self.mask_convs_y = self.tower(stacked_convs), self.tower(stacked_convs)
        self.conv_mask_list_x, self.conv_mask_list_y = (
            [prediction(grid, probability=0.01) for grid in self.num_grids] for _ in "xy"
        )

    def mask_maps(self, x: Tensor, level: int) -> tuple[Tensor, ...]:
        size = 2 * tf.shape(x)[1:3]
        if self.shared_tower:
            columns = rows = resize_bilinear(apply_tower(self.mask_convs, with_places(x)), size)
        else:
            places = place_maps(x)
            given = ((self.mask_convs_x, places[..., :1]), (self.mask_convs_y, places[..., 1:]))
            columns, rows = (
                resize_bilinear(apply_tower(tower, tf.concat([x, place], -1)), size) for tower, place in given
            )
        return self.conv_mask_list_x[level](columns), self.conv_mask_list_y[level](rows)

    def masks_at(self, outputs: Any, level: int, cells: Tensor, training: bool = False) -> Tensor:
        grid = self.num_grids[level]
        columns, rows = (maps[level] for maps in outputs[:2])
        return self.channels(rows, cells // grid, training) * self.channels(columns, cells % grid, training)
