"""Changes of a recipe by dotted key paths, as on the command line."""

import collections
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from kdet import schema, yaml_loader
from kdet.errors import ConfigError, short
from kdet.typing import KeyPath

# a mapping, or texts as on the command line
Overrides: TypeAlias = Mapping[str, Any] | Sequence[str] | None


def parse(overrides: Overrides) -> Iterator[tuple[str, Any]]:
    """``(dotted key path, value)`` of a mapping, or of ``key.path=value`` texts with YAML values."""
    if not overrides:
        return
    if isinstance(overrides, dict):
        for dotted, value in overrides.items():
            if not isinstance(dotted, str):
                raise ConfigError(f"An override is named by a dotted key path; got {short(dotted)}.")
            yield dotted, value
        return
    if not isinstance(overrides, (list, tuple)):
        raise ConfigError(f"Overrides are a mapping or a list of key.path=value; got {short(overrides)}.")
    for item in overrides:
        if not isinstance(item, str):
            raise ConfigError(f"An override looks like key.path=value; got {short(item)}.")
        dotted, equals, text = item.partition("=")
        if not equals or not dotted.strip():
            raise ConfigError(f"An override looks like key.path=value; got {item!r}.")
        yield dotted.strip(), yaml_loader.load(text, f"--set {short(item)[1:-1]}")


def reach(config: dict[str, Any], keys: KeyPath) -> list[KeyPath]:
    """The key paths that an override at ``keys`` means.

    ``num_classes`` of a part that has none itself means that of all parts below it which count the
    objects' classes. Heads that count something else (a semantic map) are left alone: they have
    another number than the majority.
    """
    place: Any = config
    for key in keys[:-1]:
        place = place.get(key) if isinstance(place, dict) else None
    if keys[-1] != "num_classes" or not isinstance(place, dict) or "num_classes" in place:
        return [keys]
    current = class_count(place)
    return [(*keys[:-1], *path) for path, value in _class_counts(place) if value == current] or [keys]


def class_count(spec: Any) -> int | None:
    """How many classes of objects a nested spec is for (what most parts say), None where no part says."""
    counts = collections.Counter(v for _, v in _class_counts(spec) if isinstance(v, int))
    return counts.most_common(1)[0][0] if counts else None


def label_count(spec: Any) -> int | None:
    """How many labels a nested spec has: classes of objects and those of stuff (``num_stuff``)."""
    objects = class_count(spec)
    return None if objects is None else objects + max(_values(spec, "num_stuff"), default=0)


def _values(spec: Any, name: str) -> Iterator[int]:
    """The whole numbers under a key in a nested spec."""
    children = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
    for key, value in children:
        if key == name and isinstance(value, int):
            yield value
        else:
            yield from _values(value, name)


def _class_counts(spec: Any) -> Iterator[tuple[KeyPath, Any]]:
    """``(key path, value)`` of every ``num_classes`` in a nested spec."""
    children = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
    for key, value in children:
        if key == "num_classes":
            yield (key,), value
        else:
            yield from (((str(key), *path), found) for path, found in _class_counts(value))


def assign(config: dict[str, Any], dotted: str, keys: KeyPath, value: Any) -> KeyPath:
    """Sets the value at the key path ``keys`` in place; ``dotted`` is what the user wrote.

    Returns:
        the key path with the positions of list elements that were named by their type.
    """
    place = config
    found: list[str] = []
    for i, key in enumerate(keys):
        at = ".".join(keys[: i + 1])
        last = i == len(keys) - 1
        if isinstance(place, list):
            if key[:1].isupper():  # the elements of a type
                key = _position(place, key, f"--set {dotted}: {at}")
            elif not re.fullmatch(r"-?\d+", key) or not -len(place) <= int(key) < len(place):
                raise ConfigError(f"--set {dotted}: {at}: this is a list of {len(place)}, {key!r} no index.")
            key = int(key)
        elif not isinstance(place, dict):
            raise ConfigError(f"--set {dotted}: {'.'.join(keys[:i])} is the value {place!r}, not a mapping.")
        elif not last and not isinstance(place.get(key), (dict, list)):
            if key not in place and difflib.get_close_matches(key, [str(k) for k in place], n=1):
                raise ConfigError(f"--set {dotted}: there is no {at}. {schema.suggest(key, place)}")
            if place.get(key) is None:
                place[key] = {}
        found.append(str(key))
        if last and value is None and isinstance(place, list):
            del place[key]
        elif last:
            place[key] = value
        else:
            place = place[key]
    return tuple(found)


def _position(elements: list[Any], name: str, where: str) -> int:
    """The position of the element of a type in a list of mappings."""
    types = [one.get("type") if isinstance(one, dict) else None for one in elements]
    if name not in types:
        raise ConfigError(f"{where}: the list holds {', '.join(map(str, types))}, no {name}.")
    return types.index(name)
