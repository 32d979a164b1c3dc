"""Recipes: YAML with ``_base_`` inheritance and dotted overrides, and the objects made out of them.

A recipe is a plain nested mapping with the sections ``model``, ``data``, ``train`` and ``metadata``, and
``imports`` where it names classes that are not part of kdet (modules, or Python files beside the recipe)::

    _base_: [../_base_/models/faster_rcnn_r50_fpn.yaml, ../_base_/schedules/1x.yaml]
    model:
      backbone: {depth: 101}

A base is a file beside the recipe (which may be behind a URL) or the name of one that ships with kdet
(``_base_: mask_rcnn_r50_fpn_1x``). Mappings are merged key by key, everything else (lists too) is
replaced; ``_delete_: true`` inside a mapping drops what the base says there. A mapping over a list of
mappings goes into each of them (the stages of a cascade), what it says under a number only into the
element of that number (``stages: {0: {...}}``), and under a type only into the elements of that type
(``transforms: {Resize: {sizes: [[640, 480]]}}``); null takes these out (``transforms: {RandomFlip: null}``).
``Config.build("model")`` turns every mapping with a ``type`` into an object of the class of that name,
innermost first.
"""

import copy
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import yaml

from kdet import imports, published, schema, storage, yaml_loader
from kdet.building import build
from kdet.data import files
from kdet.errors import ConfigError, MissingFile, short
from kdet.overrides import Overrides, assign, label_count, parse, reach
from kdet.typing import KeyPath, PathLike
from kdet.writing import whole

# from a key path to the file that set the value there
Origin: TypeAlias = Callable[[KeyPath], str | None]
Origins: TypeAlias = dict[KeyPath, str | None]

__all__ = ["Config", "ConfigError", "build", "recipes"]


class Config(dict[str, Any]):
    """A resolved recipe: a plain ``dict`` that knows where its values came from.

    Attributes:
        path: the file it was read from (a URL as text), or ``None``.
        name: stem of that file.
        origins: ``{key path tuple: file}`` of the values, for error messages.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        path: PathLike | None = None,
        origins: Mapping[KeyPath, str | None] | None = None,
    ) -> None:
        super().__init__(values)
        self.path = path if path is None or storage.is_url(path) else pathlib.Path(path)
        self.origins = dict(origins or {})

    @property
    def name(self) -> str:
        return storage.stem(self.path) if self.path else "config"

    @classmethod
    def load(cls, path_or_name: PathLike, overrides: Overrides = None, check: bool = True) -> "Config":
        """Reads a recipe.

        Args:
            path_or_name: a YAML file, the URL of one (``kdet.storage``), or the name (or an alias) of a
                recipe that ships with kdet.
            overrides: ``{"model.backbone.depth": 101}`` or ``["model.backbone.depth=101"]``; list
                elements are reached by their index (``data.train.annotations.0``). ``num_classes`` on a
                part that has none itself goes to all parts below it (``model.num_classes=3``).
            check: compare keys, types and values with what the classes accept.

        Raises:
            ConfigError: names file, key path and the nearest valid name.
        """
        path = _find(path_or_name)
        values, origins = _read(path)
        config = cls(_without_marks(values), path=path, origins=origins)
        figures = published.metadata(config.name)
        if figures and isinstance(config.get("metadata", {}), dict):
            config["metadata"] = {**figures, **config.get("metadata", {})}
        config.override(overrides)
        if "imports" in config:
            config["imports"] = imports.load(config["imports"], config.origin(("imports",)))
        if check:
            config.check()
        return config

    def override(self, overrides: Overrides) -> "Config":
        """Applies dotted overrides in place (see :meth:`load`)."""
        for dotted, value in parse(overrides):
            if "" in dotted.split("."):
                raise ConfigError(f"--set {short(dotted)[1:-1]}: a key path is words with dots between them.")
            for keys in reach(self, tuple(dotted.split("."))):
                place = assign(self, dotted, keys, value)
                self.origins = {k: v for k, v in self.origins.items() if k[: len(place)] != place}
                self.origins[place] = f"--set {dotted}"
        return self

    def check(self) -> "Config":
        """Checks all sections; raises one :class:`ConfigError` that lists every problem."""
        sections = {key: value for key, value in self.items() if key != "imports"}
        problems = [f"{self.origin(path)}: {text}" for path, text in schema.problems(sections)]
        if problems:
            raise ConfigError("\n".join(problems))
        return self

    def origin(self, path: KeyPath) -> str:
        """The file (or override) that set the value at the key path ``path``."""
        for length in range(len(path), 0, -1):
            known = self.origins.get(path[:length])
            if known is not None:
                return known
        return str(self.path or "config")

    def section(self, name: str) -> dict[str, Any]:
        """One of the sections at the top.

        Raises:
            ConfigError: the recipe has none of that name.
        """
        found = self.get(name)
        if not isinstance(found, dict):
            raise ConfigError(f"{self.path or 'config'}: the recipe has no section {name!r}.")
        return found

    def build(self, section: str = "model") -> Any:
        """The object that ``section`` (a dotted path) describes; a model learns its class names."""
        spec: Any = self
        path = tuple(section.split("."))
        for key in path:
            if not isinstance(spec, dict) or key not in spec:
                raise ConfigError(f"{self.path or 'config'}: the recipe has no section {section!r}.")
            spec = spec[key]
        classes = (self.get("data") or {}).get("classes")
        if section == "model" and classes and len(classes) == label_count(spec):
            spec = {"class_names": classes, **spec}
        return build(spec, path=path, origin=self.origin)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML text, without ``_base_``: reading it back gives the same recipe."""
        return yaml.safe_dump(_plain(self), sort_keys=False, width=110)

    def save(self, path: PathLike) -> None:
        """Writes :meth:`to_yaml` to ``path``."""
        with whole(path) as part:
            part.write_text(self.to_yaml())


