"""Reads pickles of plain values and arrays, opcode by opcode, and calls nothing that they name.

``pickle.Unpickler`` with a restricted ``find_class`` still trusts the state of what it builds and hashes what
it is told to. Here a name in the pickle is looked up in a table of stand-ins, only those can be called or
given a state, and keys of mappings are plain values. Work and memory are in proportion to the file.
"""

import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kdet.errors import DataError, short

_KEYS = (str, bytes, int, float, bool, type(None))
_MARK = object()
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_FRAMING = {"PROTO", "FRAME"}


class PickleError(DataError):
    """A pickle that is damaged, or asks for what is refused."""


class StandIn:
    """A name that a pickle may call.

    Args:
        call: called with the pickle's arguments.
    """

    def __init__(self, call: Callable[..., Any] | type[Any]) -> None:
        self.call = call


class Stateful:
    """Base of what a pickle may give a state to; by default the state is dropped."""

    def set_state(self, state: Any) -> None:
        pass


class StatefulDict(dict[Any, Any], Stateful):
    """Stands in for ``OrderedDict``: attributes that a pickle sets on it (``_metadata``) are dropped."""


def load(
    source: Any,
    names: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    advice: str = "",
) -> Any:
    """The value of one pickle.

    Args:
        source: bytes, or a binary file that is left behind the pickle.
        names: ``{"module.name": StandIn or plain value}``: all that the pickle may name.
        persistent: called with a persistent id; None refuses them.
        advice: added to the message about a refused name, ``{}`` in it is that name.

    Raises:
        PickleError: cut off, no pickle, or it asks for something else.
    """
    machine = _Machine(names, persistent, advice)
    try:
        for opcode, argument, _ in pickletools.genops(source):
            if machine.step(opcode.name, argument):
                return machine.stack.pop()
    except PickleError:
        raise
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError, AttributeError) as error:
        raise PickleError(f"it is no pickle, or is damaged or cut off ({short(str(error))})") from error
    raise PickleError("it is cut off")


