"""Names of LW-DETR's and RF-DETR's repositories, in which published files are, as Transformers has them."""

import re
from collections.abc import Container
from typing import Any

from kdet.convert.fused import split
from kdet.typing import StateDict

# what only files of the repositories hold
MARK = "refpoint_embed.weight"
_LAYER = r"^decoder\.layers\.(\d+)\."
_PROJECTOR = r"^backbone\.projector\."
_PARTS = (
    (r"^transformer\.", ""),
    (r"^refpoint_embed\.", "reference_point_embed."),
    # LW-DETR's transformer
    (r"^backbone\.0\.encoder\.pos_embed$", "backbone.backbone.embeddings.position_embeddings"),
    (r"^backbone\.0\.encoder\.patch_embed\.proj\.", "backbone.backbone.embeddings.projection."),
    (r"^backbone\.0\.encoder\.blocks\.", "backbone.backbone.encoder.layer."),
    (r"^(backbone\.backbone\.encoder\.layer\.\d+)\.attn\.([qv])_bias$", r"\1.attention.\2_proj.bias"),
    (r"^(backbone\.backbone\.encoder\.layer\.\d+)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(backbone\.backbone\.encoder\.layer\.\d+)\.mlp\.", r"\1.intermediate."),
    (r"^(backbone\.backbone\.encoder\.layer\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"^(backbone\.backbone\.encoder\.layer\.\d+)\.norm2\.", r"\1.layernorm_after."),
    # RF-DETR's: it stands as Transformers wrote it before its version 5
    (r"^backbone\.0\.encoder\.encoder\.", "backbone.dinov2."),
    (r"^(backbone\.dinov2\..*)\.attention\.attention\.([qkv])\w+\.", r"\1.attention.\2_proj."),
    (r"^(backbone\.dinov2\..*)\.attention\.output\.dense\.", r"\1.attention.o_proj."),
    (r"^backbone\.dinov2\.", "backbone.backbone."),
    # projector
    (r"^backbone\.0\.projector\.", "backbone.projector."),
    (
        _PROJECTOR + r"stages_sampling\.(\d+)\.(\d+)\.",
        r"backbone.projector.scale_layers.\1.sampling_layers.\2.layers.",
    ),
    (_PROJECTOR + r"stages\.(\d+)\.0\.", r"backbone.projector.scale_layers.\1.projector_layer."),
    (_PROJECTOR + r"stages\.(\d+)\.1\.", r"backbone.projector.scale_layers.\1.layer_norm."),
    (r"^(backbone\.projector\..*)\.m\.(\d+)\.", r"\1.bottlenecks.\2."),
    (r"^(backbone\.projector\..*)\.cv([12])\.", r"\1.conv\2."),
    (r"^(backbone\.projector\..*)\.bn\.", r"\1.norm."),
    # decoder
    (r"^decoder\.norm\.", "decoder.layernorm."),
    (_LAYER + r"norm1\.", r"decoder.layers.\1.self_attn_layer_norm."),
    (_LAYER + r"norm2\.", r"decoder.layers.\1.cross_attn_layer_norm."),
    (_LAYER + r"norm3\.", r"decoder.layers.\1.layer_norm."),
    (_LAYER + r"linear([12])\.", r"decoder.layers.\1.mlp.fc\2."),
    (_LAYER + r"self_attn\.out_proj\.", r"decoder.layers.\1.self_attn.o_proj."),
    # masks
    (r"^segmentation_head\.bias$", "segmentation_bias"),
    (r"^segmentation_head\.", ""),
    (r"^query_features_block\.layers\.0\.", "query_features_block.mlp.fc1."),
    (r"^query_features_block\.layers\.2\.", "query_features_block.mlp.fc2."),
    (r"^query_features_block\.norm_in\.", "query_features_block.norm."),
    (r"^blocks\.(\d+)\.norm\.", r"blocks.\1.layernorm."),
    (r"^blocks\.(\d+)\.dwconv\.", r"blocks.\1.depthwise_conv."),
    (r"^blocks\.(\d+)\.pwconv1\.", r"blocks.\1.pointwise_conv."),
)
_FUSED = (
    (r"\.self_attn\.in_proj_(weight|bias)$", (".self_attn.{}_proj.", "qkv")),
    (r"\.attn\.qkv\.(weight|bias)$", (".attention.{}_proj.", "qkv")),
)


def renamed(state: StateDict, known: Container[str]) -> dict[str, Any]:
    """A state-dict of one of the repositories in the model's names.

    Args:
        state: ``{name: array}`` of the file.
        known: the model's names.
    """
    found: dict[str, Any] = {}
    for name, array in state.items():
        for pattern, replacement in _PARTS:
            name = re.sub(pattern, replacement, name)
        single = re.sub(r"^(backbone\.projector)\.scale_layers\.0\.", r"\1.", name)  # RF-DETR has one scale
        forms = [prefix + form for form in (name, single) for prefix in ("model.model.", "model.", "")]
        parts = [split(form, array, _FUSED, known) for form in forms]
        found.update(next((one for one in parts if one and all(key in known for key in one)), {name: array}))
    return found
