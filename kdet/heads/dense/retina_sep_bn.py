"""RetinaNet's head with norms of its own for every level (Ghiasi et al., 2019, arXiv:1904.07392)."""

from kdet.heads.dense.retina import RetinaHead
from kdet.heads.dense.towers import apply_tower
from kdet.layers import ConvModule
from kdet.registry import register


@register
class RetinaSepBNHead(RetinaHead):
    """``RetinaHead`` whose convolutions are shared by the levels and whose norms are not.

    Args:
        num_levels: levels of the pyramid.
        norm: spec of the norms.
        other arguments: see ``RetinaHead``.
    """

    def __init__(self, num_levels=5, norm="bn", **kwargs):
        super().__init__(norm=norm, **kwargs)

        def levels(tower):
            others = [
                [ConvModule(m.conv.filters, 3, conv=m.conv, norm=norm) for m in tower]
                for _ in range(num_levels - 1)
            ]
            return [tower, *others]

        self.cls_convs, self.reg_convs = levels(self.cls_convs), levels(self.reg_convs)

    def call(self, features, training=False):
        scores, deltas = [], []
        for cls_convs, reg_convs, x in zip(self.cls_convs, self.reg_convs, features):
            scores.append(self.retina_cls(apply_tower(cls_convs, x)))
            deltas.append(self.retina_reg(apply_tower(reg_convs, x)))
        return tuple(scores), tuple(deltas)
