"""The semantic branch of Panoptic FPN (Kirillov et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet.contract import IGNORED_CELL, Targets
from kdet.heads.base import Losses
from kdet.layers import Composite, Conv2D, ConvModule, resize_bilinear
from kdet.losses import CrossEntropyLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor


@register
class ConvUpsample(Composite):
    """3x3 convolutions, twice the size after each.

    Args:
        filters: channels of the convolutions.
        steps: how many; 0: a convolution without up-sampling.
        norm: spec of their norms.

    Call: ``[B,h,w,C] -> [B,h*2**steps,w*2**steps,filters]``.
    """

    def __init__(self, filters: int, steps: int, norm: Norm = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps
        self.conv = [ConvModule(filters, 3, padding=1, norm=norm) for _ in range(max(steps, 1))]

    def call(self, x: Tensor) -> Tensor:
        for conv in self.conv:
            x = conv(x)
            x = resize_bilinear(x, 2 * tf.shape(x)[1:3]) if self.steps else x
        return x


@register
class StuffHead(Composite):
    """All levels up-sampled to the finest and added; classes of stuff, and one for all things.

    Args:
        num_stuff: classes of stuff.
        filters: channels of the convolutions.
        num_levels: maps that take part, the first ones.
        norm: spec of the convolutions' norms.
        loss: loss on the logits of every cell.

    Call: ``tuple of [B,h,w,C] -> {"seg_preds": logits [B,h,w,num_stuff+1], "feats": [B,h,w,filters]}``.
    """

    def __init__(
        self,
        num_stuff: int = 53,
        filters: int = 128,
        num_levels: int = 4,
        norm: Norm = None,
        loss: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_stuff = num_stuff
        norm = {"kind": "gn", "groups": 32} if norm is None else norm
        self.loss = loss or CrossEntropyLoss(loss_weight=0.5)
        self.conv_upsample_layers = [ConvUpsample(filters, level, norm) for level in range(num_levels)]
        self.conv_logits = Conv2D(num_stuff + 1, 1)

    def call(self, maps: Maps, training: bool = False) -> dict[str, Tensor]:
        feats = tf.add_n([layer(x) for layer, x in zip(self.conv_upsample_layers, maps)])
        return {"seg_preds": self.conv_logits(feats), "feats": feats}

    def compute_losses(self, outputs: dict[str, Tensor], targets: Targets, num_things: int) -> Losses:
        """``{"loss_seg": scalar}``, averaged over all cells, also those to ignore.

        Args:
            outputs: of a call.
            targets: with ``semantic``, labels below ``num_things`` are things.
            num_things: label of the first class of stuff.

        Raises:
            KeyError: when the targets have no ``semantic`` map.
        """
        if "semantic" not in targets:
            raise KeyError("The semantic branch needs targets['semantic'] [B,h,w] int32 (255 = ignore).")
        labels = targets["semantic"]
        logits = resize_bilinear(tf.cast(outputs["seg_preds"], tf.float32), tf.shape(labels)[1:3])
        weight = tf.cast(labels != IGNORED_CELL, tf.float32)
        labels = tf.where(labels < num_things, self.num_stuff, labels - num_things)
        return {"loss_seg": self.loss(logits, tf.minimum(labels, self.num_stuff), weight)}
