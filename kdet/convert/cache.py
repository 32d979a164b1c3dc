"""Converted weights on disk: one file, read by mapping it into memory.

The container is that of safetensors (a JSON header, then raw little-endian bytes), so other tools can
read it. Tensors carry their PyTorch names and Keras' layout; the layout rules and a hash of the values stand
in the header, and a file that was written under other rules or has changed since is not used.
"""

import hashlib
import json
import logging
import math
import struct
from typing import Any

import keras
import numpy as np

from kdet.convert.files import atomic_path
from kdet.convert.safetensors import map_file, read_header
from kdet.convert.state_dict import LoadReport, check_finite, refuse_unnamed
from kdet.convert.walk import torch_items
from kdet.errors import CheckpointError, short
from kdet.typing import PathLike, Tensor

logger = logging.getLogger("kdet")

_DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64", "bool": "BOOL"}


def is_own(path: PathLike) -> bool:
    """Whether ``save_weights`` wrote a ``.safetensors`` file, and not another library."""
    metadata = read_header(map_file(path), path)[0].get("__metadata__")
    return isinstance(metadata, dict) and "kdet_layouts" in metadata


def is_exact(model: keras.Model) -> bool:
    """Whether the variables hold their weights in full precision (no float16 or bfloat16 policy)."""
    return all(variable.dtype in _DTYPES for variable in model.weights)


def save_weights(model: keras.Model, path: PathLike) -> None:
    """Writes all weights of a built model (``is_exact``) to ``path``, or nothing at all.

    Raises:
        ValueError: a weight of the model has no PyTorch name and would be lost.
    """
    variables, layouts = _variables(model)
    header, offset, digest = {}, 0, hashlib.sha256()
    arrays = [np.ascontiguousarray(variable.numpy()) for variable in variables.values()]
    for (name, variable), array in zip(variables.items(), arrays, strict=True):
        header[name] = {
            "dtype": _DTYPES[variable.dtype],
            "shape": list(variable.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
        digest.update(array.data)
    metadata = {"kdet_layouts": json.dumps(layouts), "kdet_sha256": digest.hexdigest()}
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    text += b" " * (-len(text) % 64)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            file.write(array.data)


def load_weights(model: keras.Model, path: PathLike) -> bool:
    """Fills a built model from a file of ``save_weights``.

    Returns:
        False, with the model unchanged and the reason in the log, when the file is damaged or belongs to
        another model or to other layout rules.
    """
    try:
        fill(model, path)
    except CheckpointError as error:
        logger.warning("Converted weights are not used: %s", error)
        return False
    return True


def fill(model: keras.Model, path: PathLike, allow_mismatch: bool = False) -> LoadReport:
    """As :func:`load_weights`, with the reason as an error.

    Args:
        model: the built model.
        path: the file.
        allow_mismatch: tensors of another shape (another number of classes) keep the model's values and are
            reported.

    Returns:
        A ``LoadReport``.

    Raises:
        MissingFile: there is no such file.
        CheckpointError: the header does not describe the file or the model, the hash of the values is
            another, or a value is not finite. The model is then unchanged.
    """
    variables, layouts = _variables(model)
    data = map_file(path)
    header, start = read_header(data, path)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("kdet_layouts") != json.dumps(layouts):
        raise CheckpointError(f"{path} was not written by kdet for this model.")
    offset, places = 0, {}
    for name, variable in variables.items():
        shape = _shape(header.get(name)) if allow_mismatch else None
        shape = tuple(variable.shape) if shape is None else shape
        count = math.prod(shape)
        end = offset + count * np.dtype(variable.dtype).itemsize
        wanted = {"dtype": _DTYPES.get(variable.dtype), "shape": list(shape), "data_offsets": [offset, end]}
        if header.get(name) != wanted:
            raise CheckpointError(
                f"{path}: the tensor {name} should be {wanted}; the header says {short(header.get(name))}."
            )
        places[name] = offset, count, shape
        offset = end
    if len(header) != len(variables) or start + offset != len(data):
        raise CheckpointError(f"{path} has {len(data)} bytes, by its header it should have {start + offset}.")
    if hashlib.sha256(memoryview(data)[start:]).hexdigest() != metadata.get("kdet_sha256"):
        raise CheckpointError(f"{path} is damaged: its values do not have the hash that its header names.")
    arrays, mismatched = {}, {}
    for name, (offset, count, shape) in places.items():
        variable = variables[name]
        if shape == tuple(variable.shape):
            arrays[name] = np.frombuffer(data, variable.dtype, count, start + offset).reshape(shape)
        else:
            mismatched[name] = shape, tuple(variable.shape)
    check_finite(arrays, path)
    for name, array in arrays.items():
        variables[name].assign(array)
    return LoadReport(filled=len(arrays), mismatched=mismatched)


def _shape(entry: Any) -> tuple[int, ...] | None:
    """The shape that an entry of a header names, None where it is none."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        return None
    return tuple(shape)


def _variables(model: keras.Model) -> tuple[dict[str, Tensor], dict[str, str | None]]:
    """``{name: variable}`` of the distinct variables, and ``{name: layout rule}``."""
    variables, layouts, seen = {}, {}, set()
    slots = torch_items(model)
    refuse_unnamed(model, slots)
    for name, slot in slots.items():
        for index, variable in enumerate(slot.variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                key = name if len(slot.variables) == 1 else f"{name}#{index}"
                variables[key], layouts[key] = variable, json.loads(json.dumps(slot.rule))
    return variables, layouts
