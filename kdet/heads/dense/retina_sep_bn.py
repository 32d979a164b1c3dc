"""RetinaNet's head with norms of its own for every level (Ghiasi et al., 2019, arXiv:1904.07392)."""

from typing import Any

from kdet.contract import ImageInfo
from kdet.heads.dense.retina import RetinaHead
from kdet.heads.dense.towers import apply_tower, towers_of_levels
from kdet.registry import register
from kdet.typing import Maps, Spec


@register
class RetinaSepBNHead(RetinaHead):
    """``RetinaHead`` whose convolutions are shared by the levels and whose norms are not.

    Args:
        num_levels: levels of the pyramid.
        norm: spec of the norms.
        other arguments: see ``RetinaHead``.
    """

    def __init__(self, num_levels: int = 5, norm: str | Spec | None = "bn", **kwargs: Any) -> None:
        super().__init__(norm=norm, **kwargs)
        self.cls_convs = towers_of_levels(self.cls_convs, num_levels, norm)
        self.reg_convs = towers_of_levels(self.reg_convs, num_levels, norm)

    def call(
        self, features: Maps, info: ImageInfo, training: bool = False
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        scores, deltas = [], []
        for cls_convs, reg_convs, x in zip(self.cls_convs, self.reg_convs, features):
            scores.append(self.retina_cls(apply_tower(cls_convs, x)))
            deltas.append(self.retina_reg(apply_tower(reg_convs, x)))
        return tuple(scores), tuple(deltas)
