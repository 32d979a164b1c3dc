"""Names of the families' own repositories, in which published files are, as Transformers has them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdet.convert import lwdetr_names
from kdet.convert.fused import split
from kdet.typing import StateDict

_PROJECTION = "model.conv_encoder.encoder_input_proj."
# what only files of DEIMv2's repository hold
_MARK = "decoder.decoder.reg_scale"
_LEFT_OUT = re.compile(r"^decoder\.(anchors|valid_mask)$|rope_embed\.periods$|qkv\.bias_mask$")
_PARTS = (
    # backbone HGNetV2
    (r"^backbone\.(stem|stages)\.", r"model.conv_encoder.model.\1."),
    (r"^model\.conv_encoder\.model\.stem\.", "model.conv_encoder.model.embedder."),
    (r"^model\.conv_encoder\.model\.stages\.", "model.conv_encoder.model.encoder.stages."),
    (r"^(model\.conv_encoder\.model\..*)\.conv\.weight$", r"\1.convolution.weight"),
    (r"^(model\.conv_encoder\.model\..*)\.bn\.", r"\1.normalization."),
    # backbone DINOv3
    (r"^backbone\.dinov3\.(?:_model\.)?", "model.conv_encoder.backbone."),
    (r"^(model\.conv_encoder\.backbone)\.patch_embed\.proj\.", r"\1.embeddings.patch_embeddings."),
    (r"^(model\.conv_encoder\.backbone)\.storage_tokens$", r"\1.embeddings.register_tokens"),
    (r"^(model\.conv_encoder\.backbone)\.(cls_token|mask_token)$", r"\1.embeddings.\2"),
    (r"^(model\.conv_encoder\.backbone)\.blocks\.", r"\1.model.layer."),
    (r"^(model\.conv_encoder\.backbone\..*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(model\.conv_encoder\.backbone\..*)\.mlp\.(?:fc1|w2)\.", r"\1.mlp.up_proj."),
    (r"^(model\.conv_encoder\.backbone\..*)\.mlp\.(?:fc2|w3)\.", r"\1.mlp.down_proj."),
    (r"^(model\.conv_encoder\.backbone\..*)\.mlp\.w1\.", r"\1.mlp.gate_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"^backbone\.sta\.stem\.0\.", "model.conv_encoder.spatial_tuning_adapter.stem_conv.conv."),
    (r"^backbone\.sta\.stem\.1\.", "model.conv_encoder.spatial_tuning_adapter.stem_conv.norm."),
    (r"^backbone\.sta\.conv2\.0\.", "model.conv_encoder.spatial_tuning_adapter.conv2.conv."),
    (r"^backbone\.sta\.conv2\.1\.", "model.conv_encoder.spatial_tuning_adapter.conv2.norm."),
    (r"^backbone\.sta\.conv([34])\.1\.", r"model.conv_encoder.spatial_tuning_adapter.conv\1.conv."),
    (r"^backbone\.sta\.conv([34])\.2\.", r"model.conv_encoder.spatial_tuning_adapter.conv\1.norm."),
    (r"^backbone\.convs\.(\d)\.", r"model.conv_encoder.fusion_proj.\1.conv."),
    (r"^backbone\.norms\.(\d)\.", r"model.conv_encoder.fusion_proj.\1.norm."),
    # encoder
    (r"^encoder\.down_sample([12])\.1\.", r"model.encoder.down_conv\1.conv."),
    (r"^encoder\.down_sample([12])\.2\.", r"model.encoder.down_conv\1.norm."),
    (r"^encoder\.bi_fusion\.cv\.", "model.encoder.bi_fusion_conv."),
    (r"^encoder\.encoder\.", "model.encoder.aifi."),
    (r"^encoder\.", "model.encoder."),
    (r"(aifi\.\d+\.layers\.\d+)\.linear([12])\.", lambda m: f"{m[1]}.mlp.layers.{int(m[2]) - 1}."),
    (r"(aifi\.\d+\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(aifi\.\d+\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    (r"(_blocks?(?:\.\d+)?)\.cv1\.", r"\1.conv1."),
    (r"(_blocks?(?:\.\d+)?)\.cv4\.", r"\1.conv2."),
    (r"(_blocks?(?:\.\d+)?)\.cv([23])\.0\.", lambda m: f"{m[1]}.csp_rep{int(m[2]) - 1}."),
    (r"(_blocks?(?:\.\d+)?)\.cv([23])\.1\.", lambda m: f"{m[1]}.csp_rep{int(m[2]) - 1}.conv2."),
    (r"(downsample_convs\.\d+)\.0\.cv([12])\.", r"\1.conv\2."),
    # decoder
    (r"^decoder\.enc_output\.proj\.", "model.enc_output.0."),
    (r"^decoder\.enc_output\.norm\.", "model.enc_output.1."),
    (r"^decoder\.(enc_score_head|enc_bbox_head|denoising_class_embed)\.", r"model.\1."),
    (r"^decoder\.dec_score_head\.", "model.decoder.class_embed."),
    (r"^decoder\.dec_bbox_head\.", "model.decoder.bbox_embed."),
    (r"^decoder\.(pre_bbox_head|query_pos_head)\.", r"model.decoder.\1."),
    (r"^decoder\.decoder\.", "model.decoder."),
    (r"^(model\.decoder\..*)\.cross_attn\.", r"\1.encoder_attn."),
    (r"^(model\.decoder\..*)\.norm1\.scale$", r"\1.self_attn_layer_norm.weight"),
    (r"^(model\.decoder\..*)\.norm2\.scale$", r"\1.encoder_attn_layer_norm.weight"),
    (r"^(model\.decoder\..*)\.norm3\.scale$", r"\1.final_layer_norm.weight"),
    (r"^(model\.decoder\..*)\.gateway\.norm\.scale$", r"\1.gateway.norm.weight"),
    (r"^(model\.decoder\..*)\.swish_ffn\.w3\.", r"\1.mlp.down_proj."),
    (r"\.self_attn\.out_proj\.", ".self_attn.o_proj."),
)
# what the small transformers do without: factors of 1, a norm that was never trained
_DEFAULTS = (
    (r"\.layer_scale[12]\.lambda1$", 1.0),
    (r"^model\.conv_encoder\.backbone\.norm\.weight$", 1.0),
    (r"^model\.conv_encoder\.backbone\.norm\.bias$", 0.0),
    (r"\.embeddings\.mask_token$", 0.0),
)
# tensors that are several of Transformers', one behind the other
_FUSED = (
    (r"\.self_attn\.in_proj_(weight|bias)$", (".self_attn.{}_proj.", "qkv")),
    (r"\.attn\.qkv\.(weight|bias)$", (".attention.{}_proj.", "qkv")),
    (r"\.swish_ffn\.w12\.(weight|bias)$", (".mlp.{}_proj.", ("gate", "up"))),
)


def renamed(state: StateDict, known: Mapping[str, Any]) -> StateDict:
    """A state-dict of a repository in the model's names; others come back as they are.

    Args:
        state: ``{name: array}`` of the file.
        known: the model's names.
    """
    if lwdetr_names.MARK in state:
        return lwdetr_names.renamed(state, known)
    if _MARK not in state:
        return state
    lite = "model.encoder.input_proj.0.conv.weight" in known
    found: dict[str, Any] = {}
    for name, array in state.items():
        if _LEFT_OUT.search(name):
            continue
        new = (
            name
            if lite
            else re.sub(r"^encoder\.input_proj\.", "model.conv_encoder.encoder_input_proj.", name)
        )
        for pattern, replacement in _PARTS:
            new = re.sub(pattern, replacement, new)
        # keys have a bias of zeros in the file, and none in the model
        found.update(split(new, array, _FUSED, known))
    _fill_in(found, known)
    return found


def _fill_in(found: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Adds what a file leaves out: layers that do nothing, and the further names of shared ones."""
    name = "model.enc_output.0.weight"
    if name in known and name not in found:
        units = known[name].shape[0]
        found[name], found["model.enc_output.0.bias"] = np.eye(units, dtype="f4"), np.zeros(units, "f4")
        found["model.enc_output.1.weight"] = np.ones(units, "f4")
        found["model.enc_output.1.bias"] = np.zeros(units, "f4")
    for key, slot in known.items():
        value = next((v for pattern, v in _DEFAULTS if re.search(pattern, key)), None)
        if value is not None and key not in found:
            found[key] = np.full(slot.shape, value, "f4")
        if key.endswith(".mask_token"):
            found[key] = np.asarray(found[key]).reshape(slot.shape)
        first = re.sub(r"\.bbox_embed\.\d+\.", ".bbox_embed.0.", key)
        if key not in found and first in found and known[key].variables == known[first].variables:
            found[key] = found[first]
