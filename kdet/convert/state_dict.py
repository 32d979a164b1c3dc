"""PyTorch state-dicts into and out of a kdet model."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kdet.convert import rules
from kdet.convert.walk import TensorSlot, torch_items, training_state
from kdet.errors import CheckpointError
from kdet.typing import Array, PathLike, StateDict


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What ``load_state_dict`` did. Complete when the first three are empty.

    Attributes:
        unfilled: names of the model that nothing in the state-dict filled.
        left_over: names of the state-dict that have no place in the model.
        mismatched: ``{name: (shape in the state-dict, shape in the model)}``; left as they were.
        renamed: ``{name in the state-dict: name in the model}`` where the two differ.
        ignored: names that are left out on purpose (``kdet.convert.rules.IGNORED``).
        filled: how many tensors were assigned.
    """

    unfilled: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    mismatched: dict[str, Any] = dataclasses.field(default_factory=dict)
    renamed: dict[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    filled: int = 0

    def __str__(self) -> str:
        lines = [f"{self.filled} tensors filled"]
        mismatched = [f"{name}: file {a}, model {b}" for name, (a, b) in self.mismatched.items()]
        for title, names in (
            ("unfilled in the model", self.unfilled),
            ("left over in the file", self.left_over),
            ("of another shape", mismatched),
        ):
            if names:
                lines.append(f"{len(names)} {title}:")
                lines.extend(f"  {name}" for name in names)
        return "\n".join(lines)


class IncompleteStateDict(CheckpointError):
    """A state-dict and a model do not cover each other; ``report`` is the full ``LoadReport``."""

    def __init__(self, report: LoadReport, model_name: str) -> None:
        super().__init__(f"The state-dict does not fit the model {model_name!r}: {report}")
        self.report = report


def load_state_dict(
    model: keras.Model,
    state_dict: StateDict,
    *,
    strict: bool = True,
    allow_mismatch: bool = False,
    may_keep: Callable[[str], object] | None = None,
) -> LoadReport:
    """Fills a built model from a state-dict in PyTorch's names and layouts.

    Nothing is assigned before the names and shapes are known to fit, so a failure leaves the model
    as it was.

    Args:
        model: a built kdet layer or model.
        state_dict: ``{torch name: array}``; values need ``shape`` and ``__array__``.
        strict: raise unless every variable is filled and every tensor is used.
        allow_mismatch: tensors of another shape than the model's (a prediction layer for another
            number of classes) keep the model's values and are reported.
        may_keep: predicate over the model's names: variables that need not be filled.

    Returns:
        A ``LoadReport``.

    Raises:
        CheckpointError: a tensor holds NaN or infinity.
        IncompleteStateDict: under ``strict`` when the two do not cover each other, and always for
            mismatched shapes that ``allow_mismatch`` does not admit.
    """
    slots = torch_items(model)
    found, left_over, ignored = _match(state_dict, slots)
    state = {target: state_dict[source] for target, source in found.items()}
    for name in slots:
        derived = rules.derive(name, state)
        if derived is not None:
            state[name] = derived
    mismatched = {
        name: (tuple(array.shape), slots[name].shape)
        for name, array in state.items()
        if tuple(array.shape) != slots[name].shape
    }
    reached = {id(v) for name in state for v in slots[name].variables}
    report = LoadReport(
        unfilled=_unfilled(model, slots, reached),
        left_over=left_over,
        mismatched=mismatched,
        renamed={source: target for target, source in found.items() if source != target},
        ignored=ignored,
        filled=len(state) - len(mismatched),
    )
    missing = [name for name in report.unfilled if may_keep is None or not may_keep(name)]
    if (strict and (missing or left_over)) or (mismatched and not allow_mismatch):
        raise IncompleteStateDict(report, model.name)
    used = {name: array for name, array in state.items() if name not in mismatched}
    check_finite(used, "The state-dict")
    for name, array in used.items():
        slots[name].assign(array)
    return report


def check_finite(arrays: StateDict, where: PathLike) -> None:
    """Raises a CheckpointError that names a tensor of ``{name: array}`` with NaN or infinite values."""
    for name, array in arrays.items():
        array = np.asarray(array)
        # the sum is finite wherever all values are, unless it overflows: then look at all
        if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
            count = int((~np.isfinite(array)).sum())
            if count:
                raise CheckpointError(
                    f"{where}: the tensor {name} has {count} values that are NaN or infinite; the training "
                    "that wrote it had failed, take an earlier checkpoint."
                )


def state_dict(model: keras.Model) -> dict[str, Array]:
    """The inverse of ``load_state_dict``: ``{torch name: NumPy array}`` in PyTorch's layouts.

    Raises:
        ValueError: a weight of the model has no PyTorch name and would be lost.
    """
    slots = torch_items(model)
    refuse_unnamed(model, slots)
    return {name: slot.numpy() for name, slot in slots.items()}


def refuse_unnamed(model: keras.Model, slots: Mapping[str, TensorSlot]) -> None:
    """Raises ``ValueError`` for weights that none of ``slots`` (of ``torch_items``) holds.

    State of the training alone is no part of a checkpoint and may be missing.
    """
    named = {id(variable) for variable in training_state(model)}
    named.update(id(variable) for slot in slots.values() for variable in slot.variables)
    lost = [variable.path for variable in model.weights if id(variable) not in named]
    if lost:
        raise ValueError(
            f"{len(lost)} weights of {model.name!r} have no PyTorch name and would be lost: "
            f"{', '.join(lost[:8])}. Are their attributes private?"
        )


def _match(
    state_dict: StateDict, slots: Mapping[str, TensorSlot]
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Pairs the names of the file with those of the model; exact names win over renamed ones."""
    found = {name: name for name in state_dict if name in slots}
    left_over: list[str] = []
    ignored: list[str] = []
    for name in state_dict:
        if name in slots:
            continue
        first = rules.first_name(name, slots)
        target = first or rules.find_name(name, slots)
        if target is not None and target not in found:
            found[target] = name
        else:
            (ignored if first or rules.is_ignored(name) else left_over).append(name)
    return found, tuple(left_over), tuple(ignored)


def _unfilled(model: keras.Model, slots: Mapping[str, TensorSlot], reached: set[int]) -> tuple[str, ...]:
    """Names of the variables that stay as they were; a variable without a name shows its Keras path."""
    unfilled: dict[int, str] = {}
    named = {id(variable) for variable in training_state(model)}
    for name, slot in slots.items():
        for variable in slot.variables:
            named.add(id(variable))
            if id(variable) not in reached and not rules.is_ignored(name):
                unfilled.setdefault(id(variable), name)
    for variable in model.weights:
        if id(variable) not in named:
            unfilled[id(variable)] = f"{variable.path} (no PyTorch name: is its attribute private?)"
    return tuple(dict.fromkeys(unfilled.values()))
