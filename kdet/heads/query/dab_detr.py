"""DAB-DETR, whose queries are boxes (Liu et al., 2022, arXiv:2201.12329)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.contract import ImageInfo
from kdet.heads.query.conditional_detr import (
    ConditionalHead,
    conditional_layers,
    encoder_layers_of,
    waves_of,
)
from kdet.heads.query.deformable_detr import move
from kdet.layers import (
    MLP,
    Composite,
    DropoutMasks,
    Given,
    LayerNorm,
    TransformerEncoder,
)
from kdet.registry import register
from kdet.typing import Maps, Tensor

# boxes of the losses start from references so far from the border of the image
_MARGIN = 1e-3


@register
class ScaledEncoder(TransformerEncoder):
    """Encoder whose layers scale the positions of the cells by what the cells say.

    Args:
        layers: list of ``TransformerLayer``.
        units: channels.

    Call: ``x``, ``position [B,N,units]``, ``valid`` bool ``[B,N]``, ``masks`` -> ``[B,N,units]``.
    """

    def __init__(self, layers: Sequence[Any], units: int = 256, **kwargs: Any) -> None:
        super().__init__(layers=layers, **kwargs)
        self.query_scale = MLP(units, units)

    def call(
        self, x: Tensor, position: Tensor, valid: Tensor | None = None, masks: DropoutMasks | None = None
    ) -> Tensor:
        for layer in self.layers:
            scaled = position * self.query_scale(x)
            place = {"query_pos": scaled, "key_pos": scaled, "key_valid": valid}
            x = layer(x, given=Given(place), masks=masks)
        return x


@register
class BoxDecoder(TransformerEncoder):
    """Decoder that looks around a box of every query, in its width and height, and moves it.

    Args:
        layers: list of ``TransformerLayer``.
        units: channels.

    Call: ``references [B,Q,4]`` (cx, cy, w, h) in 0..1 of the image, ``cells`` (keyword arguments of the
    attention to them), ``refine``: a function of (state, references) that gives better ones, ``masks`` ->
    states ``[layers,B,Q,units]`` and the references ``[layers,B,Q,4]`` that each layer started from.
    """

    def __init__(self, layers: Sequence[Any], units: int = 256, **kwargs: Any) -> None:
        super().__init__(layers=layers, autocast=False, **kwargs)
        self.units = units
        self.post_norm = LayerNorm()
        self.query_scale, self.ref_point_head = MLP(units, units), MLP(units, units)
        self.ref_anchor_head = MLP(2, units)

    def call(
        self,
        references: Tensor,
        cells: Any = None,
        refine: Any = None,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, Tensor]:
        (across,) = cells.arguments
        memory = across["key"]
        x = tf.zeros([*tf.unstack(tf.shape(references)[:2]), self.units], memory.dtype)
        states, starts = [], [references]
        for i, layer in enumerate(self.layers):
            waves = tf.cast(waves_of(references, self.units), x.dtype)
            position = self.ref_point_head(waves)
            waves = waves[..., : self.units]
            waves = waves * self.query_scale(x) if i else waves
            waves = waves * self.modulation(x, references)
            given = Given({"query_pos": position}, {**across, "query_pos": position, "waves": waves})
            x = layer(x, given=given, masks=masks)
            states.append(self.post_norm(x))
            if i + 1 < len(self.layers):
                starts.append(refine(x, references))
                references = tf.stop_gradient(starts[-1])
        return tf.stack(states), tf.stack(starts)

    def modulation(self, x: Tensor, references: Tensor) -> Tensor:
        """Factors ``[B,Q,units]`` of the waves of y and x: sides to look at, divided by the box's own."""
        sides = tf.sigmoid(tf.cast(self.ref_anchor_head(x), tf.float32)) / references[..., 2:]
        factors = tf.cast(tf.reverse(sides, [-1]), x.dtype)  # of y, of x
        return tf.repeat(factors, self.units // 2, axis=-1)


@register
class DABTransformer(Composite):
    """Encoder over the cells of one map, and ``BoxDecoder``.

    Args:
        units, num_heads, ffn_units: of all layers.
        encoder_layers, decoder_layers: their numbers.
        dropout: rate.

    Call: ``x``, its ``position [B,N,units]``, ``valid`` bool ``[B,N]``, ``references [B,Q,4]``, ``refine``
    (see ``BoxDecoder``), ``masks`` -> states ``[layers,B,Q,units]`` and references ``[layers,B,Q,4]``.
    """

    def __init__(
        self,
        units: int = 256,
        num_heads: int = 8,
        ffn_units: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.encoder = ScaledEncoder(
            encoder_layers_of(encoder_layers, units, num_heads, ffn_units, dropout, "prelu"), units
        )
        layers = conditional_layers(decoder_layers, units, num_heads, ffn_units, dropout, "prelu")
        self.decoder = BoxDecoder(layers, units)

    def call(
        self,
        x: Tensor,
        position: Tensor,
        valid: Tensor,
        references: Tensor,
        refine: Any = None,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, Tensor]:
        memory = self.encoder(x, position, valid, masks=masks)
        cells = Given({"key": memory, "key_pos": position, "key_valid": valid})
        return self.decoder(references, cells=cells, refine=refine, masks=masks)


@register
class DABDETRHead(ConditionalHead):
    """Queries are boxes, which every decoder layer moves.

    Args:
        num_queries: learned boxes.
        other arguments: see ``QueryHead``.

    Outputs: ``(logits [L,B,Q,C], boxes [L,B,Q,4])``.
    """

    def __init__(self, num_queries: int = 300, **kwargs: Any) -> None:
        super().__init__(num_queries=num_queries, query_units=4, **kwargs)
        self.fc_reg = MLP(4, self.transformer.units, 3, last_kernel="zeros")

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Tensor, Tensor]:
        cells = self.cells(features, info)
        # places must not be cast to the compute dtype
        references = tf.sigmoid(self.query_embedding(tf.zeros([tf.shape(cells[0])[0]])))
        masks = self.dropout_masks(info, training)
        states, starts = self.transformer(*cells, references, refine=self.refined, masks=masks)
        return self.fc_cls(states), move(starts, self.fc_reg(states), _MARGIN)

    def refined(self, state: Tensor, references: Tensor) -> Tensor:
        """References ``[B,Q,4]`` of the next layer, from a layer's result before its norm."""
        return move(references, self.fc_reg(state))
