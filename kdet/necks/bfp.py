"""Balanced feature pyramid (Libra R-CNN; Pang et al., 2019)."""

from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, ConvModule, NonLocal2D, adaptive_max_pool, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class BFP(Composite):
    """Averages all levels on one, refines the average and adds it to every level.

    Args:
        channels: of every level.
        refine_level: index of the level whose size the average has.
        refine: "non_local", "conv" or None.
        norm, conv: specs of the "conv" refinement.

    Call: ``tuple of [B,h,w,channels] -> tuple of [B,h,w,channels]``.
    """

    def __init__(
        self,
        channels: int = 256,
        refine_level: int = 2,
        refine: str = "non_local",
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.refine_level = refine_level
        if refine not in (None, "conv", "non_local"):
            raise ValueError(f"BFP: refine {refine!r} must be 'non_local', 'conv' or None.")
        self.refine = None
        if refine == "conv":
            self.refine = ConvModule(channels, 3, padding=1, norm=norm, conv=conv)
        elif refine == "non_local":
            self.refine = NonLocal2D(channels, reduction=1, use_scale=False)

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        middle = inputs[self.refine_level]
        mean = tf.add_n([self.resize(x, middle, i < self.refine_level) for i, x in enumerate(inputs)])
        mean = mean / len(inputs)
        if self.refine is not None:
            mean = self.refine(mean)
        return tuple(x + self.resize(mean, x, i >= self.refine_level) for i, x in enumerate(inputs))

    @staticmethod
    def resize(x: Tensor, like: Tensor, shrink: Any) -> Tensor:
        return adaptive_max_pool(x, like) if shrink else upsample_nearest(x, like)
