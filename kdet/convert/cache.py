"""Converted weights on disk: one file, read by mapping it into memory.

The container is that of safetensors (a JSON header, then raw little-endian bytes), so other tools can
read it. Tensors carry their PyTorch names and Keras' layout; the layout rules and a hash of the values stand
in the header, and a file that was written under other rules or has changed since is not used.
"""

import hashlib
import json
import logging
import mmap
import os
import struct
from typing import Any

import keras
import numpy as np

from kdet.convert.files import atomic_path
from kdet.convert.state_dict import check_finite, refuse_unnamed
from kdet.convert.walk import torch_items
from kdet.data.files import open_regular
from kdet.errors import CheckpointError, short
from kdet.typing import PathLike, Tensor

logger = logging.getLogger("kdet")

MAX_HEADER = 2**27

_DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64", "bool": "BOOL"}


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


def fill(model: keras.Model, path: PathLike) -> None:
    """As :func:`load_weights`, with the reason as an error.

    Raises:
        MissingFile: there is no such file.
        CheckpointError: the header does not describe the file or the model, the hash of the values is
            another, or a value is not finite. The model is then unchanged.
    """
    variables, layouts = _variables(model)
    with open_regular(path, "weights file", CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8:
            raise CheckpointError(f"{path} is no .safetensors file: it has {size} bytes.")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header, start = _header(data, path)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("kdet_layouts") != json.dumps(layouts):
        raise CheckpointError(f"{path} was not written by kdet for this model.")
    offset, places = 0, {}
    for name, variable in variables.items():
        count = int(np.prod(variable.shape))
        end = offset + count * np.dtype(variable.dtype).itemsize
        wanted = {
            "dtype": _DTYPES.get(variable.dtype),
            "shape": list(variable.shape),
            "data_offsets": [offset, end],
        }
        if header.get(name) != wanted:
            raise CheckpointError(
                f"{path}: the tensor {name} should be {wanted}; the header says {short(header.get(name))}."
            )
        places[name] = offset, count
        offset = end
    if len(header) != len(variables) or start + offset != len(data):
        raise CheckpointError(f"{path} has {len(data)} bytes, by its header it should have {start + offset}.")
    if hashlib.sha256(memoryview(data)[start:]).hexdigest() != metadata.get("kdet_sha256"):
        raise CheckpointError(f"{path} is damaged: its values do not have the hash that its header names.")
    arrays = {}
    for name, (offset, count) in places.items():
        variable = variables[name]
        arrays[name] = np.frombuffer(data, variable.dtype, count, start + offset).reshape(variable.shape)
    check_finite(arrays, path)
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _header(data: mmap.mmap, path: PathLike) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, MAX_HEADER):
        raise CheckpointError(f"{path} is no .safetensors file or is cut off: a header of {length} bytes.")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no .safetensors file: its header is no JSON.") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is no .safetensors file: its header is no mapping.")
    return header, 8 + length


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