def recipes() -> dict[str, pathlib.Path]:
    """``{name: path}`` of all recipes that ship with kdet."""
    return dict(_recipes_in(published.configs_dir()))


@functools.cache
def _recipes_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    found = folder.glob("*/*.yaml")
    return {path.stem: path for path in sorted(found) if not path.parent.name.startswith("_")}


def _find(path_or_name: PathLike) -> PathLike:
    named = isinstance(path_or_name, (str, os.PathLike)) and str(path_or_name).strip()
    if not named or "\0" in str(path_or_name):
        raise ConfigError(f"A recipe is given by its name or file; got {short(path_or_name)}.")
    if storage.is_url(path_or_name):
        return path_or_name
    path = pathlib.Path(path_or_name)
    if _exists(path) and not path.is_dir():
        return path
    known = recipes()
    name = published.canonical_name(str(path_or_name))
    if name in known:
        return known[name]
    if _exists(path):
        raise ConfigError(f"{short(str(path))[1:-1]} is a folder; name a YAML file in it.")
    if path.suffix in (".yaml", ".yml") or os.sep in str(path_or_name):
        raise ConfigError(f"There is no config file {short(str(path))[1:-1]}. {_suggest_file(path)}")
    near = schema.suggest(name, known)
    raise ConfigError(f"There is no recipe named {short(str(path_or_name))} and no such file. {near}")


def _exists(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a link that leads to itself
        return False


def _find_base(path: PathLike, base: str) -> PathLike:
    """The file that ``_base_: base`` in the file ``path`` means: beside it, or a recipe by name."""
    if "\0" in base:
        raise ConfigError(f"{path}: _base_: {short(base)} is no file name.")
    if storage.is_url(base):
        return base
    if storage.is_url(path) and base.endswith((".yaml", ".yml")):
        return storage.beside(str(path), base)
    beside = pathlib.Path(path).parent / base
    if _exists(beside) and not beside.is_dir():
        return beside
    known = recipes()
    name = published.canonical_name(base)
    if name in known:
        return known[name]
    near = schema.suggest(base, known) if beside.suffix == "" else _suggest_file(beside)
    raise ConfigError(f"{path}: _base_: there is no file {base}. {near}")


def _suggest_file(path: pathlib.Path) -> str:
    """The nearest existing file name beside the missing ``path``."""
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        names = []
    return schema.suggest(path.name, names)


def _read(path: PathLike, seen: tuple[PathLike, ...] = ()) -> tuple[dict[str, Any], Origins]:
    """``(values, origins)`` of the file and its bases."""
    own_path = path if storage.is_url(path) else pathlib.Path(path).resolve()
    if own_path in seen:
        raise ConfigError(f"{path}: _base_ leads back to this file (a circle).")
    try:
        text = files.read_text(path, "config file", yaml_loader.MAX_TEXT, ConfigError)
    except MissingFile as fault:
        raise ConfigError(str(fault)) from fault
    own = yaml_loader.load(text, path)
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: a config is a mapping, this is a {type(own).__name__}.")
    bases = own.pop("_base_", None) or []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) and base for base in bases):
        raise ConfigError(f"{path}: _base_: expected file names, got {short(bases)}.")
    if len(seen) > 30:
        raise ConfigError(f"{path}: _base_: a chain of more than 30 bases.")
    values: dict[str, Any] = {}
    origins: Origins = {}
    for base in bases:
        base_values, base_origins = _read(_find_base(path, base), (*seen, own_path))
        _merge(values, base_values, origins, base_origins.get)
    _merge(values, own, origins, lambda _: str(path))
    return values, origins


