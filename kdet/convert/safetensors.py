"""Reads and writes the ``.safetensors`` files of other libraries: names and layouts are PyTorch's."""

import json
import mmap
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdet.convert.files import atomic_path
from kdet.convert.pth import StoredTensor, stored_array
from kdet.data.files import open_regular
from kdet.errors import CheckpointError, short
from kdet.typing import Array, PathLike

MAX_HEADER = 2**27
_KINDS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bf16",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items() if kind != "bf16"}


def read_header(data: mmap.mmap, path: PathLike) -> tuple[dict[str, Any], int]:
    """The header of a mapped file and where the values begin.

    Raises:
        CheckpointError: the file has none.
    """
    if len(data) < 8:
        raise CheckpointError(f"{path} is no .safetensors file: it has {len(data)} bytes.")
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


def map_file(path: PathLike) -> mmap.mmap:
    """The bytes of a file, mapped into memory.

    Raises:
        MissingFile: there is no such file.
        CheckpointError: it is empty, or no regular file.
    """
    with open_regular(path, "weights file", CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8:
            raise CheckpointError(f"{path} is no .safetensors file: it has {size} bytes.")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_safetensors(path: PathLike) -> dict[str, StoredTensor]:
    """The tensors of a file by name; their values stay in it until NumPy asks for them.

    Raises:
        MissingFile: there is no such file.
        CheckpointError: the file is none, is cut off, or its header describes other bytes than it has.
    """
    data = map_file(path)
    header, start = read_header(data, path)
    header.pop("__metadata__", None)
    return {name: _tensor(data, start, name, entry, path) for name, entry in header.items()}


def _tensor(data: mmap.mmap, start: int, name: str, entry: Any, path: PathLike) -> StoredTensor:
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [-1]
    if kind not in _KINDS or any(type(n) is not int or not 0 <= n < 2**48 for n in numbers):
        raise CheckpointError(f"{path}: the tensor {name} cannot be read; the header says {short(entry)}.")
    size = 2 if kind == "BF16" else np.dtype(_KINDS[kind]).itemsize
    first, last = (*offsets, -1, -1)[:2]
    if len(offsets) != 2 or last - first != size * int(np.prod(shape, dtype=object)):
        raise CheckpointError(f"{path}: the tensor {name} has another size than its header says.")
    if start + last > len(data):
        raise CheckpointError(f"{path} is cut off: the tensor {name} lies behind its end.")
    return stored_array(_KINDS[kind], tuple(shape), data, start + first)


def write_safetensors(path: PathLike, state: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Writes arrays by name, whole or not at all.

    Args:
        path: the file.
        state: ``{torch name: array}`` in PyTorch's layouts.
        metadata: what the header says beside the tensors.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    arrays, offset = [], 0
    for name, value in state.items():
        array = np.ascontiguousarray(value)
        end = offset + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, end],
        }
        arrays.append(array)
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            file.write(array.tobytes())
