"""Weights in Keras' own files: does the file hold what the model has, nothing less and nothing more?

Keras itself passes over weights that a file lacks or has too many of in several cases: layers in nested
lists before Keras 3.15, slots of an optimizer of another kind, whatever the model does not ask for.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import h5py
import keras
import ml_dtypes
import numpy as np

from kdet import compat
from kdet.convert.walk import torch_items
from kdet.errors import CheckpointError
from kdet.layers.nested import hidden_layers

# shapes of tensors by their path in a file
Shapes: TypeAlias = Mapping[str, tuple[Any, ...]]
WEIGHTS_IN_ARCHIVE = "model.weights.h5"
SHOWN = 8
# A list or dict inside another is a layer of its own (kdet.layers.nested). In files from before that, Keras
# 3.15 and later have a group of another name there, and Keras before 3.15 has nothing.
NESTED = re.compile(r"\b(?:layer_list|layer_dict)(_\d+)?/entries\b")


class IncompleteWeights(CheckpointError):
    """A weights file and a model do not cover each other."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a weights file and a model do not have in common; false when that is nothing.

    Attributes:
        missing: names of the model's variables that the file lacks.
        surplus: paths in the file that have no place in the model.
        mismatched: ``{name: (shape in the file, shape in the model)}``.
        nested: whether all that is missing stands in nested lists.
    """

    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    nested: bool = False

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus or self.mismatched)

    def __str__(self) -> str:
        shapes = [f"{name} (file {a}, model {b})" for name, (a, b) in self.mismatched.items()]
        parts = [
            f"{len(names)} {title}: {_some(names)}"
            for title, names in (
                ("of the model are not in the file", list(self.missing)),
                ("of the file have no place in the model", list(self.surplus)),
                ("have another shape", shapes),
            )
            if names
        ]
        return "; ".join(parts)


def expected_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a complete weights file of ``model``, by path in the file.

    Raises:
        IncompleteWeights: this Keras, or another one that is allowed, would leave variables of the model out
            of its files.
    """
    values = compat.stored_values(model)
    kept = {id(value) for value in values.values()}
    hidden = {id(variable) for layer in hidden_layers(model) for variable in layer.variables}
    lost = [name for name, variable in named_variables(model) if id(variable) not in kept - hidden]
    if lost:
        before = "Before 3.15, " if hidden <= kept else ""
        raise IncompleteWeights(
            f"{before}Keras (here {keras.__version__}) would not save {len(lost)} of the "
            f"{len(model.weights)} weights of {model.name!r}: {_some(lost)}. Layers must be attributes of a "
            "kdet.layers.Composite, or stand in lists or dicts assigned whole to an attribute of one."
        )
    return {path: tuple(value.shape) for path, value in values.items()}


