"""VGG-16 (Simonyan & Zisserman, 2014) as the backbone of SSD (Liu et al., 2015)."""

from typing import Any

import tensorflow as tf

from kdet.layers import Composite, Conv2D
from kdet.registry import register
from kdet.typing import Tensor

# (convolutions, filters) of each stage; stages are parted by 2x2 pooling
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# positions of the maps that go out: the last ReLU of stage 4, and the ReLU behind fc7
_OUTPUTS = (22, 34)


class MaxPool(Composite):
    """Max pooling that keeps partial windows at the border (ceil mode)."""

    def __init__(self, kernel_size: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size, self.stride = kernel_size, stride

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.max_pool2d(x, self.kernel_size, self.stride, "SAME")


@register
class SSDVGG(Composite):
    """VGG-16 up to its fifth stage, then ``fc6`` and ``fc7`` as (dilated) convolutions.

    Args:
        pretrained: name of the published ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> ([B,H/8,W/8,512], [B,H/16,W/16,1024])``, sizes rounded up.
    """

    def __init__(self, pretrained: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pretrained = pretrained
        self.feature_info = [(512, 8), (1024, 16)]
        # positions as in the checkpoint's Sequential; None is a ReLU
        layers = []
        for stage, (convolutions, filters) in enumerate(_STAGES):
            for _ in range(convolutions):
                layers += [Conv2D(filters, 3, padding=1), None]
            layers.append(MaxPool(2, 2) if stage < len(_STAGES) - 1 else MaxPool(3, 1))
        layers += [Conv2D(1024, 3, padding=6, dilation=6), None, Conv2D(1024, 1), None]
        self.features = layers

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        outputs = []
        for position, layer in enumerate(self.features):
            x = tf.nn.relu(x) if layer is None else layer(x)
            if position in _OUTPUTS:
                outputs.append(x)
        return tuple(outputs)
