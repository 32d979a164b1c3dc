"""The formats of ``Detector.export``: one file per format, registered under its names."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from kdet.errors import suggest
from kdet.typing import PathLike

# writes a detector to a path; keyword arguments are the options of the format
Exporter: TypeAlias = Callable[..., PathLike]

# Formats that ship with kdet are imported when they are asked for: each needs packages that others do not.
_SHIPPED = {
    "saved_model": "kdet.export.saved_model",
    "tf_saved_model": "kdet.export.saved_model",
    "tflite": "kdet.export.tflite",
    "litert": "kdet.export.tflite",
    "preset": "kdet.export.preset",
    "onnx": "kdet.export.onnx",
    "openvino": "kdet.export.openvino",
}


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that a detector can be exported in.

    Attributes:
        name: its first name.
        export: ``export(model, path, **options)``, which writes the detector and returns the path.
        folder: whether it writes a folder, otherwise a file.
        title: what messages call it.
    """

    name: str
    export: Exporter
    folder: bool
    title: str

    @property
    def options(self) -> list[str]:
        """Names of the options."""
        return [name for name in inspect.signature(self.export).parameters if name not in ("model", "path")]


_FORMATS: dict[str, Format] = {}


def register_format(
    name: str, *aliases: str, folder: bool = False, title: str = ""
) -> Callable[[Exporter], Exporter]:
    """Make a function a format of ``Detector.export`` (a decorator).

    >>> @register_format("json")
    ... def export_json(model, path, indent=2):
    ...     return pathlib.Path(path)

    Args:
        name: what ``format=`` calls it; ``aliases`` are other spellings.
        folder: the format writes a folder, otherwise a file.
        title: what messages call it; default: its name.

    Raises:
        ValueError: another function has one of the names.
    """

    def add(export: Exporter) -> Exporter:
        made = Format(name, export, folder, title or name)
        for spelling in (name, *aliases):
            known = _FORMATS.get(spelling)
            if known is not None and known.export.__module__ != export.__module__:
                raise ValueError(
                    f"Two exporters are registered as {spelling!r}: {known.export} and {export}."
                )
            _FORMATS[spelling] = made
        return export

    return add


def format_names() -> list[str]:
    """Return all names of formats, sorted."""
    return sorted({*_SHIPPED, *_FORMATS})


def find_format(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ValueError: there is none; the message has the nearest name.
    """
    if name not in _FORMATS and name in _SHIPPED:
        importlib.import_module(_SHIPPED[name])
    if name not in _FORMATS:
        names = format_names()
        raise ValueError(f"format is one of {', '.join(names)}, not {name!r}. {suggest(name, names)}")
    return _FORMATS[name]


def check_options(chosen: Format, options: dict[str, Any]) -> None:
    """Refuse options that a format does not have.

    Raises:
        TypeError: naming the option, and the format that has it.
    """
    known = chosen.options
    for name in options:
        if name not in known:
            others = {
                other.name: other for other in map(find_format, format_names()) if name in other.options
            }
            where = f"; it is an option of format={next(iter(others))!r}" if others else ""
            raise TypeError(
                f"format={chosen.name!r} has no option {name!r}{where}. It has {', '.join(known)}."
            )
