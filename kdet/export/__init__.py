"""A detector out of Python: SavedModel for TensorFlow Serving, TFLite for small devices."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from kdet.detectors import Detector
from kdet.export import target
from kdet.export.program import ExportError, Program
from kdet.typing import PathLike

__all__ = ["FORMATS", "ExportError", "Program", "export_detector"]

# the spellings of Keras' own ``export`` too
FORMATS = {
    "saved_model": "saved_model",
    "tf_saved_model": "saved_model",
    "tflite": "tflite",
    "litert": "tflite",
}


def export_detector(model: Detector, path: PathLike, format: str = "saved_model", **options: Any) -> PathLike:
    """Writes ``model`` to ``path``; ``Detector.export`` is this function.

    Args:
        model: detector.
        path: folder of the SavedModel, or the ``.tflite`` file.
        format: a key of `FORMATS`.
        **options: of ``kdet.export.saved_model.export_saved_model`` or ``kdet.export.tflite.export_tflite``.

    Raises:
        ValueError: an unknown format or option value.
        TypeError: an option that the format does not have.
        OSError: ``path`` cannot be written.
        ExportError: a part of the model cannot be exported; the message says which and the way out.
    """
    if format not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {format!r}.")
    kind = FORMATS[format]
    _check_options(kind, options)
    target.check(path, kind)
    return _exporter(kind)(model, path, **options)


def _exporter(kind: str) -> Callable[..., PathLike]:
    # each of the two imports what the other does not need
    return getattr(importlib.import_module(f"kdet.export.{kind}"), f"export_{kind}")


def _options(kind: str) -> list[str]:
    return [name for name in inspect.signature(_exporter(kind)).parameters if name not in ("model", "path")]


def _check_options(kind: str, options: dict[str, Any]) -> None:
    known = _options(kind)
    for name in options:
        if name not in known:
            other = next(k for k in FORMATS.values() if k != kind)
            where = f"; it is an option of format={other!r}" if name in _options(other) else ""
            raise TypeError(f"format={kind!r} has no option {name!r}{where}. It has {', '.join(known)}.")
