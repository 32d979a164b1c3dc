"""Vision transformers most of whose layers look at windows of the image (LW-DETR, RF-DETR)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kdet.backbones.dinov3 import LayerScale
from kdet.layers import (
    Composite,
    Conv2D,
    LayerNorm,
    ProjectedAttention,
    TwoLayers,
    cut_windows,
    drop_path,
    drop_path_rates,
    gelu,
    join_windows,
    resized_table,
    sizes_of,
)
from kdet.registry import register
from kdet.typing import Tensor

_EPSILON = 1e-6  # of all norms


class WindowedLayer(Composite):
    """Attention within a window or the whole image and dense layers, each behind a norm and with a residual.

    Args:
        units, num_heads, ffn_units: of the layer.
        windowed: tokens look at those of their window only.
        scale: first value of the factors of the residuals.
        rate: share of the windows that skip a residual in training.

    Call: ``x [B*windows,T,units]``, ``windows`` of an image -> ``[B*windows,T,units]``.
    """

    key_bias: ClassVar[bool] = True
    scales: ClassVar[tuple[str, str]] = ("lambda1", "lambda1")

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        windowed: bool,
        scale: float,
        rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.windowed, self.rate = windowed, rate
        self.norm1, self.norm2 = LayerNorm(_EPSILON), LayerNorm(_EPSILON)
        self.attention = ProjectedAttention(units, num_heads, self.key_bias)
        self.mlp = TwoLayers(ffn_units, units, gelu)
        self.layer_scale1, self.layer_scale2 = (LayerScale(scale, tensor) for tensor in self.scales)

    def call(self, x: Tensor, windows: int = 1) -> Tensor:
        shape = sizes_of(x)
        y = self.norm1(x)
        if not self.windowed:
            y = tf.reshape(y, [-1, windows * shape[1], shape[2]])
        x += drop_path(self.layer_scale1(tf.reshape(self.attention(y), shape)), self.rate)
        return x + drop_path(self.layer_scale2(self.mlp(self.norm2(x))), self.rate)


class NamedWindowedLayer(WindowedLayer):
    """``WindowedLayer`` as LW-DETR has it: keys have no bias, and parts have other names."""

    key_bias = False
    scales = ("gamma_1", "gamma_2")
    torch_names = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp": "intermediate",
        "layer_scale1": "",
        "layer_scale2": "",
    }


class WindowedViT(Composite):
    """Layers over the tokens of windows.

    Sides of images are multiples of ``patch * windows``.

    Args:
        units, num_heads, num_layers, ffn_units: of the transformer.
        layers_out: layers whose maps are returned, counted from 1.
        windows: how many an image has along each side.
        global_layers: layers that look at the whole image, counted from 0.
        patch: side of a patch in pixels.
        scale: first value of the factors of the residuals.
        drop_path: share of the windows that skip a residual of the last layer in training.

    Call: ``[B,H,W,3] -> tuple of [B,H/patch,W/patch,units]``.

    Raises:
        ValueError: a side of the images, where it is known, is no such multiple.
    """

    layer_type: ClassVar[type[WindowedLayer]] = WindowedLayer
    torch_names = {"layers": "encoder.layer"}

    def __init__(
        self,
        units: int,
        num_heads: int,
        num_layers: int,
        ffn_units: int,
        layers_out: Sequence[int],
        windows: int,
        global_layers: Sequence[int],
        patch: int,
        scale: float,
        drop_path: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch, self.windows, self.layers_out = patch, windows, tuple(layers_out)
        (rates,) = drop_path_rates(drop_path, [num_layers])
        self.layers = [
            self.layer_type(units, num_heads, ffn_units, i not in global_layers, scale, rate)
            for i, rate in enumerate(rates)
        ]
        self.feature_info = [(units, patch) for _ in layers_out]
        step = patch * windows
        self.build_size = step * math.ceil(64 / step)

    def call(self, images: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        step, sides = self.patch * self.windows, sizes_of(images)[1:3]
        wrong = [side for side in sides if isinstance(side, int) and side % step]
        if wrong:
            raise ValueError(
                f"{type(self).__name__}: sides of images must be multiples of {step} (patches of "
                f"{self.patch} pixels in {self.windows} windows), not {wrong[0]}."
            )
        rows, columns = (side // self.patch for side in sides)
        x, maps = self.tokens(images), []
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x, windows=self.windows**2)
            if i in self.layers_out:
                maps.append(join_windows(self.of_patches(x), self.windows, rows, columns))
        return tuple(maps)

    def layers_above(self, name: str) -> int:
        """Counts the embeddings as one layer."""
        part, _, *rest = name.split(".")
        if part == "embeddings":
            return len(self.layers) + 1
        return len(self.layers) - int(rest[0]) if part == "encoder" else 0

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens of the windows ``[B*windows**2,T,units]``."""
        raise NotImplementedError(f"{type(self).__name__} must define tokens().")

    def of_patches(self, x: Tensor) -> Tensor:
        """What the maps are made of: the tokens of patches."""
        return x