class _Machine:
    def __init__(
        self, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None, advice: str
    ) -> None:
        self.names, self.persistent, self.advice = names, persistent, advice
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> bool:
        """Executes one opcode; True at the end of the pickle."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _VALUES:
            stack.append(_VALUES[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(self._top(count))]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name == "POP":
            stack.pop()
        elif name == "STOP":
            return True
        elif name not in _FRAMING:
            action = getattr(self, f"_{name.lower()}", None)  # a method for every opcode that is known
            if action is None:
                raise PickleError(f"the pickle's opcode {name} is refused")
            action(argument)
        return False

    def _top(self, count: int) -> list[Any]:
        """The topmost values, left on the stack; as many must lie above the last mark."""
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise PickleError("it is damaged: a value is missing")
        return self.stack[-count:]

    def _above_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _list(self, _: Any) -> None:
        self.stack.append(self._above_mark())

    def _dict(self, _: Any) -> None:
        values = self._above_mark()
        self.stack.append({})
        self._fill(self.stack[-1], values)

    def _frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self._keys(self._above_mark())))

    def _pop_mark(self, _: Any) -> None:
        self._above_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._target(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._above_mark()
        self._target(list).extend(values)

    def _additems(self, _: Any) -> None:
        values = self._keys(self._above_mark())
        self._target(set).update(values)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self._target(dict), [key, value])

    def _setitems(self, _: Any) -> None:
        values = self._above_mark()
        self._fill(self._target(dict), values)

    def _fill(self, target: Any, values: Sequence[Any]) -> None:
        if len(values) % 2:
            raise PickleError("it is damaged: a key has no value")
        target.update(zip(self._keys(values[::2]), values[1::2]))

    def _target(self, kind: type[Any]) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise PickleError(
                f"it is damaged: it fills a {type(self.stack[-1]).__name__} like a {kind.__name__}"
            )
        return self.stack[-1]

    def _keys(self, values: Sequence[Any]) -> Sequence[Any]:
        wrong = next((v for v in values if not isinstance(v, _KEYS)), None)
        if wrong is not None:
            raise PickleError(f"a {type(wrong).__name__} as a key is refused")
        return values

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._look_up(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("it is damaged: a name is no text")
        self._look_up(module, name)

    def _look_up(self, module: str, name: str) -> None:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in self.names:
            shown = short(full)[1:-1]
            raise PickleError(f"the pickle asks for {shown}, which is refused{self.advice.format(shown)}")
        self.stack.append(self.names[full])

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, StandIn) or not isinstance(arguments, tuple):
            raise PickleError(f"the pickle calls {short(function)}, which is refused")
        self.stack.append(function.call(*arguments))

    def _newobj(self, _: Any) -> None:
        self._reduce(_)

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Stateful):
            kind = type(self.stack[-1]).__name__.lstrip("_")
            raise PickleError(f"the pickle tries to change a {kind}")
        self.stack[-1].set_state(state)

    def _binpersid(self, _: Any) -> None:
        self._persid(self.stack.pop())

    def _persid(self, saved_id: Any) -> None:
        if self.persistent is None:
            raise PickleError("the pickle refers to objects outside of it")
        self.stack.append(self.persistent(saved_id))


class Dtype(Stateful):
    """Stands in for ``numpy.dtype``: numbers and booleans only."""

    def __init__(self, code: str = "", *_: Any) -> None:
        if not isinstance(code, str) or len(code) > 4:
            raise PickleError(f"a NumPy type {short(code)} is refused")
        try:
            self.dtype = np.dtype(code)
        except TypeError as error:
            raise PickleError(f"a NumPy type {short(code)} is refused") from error
        if self.dtype.kind not in "biuf":
            raise PickleError(f"a NumPy type {short(code)} is refused")
        self.dtype = self.dtype.newbyteorder("<")

    def set_state(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class Array(Stateful):
    """Stands in for ``numpy.ndarray``; ``value`` is made of the bytes that the pickle gives."""

    value: np.ndarray[Any, Any] | None = None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("an array has a state that NumPy does not write")
        _, shape, dtype, fortran, data = state
        self.value = array_of(data, dtype, shape, "F" if fortran else "C")


def array_of(data: Any, dtype: Dtype, shape: Any, order: str = "C") -> np.ndarray[Any, Any]:
    """The array of ``data``, whose length must be that of ``shape``."""
    data = data.encode("latin1") if isinstance(data, str) else data  # written by Python 2
    plain = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if (
        not isinstance(dtype, Dtype)
        or not isinstance(data, (bytes, bytearray))
        or not plain
        or len(shape) > 8
    ):
        raise PickleError(f"an array of shape {short(shape)} is not as NumPy writes it")
    size = dtype.dtype.itemsize
    for side in shape:
        size *= side
    if size != len(data):
        raise PickleError(f"an array of shape {short(shape)} does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _encoded(text: str = "", encoding: str = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("bytes are not as Python 2 and protocol 2 write them")
    return text.encode("latin1")


def scalar(kind: Dtype, data: bytes) -> bool | int | float:
    """A NumPy number as a Python one."""
    return array_of(data, kind, ())[()].item()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str = "C") -> Array:
    found = Array()
    found.value = array_of(data, dtype, shape, order)
    return found


SCALAR_NAMES = {
    "numpy.dtype": StandIn(Dtype),
    "numpy.core.multiarray.scalar": StandIn(scalar),
    "numpy._core.multiarray.scalar": StandIn(scalar),
    "_codecs.encode": StandIn(_encoded),  # bytes under protocol 2
    "builtins.bytes": StandIn(lambda *_: b""),  # empty bytes under protocol 2
}
ARRAY_NAMES = {
    **SCALAR_NAMES,
    "numpy.ndarray": None,  # an argument only
    "numpy.core.multiarray._reconstruct": StandIn(lambda *_: Array()),
    "numpy._core.multiarray._reconstruct": StandIn(lambda *_: Array()),
    "numpy.core.numeric._frombuffer": StandIn(_frombuffer),
    "numpy._core.numeric._frombuffer": StandIn(_frombuffer),
}
