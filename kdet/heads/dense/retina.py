"""RetinaNet's head (Lin et al., 2017)."""

from typing import Any

import keras

from kdet.contract import ImageInfo
from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.towers import apply_tower, conv_tower, prediction
from kdet.registry import register
from kdet.typing import Maps, Spec


@register
class RetinaHead(AnchorHead):
    """Two towers of convolutions, one for classes and one for boxes, shared by the levels.

    Args:
        stacked_convs: convolutions per tower.
        filters: their channels.
        conv, norm: their specs.
        other arguments: see ``AnchorHead``.

    Outputs: ``(scores, deltas)``, tuples of ``[B,h,w,A*classes]``, ``[B,h,w,A*4]``.
    """

    # where the deltas start, before training
    first_delta = 0.0
    cls_convs: list[Any]
    reg_convs: list[Any]

    def __init__(
        self,
        stacked_convs: int = 4,
        filters: int = 256,
        conv: str | Spec | keras.Layer | None = None,
        norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cls_convs = conv_tower(stacked_convs, filters, conv, norm)
        self.reg_convs = conv_tower(stacked_convs, filters, conv, norm)
        self.retina_cls = prediction(self.num_anchors * self.num_classes, probability=0.01)
        self.retina_reg = prediction(self.num_anchors * 4, bias=self.first_delta)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        scores = [self.retina_cls(apply_tower(self.cls_convs, x)) for x in features]
        deltas = [self.retina_reg(apply_tower(self.reg_convs, x)) for x in features]
        return tuple(scores), tuple(deltas)
