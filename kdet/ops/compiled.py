"""The compiled library: found, checked and loaded once."""

import ctypes
import functools
import json
import logging
import pathlib
from typing import Any

import tensorflow as tf

from kdet.ops import build

_log = logging.getLogger("kdet")
FOLDER = pathlib.Path(__file__).resolve().parent
# What a library built from these sources holds (each with its gradient where it has one).
OPS = (
    "kdet_batch_norm_grad",
    "kdet_carafe_grad",
    "kdet_class_nms",
    "kdet_conv3x3",
    "kdet_corner_pool_grad",
    "kdet_crop_masks",
    "kdet_deform_columns_grad",
    "kdet_deform_conv_grad",
    "kdet_deform_roi_pool_grad",
    "kdet_fast_nms",
    "kdet_grouped_conv",
    "kdet_grouped_conv_grad",
    "kdet_masked_conv_grad",
    "kdet_ms_deform_attn_grad",
    "kdet_nms",
    "kdet_paste_masks",
    "kdet_rasterize_polygons",
    "kdet_roi_align_grad",
    "kdet_soft_nms",
)


class Unavailable(RuntimeError):
    """The compiled ops cannot be used; the message says why and what to do."""


@functools.cache
def _load() -> Any:
    try:
        return _checked_load(FOLDER), None
    except Unavailable as error:
        return None, error


def library() -> Any:
    """The module of the compiled ops.

    Raises:
        Unavailable: there is no library, or it was built for another TensorFlow.
    """
    module, error = _load()
    if error is not None:
        raise error
    return module


def load() -> None:
    """Loads the compiled ops and their gradients, before `tf.saved_model.load` of a model that has them.

    kdet itself needs no such call.

    Raises:
        Unavailable: there is no library, or it was built for another TensorFlow.
    """
    library()  # the gradients are registered when kdet.ops is imported


def why_not() -> str | None:
    """None where the compiled ops can be used, otherwise a sentence that says why they cannot."""
    return None if _load()[1] is None else str(_load()[1])


def has_gpu_kernels() -> bool:
    """Whether the library was built with its CUDA kernels."""
    return why_not() is None and _read_stamp(FOLDER)["cuda"]


@functools.cache
def functions() -> ctypes.CDLL:
    """The library's own functions, which are no ops: those of `kdet.ops.processor`.

    Raises:
        Unavailable: as `library`.
    """
    library()
    return _functions_of(FOLDER / build.LIBRARY)


def _functions_of(path: pathlib.Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(path))
    found.kdet_cpu.restype = ctypes.c_char_p
    for function in (found.kdet_has_cpu, found.kdet_use_cpu):
        function.argtypes = (ctypes.c_char_p,)
        function.restype = ctypes.c_int
    return found


def _read_stamp(folder: pathlib.Path) -> dict[str, Any]:
    """What the library of a folder was built for."""
    try:
        stamp = json.loads((folder / build.STAMP).read_text())
        return {
            "cuda": False,
            "sources": None,
            "tensorflow": stamp["tensorflow"],
            **stamp,
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Unavailable(
            f"{folder / build.STAMP} does not say what the ops were built for ({error!r}); "
            "`python -m kdet.ops build` compiles them again."
        ) from error


def _checked_load(folder: pathlib.Path) -> Any:
    path, stamp = folder / build.LIBRARY, folder / build.STAMP
    if not path.is_file() or not stamp.is_file():
        raise Unavailable("The ops are not compiled; `python -m kdet.ops build` compiles them.")
    built_for = _read_stamp(folder)
    if built_for["tensorflow"] != tf.__version__:
        raise Unavailable(
            f"{path} was built for TensorFlow {built_for['tensorflow']}, but this is {tf.__version__}; "
            "`python -m kdet.ops build` compiles it again."
        )
    try:
        module = tf.load_op_library(str(path))
    except (tf.errors.OpError, OSError) as error:
        raise Unavailable(
            f"{path} could not be loaded ({error}); `python -m kdet.ops build` again."
        ) from error
    # TensorFlow makes this module of the library: its attributes are the ops that the library has
    older = [name for name in OPS if not hasattr(module, name)]
    try:
        _functions_of(path)
    except AttributeError:
        older.append("kernels of every instruction set")
    if older:
        raise Unavailable(
            f"{path} was built from older sources, without {', '.join(older)}; "
            "`python -m kdet.ops build` compiles it again."
        )
    if built_for["sources"] not in (None, build.sources_digest()):
        _log.warning("%s was built from other sources than are here; `python -m kdet.ops build` again.", path)
    return module