class PatchMap(Composite):
    """Patches with learned positions.

    Args:
        units: channels.
        patch: side of a patch in pixels.
        side: rows and columns of the table of positions.

    Call: ``[B,H,W,3] -> [B,H/patch,W/patch,units]``.
    """

    def __init__(self, units: int, patch: int, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side
        self.projection = Conv2D(units, patch, stride=patch)
        # the first is that of the class, which is not used
        self.position_embeddings = position_table(self, 1 + side**2, units)

    def call(self, images: Tensor) -> Tensor:
        x = self.projection(images)
        _, rows, columns, _ = sizes_of(x)
        table = tf.convert_to_tensor(self.position_embeddings)[0, 1:]
        return x + tf.cast(resized_table(table, self.side, rows, columns, antialias=False), x.dtype)


def position_table(layer: Composite, count: int, units: int) -> keras.Variable:
    """A table ``[1,count,units]`` as a weight of ``layer``."""
    return layer.add_weight(
        name="position_embeddings",
        shape=(1, count, units),
        initializer=keras.initializers.TruncatedNormal(stddev=0.02),
    )


@register
class LWDETRViT(WindowedViT):
    """The transformer of LW-DETR (Chen et al., 2024, arXiv:2406.03459).

    Sides of images are multiples of 64.

    Args:
        units, num_heads, num_layers: of the transformer.
        layers_out: layers whose maps are returned, counted from 1. The published models take those that look
            at the whole image, and the last.
        global_layers: layers that look at the whole image, counted from 0.
        drop_path: share of the windows that skip a residual of the last layer in training; of those before
            it less.

    Call: ``[B,H,W,3] -> tuple of [B,H/16,W/16,units]``.
    """

    layer_type = NamedWindowedLayer

    def __init__(
        self,
        units: int = 192,
        num_heads: int = 12,
        num_layers: int = 6,
        layers_out: Sequence[int] = (2, 4, 6),
        global_layers: Sequence[int] = (1, 3, 5),
        drop_path: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            num_heads,
            num_layers,
            4 * units,
            layers_out,
            4,
            global_layers,
            16,
            0.1,
            drop_path,
            **kwargs,
        )
        self.embeddings = PatchMap(units, 16, 14)

    def tokens(self, images: Tensor) -> Tensor:
        return cut_windows(self.embeddings(images), self.windows)


class WindowTokens(Composite):
    """Patches of every window behind the token of the class.

    Args:
        units: channels.
        patch: side of a patch in pixels.
        side: rows and columns of the table of positions.
        windows: see ``WindowedViT``.

    Call: ``[B,H,W,3] -> [B*windows**2,1+T,units]``.
    """

    torch_names = {"projection": "patch_embeddings.projection"}

    def __init__(self, units: int, patch: int, side: int, windows: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side, self.windows = side, windows
        self.projection = Conv2D(units, patch, stride=patch)
        self.cls_token = self.add_weight(name="cls_token", shape=(1, 1, units), initializer="zeros")
        # of the pre-training
        self.mask_token = self.add_weight(
            name="mask_token", shape=(1, units), initializer="zeros", trainable=False
        )
        self.position_embeddings = position_table(self, 1 + side**2, units)

    def call(self, images: Tensor) -> Tensor:
        x = self.projection(images)
        _, rows, columns, _ = sizes_of(x)
        table = tf.convert_to_tensor(self.position_embeddings)
        x += tf.cast(resized_table(table[0, 1:], self.side, rows, columns, antialias=True), x.dtype)
        x = cut_windows(x, self.windows)
        own = tf.cast(tf.convert_to_tensor(self.cls_token) + table[:, :1], x.dtype)
        return tf.concat([tf.tile(own, [tf.shape(x)[0], 1, 1]), x], 1)


@register
class WindowedDINOv2(WindowedViT):
    """DINOv2's transformer (Oquab et al., 2023, arXiv:2304.07193) in windows, as RF-DETR has it.

    The class has a token in every window. Sides of images are multiples of ``patch * windows``.

    Args:
        units, num_heads, num_layers: of the transformer.
        layers_out: layers whose maps are returned, counted from 1; they go through the last norm. The layers
            behind them look at the whole image.
        windows: how many an image has along each side.
        patch: side of a patch in pixels.
        side: rows and columns of the table of positions.

    Call: ``[B,H,W,3] -> tuple of [B,H/patch,W/patch,units]``.
    """

    def __init__(
        self,
        units: int = 384,
        num_heads: int = 6,
        num_layers: int = 12,
        layers_out: Sequence[int] = (3, 6, 9, 12),
        windows: int = 2,
        patch: int = 16,
        side: int = 24,
        **kwargs: Any,
    ) -> None:
        # layers behind the last map are of no use: they are there as they are in checkpoints
        super().__init__(
            units, num_heads, num_layers, 4 * units, layers_out, windows, layers_out, patch, 1.0, **kwargs
        )
        self.embeddings = WindowTokens(units, patch, side, windows)
        self.layernorm = LayerNorm(_EPSILON)

    def tokens(self, images: Tensor) -> Tensor:
        return self.embeddings(images)

    def of_patches(self, x: Tensor) -> Tensor:
        return self.layernorm(x)[:, 1:]
