"""Double-Head R-CNN (Wu et al., 2019): dense layers classify, convolutions locate."""

from typing import Any

import tensorflow as tf

from kdet.backbones.resnet import Bottleneck
from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.standard import StandardRoIHead
from kdet.layers import Composite, ConvModule, Linear
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


class WideningBlock(Composite):
    """Residual block of a 3x3 and a 1x1 convolution that changes the number of channels."""

    def __init__(self, channels: int, filters: int, norm: str | Spec | None = "bn", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = ConvModule(channels, 3, padding=1, norm=norm)
        self.conv2 = ConvModule(filters, 1, norm=norm, activation=None)
        self.conv_identity = ConvModule(filters, 1, norm=norm, activation=None)

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.relu(self.conv2(self.conv1(x)) + self.conv_identity(x))


@register
class DoubleBBoxHead(BBoxHead):
    """A branch of dense layers for the classes and one of residual blocks for the boxes.

    Args:
        channels: of the regions' features.
        num_convs, conv_filters: residual blocks of the box branch and their channels.
        num_fcs, fc_units: dense layers of the class branch.
        norm: spec of the norms of the box branch.
        other arguments: see ``BBoxHead``.

    Call: ``([N,h,w,C] for the classes, [N,h,w,C] for the boxes) -> (scores, deltas)``.
    """

    def __init__(
        self,
        channels: int = 256,
        num_convs: int = 4,
        conv_filters: int = 1024,
        num_fcs: int = 2,
        fc_units: int = 1024,
        norm: str | Spec | None = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_shared_fcs=0, average_pool=True, **kwargs)
        self.res_block = WideningBlock(channels, conv_filters, norm)
        self.conv_branch = [
            Bottleneck(conv_filters // Bottleneck.expansion, norm=norm) for _ in range(num_convs)
        ]
        self.fc_branch = [Linear(fc_units, flatten=i == 0) for i in range(num_fcs)]

    def call(self, class_crops: Tensor, box_crops: Tensor, training: bool = False) -> tuple[Any, Any]:
        x = self.res_block(box_crops)
        for block in self.conv_branch:
            x = block(x)
        deltas = self.fc_reg(tf.reduce_mean(x, [1, 2]))
        x = class_crops
        for fc in self.fc_branch:
            x = tf.nn.relu(fc(x))
        return self.fc_cls(x), deltas


@register
class DoubleRoIHead(StandardRoIHead):
    """Second stage whose box branch sees a larger region than its class branch.

    Args:
        box_region_scale: the factor.
        other arguments: see ``StandardRoIHead``.
    """

    def __init__(self, box_region_scale: float = 1.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.box_region_scale = box_region_scale

    def bbox_forward(self, features: Maps, rois: Tensor, training: bool = False) -> Any:
        crops = [
            self.crop(self.bbox_roi_extractor, features, rois, training, scale)
            for scale in (1.0, self.box_region_scale)
        ]
        return self.bbox_head(*crops, training=training)