def _merge(
    base: dict[str, Any],
    new: dict[str, Any],
    origins: Origins,
    origin_of: Origin,
    path: KeyPath = (),
) -> None:
    """Merges ``new`` into ``base`` in place and records in ``origins`` where the values come from."""
    for key, value in new.items():
        here = (*path, key)
        if isinstance(value, dict) and "_delete_" not in value and _is_list_of_mappings(base.get(key)):
            base[key] = copy.deepcopy(base[key])  # an alias (*name) may stand for several elements
            _merge_into_list(base[key], value, origins, origin_of, here)
        elif isinstance(value, dict):
            value = dict(value)
            delete = value.pop("_delete_", False)
            if delete or not isinstance(base.get(key), dict):
                # the mark stays for the bases of the files that this one is a base of
                if key in base:
                    for old in [k for k in origins if k[: len(here)] == here]:
                        del origins[old]
                base[key] = {"_delete_": True} if delete else {}
            origins[here] = origin_of(here) or origins.get(here)
            _merge(base[key], value, origins, origin_of, here)
        else:
            if key in base:
                for old in [k for k in origins if k[: len(here)] == here]:
                    del origins[old]
            base[key] = value
            origins[here] = origin_of(here)
            if _is_list_of_mappings(value):
                origins.update({p: origin_of(p) or origins[here] for p in _all_paths(value, here)})


def _merge_into_list(
    elements: list[dict[str, Any]],
    value: dict[Any, Any],
    origins: Origins,
    origin_of: Origin,
    path: KeyPath,
) -> None:
    """Merges a mapping into all elements; what stands under a number or a type only into those elements."""
    common = {key: child for key, child in value.items() if not _selects(key)}
    for i, element in enumerate(elements):
        _merge(element, common, origins, _without(len(path), origin_of), (*path, str(i)))
    for key, own in value.items():
        if not _selects(key):
            continue
        chosen = (
            [key] if isinstance(key, int) else [i for i, e in enumerate(elements) if e.get("type") == key]
        )
        at = f"{origin_of((*path, key))}: {'.'.join(path)}.{key}"
        if isinstance(key, int) and not 0 <= key < len(elements):
            raise ConfigError(f"{at}: the base has a list of {len(elements)} here.")
        if not chosen:
            there = ", ".join(str(element.get("type")) for element in elements)
            raise ConfigError(f"{at}: the base has no {key} here, but {there}: give the whole list.")
        for i in reversed(chosen):
            if own is None:
                _take_out(elements, i, origins, path)
            else:
                _merge(elements[i], own, origins, _moved(len(path), key, i, origin_of), (*path, str(i)))


def _selects(key: object) -> bool:
    """Whether a key of a mapping over a list names elements: by number or type (classes are capitalized)."""
    return isinstance(key, int) or (isinstance(key, str) and key[:1].isupper())


def _take_out(elements: list[dict[str, Any]], i: int, origins: Origins, path: KeyPath) -> None:
    del elements[i]
    depth = len(path)
    for old in sorted(k for k in origins if k[:depth] == path and len(k) > depth and k[depth].isdigit()):
        if int(old[depth]) == i:
            del origins[old]
        elif int(old[depth]) > i:
            moved = (*path, str(int(old[depth]) - 1), *old[depth + 1 :])
            origins[moved] = origins.pop(old)


def _moved(index: int, key: Any, i: int, origin_of: Origin) -> Origin:
    """``origin_of`` for key paths that have the number ``i`` where the file has ``key``."""
    return lambda path: origin_of((*path[:index], key, *path[index + 1 :]) if path[index] == str(i) else path)


def _without_marks(value: Any) -> Any:
    """``value`` without the ``_delete_`` of its mappings."""
    if isinstance(value, dict):
        return {key: _without_marks(child) for key, child in value.items() if key != "_delete_"}
    return [_without_marks(child) for child in value] if isinstance(value, list) else value


def _is_list_of_mappings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _all_paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Key paths of everything below ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in items:
        yield (*path, str(key))
        if isinstance(child, (dict, list)):
            yield from _all_paths(child, (*path, str(key)))


def _without(index: int, origin_of: Origin) -> Origin:
    """``origin_of`` for key paths with one more element at ``index``."""
    return lambda path: origin_of(path[:index] + path[index + 1 :])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
