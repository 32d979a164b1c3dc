"""The head of CentripetalNet (Dong et al., 2020): corners that point to the center of their object."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet import geometry
from kdet.contract import ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.keypoint.corner import CORNERS, CornerHead, cell_size
from kdet.heads.keypoint.heatmaps import values_at
from kdet.layers import ConvModule, DeformConv2D
from kdet.losses import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class CentripetalHead(CornerHead):
    """Two corners are a pair when the centers that they point to lie in the middle of their box.

    Args:
        loss_guiding_shift, loss_centripetal_shift: of the two kinds of arrows to the center; the first guide
            the deformable convolution that the second ones come from.
        other arguments: see ``CornerHead``.

    Outputs: heat maps, offsets, guiding shifts, centripetal shifts (logs), each a
    pair of tuples over the stacks.
    """

    kinds: dict[str, int | None] = {"heat": None, "off": 2, "guiding_shift": 2, "centripetal_shift": 2}

    def __init__(
        self,
        num_classes: int,
        loss_heatmap: Loss,
        loss_offset: Loss,
        loss_guiding_shift: Loss,
        loss_centripetal_shift: Loss,
        stacks: int = 2,
        filters: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_heatmap=loss_heatmap,
            loss_offset=loss_offset,
            stacks=stacks,
            filters=filters,
            **kwargs,
        )
        self.loss_guiding_shift, self.loss_centripetal_shift = loss_guiding_shift, loss_centripetal_shift

        def normal(stddev: float) -> keras.initializers.Initializer:
            return keras.initializers.RandomNormal(stddev=stddev)

        for corner in CORNERS:
            offsets = [
                ConvModule(18, 1, use_bias=False, activation=None, kernel_initializer=normal(0.1))
                for _ in range(stacks)
            ]
            adapted = [
                DeformConv2D(filters, 3, padding=1, use_bias=False, kernel_initializer=normal(0.01))
                for _ in range(stacks)
            ]
            setattr(self, f"{corner}_dcn_offset", offsets)
            setattr(self, f"{corner}_feat_adaption", adapted)

    def predictions(self, stack: int, corner: str, pooled: Tensor) -> list[Tensor]:
        heat, off, guiding = (
            self.part(f"{corner}_{kind}")[stack](pooled) for kind in ("heat", "off", "guiding_shift")
        )
        offsets = self.part(f"{corner}_dcn_offset")[stack](tf.stop_gradient(guiding))
        adapted = self.part(f"{corner}_feat_adaption")[stack](pooled, offsets)
        return [heat, off, guiding, self.part(f"{corner}_centripetal_shift")[stack](adapted)]

    def pair_losses(self, maps: dict[str, Any], scaled: Tensor, corners: Any, targets: Targets) -> Losses:
        center = geometry.centers(scaled)
        guiding = [center - corners[0][2], corners[1][2] - center]
        half = tf.where(corners[0][3][..., None] | corners[1][3][..., None], center - scaled[..., :2], 1.0)
        logarithms = [tf.math.log(half)] * 2
        return {
            "guiding_loss": self.shift_loss(self.loss_guiding_shift, maps["guiding_shift"], guiding, corners),
            "centripetal_loss": self.shift_loss(
                self.loss_centripetal_shift, maps["centripetal_shift"], logarithms, corners
            ),
        }

    def belong_together(
        self, maps: dict[str, Any], tl: Sequence[Tensor], br: Sequence[Tensor], boxes: Tensor, info: ImageInfo
    ) -> Tensor:
        size = cell_size(maps["heat"][0], info)
        shifts = [
            tf.exp(values_at(found, cells)) * size
            for found, (cells, _) in zip(maps["centripetal_shift"], (tl, br))
        ]
        first, second = tf.maximum(tl[1] + shifts[0], 0.0), tf.maximum(br[1] - shifts[1], 0.0)
        centers = self.every_pair(first, second)
        # the middle part of the box, smaller for large ones (section 4.1)
        share = tf.where(tf.abs(geometry.area(boxes)) > 3500.0, 1 / 2.1, 1 / 2.4)[..., None]
        middle, half = geometry.centers(boxes), (boxes[..., 2:] - boxes[..., :2]) * share / 2.0
        low, high = tf.tile(middle - half, [1, 1, 1, 2]), tf.tile(middle + half, [1, 1, 1, 2])
        inside = tf.reduce_all((centers > low) & (centers < high), -1)
        region = tf.abs(geometry.area(tf.concat([middle - half, middle + half], -1)))
        distance = tf.math.divide_no_nan(tf.abs(geometry.area(centers)), region)
        return inside & (distance <= self.max_distance)
