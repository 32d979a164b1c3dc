"""ResNet (He et al., 2015) and ResNeXt (Xie et al., 2016) feature extractors."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.layers import (
    Composite,
    ContextBlock,
    GeneralizedAttention,
    apply_list,
    conv_norm,
    make_conv,
    make_norm,
    max_pool,
    sequence,
)
from kdet.registry import register
from kdet.typing import Spec, Tensor

# depth -> (bottleneck blocks?, blocks per stage)
DEPTHS = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}

# blocks inside bottlenecks, by their names in the checkpoints
PLUGINS = {"context_block": ContextBlock, "gen_attention_block": GeneralizedAttention}


class NormedConvs(Composite):
    """A layer that names its convolutions and norms as the checkpoints do (``conv1``, ``bn1``, ...)."""

    def add_conv(
        self,
        index: int,
        conv: str | Spec | keras.Layer | None,
        norm: str | Spec | None,
        filters: int,
        kernel_size: int,
        **kwargs: Any,
    ) -> None:
        """Adds ``conv<index>`` and its norm ``<short><index>``."""
        short, layer = make_norm(norm)
        setattr(self, f"conv{index}", make_conv(conv, filters, kernel_size, use_bias=False, **kwargs))
        self.norm_prefix = short
        setattr(self, f"{short}{index}", layer)

    def conv_norm(self, index: int, x: Tensor, relu: bool = False) -> Tensor:
        """Applies convolution ``index`` and its norm."""
        norm = self.part(f"{self.norm_prefix}{index}")
        return conv_norm(self.part(f"conv{index}"), norm, x, relu)


class BasicBlock(NormedConvs):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        dilation: int = 1,
        shortcut: Any = None,
        norm: str | Spec | None = "bn",
        conv: str | Spec | keras.Layer | None = None,
        last_norm: str | Spec | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.add_conv(1, conv, norm, filters, 3, stride=stride, padding=dilation, dilation=dilation)
        self.add_conv(2, conv, last_norm or norm, filters, 3, padding=1)
        self.downsample = shortcut

    def call(self, x: Tensor) -> Tensor:
        y = self.conv_norm(1, x, relu=True)
        y = self.conv_norm(2, y)
        return tf.nn.relu(y + sequence(self.downsample, x))


class Bottleneck(NormedConvs):
    """1x1, 3x3, 1x1 convolutions with a shortcut.

    Args:
        filters: channels of the middle convolution before ``groups``; the output has four times as many.
        stride_in_first: the stride sits in the first 1x1 convolution ("caffe" style) instead of the 3x3.
        width: channels of the middle convolution.
        middle_conv: spec of the 3x3 convolution where it is not ``conv`` (deformable ...).
        last_norm: spec of the norm before the sum where it is not ``norm``.
        plugins: ``[{"kind", "position": "after_conv2" or "after_conv3", **arguments}]``, see ``PLUGINS``.
    """

    expansion = 4

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        dilation: int = 1,
        shortcut: Any = None,
        norm: str | Spec | None = "bn",
        conv: str | Spec | keras.Layer | None = None,
        stride_in_first: bool = False,
        groups: int = 1,
        width: int | None = None,
        middle_conv: str | Spec | keras.Layer | None = None,
        last_norm: str | Spec | None = None,
        plugins: Sequence[Spec] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        width = width or filters
        first, middle = (stride, 1) if stride_in_first else (1, stride)
        self.add_conv(1, conv, norm, width, 1, stride=first)
        self.add_middle(middle_conv or conv, norm, width, stride=middle, dilation=dilation, groups=groups)
        self.add_conv(3, conv, last_norm or norm, filters * self.expansion, 1)
        self.downsample = shortcut
        self.plugged: dict[str, list[str]] = {"after_conv2": [], "after_conv3": []}
        for spec in plugins:
            arguments = {k: v for k, v in spec.items() if k not in ("kind", "position", "stages")}
            setattr(self, spec["kind"], PLUGINS[spec["kind"]](**arguments))
            self.plugged[spec["position"]].append(spec["kind"])

    def add_middle(
        self,
        conv: str | Spec | keras.Layer | None,
        norm: str | Spec | None,
        width: int,
        stride: int,
        dilation: int,
        groups: int,
    ) -> None:
        """Adds the layers between the two 1x1 convolutions; replaced together with ``middle``."""
        self.add_conv(
            2, conv, norm, width, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups
        )

    def middle(self, x: Tensor) -> Tensor:
        return self.conv_norm(2, x, relu=True)

    def plug(self, position: Tensor, x: Tensor) -> Tensor:
        """Applies the plugins at a position."""
        for name in self.plugged[position]:
            x = self.part(name)(x)
        return x

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.relu(self.total(x))

    def total(self, x: Tensor) -> Tensor:
        """The sum of residual and shortcut."""
        y = self.conv_norm(1, x, relu=True)
        y = self.plug("after_conv2", self.middle(y))
        y = self.plug("after_conv3", self.conv_norm(3, y))
        return y + sequence(self.downsample, x)


class AveragePool(Composite):
    """Average pooling before a strided shortcut (ResNet-D), partial windows averaged over what they hold."""

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x: Tensor) -> Tensor:
        # "SAME" pads at the end only for kernel == stride, and averages over real pixels: ceil mode
        return tf.nn.avg_pool2d(x, self.stride, self.stride, "SAME")


def make_stage(
    block: Any,
    filters: int,
    blocks: int,
    stride: int,
    dilation: int,
    input_channels: int,
    norm: str | Spec | None,
    conv: str | Spec | keras.Layer | None = None,
    avg_down: bool = False,
    **block_args: Any,
) -> list[keras.Layer]:
    """The list of blocks of one stage.

    Args:
        block: class of the blocks.
        input_channels: channels that come in; decides whether the first shortcut needs a projection.
        **block_args: further arguments of every block.
    """
    output = filters * block.expansion
    shortcut = None
    if stride != 1 or input_channels != output:
        projection = make_conv(conv, output, 1, stride=1 if avg_down else stride, use_bias=False)
        shortcut = [projection, make_norm(norm)[1]]
        if avg_down:
            shortcut.insert(0, AveragePool(stride) if stride != 1 else None)
    layers = [block(filters, stride, dilation, shortcut, norm=norm, conv=conv, **block_args)]
    for _ in range(1, blocks):
        layers.append(block(filters, 1, dilation, None, norm=norm, conv=conv, **block_args))
    return layers


def with_running_stats(norm: str | Spec, use_running_stats: bool) -> Spec:
    """The norm spec with ``norm_eval`` of the published recipes applied to batch norm."""
    spec: Spec = {"kind": norm} if isinstance(norm, str) else dict(norm)
    if spec["kind"] == "bn":
        spec["use_running_stats"] = use_running_stats
    return spec


@register
class ResNet(NormedConvs):
    """ResNet and ResNeXt.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_stages, strides, dilations, out_indices: stages to build and to return.
        style: "pytorch" (stride in the 3x3 convolution) or "caffe" (in the first 1x1).
        frozen_stages: -1 trains all; k >= 0 freezes the stem and stages 1..k.
        norm: spec for ``kdet.layers.make_norm``.
        norm_eval: batch norm uses its running statistics while training.
        groups, base_width: 32 and 4 make ResNeXt 32x4d.
        base_channels: filters of the first stage.
        stem_channels: channels after the stem, None for ``base_channels``.
        deep_stem, avg_down: the changes of ResNet-D (three 3x3 in the stem, pooled shortcuts).
        conv: spec of all convolutions but the deformable ones.
        dcn: spec of the 3x3 convolutions in stages with ``stage_with_dcn``.
        zero_init_residual: every block starts as the identity (Goyal et al., 2017).
        plugins: blocks inside the bottlenecks, see ``Bottleneck``; ``stages`` says where (four flags).
        pretrained: name of the published ImageNet weights for ``weights="imagenet"``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,C]``, one per ``out_indices``.
    """

    block_classes: tuple[Any, Any] = (BasicBlock, Bottleneck)
    stem_stride = 4

    def __init__(
        self,
        depth: Any = 50,
        num_stages: int = 4,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        style: str = "pytorch",
        frozen_stages: int = -1,
        norm: str | Spec = "bn",
        norm_eval: bool = True,
        groups: int = 1,
        base_width: int = 64,
        base_channels: int = 64,
        stem_channels: int | None = None,
        deep_stem: bool = False,
        avg_down: bool = False,
        conv: str | Spec | keras.Layer | None = None,
        dcn: str | Spec | keras.Layer | None = None,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
        plugins: Sequence[Spec] = (),
        zero_init_residual: bool = True,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if style not in ("pytorch", "caffe"):
            raise ValueError(f"ResNet: style must be 'pytorch' or 'caffe', not {style!r}.")
        self.depth, self.style, self.pretrained = depth, style, pretrained
        self.out_indices, self.num_stages = tuple(out_indices), num_stages
        self.groups, self.base_width, self.base_channels = groups, base_width, base_channels
        norm = with_running_stats(norm, norm_eval)
        channels = stem_channels or base_channels
        self.stem = None
        if deep_stem:
            self.stem = self._deep_stem(channels, conv, norm)
        else:
            self.add_stem(channels, conv, norm)

        stride_so_far = self.stem_stride
        self.feature_info = []
        for i, (block, filters, blocks, block_args) in enumerate(self.plan(depth)[:num_stages]):
            if issubclass(block, Bottleneck):
                own = [spec for spec in plugins if spec["stages"][i]]
                block_args = {**block_args, "middle_conv": dcn if stage_with_dcn[i] else None, "plugins": own}
            if zero_init_residual:
                block_args = {**block_args, "last_norm": {**norm, "gamma_initializer": "zeros"}}
            stage = make_stage(
                block, filters, blocks, strides[i], dilations[i], channels, norm, conv, avg_down, **block_args
            )
            setattr(self, f"layer{i + 1}", stage)
            channels, stride_so_far = filters * block.expansion, stride_so_far * strides[i]
            if i in self.out_indices:
                self.feature_info.append((channels, stride_so_far))
        self._freeze(frozen_stages)

    def plan(self, depth: Any) -> list[tuple[Any, ...]]:
        """The stages: ``[(block class, filters, number of blocks, arguments of the blocks), ...]``."""
        if depth not in DEPTHS:
            raise ValueError(f"ResNet: depth {depth!r} is unknown, choose one of {sorted(DEPTHS)}.")
        bottleneck, blocks = DEPTHS[depth]
        filters = [self.base_channels * 2**i for i in range(len(blocks))]
        arguments = [self.bottleneck_arguments(f) if bottleneck else {} for f in filters]
        return [(self.block_classes[bottleneck], *stage) for stage in zip(filters, blocks, arguments)]

    def bottleneck_arguments(self, filters: int) -> dict[str, Any]:
        """Arguments of a stage's bottleneck blocks."""
        width = filters
        if self.groups > 1:
            width = int(filters * self.base_width / self.base_channels) * self.groups
        return {"stride_in_first": self.style == "caffe", "groups": self.groups, "width": width}

    def add_stem(self, channels: int, conv: str | Spec | keras.Layer | None, norm: str | Spec | None) -> None:
        self.add_conv(1, conv, norm, channels, 7, stride=2, padding=3)

    @staticmethod
    def _deep_stem(
        channels: int, conv: str | Spec | keras.Layer | None, norm: str | Spec | None
    ) -> list[keras.Layer | None]:
        # positions as in the checkpoint's Sequential: conv, norm, relu (None) three times
        layers = []
        for filters, stride in ((channels // 2, 2), (channels // 2, 1), (channels, 1)):
            layers += [make_conv(conv, filters, 3, stride=stride, padding=1, use_bias=False)]
            layers += [make_norm(norm)[1], None]
        return layers

    def _freeze(self, frozen_stages: Any) -> None:
        if frozen_stages < 0:
            return
        stem = self.stem or [self.conv1, self.part(f"{self.norm_prefix}1")]
        frozen = [*stem, *(b for i in range(frozen_stages) for b in self.part(f"layer{i + 1}"))]
        for layer in frozen:
            if layer is not None:
                layer.trainable = False

    def apply_stem(self, x: Tensor) -> Tensor:
        """Images to the map that the first stage sees."""
        if self.stem is None:
            x = self.conv_norm(1, x, relu=True)
        else:
            x = apply_list(self.stem, x)
        return max_pool(x, 3, 2, padding=1)

    def call(self, x: Tensor, training: bool = False) -> tuple[Any, ...]:
        x = self.apply_stem(x)
        outputs = []
        for i in range(self.num_stages):
            x = sequence(self.part(f"layer{i + 1}"), x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)


@register
class ResLayer(Composite):
    """One stage of a ResNet as the shared head of a C4 detector.

    Args:
        stage: index of the stage (3 is ``layer4``); other arguments as in ``ResNet``. Of the weights that
            ``pretrained`` names it takes its own stage.

    Call: ``[N,h,w,C] -> [N,h',w',C']``.
    """

    def __init__(
        self,
        depth: int = 50,
        stage: int = 3,
        stride: int = 2,
        dilation: int = 1,
        style: str = "pytorch",
        norm: str | Spec = "bn",
        norm_eval: bool = True,
        pretrained: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        bottleneck, blocks = DEPTHS[depth]
        block = ResNet.block_classes[bottleneck]
        filters = 64 * 2**stage
        self.stage, self.pretrained = stage, pretrained
        layers = make_stage(
            block, filters, blocks[stage], stride, dilation, filters // 2 * block.expansion,
            with_running_stats(norm, norm_eval), stride_in_first=style == "caffe",
        )  # fmt: skip
        setattr(self, f"layer{stage + 1}", layers)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return sequence(self.part(f"layer{self.stage + 1}"), x)
