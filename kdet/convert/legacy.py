"""Checkpoints of MMDetection before 2.0: other names and another order of the classes.

Before 2.0 class 0 was the background, since then the background of a softmax comes last:

- ``fc_cls`` and SSD's class convolutions: the background moves from the first place to the last;
- ``fc_reg``, ``conv_logits`` and ``fc_mask_iou`` had outputs for the background that nothing read: they
  are dropped (unless the layer is class-agnostic). Weights and biases are treated alike.

Sigmoid heads (RPN, RetinaNet, FCOS ...) never had a background. Names are those of ``rules.RENAMES``.
"""

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kdet.convert import rules
from kdet.convert.walk import TensorSlot
from kdet.typing import StateDict

if TYPE_CHECKING:
    from kdet.convert.checkpoint import Checkpoint

_SSD_CLASSES = re.compile(r"^bbox_head\.cls_convs\.(\d+)\.0\.(?:weight|bias)$")


def is_legacy(checkpoint: "Checkpoint", known: Collection[str]) -> bool:
    """Whether a checkpoint was trained with 1.x.

    The version in its ``meta`` decides; files without one are old when their RoI heads stand at the top
    level. (A one-stage softmax head of unknown version is taken for 2.x.)

    Args:
        checkpoint: a ``kdet.convert.checkpoint.Checkpoint``.
        known: names of the model.
    """
    version = checkpoint.meta.get("mmdet_version")
    if isinstance(version, str):
        return version.split(".")[0] in ("0", "1")
    two_stage = any(name.startswith("roi_head.") for name in known)
    return two_stage and any(re.match(r"(bbox|mask)_head\.", name) for name in checkpoint.state_dict)


def upgrade(state_dict: StateDict, slots: Mapping[str, TensorSlot]) -> dict[str, Any]:
    """The state-dict of a 1.x checkpoint as 2.x would have written it.

    Args:
        state_dict: ``{1.x name: array}``.
        slots: ``torch_items`` of the model.

    Returns:
        ``{name: array}`` with the model's names where the model has them.
    """
    state = {rules.find_name(name, slots) or name: array for name, array in state_dict.items()}
    return {name: _reorder(name, array, state) for name, array in state.items()}


def _reorder(name: str, array: Any, state: StateDict) -> Any:
    layer = name.split(".")[-2] if "." in name else ""
    rows = array.shape[0] if array.shape else 0
    if layer == "fc_cls":
        return np.roll(np.asarray(array), -1, axis=0)
    if layer == "fc_reg" and rows > 4:
        return np.asarray(array)[4:]
    if layer in ("conv_logits", "fc_mask_iou") and rows > 1:
        return np.asarray(array)[1:]
    ssd = _SSD_CLASSES.match(name)
    if ssd:
        anchors = state[f"bbox_head.reg_convs.{ssd[1]}.0.bias"].shape[0] // 4
        per_anchor = np.asarray(array).reshape(anchors, rows // anchors, *array.shape[1:])
        return np.roll(per_anchor, -1, axis=1).reshape(array.shape)
    return array