def named_variables(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Yield ``(name, variable)`` of all weights; the name is that of the checkpoint where there is one."""
    names = {id(v): name for name, slot in torch_items(model).items() for v in slot.variables}
    return ((names.get(id(variable), variable.path), variable) for variable in model.weights)


def difference(model: keras.Model, file: h5py.File) -> Difference:
    """Compare an open HDF5 file of weights with a model, the slots of its optimizer included.

    A model that is not compiled has no place for an optimizer, and a file without one can fill the weights
    of a compiled model: neither is a difference.
    """
    expected, found = expected_shapes(model), file_shapes(file)
    both = any(map(is_slot, expected)) and any(map(is_slot, found))
    if not both:
        expected, found = ({p: s for p, s in side.items() if not is_slot(p)} for side in (expected, found))
    translated = translate(expected, found)
    found = {translated.get(path, path): shape for path, shape in found.items()}
    if found == expected:
        return Difference()
    missing = [path for path in expected if path not in found]
    names = _names_of_paths(model)
    return Difference(
        missing=tuple(names.get(path, path) for path in missing),
        surplus=tuple(path for path in found if path not in expected),
        mismatched={
            names.get(path, path): (found[path], shape)
            for path, shape in expected.items()
            if path in found and found[path] != shape
        },
        nested=bool(missing) and all(NESTED.search(path) for path in missing),
    )


def is_slot(path: str) -> bool:
    """Return whether a path in a weights file belongs to the optimizer."""
    return path.startswith("optimizer/")


def translate(
    expected: Mapping[str, tuple[Any, ...]], found: Mapping[str, tuple[Any, ...]]
) -> dict[str, str]:
    """Return ``{path in the file: path of today}`` for a file from before nested lists were layers."""
    older = {NESTED.sub(r"container\1", path): path for path in expected if NESTED.search(path)}
    return {old: path for old, path in older.items() if old in found}


def file_shapes(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all arrays in an HDF5 file by path."""
    shapes = {}

    def visit(path: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[path] = tuple(item.shape)

    file.visititems(visit)
    return shapes


def check_file(model: keras.Model, path: str | pathlib.Path) -> None:
    """Compare a ``.weights.h5``, ``.weights.json`` or ``.keras`` file with a model.

    Raises:
        IncompleteWeights: they do not cover each other; names what is missing and what is too much.
        OSError: the file cannot be read.
    """
    if str(path).endswith(".json"):
        _check_shards(model, path)
        return
    with open_weights(path) as file:
        refuse(difference(model, file), model, path)


def refuse(found: Difference, model: keras.Model, path: object) -> None:
    """Raise for a difference.

    Raises:
        IncompleteWeights: with what differs, its likely cause, and how to load the rest.
    """
    if not found:
        return
    cause = ""
    if found.nested and not found.surplus:
        cause = (
            " All of them stand in nested lists: the file was written by an older kdet under a Keras before "
            "3.15, which left them out, so it is incomplete for good."
        )
    raise IncompleteWeights(
        f"{path} does not fit the model {model.name!r}: {found}.{cause} "
        "model.load_weights(path, skip_mismatch=True) loads what fits and leaves the rest as it is."
    )


@contextlib.contextmanager
def open_weights(path: str | pathlib.Path) -> Iterator[h5py.File]:
    """Open the HDF5 file of weights at ``path`` or, for a ``.keras`` file, in it."""
    if not str(path).endswith(".keras"):
        with h5py.File(path, "r") as file:
            yield file
        return
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        with h5py.File(archive.extract(WEIGHTS_IN_ARCHIVE, folder), "r") as file:
            yield file


def fill_what_fits(model: keras.Model, path: str | pathlib.Path) -> Difference:
    """Assign what a ``.weights.h5`` or ``.keras`` file shares with a model by path and shape.

    The rest of the model and its optimizer stay as they are.

    Returns:
        What differs.
    """
    with open_weights(path) as file:
        found, shapes = difference(model, file), file_shapes(file)
        values = compat.stored_values(model)
        sources = {place: place for place in shapes} | {
            place: source for source, place in translate(values, shapes).items()
        }
        for place, variable in values.items():
            source = sources.get(place)
            if (
                source is not None
                and isinstance(variable, keras.Variable)
                and shapes.get(source) == tuple(variable.shape)
            ):
                dtype = ml_dtypes.bfloat16 if file[source].attrs.get("dtype") == "bfloat16" else None
                variable.assign(np.array(file[source], dtype=dtype))
    return found


def in_layout_of_today(model: keras.Model, file: h5py.File) -> h5py.File:
    """Return ``file``, or a copy in memory where it has the layout from before nested lists were layers."""
    moves = translate(expected_shapes(model), file_shapes(file))
    if not moves:
        return file
    copy = h5py.File("today", "w", driver="core", backing_store=False)
    for name in file:
        file.copy(name, copy)
    groups = {old.rsplit("/", 1)[0]: new.rsplit("/", 1)[0] for old, new in moves.items()}
    for old, new in groups.items():
        copy.move(old, new)
    return copy


def has_optimizer(path: str | pathlib.Path) -> bool:
    """Return whether a weights file holds the slots of an optimizer."""
    with open_weights(path) as file:
        return "optimizer" in file


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)


def _names_of_paths(model: keras.Model) -> dict[str, str]:
    names = {id(variable): name for name, variable in named_variables(model)}
    return {
        path: names[id(value)] for path, value in compat.stored_values(model).items() if id(value) in names
    }


def _check_shards(model: keras.Model, path: str | pathlib.Path) -> None:
    groups = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["weight_map"]
    found = {group.strip("/") for group in groups}
    expected = {place.rsplit("/", 1)[0] for place in expected_shapes(model)}
    if not any(map(is_slot, found)) or not any(map(is_slot, expected)):
        found, expected = ({g for g in side if not is_slot(g)} for side in (found, expected))
    missing, surplus = tuple(sorted(expected - found)), tuple(sorted(found - expected))
    refuse(Difference(missing=missing, surplus=surplus), model, path)
