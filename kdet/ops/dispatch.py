"""Which form of an op runs: the compiled one where there is one, otherwise the portable one."""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import tensorflow as tf

from kdet import compat
from kdet.errors import KdetError
from kdet.ops import choices, compiled, processor

# Ops whose compiled form has no GPU kernel, because what cuDNN has is quicker (for masked_conv2d a dense
# convolution, times the mask): they are portable where there is a GPU. All others are compiled there too when
# the library was built with KDET_CUDA=1.
CPU_OPS = frozenset({"conv3x3", "grouped_conv2d", "masked_conv2d"})
FORMS = ("auto", "portable", "compiled")
# What the compiled forms take; the portable ones compute in whatever they are given.
DTYPES = (tf.float32, tf.float16, tf.bfloat16)
# a form of an op
Op: TypeAlias = Callable[..., Any]
_log = logging.getLogger("kdet")
_wanted = None


def use(form: str) -> AbstractContextManager[None]:
    """Chooses the form of all ops from here on, or within a ``with``.

    Args:
        form: ``auto`` takes the compiled form where it can run, ``portable`` never, ``compiled``
            always, with an error where there is none. The environment variable ``KDET_OPS`` sets
            the form that a process starts with. The choice counts when an op is traced: a
            ``tf.function`` that exists already keeps its form. The portable form is the one for
            exports and for XLA, where ``auto`` takes it.
    """
    global _wanted
    before, _wanted = _wanted, _checked(form)
    return _Restore(before)


class _Restore(contextlib.AbstractContextManager[None]):
    def __init__(self, before: str | None) -> None:
        self.before = before

    def __exit__(self, *_: object) -> None:
        global _wanted
        _wanted = self.before


def wanted() -> str:
    """The form in force: what `use` chose, else ``KDET_OPS``, else ``auto``."""
    return _wanted or _checked(os.environ.get("KDET_OPS") or "auto")


def _checked(form: str) -> str:
    if form not in FORMS:
        raise KdetError(f"The form of the ops (kdet.ops.use, KDET_OPS) is one of {FORMS}, not {form!r}.")
    return form


def under_xla() -> bool:
    """Whether what is traced now is for XLA (``jit_compile=True``), which has portable forms only.

    TensorFlow has no public word for it. A function within that was traced outside of XLA before stays as it
    is.
    """
    return compat.under_xla()


def choose(
    name: str,
    implementation: str | None,
    portable: Op,
    compiled_form: Op | None = None,
    dtype: tf.DType = tf.float32,
    dtypes: Sequence[tf.DType] = DTYPES,
) -> Op:
    """The callable that runs op ``name``.

    Args:
        implementation: one of `FORMS`, or None for the one in force.
        portable, compiled_form: the two forms; None where an op has no compiled one.
        dtype: of the tensor that decides in what the op computes.
        dtypes: those that the compiled form takes.
    """
    form = wanted() if implementation is None else _checked(implementation)
    if form == "portable" or compiled_form is None:
        if form == "compiled" and implementation is not None:
            raise compiled.Unavailable(f"{name} has no compiled form.")
        return portable
    if form == "compiled":
        if dtype not in dtypes:
            known = ", ".join(known.name for known in dtypes)
            raise ValueError(
                f"{name}: the compiled form takes {known}, not {dtype.name}; the portable one does."
            )
        processor.cpu()  # that there is a library, and that KDET_CPU can be had
        return compiled_form
    runs = dtype in dtypes and not under_xla() and _compiled_runs_here() and not _misses_the_gpu(name)
    return compiled_form if runs and not choices.loses(name) else portable


def _misses_the_gpu(name: str) -> bool:
    return name in CPU_OPS and on_gpu()


@functools.cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def on_gpu() -> bool:
    """Whether ops that are made here go to a GPU: there is one, and no `tf.device` asks for the CPU."""
    return has_gpu() and "CPU" not in tf.zeros([]).device


@functools.cache
def _compiled_runs_here() -> bool:
    reason = compiled.why_not()
    if reason is None and has_gpu() and not compiled.has_gpu_kernels():
        reason = "There is a GPU, but the compiled ops were built without CUDA (KDET_CUDA=1)."
    if reason is not None:
        _log.warning("%s Using the portable ops.", reason)
        return False
    processor.cpu()  # that KDET_CPU can be had
    return True
