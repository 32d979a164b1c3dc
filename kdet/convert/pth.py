"""Reads PyTorch checkpoints with NumPy alone and executes nothing that they contain.

Both containers of ``torch.save`` are understood: the zip archive (PyTorch 1.6 and later) and the stream
of pickles before it. The unpickler knows tensors, plain containers and NumPy scalars; any other name in
the pickle is refused. Tensors stay in the file, which is mapped into memory, until they are asked for.
"""

import dataclasses
import io
import math
import mmap
import os
import struct
import zipfile
from typing import Any, BinaryIO, Literal

import numpy as np

from kdet import pickles
from kdet.data.files import open_regular
from kdet.errors import CheckpointError, short
from kdet.pickles import StatefulDict
from kdet.typing import Array, PathLike

_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_STREAM_PROTOCOL = 1001


MAX_EXPANDED = 2**24  # numbers of a tensor that repeats its storage (stride 0)
MAX_PICKLE = 2**30


class StoredTensor:
    """A tensor in a checkpoint file: ``shape``, and the values when NumPy asks for them.

    ``numpy()`` and ``np.asarray(tensor)`` give a C-contiguous array; bfloat16 comes as float32. The
    array may be a read-only view of the file.
    """

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        if not isinstance(storage, (_Storage, _View)):
            raise CheckpointError(f"a tensor has no storage but {short(storage)}")
        numbers = (
            (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else [-1]
        )
        if any(type(n) is not int or not 0 <= n < 2**48 for n in numbers) or len(shape) != len(strides):
            raise CheckpointError(
                f"a tensor has shape {short(shape)}, strides {short(strides)} and offset {short(offset)}"
            )
        self.shape, self._strides = shape, strides
        self._storage, self._offset = storage, offset
        if len(shape) > 16 or math.prod(shape) > max(storage.numel, MAX_EXPANDED):
            raise CheckpointError(
                f"a tensor of shape {self.shape} repeats the {storage.numel} numbers of its storage too often"
            )
        last = offset + sum((n - 1) * s for n, s in zip(self.shape, self._strides))
        if math.prod(self.shape) and last >= storage.numel:
            raise CheckpointError(f"a tensor of shape {self.shape} reaches beyond its storage")

    def numpy(self) -> Array:
        values = self._storage.values()
        view = np.lib.stride_tricks.as_strided(
            values[self._offset :], self.shape, [s * values.itemsize for s in self._strides]
        )
        if self._storage.kind == "bf16":
            bits = view.astype("u4")
            bits <<= 16
            return bits.view("f4")
        return np.ascontiguousarray(view).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        array = self.numpy()
        return array.astype(dtype) if dtype is not None or copy else array

    def __repr__(self) -> str:
        return f"StoredTensor(shape={self.shape}, kind={self._storage.kind!r})"


@dataclasses.dataclass
class _Storage:
    """``numel`` values of one kind, shared by any number of tensors; ``data`` is set when located."""

    kind: str
    numel: int
    data: Any = None
    start: int = dataclasses.field(init=False)
    order: Literal["<", ">"] = dataclasses.field(init=False)

    @property
    def itemsize(self) -> int:
        return 2 if self.kind == "bf16" else np.dtype(self.kind).itemsize

    def values(self) -> Array:
        dtype = np.dtype("u2" if self.kind == "bf16" else self.kind).newbyteorder(self.order)
        values = np.frombuffer(self.data, dtype, self.numel, self.start)
        return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def stored_array(kind: str, shape: tuple[int, ...], data: Any, start: int) -> StoredTensor:
    """A tensor that lies row by row in ``data`` from byte ``start`` on, little-endian.

    Args:
        kind: NumPy's code of its dtype, or "bf16".
    """
    storage = _Storage(kind, math.prod(shape), data)
    storage.start, storage.order = start, "<"
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return StoredTensor(storage, 0, shape, strides)


def read_pth(path: PathLike) -> dict[str, Any] | StatefulDict:
    """The object that ``torch.save`` wrote to ``path``, with ``StoredTensor`` for its tensors.

    Raises:
        CheckpointError: naming the file and the reason (no checkpoint, cut off, a refused global).
        MissingFile: there is no such file.
    """
    with open_regular(path, "checkpoint", CheckpointError) as file:
        head = file.read(512)
        file.seek(0)
        try:
            if not head:
                raise CheckpointError("the file is empty")
            if head[257:262] == b"ustar":
                raise CheckpointError("it is in the tar format of PyTorch before 0.1.10; save it again")
            if head[:2] == b"PK":
                return _read_zip(file)
            return _read_stream(file)
        except (CheckpointError, pickles.PickleError) as error:
            raise CheckpointError(f"{path}: {error}.") from None
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
        except Exception as error:
            # what a damaged container makes of Python's zip reader is open
            raise CheckpointError(
                f"{path} is no PyTorch checkpoint or is damaged or cut off ({type(error).__name__}: "
                f"{short(str(error))})."
            ) from error


def _map(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise CheckpointError("it is a compressed zip archive: it was not written by torch.save")
    names = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
    if len(names) != 1:
        raise CheckpointError("the zip archive holds no data.pkl: it was not written by torch.save")
    root = names[0].removesuffix("data.pkl")
    order: Literal["<", ">"] = "<"
    if root + "byteorder" in archive.namelist():
        name = archive.read(root + "byteorder").strip()
        if name not in (b"little", b"big"):
            raise CheckpointError("its byte order is neither little nor big")
        order = "<" if name == b"little" else ">"
    if archive.getinfo(names[0]).file_size > min(MAX_PICKLE, os.fstat(file.fileno()).st_size):
        raise CheckpointError("its data.pkl is larger than the file: it was not written by torch.save")
    unpickler = _Unpickler(io.BytesIO(archive.read(names[0])))
    tree = unpickler.load()
    mapped = _map(file)
    for key, storage in unpickler.storages.items():
        try:
            entry = archive.getinfo(f"{root}data/{key}")
        except KeyError:
            raise CheckpointError(f"it is damaged: storage {short(key)} is missing") from None
        # the local header repeats the name and has an extra field of its own length
        named, extra = struct.unpack_from("<HH", mapped, entry.header_offset + 26)
        start, size = entry.header_offset + 30 + named + extra, storage.numel * storage.itemsize
        if entry.file_size < size or start + size > len(mapped):
            raise CheckpointError(f"storage {key} is shorter than its tensors need")
        storage.data, storage.start, storage.order = mapped, start, order
    return tree


def _read_stream(file: BinaryIO) -> Any:
    unpickler = _Unpickler(file)
    if unpickler.load() != _STREAM_MAGIC or _Unpickler(file).load() != _STREAM_PROTOCOL:
        raise CheckpointError("it does not start like a PyTorch checkpoint")
    system = _Unpickler(file).load()
    if not isinstance(system, dict):
        raise CheckpointError("it does not start like a PyTorch checkpoint")
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    keys = _Unpickler(file).load()
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise CheckpointError("it is damaged: it has no list of its storages")
    mapped, position = _map(file), file.tell()
    for key in keys:
        if str(key) not in unpickler.storages:
            raise CheckpointError(f"it is damaged: no tensor uses storage {short(key)}")
        storage = unpickler.storages[str(key)]
        if position + 8 > len(mapped):
            raise CheckpointError(f"it is cut off: storage {key} is missing")
        (numel,) = struct.unpack_from("<q", mapped, position)
        if numel < 0:
            raise CheckpointError(f"it is damaged: storage {short(key)} has {numel} numbers")
        end = position + 8 + numel * storage.itemsize
        if numel < storage.numel or end > len(mapped):
            raise CheckpointError(f"it is cut off: storage {key} ends at byte {end} of {len(mapped)}")
        storage.data, storage.start = mapped, position + 8
        storage.order = ">" if system.get("little_endian") is False else "<"
        position = end
    missing = [key for key, storage in unpickler.storages.items() if storage.data is None]
    if missing:
        raise CheckpointError(f"it is cut off: storage {missing[0]} is missing")
    return tree


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    return StoredTensor(storage, offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> StoredTensor:
    if not isinstance(tensor, StoredTensor):
        raise CheckpointError(f"a parameter of {short(tensor)}")
    return tensor


def _size(values: Any = ()) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list)):
        raise CheckpointError(f"a torch.Size of {short(values)}")
    return tuple(values)


def _set(values: Any = ()) -> set[Any]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, (str, int, float)) for v in values):
        raise CheckpointError(f"a set of {short(values)} is refused")
    return set(values)


