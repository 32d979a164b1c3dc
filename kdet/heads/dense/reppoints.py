"""RepPoints (Yang et al., 2019): objects as sets of points, predicted and refined once."""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.assigners import Assigner
from kdet.contract import Assignment, ImageInfo, LevelPrediction, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import DenseHead, flatten_levels, flatten_map, level_shapes
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction, small_normal
from kdet.layers import Conv2D, DeformConv2D, replica_mean
from kdet.losses import Loss
from kdet.priors import PointGenerator
from kdet.priors.base import Shape
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


def kernel_grid(side: int) -> Tensor:
    """The (y, x) of a kernel's own cells, ``[2*side*side]``: -1, -1, -1, 0, ... for side 3."""
    steps = tf.range(side, dtype=tf.float32) - (side - 1) / 2
    return tf.reshape(tf.stack(tf.meshgrid(steps, steps, indexing="ij"), -1), [-1])


@register
class RepPointsHead(DenseHead):
    """Class scores and two sets of points per cell; the first set says where the second step looks.

    Args:
        num_classes, postprocess: see ``DenseHead``.
        strides: of the levels.
        loss_cls, loss_bbox_init, loss_bbox_refine: losses; boxes count in ``base_scale`` strides.
        init_assigner, refine_assigner: match objects with points (or boxes of ``base_scale`` strides around
            them), and with the first boxes.
        transform: how points make a box: "moment" (mean and deviation), "minmax", "partial_minmax" (of the
            first four).
        use_grid_points: predict a box and take a regular grid in it as the points.
        num_points: points of a set, a square.
        gradient_mul: share of the gradient that flows from the second step into the first points.
        moment_mul: share of the gradient that the learned scale of "moment" gets.
        base_scale: size of an object in strides.
        stacked_convs, filters, norm: the towers, see ``RetinaHead``.

    Outputs: ``(scores, refined boxes, first boxes)``, tuples of ``[B,h,w,classes]`` and
    twice ``[B,h,w,4]`` relative to the cell, in strides.
    """

    transforms = ("moment", "minmax", "partial_minmax")

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        loss_cls: Loss,
        loss_bbox_init: Loss,
        loss_bbox_refine: Loss,
        init_assigner: Assigner,
        refine_assigner: Assigner,
        transform: str = "moment",
        use_grid_points: bool = False,
        num_points: int = 9,
        gradient_mul: float = 0.1,
        moment_mul: float = 0.01,
        base_scale: int = 4,
        stacked_convs: int = 3,
        filters: int = 256,
        norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        if transform not in self.transforms:
            raise ValueError(f"RepPointsHead: transform {transform!r} must be one of {self.transforms}.")
        self.loss_cls, self.loss_bbox_init, self.loss_bbox_refine = loss_cls, loss_bbox_init, loss_bbox_refine
        self.init_assigner, self.refine_assigner = init_assigner, refine_assigner
        self.transform, self.use_grid_points = transform, use_grid_points
        self.gradient_mul, self.moment_mul, self.base_scale = gradient_mul, moment_mul, base_scale
        self.side = round(num_points**0.5)
        self.point_generator = PointGenerator(strides, offset=0.0)
        self.cls_convs, self.reg_convs = (conv_tower(stacked_convs, filters, norm=norm) for _ in range(2))
        numbers = 4 if use_grid_points else 2 * num_points
        self.reppoints_pts_init_conv = Conv2D(filters, 3, padding=1, kernel_initializer=small_normal())
        self.reppoints_cls_conv, self.reppoints_pts_refine_conv = (
            DeformConv2D(filters, self.side, padding=self.side // 2, use_bias=False) for _ in range(2)
        )
        self.reppoints_pts_init_out, self.reppoints_pts_refine_out = (
            prediction(numbers, kernel_size=1) for _ in range(2)
        )
        self.reppoints_cls_out = prediction(num_classes, kernel_size=1, probability=0.01)
        if transform == "moment":
            self.moment_transfer = self.add_weight(name="moment_transfer", shape=(2,), initializer="zeros")

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        return tuple(zip(*(self.level(x) for x in features)))

    def level(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of one level."""
        cls, pts = apply_tower(self.cls_convs, x), apply_tower(self.reg_convs, x)
        first = self.reppoints_pts_init_out(tf.nn.relu(self.reppoints_pts_init_conv(pts)))
        first = tf.cast(first, tf.float32)
        box = 0.5 * self.base_scale * tf.constant([-1.0, -1.0, 1.0, 1.0])
        if self.use_grid_points:
            first, box = self.grid_in_box(first, box)
        fixed = tf.stop_gradient(first)
        offsets = fixed + self.gradient_mul * (first - fixed) - kernel_grid(self.side)
        refined = tf.nn.relu(self.reppoints_pts_refine_conv(pts, offsets))
        refined = tf.cast(self.reppoints_pts_refine_out(refined), tf.float32)
        if self.use_grid_points:
            refined, _ = self.grid_in_box(refined, tf.stop_gradient(box))
        else:
            refined += fixed
        scores = self.reppoints_cls_out(tf.nn.relu(self.reppoints_cls_conv(cls, offsets)))
        return scores, self.points_to_boxes(refined), self.points_to_boxes(first)

    def grid_in_box(self, regression: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """A regular grid in the box that deltas ``[...,4]`` make out of ``box [...,4]``; and that box."""
        size = tf.maximum(box[..., 2:] - box[..., :2], 1e-6)
        new_size = size * tf.exp(regression[..., 2:])
        corner = geometry.centers(box) + size * regression[..., :2] - 0.5 * new_size
        steps = tf.linspace(0.0, 1.0, self.side)
        x, y = tf.unstack(corner[..., None] + new_size[..., None] * steps, axis=-2)  # [..., side]
        y, x = tf.repeat(y, self.side, -1), tf.concat([x] * self.side, -1)
        points = tf.reshape(tf.stack([y, x], -1), tf.concat([tf.shape(y)[:-1], [2 * self.side**2]], 0))
        return points, tf.concat([corner, corner + new_size], -1)

    def points_to_boxes(self, points: Tensor) -> Tensor:
        """Boxes ``[...,4]`` around sets of points ``[...,2n]`` (y, x)."""
        shape = tf.concat([tf.shape(points)[:-1], [points.shape[-1] // 2, 2]], 0)
        points = tf.reshape(points, shape)[..., ::-1]  # [..., n, (x, y)]
        if self.transform == "moment":
            mean = tf.reduce_mean(points, -2)
            squares = tf.reduce_sum(tf.math.squared_difference(points, mean[..., None, :]), -2)
            # the maximum keeps the slope finite where all points coincide
            deviation = tf.sqrt(tf.maximum(squares / (self.side**2 - 1), 1e-12))
            factor = tf.cast(self.moment_transfer, tf.float32)
            fixed = tf.stop_gradient(factor)
            half = deviation * tf.exp(fixed + self.moment_mul * (factor - fixed))
            return tf.concat([mean - half, mean + half], -1)
        if self.transform == "partial_minmax":
            points = points[..., :4, :]
        return tf.concat([tf.reduce_min(points, -2), tf.reduce_max(points, -2)], -1)

    def priors(self, shapes: Sequence[Shape]) -> list[Tensor]:
        return self.point_generator(shapes)

    def level_predictions(self, outputs: Any) -> Iterator[LevelPrediction]:
        for scores, boxes in zip(*outputs[:2]):
            yield LevelPrediction(flatten_map(scores, self.num_classes), tf.sigmoid, flatten_map(boxes, 4))

    def boxes_in_pixels(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Boxes ``[...,4]`` in pixels from those relative to their cell."""
        return boxes * points[..., 2:] + tf.concat([points[..., :2]] * 2, -1)

    def decode_boxes(self, priors: Tensor, regression: Tensor, info: ImageInfo) -> Tensor:
        return geometry.clip(self.boxes_in_pixels(priors, regression), info["valid_size"])

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``{"loss_cls", "loss_pts_init", "loss_pts_refine"}``."""
        shapes = level_shapes(outputs[0])
        points = tf.concat(self.priors(shapes), 0)  # [P, 3]
        valid = self.point_generator.valid(shapes, info["padded_size"])
        refined, first = (self.boxes_in_pixels(points, flatten_levels(x, 4)) for x in outputs[1:])
        candidates = points
        if not self.init_assigner.uses_points:
            box = 0.5 * self.base_scale * tf.constant([-1.0, -1.0, 1.0, 1.0])
            candidates = self.boxes_in_pixels(points, box)
        unit = self.base_scale * points[:, 2:]

        def regression(boxes: Tensor, assignment: Assignment, loss: Loss) -> tuple[Tensor, Tensor]:
            """Loss of the positives' boxes and the normalizer."""
            count = replica_mean(assignment.count_positive())
            wanted = assignment.gather(targets["boxes"])
            positive = tf.cast(assignment.positive, tf.float32)
            return loss(boxes / unit, wanted / unit, positive, count), count

        loss_init, _ = regression(first, self.init_assigner(candidates, targets, valid), self.loss_bbox_init)
        assignment = self.refine_assigner(tf.stop_gradient(first), targets, valid)
        loss_refine, count = regression(refined, assignment, self.loss_bbox_refine)
        scores = flatten_levels(outputs[0], self.num_classes)
        labels = assignment.labels(targets, background=self.num_classes)
        return {
            "loss_cls": self.loss_cls(scores, labels, assignment.weight, count),
            "loss_pts_init": loss_init,
            "loss_pts_refine": loss_refine,
        }
