"""DINOv3's vision transformer (Siméoni et al., 2025, arXiv:2508.10104), and DEIMv2's maps of it."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet.layers import (
    Composite,
    Conv2D,
    ConvModule,
    Layer,
    LayerNorm,
    Linear,
    SwiGLU,
    context,
    gelu,
    resize_bilinear,
)
from kdet.layers.attention import attend
from kdet.registry import register
from kdet.typing import Shape, Tensor, TorchTensors


def patch_waves(
    rows: Tensor | int, columns: Tensor | int, units: int, base: float, zoom: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cosines and sines by which the features of patches turn: float32 ``[rows*columns,units]`` each.

    Args:
        rows, columns: of the patches.
        units: features of a head.
        base: ratio of the longest and the shortest wave.
        zoom: factor of the places of patches, which are -1..1.
    """
    speed = tf.constant(1.0 / base ** np.arange(0, 1, 4 / units), tf.float32)
    y, x = (
        2.0 * (tf.cast(tf.range(n), tf.float32) + 0.5) / tf.cast(n, tf.float32) - 1.0 for n in (rows, columns)
    )
    places = tf.reshape(tf.stack(tf.meshgrid(y, x, indexing="ij"), -1), [-1, 2, 1])
    angles = tf.reshape(2.0 * math.pi * zoom * places * speed, [-1, units // 2])
    angles = tf.concat([angles, angles], -1)
    return tf.cos(angles), tf.sin(angles)


class RotaryAttention(Composite):
    """Self-attention whose queries and keys of patches are turned by their place (Su et al., 2021).

    Args:
        units, num_heads: channels and heads.
        key_bias: whether keys have a bias.

    Call: ``x [B,N,units]``, ``waves`` of the last tokens -> ``[B,N,units]``, without the residual.
    """

    def __init__(self, units: int, num_heads: int, key_bias: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.num_heads = units, num_heads
        self.k_proj, self.v_proj = Linear(units, use_bias=key_bias), Linear(units)
        self.q_proj, self.o_proj = Linear(units), Linear(units)

    def call(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        query, key = (self.turned(part(x), waves) for part in (self.q_proj, self.k_proj))
        return self.o_proj(attend(query, key, self.v_proj(x), self.num_heads))

    def turned(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        """``x [B,N,units]`` with the tokens of patches, the last ones, turned."""
        cosine, sine = (tf.cast(wave[:, None], x.dtype) for wave in waves)
        batch, tokens = tf.unstack(tf.shape(x)[:2])
        before = tokens - tf.shape(cosine)[0]
        heads = tf.reshape(x, [batch, tokens, self.num_heads, self.units // self.num_heads])
        patches = heads[:, before:]
        first, second = tf.split(patches, 2, -1)
        patches = patches * cosine + tf.concat([-second, first], -1) * sine
        return tf.reshape(tf.concat([heads[:, :before], patches], 1), tf.shape(x))


class LayerScale(Layer):
    """A learned factor of every channel.

    Args:
        initial: its first value.
        tensor: its name in checkpoints.
    """

    def __init__(self, initial: float, tensor: str = "lambda1", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial, self.tensor = initial, tensor

    @property
    def torch_tensors(self) -> TorchTensors:
        return {self.tensor: ("lambda1", None)}

    def build(self, input_shape: Shape) -> None:
        initializer = keras.initializers.Constant(self.initial)
        self.lambda1 = self.add_weight(name="lambda1", shape=(input_shape[-1],), initializer=initializer)

    def call(self, x: Tensor) -> Tensor:
        return x * tf.cast(self.lambda1, x.dtype)


class TwoProjections(Composite):
    """Two dense layers with a GELU between them."""

    def __init__(self, hidden_units: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.up_proj, self.down_proj = Linear(hidden_units), Linear(units)

    def call(self, x: Tensor) -> Tensor:
        return self.down_proj(gelu(self.up_proj(x)))


class GatedProjections(SwiGLU):
    """``SwiGLU`` with a GELU in the place of its SiLU."""

    def call(self, x: Tensor) -> Tensor:
        return self.down_proj(gelu(self.gate_proj(x)) * self.up_proj(x))


class ViTLayer(Composite):
    """Attention and dense layers, each behind a norm and with a residual.

    Args:
        see ``DINOv3ViT``.

    Call: ``x [B,N,units]``, ``waves`` -> ``[B,N,units]``.
    """

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        key_bias: bool,
        gated: bool,
        scale: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.norm1, self.norm2 = LayerNorm(), LayerNorm()
        self.attention = RotaryAttention(units, num_heads, key_bias)
        self.mlp: Any = (GatedProjections if gated else TwoProjections)(ffn_units, units)
        self.layer_scale1, self.layer_scale2 = LayerScale(scale), LayerScale(scale)

    def call(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        x += self.layer_scale1(self.attention(self.norm1(x), waves=waves))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class PatchTokens(Composite):
    """A token of every patch of 16x16 pixels behind learned ones: the class's and registers.

    Call: ``[B,H,W,3] -> [B,1+registers+H/16*W/16,units]``.
    """

    def __init__(self, units: int, registers: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        def token(name: str, count: int, trainable: bool = True) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(1, count, units),
                initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                trainable=trainable,
            )

        self.patch_embeddings = Conv2D(units, 16, stride=16)
        self.cls_token = token("cls_token", 1)
        self.mask_token = token("mask_token", 1, trainable=False)  # of the pre-training
        self.register_tokens = token("register_tokens", registers) if registers else None

    def call(self, images: Tensor) -> Tensor:
        x = self.patch_embeddings(images)
        x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], x.shape[3]])
        own = [self.cls_token] if self.register_tokens is None else [self.cls_token, self.register_tokens]
        own = [tf.tile(tf.cast(one, x.dtype), [tf.shape(x)[0], 1, 1]) for one in own]
        return tf.concat([*own, x], 1)


class DINOv3ViT(Composite):
    """Vision transformer over patches of 16x16 pixels.

    Args:
        units, num_heads, ffn_units, num_layers: of the transformer.
        out_indices: layers to return, counted from 1.
        registers: learned tokens beside that of the class.
        key_bias, gated: of attention and dense layers.
        scale: first value of the factors of the residuals.
        all_normed: all maps go through the last norm, not only that of the last layer.
        most_zoom: in a training step the places of patches are scaled by a factor between ``1 / most_zoom``
            and this, drawn evenly in logarithms.

    Call: ``[B,H,W,3] -> tuple of [B,H/16,W/16,units]``.
    """

    torch_names = {"layers": "model.layer"}

    def __init__(
        self,
        units: int,
        num_heads: int,
        ffn_units: int,
        num_layers: int,
        out_indices: Sequence[int],
        registers: int,
        key_bias: bool,
        gated: bool,
        scale: float,
        all_normed: bool,
        most_zoom: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.most_zoom = most_zoom
        self.units, self.head_units = units, units // num_heads
        self.out_indices, self.all_normed = tuple(out_indices), all_normed
        self.embeddings = PatchTokens(units, registers)
        self.layers = [
            ViTLayer(units, num_heads, ffn_units, key_bias, gated, scale) for _ in range(num_layers)
        ]
        self.norm = LayerNorm()
        self.prefix = 1 + registers

    def zoom(self) -> Tensor | float:
        """The factor of the places of patches: 1 outside of a training step."""
        draws = context.dropped_paths()
        if draws is None or self.most_zoom == 1.0:
            return 1.0
        return self.most_zoom ** (2.0 * draws.uniform([]) - 1.0)

    def call(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.embeddings(images)
        batch, rows, columns = tf.shape(images)[0], tf.shape(images)[1] // 16, tf.shape(images)[2] // 16
        waves = patch_waves(rows, columns, self.head_units, 100.0, self.zoom())
        maps = []
        for i, layer in enumerate(self.layers, start=1):
            x = layer(x, waves=waves)
            if i in self.out_indices:
                found = self.norm(x) if self.all_normed or i == len(self.layers) else x
                maps.append(tf.reshape(found[:, self.prefix :], [batch, rows, columns, self.units]))
        return tuple(maps)


class AdapterConv(ConvModule):
    """3x3 convolution of stride 2 with a batch norm."""

    torch_names = {"bn": "norm"}

    def __init__(self, filters: int, kernel_size: int = 3, stride: int = 2, **kwargs: Any) -> None:
        super().__init__(
            filters,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            norm="bn",
            activation=None,
            **kwargs,
        )


class SpatialTuningAdapter(Composite):
    """Details of the image that patches lose: maps of stride 8, 16 and 32.

    Args:
        channels: of the stem; the maps have 2, 4 and 4 times as many.

    Call: ``[B,H,W,3] -> three maps``.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stem_conv, self.conv2 = AdapterConv(channels), AdapterConv(2 * channels)
        self.conv3, self.conv4 = AdapterConv(4 * channels), AdapterConv(4 * channels)

    def call(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = gelu(self.stem_conv(images))
        # padded by what is never the largest: these values may be negative
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=x.dtype.min)
        fine = self.conv2(tf.nn.max_pool2d(x, 3, 2, "VALID"))
        middle = self.conv3(gelu(fine))
        return fine, middle, self.conv4(gelu(middle))


@register
class DINOv3Adapter(Composite):
    """Three maps of a DINOv3 transformer in three sizes, joined with details of the image.

    Sides of images are multiples of 32.

    Args:
        units, num_heads, ffn_units, num_layers: of the transformer.
        layers_out: its layers whose maps are taken, counted from 1.
        out_channels: of the joined maps.
        detail_channels: of ``SpatialTuningAdapter``.
        registers, key_bias, gated, scale, all_normed, most_zoom: see ``DINOv3ViT``.

    Call: ``[B,H,W,3] -> tuple of [B,h,w,out_channels]`` of stride 8, 16 and 32.
    """

    def __init__(
        self,
        units: int = 384,
        num_heads: int = 6,
        ffn_units: int = 1536,
        num_layers: int = 12,
        layers_out: Sequence[int] = (6, 9, 12),
        out_channels: int = 224,
        detail_channels: int = 32,
        registers: int = 0,
        key_bias: bool = False,
        gated: bool = False,
        scale: float = 1.0,
        all_normed: bool = False,
        most_zoom: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backbone = DINOv3ViT(
            units,
            num_heads,
            ffn_units,
            num_layers,
            layers_out,
            registers,
            key_bias,
            gated,
            scale,
            all_normed,
            most_zoom,
        )
        self.spatial_tuning_adapter = SpatialTuningAdapter(detail_channels)
        self.fusion_proj = [AdapterConv(out_channels, 1, stride=1) for _ in layers_out]
        self.feature_info = [(out_channels, 8 * 2**i) for i in range(3)]

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        found = []
        details = self.spatial_tuning_adapter(x)
        for meaning, detail, join in zip(self.backbone(x), details, self.fusion_proj, strict=True):
            meaning = resize_bilinear(meaning, tf.shape(detail)[1:3])
            meaning = tf.ensure_shape(meaning, [*detail.shape[:3], meaning.shape[3]])
            found.append(join(tf.concat([meaning, detail], -1)))
        return tuple(found)
