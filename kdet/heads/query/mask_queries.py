"""Queries that give a class and a mask each: MaskFormer and Mask2Former (Cheng et al., 2021 and 2022)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.contract import Detections, ImageInfo, Targets
from kdet.heads.base import Head, Losses
from kdet.heads.mask.panoptic import MaskQueries
from kdet.heads.query.base import valid_cells
from kdet.heads.query.criterion import named_by_layer
from kdet.heads.query.mask_criterion import MaskCriterion, with_stuff
from kdet.heads.query.pixel_decoders import flat_map
from kdet.layers import (
    Conv2D,
    DropoutMasks,
    Embedding,
    Given,
    Linear,
    MultiheadAttention,
    SinePositionEncoding,
    TransformerDecoder,
    TransformerLayer,
    apply_list,
    resize_bilinear,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor


class MaskQueryHead(Head):
    """What both heads share: a mask is the product of a query's vector with the pixel decoder's map.

    Outputs: ``(logits, masks)``, of every decoder layer ``[B,Q,classes+1]`` and ``[B,h,w,Q]``. The call needs
    ``canvas`` in its ImageInfo.

    Args:
        num_classes: classes of things, the objects that can be counted.
        pixel_decoder: ``PixelDecoder``, ``EncoderPixelDecoder`` or ``DeformablePixelDecoder``.
        criterion: ``MaskCriterion``.
        num_queries: number of queries.
        num_stuff: classes of stuff, whose labels stand behind those of things; 0 for instances alone.
        units: channels of everything.
        num_heads, ffn_units, decoder_layers, dropout: of the decoder.
        postprocess: ``MaskQueries``.
    """

    def __init__(
        self,
        num_classes: int,
        pixel_decoder: keras.Layer,
        criterion: MaskCriterion,
        num_queries: int = 100,
        num_stuff: int = 0,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 2048,
        decoder_layers: int = 6,
        dropout: float = 0.0,
        postprocess: MaskQueries | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or MaskQueries(), **kwargs)
        self.num_stuff, self.criterion = num_stuff, criterion
        self.pixel_decoder, self.position = pixel_decoder, SinePositionEncoding(units)
        self.transformer_decoder = self.decoder(
            [
                TransformerLayer(
                    [MultiheadAttention(units, num_heads, dropout) for _ in range(2)],
                    ffn_units,
                    units,
                    dropout,
                )
                for _ in range(decoder_layers)
            ]
        )
        self.query_embed = Embedding(num_queries, units)
        self.cls_embed = Linear(num_classes + num_stuff + 1)
        self.mask_embed = [Linear(units), None, Linear(units), None, Linear(units)]

    def decoder(self, layers: Sequence[TransformerLayer]) -> TransformerDecoder:
        """The decoder of these layers."""
        return TransformerDecoder(layers)

    def predictions(self, states: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B,Q,classes+1]`` and masks ``[B,h,w,Q]``, float32, of queries ``[B,Q,units]``."""
        vectors = tf.cast(apply_list(self.mask_embed, states), tf.float32)
        features = tf.cast(features, tf.float32)
        masks = tf.matmul(flat_map(features), vectors, transpose_b=True)  # [B, h*w, Q]
        shape = [*tf.unstack(tf.shape(features)[:3]), vectors.shape[1]]
        masks = tf.ensure_shape(tf.reshape(masks, shape), [*features.shape[:3], vectors.shape[1]])
        return tf.cast(self.cls_embed(states), tf.float32), masks

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses of every decoder layer: ``loss_cls``, ..., and ``d0.loss_cls``, ... of all but the last."""
        canvas = tuple(tf.unstack(tf.cast(info["canvas"], tf.int32)))
        targets = with_stuff(targets, canvas, self.num_classes, self.num_stuff)
        logits, masks = outputs
        return named_by_layer(self.criterion(logits, masks, targets, canvas, info["seed"]))

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections and segments in original pixels from the last layer's outputs."""
        logits, masks = (sets[-1] for sets in outputs)
        return self.postprocess(logits, masks, info, tf.cast(info["canvas"], tf.int32), self.num_stuff)


