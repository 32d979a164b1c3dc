"""The neck of YOLOv3 (Redmon & Farhadi, 2018)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import Composite, darknet_conv, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Tensor


class DetectionBlock(Composite):
    """Five convolutions, 1x1 to ``filters`` and 3x3 to twice as many by turns."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for i in range(1, 6):
            odd = i % 2
            setattr(self, f"conv{i}", darknet_conv(filters if odd else 2 * filters, 1 if odd else 3))

    def call(self, x: Tensor) -> Tensor:
        for i in range(1, 6):
            x = self.part(f"conv{i}")(x)
        return x


@register
class YOLOV3Neck(Composite):
    """From the coarsest map on: convolve, enlarge, put beside the next finer map.

    Args:
        filters: channels of the outputs, coarse to fine.

    Call: ``tuple of [B,h,w,C]``, fine to coarse ``-> tuple of [B,h,w,filters]``, **coarse to fine**.
    """

    def __init__(self, filters: Sequence[int] = (512, 256, 128), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = len(filters)
        for i, width in enumerate(filters, start=1):
            setattr(self, f"detect{i}", DetectionBlock(width))
            if i > 1:
                setattr(self, f"conv{i - 1}", darknet_conv(width, 1))

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        *finer, coarsest = inputs
        outputs = [self.detect1(coarsest)]
        for i, x in enumerate(reversed(finer), start=1):
            y = upsample_nearest(self.part(f"conv{i}")(outputs[-1]), x)
            outputs.append(self.part(f"detect{i + 1}")(tf.concat([y, x], -1)))
        return tuple(outputs)
