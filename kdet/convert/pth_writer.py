"""Writes PyTorch's zip format without PyTorch: NumPy arrays become tensors."""

import collections
import io
import pathlib
import pickle
import zipfile
from typing import Any

import numpy as np

from kdet.convert.files import atomic_path
from kdet.typing import Array, PathLike

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def write_pth(path: PathLike, tree: Any) -> None:
    """Writes ``tree`` so that ``torch.load(path, weights_only=True)`` gives it back, or nothing at all.

    Args:
        path: the file.
        tree: nested dicts, lists and tuples of strings, numbers, booleans, ``None`` and NumPy arrays.

    Raises:
        TypeError: anything else, named by its type.
    """
    pickled = _Pickled(tree)
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        root = pathlib.Path(path).stem
        archive.writestr(f"{root}/data.pkl", pickled.bytes())
        archive.writestr(f"{root}/byteorder", "little")
        for key, array in enumerate(pickled.arrays):
            archive.writestr(f"{root}/data/{key}", array.tobytes())
        archive.writestr(f"{root}/version", "3\n")


class _Pickled:
    """Pickle opcodes (protocol 2) of a tree. The pickle module would import torch to name its globals."""

    def __init__(self, tree: Any) -> None:
        self.arrays: list[Array] = []
        self._out = io.BytesIO()
        self._out.write(pickle.PROTO + b"\x02")
        self._value(tree)
        self._out.write(pickle.STOP)

    def bytes(self) -> bytes:
        return self._out.getvalue()

    def _value(self, value: Any) -> None:
        write = self._out.write
        if isinstance(value, np.ndarray):
            self._tensor(value)
        elif value is None or type(value) in (bool, int, float, str):
            # one scalar between the header and the closing opcode of its own little pickle
            write(pickle.dumps(value, protocol=2)[2:-1])
        elif isinstance(value, (list, tuple)):
            write(pickle.EMPTY_LIST + pickle.MARK if isinstance(value, list) else pickle.MARK)
            for item in value:
                self._value(item)
            write(pickle.APPENDS if isinstance(value, list) else pickle.TUPLE)
        elif isinstance(value, dict):
            if isinstance(value, collections.OrderedDict):
                self._global("collections", "OrderedDict")
                write(pickle.EMPTY_TUPLE + pickle.REDUCE)
            else:
                write(pickle.EMPTY_DICT)
            write(pickle.MARK)
            for key, item in value.items():
                self._value(key)
                self._value(item)
            write(pickle.SETITEMS)
        else:
            raise TypeError(f"A {type(value).__name__} has no place in a checkpoint: {value!r}")

    def _tensor(self, array: Array) -> None:
        if array.dtype.name not in _STORAGES:
            raise TypeError(f"PyTorch has no storage for {array.dtype} arrays.")
        write = self._out.write
        self._global("torch._utils", "_rebuild_tensor_v2")
        write(pickle.MARK + pickle.MARK)
        self._value("storage")
        self._global("torch", _STORAGES[array.dtype.name])
        place: tuple[Any, ...] = (str(len(self.arrays)), "cpu", array.size)
        for item in place:
            self._value(item)
        write(pickle.TUPLE + pickle.BINPERSID)
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        layout: tuple[Any, ...] = (0, tuple(array.shape), tuple(strides), False, collections.OrderedDict())
        for item in layout:
            self._value(item)
        write(pickle.TUPLE + pickle.REDUCE)
        self.arrays.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))

    def _global(self, module: str, name: str) -> None:
        self._out.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
