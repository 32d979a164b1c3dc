"""Modules that a recipe brings along: its ``type`` keys can then name classes that are not part of kdet."""

import importlib
import importlib.util
import pathlib
import sys

from kdet import storage
from kdet.errors import ConfigError, first_line, short, suggest
from kdet.typing import PathLike


def load(names: object, origin: PathLike) -> list[str]:
    """Import what a recipe names under ``imports``; this runs the code of these modules.

    Args:
        names: list of modules (``my_package.heads``) and of Python files beside the recipe (``heads.py``).
        origin: the file that says so.

    Returns:
        The names, files by their whole path, so that the recipe can be saved elsewhere.

    Raises:
        ConfigError: no such module or file, or it fails.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"{origin}: imports: expected a list of modules or .py files, got {short(names)}.")
    return [
        _load_file(name, origin) if name.endswith(".py") else _load_module(name, origin) for name in names
    ]


def _load_module(name: str, origin: PathLike) -> str:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):  # it imports something that is missing
            raise ConfigError(
                f"{origin}: imports: {name} needs a module that is missing: {error}."
            ) from error
        raise ConfigError(
            f"{origin}: imports: there is no module {name}. Is its folder in PYTHONPATH? A file beside the "
            f"recipe is named with its ending, {name}.py."
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{origin}: imports: {name} fails when it is imported: {first_line(error)}"
        ) from error
    return name


def _load_file(name: str, origin: PathLike) -> str:
    if storage.is_url(origin):
        raise ConfigError(
            f"{origin}: imports: {name} behind a URL is not run: install it as a module on this machine, or "
            "copy the recipe and its files here."
        )
    path = (pathlib.Path(origin).parent / name).absolute()
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(f"{origin}: imports: there is no file {path}. {suggest(path.name, beside)}")
    known = sys.modules.get(path.stem)
    if known is not None:
        if known.__spec__ is not None and known.__spec__.origin == str(path):
            return str(path)
        raise ConfigError(f"{origin}: imports: another module is called {path.stem}; rename {path.name}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{origin}: imports: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ConfigError(
            f"{origin}: imports: {path} fails when it is imported: {first_line(error)}"
        ) from error
    return str(path)