def _ordered(pairs: Any = ()) -> pickles.StatefulDict:
    if pairs:
        raise CheckpointError("an OrderedDict that is made of pairs is refused")
    return pickles.StatefulDict()


_NAMES = {
    **pickles.SCALAR_NAMES,
    **{f"torch.{storage}": kind for storage, kind in _STORAGES.items()},
    "collections.OrderedDict": pickles.StandIn(_ordered),
    "builtins.set": pickles.StandIn(_set),
    "builtins.frozenset": pickles.StandIn(_set),
    "torch._utils._rebuild_tensor": pickles.StandIn(_tensor),
    "torch._utils._rebuild_tensor_v2": pickles.StandIn(_tensor),
    "torch._utils._rebuild_parameter": pickles.StandIn(_parameter),
    "torch.Size": pickles.StandIn(_size),
}
_ADVICE = (
    ": kdet reads tensors and plain containers only. Save the state-dict alone with torch.save and try again"
)


class _Unpickler:
    """One pickle of the file: the names in ``_NAMES`` and the storages; everything else is an error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.storages: dict[str, _Storage] = {}

    def load(self) -> Any:
        return pickles.load(self._file, _NAMES, self._persistent, _ADVICE)

    def _persistent(self, saved_id: Any) -> "_Storage | _View":
        if not isinstance(saved_id, tuple) or not 5 <= len(saved_id) <= 6:
            raise CheckpointError(f"an unknown kind of stored object: {short(saved_id)}")
        kind, storage_kind, key, _, numel, *view = saved_id
        if (
            kind != "storage"
            or storage_kind not in _STORAGES.values()
            or not isinstance(key, (str, int))
            or type(numel) is not int
            or not 0 <= numel < 2**48
        ):
            raise CheckpointError(f"an unknown kind of stored object: {short(saved_id)}")
        storage = self.storages.setdefault(str(key), _Storage(storage_kind, numel))
        if (storage.kind, storage.numel) != (storage_kind, numel):
            raise CheckpointError(f"storage {short(key)} is used as two kinds of number")
        if not view or view[0] is None:
            return storage
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise CheckpointError(f"an unknown kind of view: {short(view[0])}")
        return _View(storage, *view[0][1:])


class _View:
    """A part of a storage (stream format only), used like a ``_Storage``."""

    def __init__(self, root: _Storage, offset: Any, numel: Any) -> None:
        if type(offset) is not int or type(numel) is not int or min(offset, numel) < 0:
            raise CheckpointError(f"a view of {short(numel)} numbers from {short(offset)} on")
        if offset + numel > root.numel:
            raise CheckpointError("a view reaches beyond its storage")
        self._root, self._offset, self.numel = root, offset, numel
        self.kind = root.kind

    def values(self) -> Any:
        return self._root.values()[self._offset : self._offset + self.numel]
