"""The exceptions: names that changed between releases, buffers without a counterpart, derived tensors.

Everything here is a last resort. The rule is that a layer's attributes carry the checkpoint's names.
"""

import re
from collections.abc import Callable, Container

import numpy as np

from kdet.typing import Array, StateDict

IGNORED = (
    r"num_batches_tracked$",  # BN's step counter: only read when momentum is None, which no recipe sets
    r"(^|\.)loss_\w+\.(edges|acc_sum)$",  # GHM: constant histogram edges, running counts of training
    r"(^|\.)integral\.project$",  # GFL: the constant 0..reg_max
    r"(^|\.)relative_position_index$",  # Swin: rows of the table of biases, which follow from the window
)
"""Patterns of tensors that only one side may have: no word about them in either direction."""


def _ssd_extra(match: re.Match[str]) -> str:
    index = int(match[1])
    return f"neck.extra_layers.{index // 2}.{index % 2}.conv."


RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # deformable convolutions before mmcv's version 2 kept the offset convolution beside themselves
    (r"(\w+)_offset\.(weight|bias)$", r"\1.conv_offset.\2"),
    # anchor-free heads before 2.0: fcos_cls, fovea_reg, fcos_centerness
    (r"^bbox_head\.\w+_(cls|reg|centerness)\.", r"bbox_head.conv_\1."),
    # DETR before 2.8
    (r"\.self_attn\.", ".attentions.0."),
    (r"\.multihead_attn\.", ".attentions.1."),
    (r"\.ffn\.", ".ffns.0."),
    (r"\.decoder\.norm\.", ".decoder.post_norm."),
    # SSD before 2.14: the extra layers and the L2 norm belonged to the backbone, the head's
    # convolutions were no sequences
    (r"^backbone\.extra\.(\d+)\.", _ssd_extra),
    (r"^backbone\.l2_norm\.", "neck.l2_norm."),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    # RF-Next puts convolutions into others with several dilations
    (r"\.(weight|bias)$", r".op_layer.\1"),
    # files that Transformers wrote before its version 5
    (r"\.self_attn\.out_proj\.", ".self_attn.o_proj."),
    (r"\.encoder\.encoder\.(\d+)\.layers\.", r".encoder.aifi.\1.layers."),
    (r"\.layers\.(\d+)\.fc([12])\.", r".layers.\1.mlp.fc\2."),
    (r"\.mlp\.fc1\.", ".mlp.layers.0."),
    (r"\.mlp\.fc2\.", ".mlp.layers.1."),
    (r"\.attention\.attention\.([qkv])\w+\.", r".attention.\1_proj."),
    (r"\.attention\.output(?:\.dense)?\.(weight|bias)$", r".attention.o_proj.\1"),
    # 1.x: RoI heads stood at the top level; RetinaNet before 0.6 used bare convolutions
    (r"^((?:bbox|mask|semantic|grid|mask_iou)_head|shared_head)\.", r"roi_head.\1."),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),
)
"""``(pattern, replacement)``: tried on a name that the model lacks, kept where the model has the result."""


COPIES: tuple[tuple[str, str], ...] = (
    # Transformers lists the prediction layers of RT-DETR's decoder a second time
    (r"^(class_embed|bbox_embed)\.", r"model.decoder.\1."),
)
"""``(pattern, replacement)``: second names of tensors, which may be there, or not, or stand for the first."""


def first_name(name: str, known: Container[str]) -> str | None:
    """The name whose second name ``name`` is, where ``known`` holds it."""
    for pattern, replacement in COPIES:
        renamed = re.sub(pattern, replacement, name)
        if renamed != name and renamed in known:
            return renamed
    return None


def find_name(name: str, known: Container[str]) -> str | None:
    """The name under which ``known`` (a container of names) holds the checkpoint's ``name``, or ``None``."""
    candidates = [name]
    if name in known:
        return name
    for pattern, replacement in RENAMES:
        for candidate in list(candidates):
            renamed = re.sub(pattern, replacement, candidate)
            if renamed in known:
                return renamed
            if renamed != candidate:
                candidates.append(renamed)
    return None


def is_ignored(name: str) -> bool:
    """Whether a tensor may stand on one side only."""
    return any(re.search(pattern, name) for pattern in IGNORED)


def derive(name: str, state: StateDict) -> Array | None:
    """Tensors that follow from others where the file does not hold them (or holds placeholders).

    Weight-standardised convolutions of DetectoRS (``ConvAWS``, arXiv:2006.02334) start from the mean
    and deviation of the pre-trained filters when ``weight_gamma`` is missing or not positive.

    Args:
        name: a PyTorch name of the model.
        state: ``{name: array}`` of the checkpoint, in the model's names.

    Returns:
        The array for ``name``, or ``None`` where no rule applies.
    """
    stem, _, leaf = name.rpartition(".")
    if leaf not in ("weight_gamma", "weight_beta") or f"{stem}.weight" not in state:
        return None
    gamma = state.get(f"{stem}.weight_gamma")
    if gamma is not None and np.asarray(gamma).mean() > 0:
        return None
    weight = np.asarray(state[f"{stem}.weight"], np.float32)
    rows = weight.reshape(len(weight), -1)
    values = rows.mean(axis=1) if leaf == "weight_beta" else np.sqrt(rows.var(axis=1, ddof=1) + 1e-5)
    return values.reshape(-1, 1, 1, 1)
