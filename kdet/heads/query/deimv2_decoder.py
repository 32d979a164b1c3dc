"""The decoder of DEIMv2 (Huang et al., 2025, arXiv:2509.20787)."""

from typing import Any

from kdet.heads.query.dfine_decoder import DFineDecoder, Gate
from kdet.heads.query.rtdetr_decoder import RTDETRDecoderLayer
from kdet.layers import MLP, RMSNorm, SwiGLU
from kdet.registry import register
from kdet.typing import Tensor


class DEIMv2DecoderLayer(RTDETRDecoderLayer):
    """RT-DETR's layer with RMSNorm and SwiGLU.

    Args:
        gated: sampled features are let in by a gate.
        other arguments: see ``RTDETRDecoderLayer``.
    """

    def __init__(
        self, units: int, num_heads: int, ffn_units: int, attention: Any, gated: bool, **kwargs: Any
    ) -> None:
        super().__init__(units, num_heads, ffn_units, attention, **kwargs)
        self.self_attn_layer_norm, self.final_layer_norm = RMSNorm(), RMSNorm()
        self.encoder_attn_layer_norm = None if gated else RMSNorm()
        self.gateway = Gate(units, RMSNorm) if gated else None
        self.mlp = SwiGLU(ffn_units // 2, units)

    def merge(self, x: Tensor, seen: Tensor) -> Tensor:
        return super().merge(x, seen) if self.gateway is None else self.gateway(x, seen)


@register
class DEIMv2Decoder(DFineDecoder):
    """D-FINE's decoder with ``DEIMv2DecoderLayer``.

    Args:
        gated: see ``DEIMv2DecoderLayer``.
        shared_edges: all layers have the same dense layers for the distributions.
        other arguments: see ``DFineDecoder``.
    """

    def __init__(self, gated: bool = True, shared_edges: bool = False, **kwargs: Any) -> None:
        self.gated, self.shared_edges = gated, shared_edges
        super().__init__(**kwargs)
        self.query_pos_head = MLP(self.units, self.units, 3, activation="silu")

    def make_layer(self) -> DEIMv2DecoderLayer:
        sampling = self.make_sampling()
        return DEIMv2DecoderLayer(self.units, self.num_heads, self.ffn_units, sampling, self.gated)

    def make_edges(self, count: int) -> list[MLP]:
        return super().make_edges(1) * count if self.shared_edges else super().make_edges(count)
