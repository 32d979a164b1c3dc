"""The necks of LW-DETR (Chen et al., 2024, arXiv:2406.03459) and RF-DETR: a transformer's maps joined."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import Composite, ConvModule, ConvTranspose2D, LayerNorm, apply_list
from kdet.registry import register
from kdet.typing import Activation, Maps, Norm, Tensor

_WIDE = 512  # maps of more channels are made narrower before they are enlarged


class ProjectorConv(ConvModule):
    """Convolution without bias and a norm, with the names that Transformers gives them."""

    torch_names = {"bn": "norm", "ln": "norm"}

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        stride: int = 1,
        norm: Norm = "bn",
        activation: Activation = "silu",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            norm=norm,
            activation=activation,
            **kwargs,
        )


class ConvPair(Composite):
    """Two 3x3 convolutions.

    Call: ``[B,h,w,filters] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = ProjectorConv(filters, 3, norm=norm)
        self.conv2 = ProjectorConv(filters, 3, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class C2fLayer(Composite):
    """Two halves, one through convolutions whose every result is kept; all are joined.

    Args:
        filters: channels of the result.
        blocks: pairs of convolutions.
        expansion: channels of a half, as a share of ``filters``.
        norm: of the convolutions.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, blocks: int, expansion: float, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inner = int(filters * expansion)
        self.conv1 = ProjectorConv(2 * inner, 1, norm=norm)
        self.conv2 = ProjectorConv(filters, 1, norm=norm)
        self.bottlenecks = [ConvPair(inner, norm) for _ in range(blocks)]

    def call(self, x: Tensor) -> Tensor:
        parts = tf.split(self.conv1(x), 2, -1)
        for block in self.bottlenecks:
            parts.append(block(parts[-1]))
        return self.conv2(tf.concat(parts, -1))


class Sampling(Composite):
    """A map in another size.

    Args:
        channels: of the map.
        scale: 2, 1 or 0.5.

    Call: ``[B,h,w,channels] -> [B,scale*h,scale*w,C]``.
    """

    def __init__(self, channels: int, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        layers: list[Any] = []
        if scale == 2.0:
            if channels > _WIDE:
                channels //= 2
                layers.append(ProjectorConv(channels, 1, activation="relu"))
            layers.append(ConvTranspose2D(channels // 2))
        elif scale == 0.5:
            layers.append(ProjectorConv(channels, 3, stride=2, activation="relu"))
        elif scale != 1.0:
            raise ValueError(f"LWDETRProjector: scales must be 2, 1 or 0.5, not {scale}.")
        self.layers = layers

    def call(self, x: Tensor) -> Tensor:
        return apply_list(self.layers, x)


class ScaleProjector(Composite):
    """One map of a size from all.

    Args:
        see ``LWDETRProjector``.

    Call: maps ``[B,h,w,in_channels]`` -> ``[B,scale*h,scale*w,units]``.
    """

    def __init__(
        self,
        units: int,
        in_channels: int,
        num_inputs: int,
        scale: float,
        blocks: int,
        expansion: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sampling_layers = [Sampling(in_channels, scale) for _ in range(num_inputs)]
        self.projector_layer = C2fLayer(units, blocks, expansion, "bn")
        self.layer_norm = LayerNorm(1e-6)

    def call(self, maps: Maps) -> Tensor:
        sampled = [layer(x) for layer, x in zip(self.sampling_layers, maps, strict=True)]
        return self.layer_norm(self.projector_layer(tf.concat(sampled, -1)))


@register
class LWDETRProjector(Composite):
    """All maps of a transformer, which are of one size, brought to one or more sizes and joined.

    Args:
        units: channels of the results.
        in_channels: of the maps.
        num_inputs: number of maps.
        scales: sizes of the results, as factors (2, 1 or 0.5) of the maps'.
        blocks, expansion: see ``C2fLayer``.

    Call: maps ``[B,h,w,in_channels]`` -> one ``[B,scale*h,scale*w,units]`` per scale.
    """

    backbone_name = "backbone.backbone"
    torch_names = {"scale_layers": "backbone.projector.scale_layers"}

    def __init__(
        self,
        units: int = 256,
        in_channels: int = 192,
        num_inputs: int = 3,
        scales: Sequence[float] = (1.0,),
        blocks: int = 3,
        expansion: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale_layers = [
            ScaleProjector(units, in_channels, num_inputs, float(scale), blocks, expansion)
            for scale in scales
        ]

    def call(self, maps: Maps, training: bool = False) -> Maps:
        return tuple(layer(maps) for layer in self.scale_layers)


@register
class RFDETRProjector(Composite):
    """All maps of a transformer joined, with layer norms behind the convolutions.

    Args:
        units: channels of the result.
        blocks, expansion: see ``C2fLayer``.

    Call: maps ``[B,h,w,C]`` of one size -> one ``[B,h,w,units]``.
    """

    backbone_name = "backbone.backbone"
    torch_names = {
        "projector_layer": "backbone.projector.projector_layer",
        "layer_norm": "backbone.projector.layer_norm",
    }

    def __init__(self, units: int = 256, blocks: int = 3, expansion: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projector_layer = C2fLayer(units, blocks, expansion, "ln")
        self.layer_norm = LayerNorm(1e-6)

    def call(self, maps: Maps, training: bool = False) -> Maps:
        return (self.layer_norm(self.projector_layer(tf.concat(list(maps), -1))),)
