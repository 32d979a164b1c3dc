"""The classes that are wanted of a data set (``data.classes``)."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from kdet.errors import DataError, short
from kdet.typing import PathLike


def select_classes(available: Iterable[str], wanted: Sequence[str] | None, where: PathLike) -> list[str]:
    """The class list to use: ``wanted`` (any order, any subset) or, if None, all that is available.

    Raises:
        DataError: a wanted name is no text, not in the dataset (the nearest ones are named) or comes twice.
    """
    if wanted is None:
        return list(available)
    check_class_names(wanted)
    wanted = list(wanted)
    for name in wanted:
        if name not in available:
            near = difflib.get_close_matches(str(name), list(available), n=3, cutoff=0.5)
            known = ", ".join(near) if near else ", ".join(map(str, list(available)[:20]))
            raise DataError(f"{where} has no class {name!r} (data.classes). Nearest names there: {known}.")
    return wanted


def check_class_names(names: Any) -> None:
    """Raises a DataError where ``names`` (``data.classes``) is no list of distinct texts."""
    if not isinstance(names, (list, tuple)):
        raise DataError(f"data.classes must be a list of names such as [cat, dog]; got {short(names)}.")
    for name in names:
        if not isinstance(name, str):
            hint = " (in YAML a bare yes, no, on or off is a truth value)" if isinstance(name, bool) else ""
            raise DataError(f"data.classes holds {short(name)}, which is no text{hint}: put it in quotes.")
    if len(set(names)) < len(names):
        raise DataError(f"data.classes names a class twice: {short(list(names))}.")
    if not names:
        raise DataError("data.classes is an empty list: name the classes, or leave the key out.")
