"""The instruction set that the compiled ops take their kernels of.

The library has every kernel once for each of `CPUS` and takes the best that the processor has.
``KDET_CPU=avx2`` in the environment, or `use_cpu`, chooses a lower one: to see what another machine would
do, or to find out whether an instruction set is to blame for something.
"""

import contextlib
import ctypes
import os
from contextlib import AbstractContextManager

from kdet.errors import KdetError
from kdet.ops import compiled

# In rising order. The first is what every processor of an architecture has: SSE2 on x86-64, NEON on AArch64.
CPUS = ("baseline", "avx2", "avx512")


def cpu() -> str:
    """The instruction set in force.

    Raises:
        Unavailable: there are no compiled ops.
        KdetError: ``KDET_CPU`` names none, or one that this processor has not.
    """
    return str(_functions().kdet_cpu().decode())


def cpus() -> tuple[str, ...]:
    """Those of `CPUS` that this processor has, in rising order; none without compiled ops."""
    return () if compiled.why_not() is not None else _of(compiled.functions())


def use_cpu(name: str | None) -> AbstractContextManager[None]:
    """Chooses the instruction set from here on, or within a ``with``, for ops that exist already too.

    Args:
        name: one of `cpus`; None is what ``KDET_CPU`` names, or the best.

    Raises:
        Unavailable: there are no compiled ops.
        KdetError: this processor has no such instruction set.

    Example:
        >>> with use_cpu("baseline"):
        ...     cpu()
        'baseline'
    """
    before = cpu()
    chosen = _checked(name, compiled.functions(), "use_cpu") if name is not None else _wanted()
    _functions().kdet_use_cpu(chosen.encode())
    return _Restore(before)


class _Restore(contextlib.AbstractContextManager[None]):
    def __init__(self, before: str) -> None:
        self.before = before

    def __exit__(self, *_: object) -> None:
        _functions().kdet_use_cpu(self.before.encode())


def _wanted() -> str:
    """What the environment names, checked, or the best."""
    functions = compiled.functions()
    named = os.environ.get("KDET_CPU")
    return _checked(named, functions, "KDET_CPU") if named else _of(functions)[-1]


def _functions() -> ctypes.CDLL:
    _wanted()
    return compiled.functions()


def _of(functions: ctypes.CDLL) -> tuple[str, ...]:
    return tuple(name for name in CPUS if functions.kdet_has_cpu(name.encode()) == 1)


def _checked(name: str, functions: ctypes.CDLL, source: str) -> str:
    known = _of(functions)
    if name in known:
        return name
    why = "this processor has not" if name in CPUS else "kdet does not know"
    raise KdetError(
        f"{source} names the instruction set {name!r}, which {why}; here it is one of {', '.join(known)}."
    )
