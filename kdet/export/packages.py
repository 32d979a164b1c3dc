"""Packages that only some formats need: imported when they are, with a sentence where they are missing."""

import importlib
from typing import Any


class Missing(ImportError):
    """A package that a format needs is not installed; the message says how to get it."""


def needed(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: its name.
        extra: of kdet, that brings the package.

    Raises:
        Missing: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = str(error.name or module).partition(".")[0]
        raise Missing(
            f"format={extra!r} needs the package {package}, which is not installed: "
            f"pip install 'kdet[{extra}]'"
        ) from error
