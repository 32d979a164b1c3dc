"""Checkpoints of other libraries: where the state-dict is, what is left out, and how one is loaded."""

import dataclasses
from typing import Any

import keras

from kdet.convert import legacy as legacy_rules
from kdet.convert import original_names
from kdet.convert import state_dict as state_dicts
from kdet.convert.pth import StoredTensor, read_pth
from kdet.convert.safetensors import read_safetensors
from kdet.convert.state_dict import LoadReport
from kdet.convert.walk import torch_items
from kdet.errors import CheckpointError
from kdet.typing import PathLike, StateDict

_STATE_KEYS = ("state_dict", "model", "state_dict_ema")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A state-dict and what its file says about it.

    Attributes:
        state_dict: ``{torch name: StoredTensor}``, without ``module.`` prefixes and ``ema_`` copies.
        meta: the file's ``meta`` (versions, recipe, epoch ...), ``{}`` where there is none.
        path: the file.
    """

    state_dict: dict[str, StoredTensor]
    meta: dict[str, Any]
    path: str

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names, or ``None`` when the file does not tell."""
        names = self.meta.get("CLASSES")
        return tuple(names) if isinstance(names, (list, tuple)) else None


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Reads a ``.pth`` of MMDetection, torchvision or plain ``torch.save(model.state_dict())``, or a
    ``.safetensors`` file of Transformers.

    ``module.`` (a model saved inside its parallel wrapper) is stripped. ``ema_*`` is left out: mmcv's EMA
    hook swaps before it saves, so the plain names already hold the averaged weights. Optimizer state is
    never read.

    Raises:
        CheckpointError: no checkpoint, or no state-dict in it.
    """
    if str(path).endswith(".safetensors"):
        return Checkpoint(read_safetensors(path), {}, str(path))
    tree = read_pth(path)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__} instead of a state-dict")
    state = next((tree[key] for key in _STATE_KEYS if isinstance(tree.get(key), dict)), tree)
    tensors = {name: value for name, value in state.items() if isinstance(value, StoredTensor)}
    if not tensors:
        keys = ", ".join(map(repr, list(tree)[:10]))
        raise CheckpointError(f"{path}: there is no state-dict in it, only {keys}")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    tensors = {name: value for name, value in tensors.items() if not name.startswith("ema_")}
    meta = tree.get("meta")
    return Checkpoint(tensors, meta if isinstance(meta, dict) else {}, str(path))


def load_checkpoint(
    model: keras.Model,
    path: PathLike,
    *,
    strict: bool = True,
    allow_mismatch: bool = False,
    legacy: bool | None = None,
) -> LoadReport:
    """Fills a built model from a ``.pth``, or a ``.safetensors`` file of another library.

    Args:
        model: the detector that the checkpoint belongs to.
        path: the file.
        strict, allow_mismatch: as in ``kdet.convert.load_state_dict``.
        legacy: the file was trained with MMDetection 1.x, whose class order differs; ``None`` finds out
            from the file (see ``kdet.convert.legacy``).

    Returns:
        A ``LoadReport``.

    Raises:
        CheckpointError: the file cannot be read.
        IncompleteStateDict: file and model do not cover each other (the wrong model for this file).
    """
    checkpoint = read_checkpoint(path)
    slots = torch_items(model)
    state: StateDict = checkpoint.state_dict
    if legacy or (legacy is None and legacy_rules.is_legacy(checkpoint, slots)):
        state = legacy_rules.upgrade(state, slots)
    state = original_names.renamed(state, slots)
    try:
        return state_dicts.load_state_dict(model, state, strict=strict, allow_mismatch=allow_mismatch)
    except state_dicts.IncompleteStateDict as error:
        error.args = (f"{path}: {error}",)
        raise
