"""Converted weights on disk: one file, read by mapping it into memory.

The container is that of safetensors (a JSON header, then raw little-endian bytes), so other tools can
read it. Tensors carry their PyTorch names and Keras' layout; the layout rules stand in the header, and a
file that was written under other rules is not used.
"""

import json
import mmap
import struct

import numpy as np

from kdet.convert.files import atomic_path
from kdet.convert.state_dict import refuse_unnamed
from kdet.convert.walk import torch_items

_DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64", "bool": "BOOL"}


def is_exact(model):
    """Whether the variables hold their weights in full precision (no float16 or bfloat16 policy)."""
    return all(variable.dtype in _DTYPES for variable in model.weights)


def save_weights(model, path):
    """Writes all weights of a built model (``is_exact``) to ``path``, or nothing at all.

    Raises:
        ValueError: a weight of the model has no PyTorch name and would be lost.
    """
    variables, layouts = _variables(model)
    header, offset = {"__metadata__": {"kdet_layouts": json.dumps(layouts)}}, 0
    for name, variable in variables.items():
        size = int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize
        header[name] = {
            "dtype": _DTYPES[variable.dtype],
            "shape": list(variable.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for variable in variables.values():
            file.write(np.ascontiguousarray(variable.numpy()).data)


def load_weights(model, path):
    """Fills a built model from a file of ``save_weights``.

    Returns:
        False, with the model unchanged, when the file is damaged or belongs to another model or to
        other layout rules.
    """
    variables, layouts = _variables(model)
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__")
        shapes = {name: entry["shape"] for name, entry in header.items()}
        end = max(entry["data_offsets"][1] for entry in header.values())
    except (struct.error, ValueError, KeyError):
        return False
    fits = shapes == {name: list(variable.shape) for name, variable in variables.items()}
    if not fits or json.loads(metadata["kdet_layouts"]) != layouts or 8 + length + end != len(data):
        return False
    for name, variable in variables.items():
        shape = tuple(variable.shape)
        start = 8 + length + header[name]["data_offsets"][0]
        dtype = next(known for known, code in _DTYPES.items() if code == header[name]["dtype"])
        array = np.frombuffer(data, dtype, int(np.prod(shape)), start)
        variable.assign(array.reshape(shape))
    return True


def _variables(model):
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
