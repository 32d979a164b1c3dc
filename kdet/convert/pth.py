"""Reads PyTorch checkpoints with NumPy alone and executes nothing that they contain.

Both containers of ``torch.save`` are understood: the zip archive (PyTorch 1.6 and later) and the stream
of pickles before it. The unpickler knows tensors, plain containers and NumPy scalars; any other name in
the pickle is refused. Tensors stay in the file, which is mapped into memory, until they are asked for.
"""

import dataclasses
import io
import math
import mmap
import pickle
import struct
import sys
import zipfile

import numpy as np

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


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or holds what kdet refuses to read."""


class _Sealed:
    """Objects that a pickle can reach but not change: its BUILD opcode would set their attributes."""

    def __setstate__(self, state):
        raise CheckpointError(f"the pickle tries to change a {type(self).__name__}")


class StoredTensor(_Sealed):
    """A tensor in a checkpoint file: ``shape``, and the values when NumPy asks for them.

    ``numpy()`` and ``np.asarray(tensor)`` give a C-contiguous array; bfloat16 comes as float32. The
    array may be a read-only view of the file.
    """

    def __init__(self, storage, offset, shape, strides):
        self.shape = tuple(shape)
        self._storage, self._offset, self._strides = storage, offset, tuple(strides)
        numbers = (offset, *self.shape, *self._strides)
        if len(self.shape) != len(self._strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise CheckpointError(f"a tensor has shape {shape}, strides {strides} and offset {offset}")
        last = offset + sum((n - 1) * s for n, s in zip(self.shape, self._strides))
        if math.prod(self.shape) and last >= storage.numel:
            raise CheckpointError(f"a tensor of shape {self.shape} reaches beyond its storage")

    def numpy(self):
        values = self._storage.values()
        view = np.lib.stride_tricks.as_strided(
            values[self._offset :], self.shape, [s * values.itemsize for s in self._strides]
        )
        if self._storage.kind == "bf16":
            bits = view.astype("u4")
            bits <<= 16
            return bits.view("f4")
        return np.ascontiguousarray(view).reshape(self.shape)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array.astype(dtype) if dtype is not None or copy else array

    def __repr__(self):
        return f"StoredTensor(shape={self.shape}, kind={self._storage.kind!r})"


@dataclasses.dataclass
class _Storage(_Sealed):
    """``numel`` values of one kind, shared by any number of tensors; ``data`` is set when located."""

    kind: str
    numel: int
    data: object = None
    start: int = 0
    order: str = "<"

    @property
    def itemsize(self):
        return 2 if self.kind == "bf16" else np.dtype(self.kind).itemsize

    def values(self):
        dtype = np.dtype("u2" if self.kind == "bf16" else self.kind).newbyteorder(self.order)
        values = np.frombuffer(self.data, dtype, self.numel, self.start)
        return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def read_pth(path):
    """The object that ``torch.save`` wrote to ``path``, with ``StoredTensor`` for its tensors.

    Raises:
        CheckpointError: naming the file and the reason (no checkpoint, cut off, a refused global).
        OSError: when the file cannot be read.
    """
    with open(path, "rb") as file:
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
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except OSError:
            raise
        except Exception as error:
            # a damaged or hostile pickle can fail in any way inside the interpreter of its opcodes
            raise CheckpointError(
                f"{path} is no PyTorch checkpoint or is damaged or cut off ({type(error).__name__}: {error})"
            ) from error


def _map(file):
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_zip(file):
    archive = zipfile.ZipFile(file)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise CheckpointError("it is a compressed zip archive: it was not written by torch.save")
    names = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
    if len(names) != 1:
        raise CheckpointError("the zip archive holds no data.pkl: it was not written by torch.save")
    root = names[0].removesuffix("data.pkl")
    order = "<"
    if root + "byteorder" in archive.namelist():
        order = {b"little": "<", b"big": ">"}[archive.read(root + "byteorder")]
    unpickler = _Unpickler(io.BytesIO(archive.read(names[0])))
    tree = unpickler.load()
    mapped = _map(file)
    for key, storage in unpickler.storages.items():
        entry = archive.getinfo(f"{root}data/{key}")
        # the local header repeats the name and has an extra field of its own length
        name, extra = struct.unpack_from("<HH", mapped, entry.header_offset + 26)
        start, size = entry.header_offset + 30 + name + extra, storage.numel * storage.itemsize
        if entry.file_size < size or start + size > len(mapped):
            raise CheckpointError(f"storage {key} is shorter than its tensors need")
        storage.data, storage.start, storage.order = mapped, start, order
    return tree


def _read_stream(file):
    unpickler = _Unpickler(file)
    if unpickler.load() != _STREAM_MAGIC or _Unpickler(file).load() != _STREAM_PROTOCOL:
        raise CheckpointError("it does not start like a PyTorch checkpoint")
    system = _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    keys = _Unpickler(file).load()
    mapped, position = _map(file), file.tell()
    for key in keys:
        storage = unpickler.storages[str(key)]
        if position + 8 > len(mapped):
            raise CheckpointError(f"it is cut off: storage {key} is missing")
        (numel,) = struct.unpack_from("<q", mapped, position)
        end = position + 8 + numel * storage.itemsize
        if numel < storage.numel or end > len(mapped):
            raise CheckpointError(f"it is cut off: storage {key} ends at byte {end} of {len(mapped)}")
        storage.data, storage.start = mapped, position + 8
        storage.order = "<" if system.get("little_endian", sys.byteorder == "little") else ">"
        position = end
    missing = [key for key, storage in unpickler.storages.items() if storage.data is None]
    if missing:
        raise CheckpointError(f"it is cut off: storage {missing[0]} is missing")
    return tree


class _OrderedDict(dict):
    """Stands in for ``OrderedDict``: attributes that a pickle sets on it (``_metadata``) are dropped."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Callable(_Sealed):
    """A callable that a pickle may name."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)


class _NumpyDtype:
    """Stands in for ``numpy.dtype`` inside NumPy scalars: numbers and booleans only."""

    __slots__ = ("dtype",)

    def __init__(self, code, *_):
        if not isinstance(code, str) or np.dtype(code).kind not in "biuf":
            raise CheckpointError(f"a NumPy scalar of type {code!r} is refused")
        self.dtype = np.dtype(code).newbyteorder("<")

    def __setstate__(self, state):
        if len(state) > 1 and state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _numpy_scalar(kind, data):
    return np.frombuffer(data, kind.dtype, 1)[0].item()


def _tensor(storage, offset, size, stride, *_):
    return StoredTensor(storage, offset, size, stride)


def _parameter(tensor, *_):
    return tensor


def _size(values=()):
    return tuple(values)


_KNOWN = {
    "collections.OrderedDict": _OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "numpy.dtype": _NumpyDtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "_codecs.encode": lambda text, encoding: str(text).encode("latin1"),  # bytes under protocol 2
}


class _Unpickler(pickle.Unpickler):
    """Resolves the names in ``_KNOWN`` and the storage kinds; every other global is an error."""

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}

    def find_class(self, module, name):
        module = "builtins" if module == "__builtin__" else module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if f"{module}.{name}" not in _KNOWN:
            raise CheckpointError(
                f"the pickle asks for {module}.{name}, which is refused: kdet reads tensors and plain "
                "containers only. Save the state-dict alone with torch.save and try again."
            )
        return _Callable(_KNOWN[f"{module}.{name}"])

    def persistent_load(self, saved_id):
        kind, storage_kind, key, _, numel, *view = saved_id
        if kind != "storage" or storage_kind not in _STORAGES.values() or type(numel) is not int or numel < 0:
            raise CheckpointError(f"an unknown kind of stored object: {saved_id!r}")
        storage = self.storages.setdefault(str(key), _Storage(storage_kind, numel))
        if (storage.kind, storage.numel) != (storage_kind, numel):
            raise CheckpointError(f"storage {key} is used as two kinds of number")
        return _View(storage, *view[0][1:]) if view and view[0] is not None else storage


class _View(_Sealed):
    """A part of a storage (stream format only), with the face of a ``_Storage``."""

    def __init__(self, root, offset, numel):
        if offset < 0 or numel < 0 or offset + numel > root.numel:
            raise CheckpointError("a view reaches beyond its storage")
        self._root, self._offset, self.numel = root, offset, numel
        self.kind = root.kind

    def values(self):
        return self._root.values()[self._offset : self._offset + self.numel]
