"""SOLOv2: masks from kernels that the cells predict (Wang et al., 2020)."""

from typing import Any

import tensorflow as tf

from kdet.contract import Detections, ImageInfo
from kdet.heads.dense.towers import apply_tower, prediction, small_normal
from kdet.heads.mask.solo import LocationHead, peaks
from kdet.layers import Composite, ConvModule, resize_bilinear, with_places
from kdet.registry import register
from kdet.typing import Conv, Maps, Norm, Tensor


@register
class MaskFeatures(Composite):
    """One map from several levels, each brought to the finest by convolutions and up-sampling.

    Args:
        levels: maps that take part, the first ones.
        filters: channels of the convolutions.
        out_channels: channels of the result.
        conv, norm: specs of all convolutions.

    Call: ``tuple of [B,h,w,C] -> [B,h,w,out_channels]`` in the size of the first.
    """

    def __init__(
        self,
        levels: int = 4,
        filters: int = 128,
        out_channels: int = 256,
        conv: Conv = None,
        norm: Norm = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        norm = {"kind": "gn", "groups": 32} if norm is None else norm
        settings: dict[str, Any] = {"norm": norm, "conv": conv, "kernel_initializer": small_normal()}
        self.convs_all_levels = [
            {f"conv{i}": ConvModule(filters, 3, padding=1, **settings) for i in range(max(level, 1))}
            for level in range(levels)
        ]
        self.conv_pred = ConvModule(out_channels, 1, **settings)

    def call(self, maps: Maps) -> Tensor:
        total, last = 0.0, len(self.convs_all_levels) - 1
        for level, (convs, x) in enumerate(zip(self.convs_all_levels, maps)):
            x = with_places(x) if level == last else x
            for _, conv in convs.items():
                x = conv(x)
                x = resize_bilinear(x, 2 * tf.shape(x)[1:3]) if level else x
            total += x
        return self.conv_pred(total)


@register
class SOLOv2Head(LocationHead):
    """Every cell predicts the kernel of a 1x1 convolution that makes its mask from one common map.

    Args:
        mask_feature_head: gives the common map.
        conv: spec of the towers' convolutions (deformable), None for plain ones.
        last_conv_only: only the last convolution of each tower is of this kind (the light head).
        other arguments: see ``LocationHead``.

    Outputs: ``(kernels, classes, map)``: tuples over the levels of ``[B,S,S,K]`` and of logits
    ``[B,S,S,classes]``, and ``[B,h,w,K]``.
    """

    repeated_cells = True

    def __init__(
        self,
        num_classes: int,
        mask_feature_head: MaskFeatures,
        stacked_convs: int = 4,
        filters: int = 512,
        conv: Conv = None,
        last_conv_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, stacked_convs=stacked_convs, filters=filters, **kwargs)
        convs = [None] * (stacked_convs - 1) + [conv] if last_conv_only else [conv] * stacked_convs
        self.kernel_convs, self.cls_convs = (self.tower(stacked_convs, convs) for _ in range(2))
        self.conv_cls = prediction(num_classes, probability=0.01)
        self.conv_kernel = prediction(mask_feature_head.conv_pred.conv.filters)
        self.mask_feature_head = mask_feature_head

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        common = tf.cast(self.mask_feature_head(features), tf.float32)
        kernels, classes = [], []
        for level, x in enumerate(self.levels(features)):
            grid = self.num_grids[level]
            x = resize_bilinear(with_places(x), (grid, grid))
            kernels.append(self.conv_kernel(apply_tower(self.kernel_convs, x)))
            classes.append(self.conv_cls(apply_tower(self.cls_convs, x[..., :-2])))
        levels = [tuple(tf.cast(x, tf.float32) for x in maps) for maps in (kernels, classes)]
        return *levels, common

    def classes(self, outputs: Any) -> tuple[Tensor, ...]:
        return outputs[1]

    def masks_at(self, outputs: Any, level: int, cells: Tensor, training: bool = False) -> Tensor:
        kernels, _, common = outputs
        batch, height, width, channels = tf.unstack(tf.shape(common))
        own = tf.reshape(kernels[level], [batch, self.num_grids[level] ** 2, channels])
        own = tf.gather(own, cells, batch_dims=1)  # [B, M, K]
        masks = tf.matmul(own, tf.reshape(common, [batch, height * width, channels]), transpose_b=True)
        return tf.sigmoid(tf.reshape(masks, [batch, tf.shape(cells)[1], height, width]))

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        kernels, classes, common = outputs
        return super().decode((kernels, tuple(peaks(tf.sigmoid(x)) for x in classes), common), info)
