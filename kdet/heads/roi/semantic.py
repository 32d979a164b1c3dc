"""Semantic segmentation beside the instances (Hybrid Task Cascade; Chen et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet.contract import Targets
from kdet.heads.base import Losses
from kdet.layers import Composite, Conv2D, ConvModule, resize_corners
from kdet.losses import Loss
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class FusedSemanticHead(Composite):
    """Adds all levels at the size of one, then convolutions.

    Args:
        num_classes: of the semantic map.
        loss: loss on the logits of every cell.
        num_levels, fusion_level: number of maps and index of the one that gives the size.
        num_convs, filters: 3x3 convolutions.
        ignore_label: cells of the map that do not count.

    Call: ``tuple of [B,h,w,C] -> (logits [B,h,w,num_classes], features [B,h,w,filters])``.
    """

    def __init__(
        self,
        num_classes: int,
        loss: Loss,
        num_levels: int = 5,
        fusion_level: int = 1,
        num_convs: int = 4,
        filters: int = 256,
        ignore_label: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.loss = num_classes, loss
        self.fusion_level, self.ignore_label = fusion_level, ignore_label
        self.lateral_convs = [ConvModule(filters, 1) for _ in range(num_levels)]
        self.convs = [ConvModule(filters, 3, padding=1) for _ in range(num_convs)]
        self.conv_embedding = ConvModule(filters, 1)
        self.conv_logits = Conv2D(num_classes, 1)

    def fused(self, maps: Maps) -> Tensor:
        """All levels in one map, through the convolutions: ``[B,h,w,filters]``."""
        shape = maps[self.fusion_level].shape
        size = tf.shape(maps[self.fusion_level])[1:3] if None in shape[1:3] else list(shape[1:3])
        x = tf.add_n(
            [
                conv(level if i == self.fusion_level else resize_corners(level, size))
                for i, (conv, level) in enumerate(zip(self.lateral_convs, maps))
            ]
        )
        for conv in self.convs:
            x = conv(x)
        return x

    def call(self, maps: Maps, training: bool = False) -> tuple[Tensor, Any]:
        x = self.fused(maps)
        return self.conv_logits(x), self.conv_embedding(x)

    def compute_losses(self, logits: Tensor, targets: Targets) -> Losses:
        """``{"loss_semantic_seg": scalar}``, averaged over all cells, also those to ignore.

        Raises:
            KeyError: when the targets have no ``semantic`` map ``[B,h,w]`` of the logits' size.
        """
        if "semantic" not in targets:
            raise KeyError("The semantic branch needs targets['semantic'] [B,h,w] int32 (255 = ignore).")
        labels = targets["semantic"]
        weight = tf.cast(labels != self.ignore_label, tf.float32)
        labels = tf.clip_by_value(labels, 0, self.num_classes - 1)
        return {"loss_semantic_seg": self.loss(logits, labels, weight)}
