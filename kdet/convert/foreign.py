"""Classification networks in the names of their first releases, which the backbones' differ from."""

import re
from collections.abc import Callable

import numpy as np

from kdet.typing import Array, StateDict

Converter = Callable[[StateDict], dict[str, Array]]


def adapted(state: StateDict) -> StateDict:
    """A state-dict in the names and layouts of the reference's backbones, as far as the rules here know it.

    Args:
        state: ``{name: array}`` of Swin, PVT, EfficientNet of ``timm`` or MoCo v2; others come back as they
            are.
    """
    for mark, convert in _CONVERTERS:
        if mark in state:
            return convert(state)
    return state


def _swin(state: StateDict) -> dict[str, Array]:
    """https://github.com/microsoft/Swin-Transformer"""
    found = {}
    for name, array in state.items():
        if name.startswith("head.") or name.endswith((".attn_mask", ".relative_position_index")):
            continue
        array = np.asarray(array)
        new = re.sub(r"^layers\.", "stages.", name).replace("patch_embed.proj.", "patch_embed.projection.")
        new = new.replace(".attn.", ".attn.w_msa.")
        new = new.replace(".mlp.fc1.", ".ffn.layers.0.0.").replace(".mlp.fc2.", ".ffn.layers.1.")
        if ".downsample." in new:  # pixels (0, 0), (1, 0), (0, 1), (1, 1), each with all of its channels
            pixels = array.reshape(*array.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]
            array = np.moveaxis(pixels, -2, -1).reshape(array.shape)
        found[new] = array
    return found


def _pvt(state: StateDict) -> dict[str, Array]:
    """https://github.com/whai362/PVT, both versions."""
    first, last = ("1", "3") if "pos_embed1" in state else ("0", "4")  # blocks behind a table; of the FFN
    parts = (
        (r"^pos_embed(\d)$", r"\1.1.0.pos_embed"),
        (r"^patch_embed(\d)\.proj\.", r"\1.0.projection."),
        (r"^patch_embed(\d)\.", r"\1.0."),
        (r"^norm(\d)\.", r"\1.2."),
        (r"^block(\d)\.", r"\1.1."),
    )
    found = {}
    for name, array in state.items():
        array = np.asarray(array)
        new = name
        for pattern, replacement in parts:
            new = re.sub(pattern, replacement, new)
        if new == name or ".attn.kv." in new:
            continue  # the classifier and what belongs to it
        stage, rest = new.split(".", 1)
        if name.startswith("block"):
            _, index, rest = rest.split(".", 2)
            rest = f"1.{int(index) + int(first)}.{rest}"
        if ".attn.q." in rest:
            array = np.concatenate([array, np.asarray(state[name.replace(".q.", ".kv.")])])
            rest = rest.replace(".attn.q.", ".attn.attn.in_proj_")
        rest = rest.replace(".attn.proj.", ".attn.attn.out_proj.")
        if ".mlp.fc" in rest and rest.endswith("weight"):
            array = array[..., None, None]
        rest = rest.replace(".mlp.fc1.", ".ffn.layers.0.").replace(".mlp.dwconv.dwconv.", ".ffn.layers.1.")
        rest = rest.replace(".mlp.fc2.", f".ffn.layers.{last}.")
        if rest.endswith("pos_embed") and array.shape[1] == 50:
            array = array[:, 1:]  # without the token of the class
        found[f"layers.{int(stage) - 1}.{rest}"] = array
    return found


def _timm_efficientnet(state: StateDict) -> dict[str, Array]:
    """https://github.com/huggingface/pytorch-image-models"""
    parts = {
        "conv_dw": "depthwise_conv.conv",
        "conv_pwl": "linear_conv.conv",
        "se.conv_reduce": "se.conv1.conv",
        "se.conv_expand": "se.conv2.conv",
    }
    inverted = {"conv_pw": "expand_conv.conv", "bn1": "expand_conv.bn", "bn2": "depthwise_conv.bn"}
    plain = {"conv_pw": "linear_conv.conv", "bn1": "depthwise_conv.bn", "bn2": "linear_conv.bn"}
    blocks = {tuple(name.split(".")[1:3]) for name in state if name.startswith("blocks.")}
    # the fifth group of blocks stands behind the fourth, the seventh behind the sixth
    behind = {
        group: sum(other == before for other, _ in blocks) for group, before in (("4", "3"), ("6", "5"))
    }
    layers = {"0": 1, "1": 2, "2": 3, "3": 4, "4": 4, "5": 5, "6": 5}
    found = {}
    for name, array in state.items():
        match = re.match(r"blocks\.(\d)\.(\d+)\.(.+)\.(\w+)$", name)
        if match:
            group, block, part, leaf = match.groups()
            names = {**parts, **(plain if group == "0" else inverted), "bn3": "linear_conv.bn"}
            place = f"{layers[group]}.{int(block) + behind.get(group, 0)}"
            found[f"layers.{place}.{names[part]}.{leaf}"] = np.asarray(array)
        elif name.startswith(("conv_stem.", "bn1.")):
            stem = name.replace("conv_stem.", "conv.").replace("bn1.", "bn.")
            found[f"layers.0.{stem}"] = np.asarray(array)
    return found


def _moco(state: StateDict) -> dict[str, Array]:
    """https://github.com/facebookresearch/moco"""
    prefix = "encoder_q."
    names = (name for name in state if name.startswith(prefix))
    return {name.removeprefix(prefix): np.asarray(state[name]) for name in names}


# a name that only this release has, and what converts it
_CONVERTERS: tuple[tuple[str, Converter], ...] = (
    ("layers.0.blocks.0.attn.relative_position_bias_table", _swin),
    ("patch_embed1.proj.weight", _pvt),
    ("conv_stem.weight", _timm_efficientnet),
    ("encoder_q.conv1.weight", _moco),
)
