"""The necks of YOLOX (Ge et al., 2021) and RTMDet (Lyu et al., 2022): path aggregation with CSP layers."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import Composite, CSPLayer, CSPNeXtLayer, swish_conv, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Norm


class CrossStagePAFPN(Composite):
    """Down the pyramid and up again; maps stand beside each other where they meet.

    Args:
        channels: of the inner maps, fine to coarse; as many as the backbone's.
        out_channels: of the outputs.
        layer: makes a cross stage partial layer from the channels of its input and its output.
        out_kernel: side of the last convolutions.
        separable: the convolutions on the way up are separable.
        norm: spec of the norms outside of the layers; None for YOLOX's batch norm.

    Call: ``tuple of [B,h,w,C] -> tuple of [B,h,w,out_channels]``, fine to coarse.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        layer: Callable[[int, int], keras.Layer],
        out_kernel: int,
        separable: bool = False,
        norm: Norm | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        finer, coarser = channels[:-1], channels[1:]
        self.reduce_layers = [
            swish_conv(wide, width, 1, norm=norm)
            for width, wide in zip(finer[::-1], coarser[::-1], strict=True)
        ]
        self.top_down_blocks = [layer(2 * width, width) for width in finer[::-1]]
        self.downsamples = [
            swish_conv(width, width, 3, stride=2, separable=separable, norm=norm) for width in finer
        ]
        self.bottom_up_blocks = [layer(2 * width, wide) for width, wide in zip(finer, coarser, strict=True)]
        self.out_convs = [swish_conv(width, out_channels, out_kernel, norm=norm) for width in channels]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        *finer, x = inputs
        reduced = []  # coarse to fine
        for level, reduce, block in zip(
            reversed(finer), self.reduce_layers, self.top_down_blocks, strict=True
        ):
            reduced.append(reduce(x))
            x = block(tf.concat([upsample_nearest(reduced[-1], level), level], -1))
        outputs = [x]
        for other, down, block in zip(
            reversed(reduced), self.downsamples, self.bottom_up_blocks, strict=True
        ):
            outputs.append(block(tf.concat([down(outputs[-1]), other], -1)))
        return tuple(conv(y) for conv, y in zip(self.out_convs, outputs, strict=True))


@register
class YOLOXPAFPN(CrossStagePAFPN):
    """YOLOX's neck.

    Args:
        channels: of the inner maps, fine to coarse; as many as the backbone's.
        out_channels: of the outputs.
        depth: bottlenecks of every layer.
        separable: 3x3 convolutions are separable (YOLOX-nano).
    """

    def __init__(
        self,
        channels: Sequence[int] = (256, 512, 1024),
        out_channels: int = 256,
        depth: int = 3,
        separable: bool = False,
        **kwargs: Any,
    ) -> None:
        def layer(in_channels: int, filters: int) -> CSPLayer:
            return CSPLayer(in_channels, filters, depth, shortcut=False, separable=separable)

        super().__init__(channels, out_channels, layer, out_kernel=1, separable=separable, **kwargs)


@register
class CSPNeXtPAFPN(CrossStagePAFPN):
    """RTMDet's neck.

    Args:
        channels: of the inner maps, fine to coarse; as many as the backbone's.
        out_channels: of the outputs.
        depth: blocks of every layer.
        norm: spec of all norms.
    """

    def __init__(
        self,
        channels: Sequence[int] = (256, 512, 1024),
        out_channels: int = 256,
        depth: int = 3,
        norm: Norm = "bn",
        **kwargs: Any,
    ) -> None:
        def layer(in_channels: int, filters: int) -> CSPNeXtLayer:
            return CSPNeXtLayer(in_channels, filters, depth, shortcut=False, norm=norm)

        super().__init__(channels, out_channels, layer, out_kernel=3, norm=norm, **kwargs)