@register
class MaskFormerHead(MaskQueryHead):
    """MaskFormer: queries that start at zero look at one map.

    Args:
        project: a convolution brings that map to ``units`` channels.
        arguments: see ``MaskQueryHead``.

    Outputs: as ``MaskQueryHead``, stacked: ``[L,B,Q,classes+1]`` and ``[L,B,h,w,Q]``.
    """

    def __init__(self, num_classes: int, units: int = 256, project: bool = False, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, units=units, **kwargs)
        self.decoder_input_proj = Conv2D(units, 1) if project else None

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Tensor, Tensor]:
        masks = DropoutMasks(info["seed"]) if training else None
        common, memory = self.pixel_decoder(features, info, masks=masks)
        valid = valid_cells(memory, info)
        memory = memory if self.decoder_input_proj is None else self.decoder_input_proj(memory)
        queries = self.query_embed(memory)
        among = {"query_pos": queries, "key_pos": queries}
        across = {
            "key": flat_map(memory),
            "query_pos": queries,
            "key_pos": flat_map(self.position(valid)),
            "key_valid": flat_map(valid),
        }
        states = self.transformer_decoder(tf.zeros_like(queries), given=Given(among, across), masks=masks)
        found = [self.predictions(x, common) for x in tf.unstack(states)]
        logits, sets = zip(*found)
        return tf.stack(logits), tf.stack(sets)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        return super().compute_losses([tf.unstack(sets) for sets in outputs], targets, info)


class MaskedDecoder(TransformerDecoder):
    """Decoder whose queries look only where their own mask is, at one level per layer in turn.

    Call: ``x [B,Q,units]``, ``maps`` and ``positions`` (per level ``[B,N,units]``), ``query_pos``,
    ``predict``: a function of normalized queries and a level that gives predictions and where each query may
    look, bool ``[B,Q,N]`` -> the predictions before the first layer and after each.
    """

    def call(
        self,
        x: Tensor,
        maps: Any = None,
        positions: Any = None,
        query_pos: Tensor | None = None,
        predict: Any = None,
    ) -> list[Any]:
        among = {"query_pos": query_pos, "key_pos": query_pos}
        found, allowed = predict(self.post_norm(x), 0)
        every = [found]
        for i, layer in enumerate(self.layers):
            level = i % len(maps)
            across = {"key": maps[level], "key_pos": positions[level], "key_valid": allowed}
            x = layer(x, given=Given({**across, "query_pos": query_pos}, among))
            found, allowed = predict(self.post_norm(x), (i + 1) % len(maps))
            every.append(found)
        return every


@register
class Mask2FormerHead(MaskQueryHead):
    """Mask2Former: learned queries look at three maps in turn, within their own masks.

    Args:
        arguments: see ``MaskQueryHead``.

    Outputs: as ``MaskQueryHead``, with a first set before the first layer.
    """

    def __init__(self, num_classes: int, num_queries: int = 100, units: int = 256, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, num_queries=num_queries, units=units, **kwargs)
        self.query_feat = Embedding(num_queries, units)
        self.level_embed = Embedding(self.pixel_decoder.num_levels, units)

    def decoder(self, layers: Sequence[TransformerLayer]) -> TransformerDecoder:
        return MaskedDecoder(layers)

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, Any]:
        common, levels = self.pixel_decoder(features, info)
        kinds = tf.unstack(self.level_embed(levels[0])[0])
        maps = [flat_map(x) + kind for x, kind in zip(levels, kinds)]
        positions = [flat_map(self.position(tf.ones(tf.shape(x)[:3], tf.bool))) for x in levels]

        def predict(queries: Tensor, level: int) -> tuple[Any, Tensor]:
            logits, masks = self.predictions(queries, common)
            return (logits, masks), self.visible(masks, tf.shape(levels[level])[1:3])

        found = self.transformer_decoder(
            self.query_feat(levels[0]),
            maps=maps,
            positions=positions,
            query_pos=self.query_embed(levels[0]),
            predict=predict,
        )
        logits, masks = zip(*found)
        return logits, masks

    def visible(self, masks: Tensor, size: Tensor) -> Tensor:
        """Cells of a map of ``size`` in each query's mask, all where it is empty: bool ``[B,Q,h*w]``."""
        inside = tf.sigmoid(resize_bilinear(tf.stop_gradient(masks), size)) >= 0.5
        inside = tf.transpose(flat_map(inside), [0, 2, 1])
        return inside | ~tf.reduce_any(inside, -1, keepdims=True)
