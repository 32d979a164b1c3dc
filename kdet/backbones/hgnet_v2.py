"""HGNetV2, the backbone of RT-DETR's later releases and of D-FINE (Paddle; Peng et al., 2024)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.backbones.resnet_vd import BackboneConv
from kdet.layers import Composite, Layer, apply_list
from kdet.registry import register
from kdet.typing import Activation, Norm, Tensor


class AffineBlock(Layer):
    """One learned factor and one learned term for a whole map.

    Call: any -> the same shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        return x * tf.cast(self.scale, x.dtype) + tf.cast(self.bias, x.dtype)


class HGConv(BackboneConv):
    """``BackboneConv`` with an ``AffineBlock`` behind its activation.

    Args:
        affine: whether there is one; never without an activation.
        other arguments: see ``ConvModule``.
    """

    def __init__(
        self, filters: int, kernel_size: int, affine: bool, activation: Activation = "relu", **kwargs: Any
    ) -> None:
        super().__init__(filters, kernel_size, activation=activation, **kwargs)
        self.lab = AffineBlock() if affine and activation else None

    def call(self, x: Tensor) -> Tensor:
        x = super().call(x)
        return x if self.lab is None else self.lab(x)


class LightConv(Composite):
    """A 1x1 convolution and a depthwise one.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(self, filters: int, kernel_size: int, affine: bool, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv1 = HGConv(filters, 1, affine, activation=None, norm=norm)
        self.conv2 = HGConv(filters, kernel_size, affine, groups=filters, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class HGBlock(Composite):
    """Convolutions in a row, whose inputs and outputs are all fused by two 1x1 convolutions.

    Args:
        inner, filters: channels of the convolutions and of the result.
        depth: number of convolutions.
        kernel_size: theirs.
        light: they are ``LightConv``.
        residual: the input is added to the result.
        affine, norm: see ``HGNetV2``.

    Call: ``[B,h,w,C] -> [B,h,w,filters]``.
    """

    def __init__(
        self,
        inner: int,
        filters: int,
        depth: int,
        kernel_size: int,
        light: bool,
        residual: bool,
        affine: bool,
        norm: Norm,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.residual = residual
        conv: Any = LightConv if light else HGConv
        self.layers = [conv(inner, kernel_size, affine, norm=norm) for _ in range(depth)]
        self.aggregation = [HGConv(size, 1, affine, norm=norm) for size in (filters // 2, filters)]

    def call(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = apply_list(self.aggregation, tf.concat(maps, -1))
        return x + y if self.residual else y


class HGStem(Composite):
    """A quarter of the image's sides, by way of two branches: 2x2 convolutions, and a maximum.

    Call: ``[B,H,W,3] -> [B,H/4,W/4,channels[1]]``.
    """

    def __init__(self, channels: Sequence[int], affine: bool, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        first, last = channels
        self.stem1 = HGConv(first, 3, affine, stride=2, norm=norm)
        self.stem2a = HGConv(first // 2, 2, affine, norm=norm)
        self.stem2b = HGConv(first, 2, affine, norm=norm)
        self.stem3 = HGConv(first, 3, affine, stride=2, norm=norm)
        self.stem4 = HGConv(last, 1, affine, norm=norm)

    def call(self, x: Tensor) -> Tensor:
        x = one_more(self.stem1(x))
        y = self.stem2b(one_more(self.stem2a(x)))
        return self.stem4(self.stem3(tf.concat([tf.nn.max_pool2d(x, 2, 1, "VALID"), y], -1)))


def one_more(x: Tensor) -> Tensor:
    """A map with a row and a column of zeros at its end."""
    # no tf.pad: oneDNN merges it with the convolution behind it, whose kernel is folded only after it
    x = tf.concat([x, tf.zeros_like(x[:, :1])], 1)
    return tf.concat([x, tf.zeros_like(x[:, :, :1])], 2)


@register
class HGNetV2(Composite):
    """Backbone of blocks whose convolutions are all seen by the next stage.

    Args:
        stem_channels: of the stem's convolutions and of its result.
        inner_channels, out_channels: of the stages' convolutions and results.
        blocks: blocks of every stage.
        depth: convolutions of every block.
        light: stages whose convolutions are 1x1 and depthwise.
        kernel_sizes: of the stages' convolutions.
        out_indices: stages to return, counted from 0.
        affine: a learned factor and term behind every activation.
        norm: spec for ``kdet.layers.make_norm``. Transformers never trains the norms of this backbone.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``.
    """

    torch_names = {"embedder": "model.embedder", "stages": "model.encoder.stages"}

    def __init__(
        self,
        stem_channels: Sequence[int] = (16, 16),
        inner_channels: Sequence[int] = (16, 32, 64, 128),
        out_channels: Sequence[int] = (64, 256, 512, 1024),
        blocks: Sequence[int] = (1, 1, 2, 1),
        depth: int = 3,
        light: Sequence[bool] = (False, False, True, True),
        kernel_sizes: Sequence[int] = (3, 3, 5, 5),
        out_indices: Sequence[int] = (1, 2, 3),
        affine: bool = False,
        norm: Norm = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_indices = tuple(out_indices)
        self.embedder = HGStem(stem_channels, affine, norm)
        self.feature_info, stages = [], []
        channels = stem_channels[-1]
        for i, (inner, filters, count) in enumerate(zip(inner_channels, out_channels, blocks, strict=True)):
            halve = HGConv(channels, 3, affine, activation=None, stride=2, groups=channels, norm=norm)
            row = [
                HGBlock(inner, filters, depth, kernel_sizes[i], light[i], j > 0, affine, norm)
                for j in range(count)
            ]
            stages.append({"downsample": halve, "blocks": row} if i else {"blocks": row})
            channels = filters
            if i in self.out_indices:
                self.feature_info.append((filters, 4 * 2**i))
        self.stages: list[Any] = stages  # whole, for Composite looks into a list when it is assigned

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        x = self.embedder(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage["downsample"](x) if i else x
            x = apply_list(stage["blocks"], x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
