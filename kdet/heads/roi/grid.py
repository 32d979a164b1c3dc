"""Grid R-CNN: boxes from a grid of points (Lu et al., 2019; with the changes of Grid R-CNN Plus)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import geometry, ops
from kdet.contract import Detections, ImageInfo, RoIView, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Losses
from kdet.heads.roi.standard import StandardRoIHead, first_rows, merge_batch, split_batch
from kdet.layers import Composite, Conv2D, ConvModule, GroupNorm, Layer, global_uniform, replica_mean
from kdet.losses import CrossEntropyLoss, Loss
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class GroupedUpsample(Layer):
    """Transposed 4x4 convolution of stride 2 in groups of channels: ``[N,h,w,C] -> [N,2h,2w,filters]``."""

    torch_tensors = {"weight": ("kernel", "conv_transpose"), "bias": ("bias", None)}

    def __init__(self, filters: int, groups: int, bias_initializer: str = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.groups = filters, groups
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(4, 4, self.filters // self.groups, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.001),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        shape = tf.shape(x)
        size = [shape[0], shape[1] * 2, shape[2] * 2, self.filters // self.groups]
        inputs = tf.split(x, self.groups, axis=-1)
        kernels = tf.split(tf.convert_to_tensor(self.kernel), self.groups, axis=-1)
        outputs = [tf.nn.conv2d_transpose(i, k, size, 2, "SAME") for i, k in zip(inputs, kernels)]
        return tf.nn.bias_add(tf.concat(outputs, -1), self.bias)


@register
class GridHead(Composite):
    """A heat map for each of ``grid_size`` x ``grid_size`` points, each helped by its neighbors.

    Points run over columns first: point ``i`` is at column ``i // grid_size``, row ``i % grid_size``.
    A map shows the half of the doubled region in which its point must lie.

    Args:
        grid_size: points per side.
        region_size: rows and columns of the regions' features.
        num_convs, point_filters: convolutions and channels per point.
        norm: spec of their norms.
        radius: of the discs that mark the points in training, in cells.
        loss_grid: loss on logits and binary maps.

    Call: ``[N,s,s,C] -> {"fused", "unfused"}``, logits ``[N,2s,2s,points]`` with ``s`` the region's size.
    """

    def __init__(
        self,
        grid_size: int = 3,
        region_size: int = 14,
        num_convs: int = 8,
        point_filters: int = 64,
        norm: str | Spec | None = None,
        radius: int = 1,
        loss_grid: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.grid_size, self.points, self.radius = grid_size, grid_size**2, radius
        self.point_filters, self.map_size = point_filters, 4 * region_size
        self.loss_grid = loss_grid or CrossEntropyLoss(use_sigmoid=True, loss_weight=15.0)
        filters = point_filters * self.points
        self.convs = [
            ConvModule(filters, 3, stride=1 if i else 2, padding=1, norm=norm, use_bias=True)
            for i in range(num_convs)
        ]
        self.deconv1 = GroupedUpsample(filters, self.points)
        self.norm1 = GroupNorm(self.points)
        rare = keras.initializers.Constant(-4.59512)  # a probability of 0.01
        self.deconv2 = GroupedUpsample(self.points, self.points, bias_initializer=rare)
        self.forder_trans, self.sorder_trans = self.transitions(), self.transitions()

    def neighbors(self, point: int) -> list[int]:
        """Points beside ``point`` in the grid: left, above, below, right."""
        column, row = divmod(point, self.grid_size)
        last = self.grid_size - 1
        found = [
            (column > 0, -self.grid_size),
            (row > 0, -1),
            (row < last, 1),
            (column < last, self.grid_size),
        ]
        return [point + step for exists, step in found if exists]

    def transitions(self) -> list[list[list[Any]]]:
        """For every point and neighbor a depthwise 5x5 and a 1x1 convolution."""
        c = self.point_filters
        return [
            [[Conv2D(c, 5, padding=2, groups=c), Conv2D(c, 1)] for _ in self.neighbors(i)]
            for i in range(self.points)
        ]

    def fuse(self, own: Sequence[Any], others: Sequence[Any], transitions: Sequence[Any]) -> list[Tensor]:
        """Every point's features plus what comes over from its neighbors' ``others``."""
        fused = []
        for i, x in enumerate(own):
            for (depthwise, pointwise), neighbor in zip(transitions[i], self.neighbors(i)):
                x = x + pointwise(depthwise(others[neighbor]))
            fused.append(x)
        return fused

    def call(self, x: Tensor, training: bool = False) -> dict[str, Any]:
        for conv in self.convs:
            x = conv(x)
        own = tf.split(x, self.points, axis=-1)
        first = self.fuse(own, own, self.forder_trans)
        second = self.fuse(own, first, self.sorder_trans)
        fused = self.heatmap(tf.concat(second, -1))
        return {"fused": fused, "unfused": self.heatmap(x) if training else fused}

    def heatmap(self, x: Tensor) -> Tensor:
        return self.deconv2(tf.nn.relu(self.norm1(self.deconv1(x))))

    def half_starts(self) -> Tensor:
        """First column and row of each point's half in the map of the doubled region: ``[points,2]``."""
        last, quarter = self.grid_size - 1, self.map_size // 4
        along = [0 if i == 0 else int((i / last - 0.25) * self.map_size) for i in range(last)] + [2 * quarter]
        return tf.constant(
            [[along[i // self.grid_size], along[i % self.grid_size]] for i in range(self.points)]
        )

    def targets(self, rois: Tensor, boxes: Tensor) -> Tensor:
        """Binary maps ``[N,m/2,m/2,points]`` with a disc at every grid point of ``boxes``; both ``[N,4]``."""
        # Points of an object that is a region itself lie on the borders of cells, where the last bit decides.
        # This is MMDetection's order of operations; `geometry.scale_boxes` rounds otherwise.
        half = (rois[:, 2:] - rois[:, :2]) / 2.0
        start, end = rois[:, :2] - half, rois[:, 2:] + half
        sides = end - start  # [N, 2]
        along = tf.range(self.grid_size, dtype=tf.float32) / (self.grid_size - 1)
        columns, rows = tf.meshgrid(along, along, indexing="ij")
        share = tf.stack([tf.reshape(columns, [-1]), tf.reshape(rows, [-1])], -1)  # [points, 2]
        places = (1.0 - share) * boxes[:, None, :2] + share * boxes[:, None, 2:]  # [N, points, 2]
        cells = (places - start[:, None]) / tf.maximum(sides, 1e-6)[:, None] * self.map_size
        cells = tf.cast(tf.cast(cells, tf.int32) - self.half_starts(), tf.float32)
        span = tf.range(self.map_size // 2, dtype=tf.float32)
        dx, dy = (tf.square(span[None, :, None] - cells[:, None, :, k]) for k in (0, 1))  # [N, m/2, points]
        disc = dy[:, :, None, :] + dx[:, None, :, :] <= self.radius**2
        large = tf.reduce_all(sides > self.grid_size, -1)[:, None, None, None]
        return tf.cast(disc & large, tf.float32)

    def compute_losses(self, outputs: Any, wanted: Tensor, weight: Tensor) -> Losses:
        """``{"loss_grid": scalar}`` of the regions with ``weight [N]`` above 0."""
        count = tf.maximum(replica_mean(tf.reduce_sum(weight)), 1.0) * (self.map_size // 2) ** 2 * self.points
        losses = [self.loss_grid(outputs[k], wanted, weight, count) for k in ("fused", "unfused")]
        return {"loss_grid": tf.add_n(losses)}

    def decode(self, heatmaps: Tensor, boxes: Tensor) -> Detections:
        """Boxes ``[N,4]`` refined by the points on their sides, which vote with their scores."""
        size = self.map_size // 2
        # spelled out: near 1 cells tie in this form, and the first wins, where tf.sigmoid tells them apart
        scores = 1.0 / (1.0 + tf.exp(-tf.cast(heatmaps, tf.float32)))
        scores = tf.reshape(scores, [-1, size**2, self.points])
        best = tf.argmax(scores, 1, tf.int32)  # [N, points]
        cells = tf.stack([best % size, best // size], -1) + self.half_starts()
        # the map's cells are as large as the box over its half
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
        places = (tf.cast(cells, tf.float32) + 0.5) / size * sides + boxes[:, None, :2] - sides / 2
        shape = [-1, self.grid_size, self.grid_size]
        weight = tf.reshape(tf.reduce_max(scores, 1), shape)
        x, y = (tf.reshape(places[..., k], shape) for k in (0, 1))  # [N, column, row]

        def vote(values: Tensor, weight: Tensor) -> Tensor:
            return tf.reduce_sum(values * weight, -1) / tf.reduce_sum(weight, -1)

        left, right = (vote(x[:, i], weight[:, i]) for i in (0, -1))
        top, bottom = (vote(y[:, :, i], weight[:, :, i]) for i in (0, -1))
        return tf.stack([left, top, right, bottom], -1)


@register
class GridRoIHead(StandardRoIHead):
    """Second stage that classifies regions and finds the boxes of the detections by grid points.

    Its boxes are not cut to the image, as in MMDetection.

    Args:
        grid_roi_extractor, grid_head: grid branch.
        jitter: positives move and grow by up to this share of their size before the grid branch learns.
        max_regions: positives of one image that the grid branch learns from.
        other arguments: see ``StandardRoIHead``.
    """

    def __init__(
        self,
        grid_roi_extractor: keras.Layer,
        grid_head: GridHead,
        jitter: float = 0.15,
        max_regions: int = 96,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.grid_roi_extractor, self.grid_head = grid_roi_extractor, grid_head
        self.jitter, self.max_regions = jitter, max_regions

    def compute_losses(self, features: Maps, proposals: Tensor, targets: Targets, info: ImageInfo) -> Losses:
        rois, assignment, _ = self.sample(features, proposals, targets, info)
        losses, _ = self.bbox_losses(features, rois, assignment, targets)
        limit = min(self.max_regions, self.sampler.max_positives)
        rois, assignment = first_rows(rois, assignment, limit)
        rois = self.jittered(rois, info)
        outputs = self.grid_head(self.crop(self.grid_roi_extractor, features, rois, True), training=True)
        boxes = merge_batch(assignment.gather(targets["boxes"]))
        weight = merge_batch(tf.cast(assignment.positive, tf.float32))
        wanted = self.grid_head.targets(merge_batch(rois), boxes)
        losses.update(self.grid_head.compute_losses(outputs, wanted, weight))
        return losses

    def jittered(self, rois: Tensor, info: ImageInfo) -> Tensor:
        """Regions at random places and sizes near their own, up to the last pixel of the image."""
        seed = ops.fold_in(info["seed"], 4)
        noise = global_uniform(seed, tf.shape(rois)[0], rois.shape[1] * 4) * 2.0 - 1.0
        noise = tf.reshape(noise * self.jitter, tf.shape(rois))
        center, sides = (rois[..., :2] + rois[..., 2:]) / 2, rois[..., 2:] - rois[..., :2]
        center, half = center + sides * noise[..., :2], sides * (1.0 + noise[..., 2:]) / 2
        return geometry.clip(tf.concat([center - half, center + half], -1), info["valid_size"] - 1.0)

    def build_on(self, features: Maps, proposals: tf.Tensor, info: ImageInfo) -> None:
        super().build_on(features, proposals, info)
        self.grid_head(self.crop(self.grid_roi_extractor, features, proposals))

    def predict_views(self, views: list[RoIView], postprocess: PostProcess | None = None) -> Detections:
        if len(views) > 1:
            # the published procedure leaves the grid branch out here, and what remains is no detector
            raise NotImplementedError("GridRoIHead has no test-time augmentation: predict without `augment`.")
        features, _, info = views[0]
        # Regions in network pixels: to original pixels and back a border of the image would move by its last
        # bit, and a region with it may get a row of samples more.
        network: ImageInfo = {**info, "scale": tf.ones_like(info["scale"])}
        network.pop("flipped", None)
        detections = super().predict_views([views[0]._replace(info=network)], postprocess)
        rois = detections["boxes"]
        heatmaps = self.grid_head(self.crop(self.grid_roi_extractor, features, rois))["fused"]
        boxes = split_batch(self.grid_head.decode(heatmaps, merge_batch(rois)), rois)
        real = (detections["labels"] >= 0)[..., None]
        return {**detections, "boxes": tf.where(real, original_boxes(boxes, info), 0.0)}
