"""What a recipe may say: the known sections and keys, and the checks against constructor signatures.

In ``model`` every mapping with a ``type`` is checked against the constructor of that class, and what has no
annotation of its own by the name of the argument. The keys of ``data`` and ``train`` stand in
``kdet.recipe_keys``, in one place.
"""

import inspect
import math
import typing
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from kdet import ranges, registry
from kdet.errors import ConfigError, short, suggest
from kdet.recipe_keys import ARGUMENTS, DATASET, METRICS, SECTIONS, SUBSECTIONS
from kdet.typing import KeyPath

__all__ = ["DATASET", "METRICS", "SECTIONS", "dataset_problems", "problems", "spec_problems", "suggest"]

# where in the recipe, and what is wrong there
Problem: TypeAlias = tuple[KeyPath, str]
_LAYER_KEYWORDS = ("name", "dtype", "trainable")


def problems(config: dict[str, Any]) -> list[Problem]:
    """All ``(key path tuple, what is wrong)`` of a whole recipe."""
    found: list[Problem] = []
    for key, value in config.items():
        if key not in SECTIONS:
            found.append(((str(key),), _unknown("section", (str(key),), key, SECTIONS)))
        elif key == "model":
            if not isinstance(value, dict):
                found.append((("model",), f"model: expected a mapping with a `type`, got {short(value)}."))
            found.extend(spec_problems(value, ("model",)))
        else:
            found.extend(_section_problems(value, SECTIONS[key], (key,)))
    return found


def _section_problems(value: Any, known: Any, path: KeyPath) -> Iterator[Problem]:
    if value is None and known is DATASET:
        dotted = ".".join(path)
        yield path, f"{dotted} is empty (null): describe the data, or leave the key {path[-1]!r} out."
    if value is None or known is None:
        return
    if isinstance(known, dict):
        if not isinstance(value, dict):
            yield path, f"{'.'.join(path)}: expected a mapping with {', '.join(known)}; got {short(value)}."
            return
        for key, item in value.items():
            here = (*path, str(key))
            if known is DATASET and key in SUBSECTIONS and isinstance(item, dict):
                yield from _section_problems(item, SUBSECTIONS[key], here)
            elif key in known:
                yield from _section_problems(item, known[key], here)
            else:
                yield here, _unknown("key", here, key, known)
    else:
        text = ranges.problem(value, known)
        if text:
            yield path, f"{'.'.join(path)}: {text}"


def dataset_problems(spec: Any, path: KeyPath = ("data",)) -> list[Problem]:
    """All ``(key path tuple, what is wrong)`` of a data section on its own."""
    return list(_section_problems(spec, DATASET, path))


def spec_problems(spec: Any, path: KeyPath) -> Iterator[Problem]:
    """All ``(key path tuple, what is wrong)`` below a mapping whose ``type`` names classes."""
    if isinstance(spec, (list, tuple)):
        for i, item in enumerate(spec):
            yield from spec_problems(item, (*path, str(i)))
    if not isinstance(spec, dict):
        return
    for key, value in spec.items():
        yield from spec_problems(value, (*path, str(key)))
    if path == ("model",) and "type" not in spec:
        yield path, "model: has no `type`, the class of the detector."
    if "type" in spec:
        yield from _call_problems(spec, path)


def _call_problems(spec: dict[str, Any], path: KeyPath) -> Iterator[Problem]:
    dotted = ".".join(path)
    if not isinstance(spec["type"], str):
        yield (*path, "type"), f"{dotted}.type: expected the name of a class, got {short(spec['type'])}."
        return
    try:
        cls = lookup(spec["type"])
    except ConfigError as error:
        yield (*path, "type"), f"{dotted}.type: {error}"
        return
    parameters = keywords(cls)
    for key, value in spec.items():
        here = (*path, str(key))
        if key == "type":
            continue
        if not isinstance(key, str) or key not in parameters:
            yield here, _unknown(f"keyword of {cls.__name__}", here, key, [k for k in parameters])
            continue
        text = _argument_problem(key, value, parameters[key])
        if text:
            yield here, f"{'.'.join(here)} ({cls.__name__}): {text}"
    missing = [n for n, p in own_keywords(cls).items() if p.default is p.empty and n not in spec]
    if missing:
        yield path, f"{dotted} ({cls.__name__}): missing {', '.join(missing)}."


def _argument_problem(name: str, value: Any, parameter: inspect.Parameter | None) -> str | None:
    """Holds a plain value against the annotation, the name or, failing these, the kind of the default."""
    if parameter is None or value is None:
        return None
    literal = typing.get_origin(parameter.annotation) is typing.Literal
    if literal and not isinstance(value, (dict, list)):
        return ranges.problem(value, typing.get_args(parameter.annotation))
    wrong = next((v for v in _leaves(value) if isinstance(v, float) and not math.isfinite(v)), None)
    if wrong is not None:
        return f"expected finite numbers, got {wrong!r}."
    known: Any = ARGUMENTS.get(name)
    if known is not None and isinstance(value, list) == isinstance(known, ranges.List):
        return None if isinstance(value, dict) else known.problem(value)
    if isinstance(value, (dict, list)):
        return None
    default = parameter.default
    if isinstance(default, bool):
        return None if isinstance(value, bool) else f"expected true or false, got {short(value)}."
    if isinstance(default, (int, float)) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return f"expected a number, got {short(value)}."
    return None


def _leaves(value: Any) -> Iterator[Any]:
    """The plain values of nested lists (mappings are looked at by themselves)."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def keywords(cls: type[Any]) -> dict[str, inspect.Parameter | None]:
    """``{keyword: inspect.Parameter}`` that the constructor of ``cls`` takes (``None``: Keras' own).

    An open ``**kwargs`` goes on to the next base class, down to Keras' layer.
    """
    found: dict[str, inspect.Parameter | None] = {}
    for base in _constructors(cls):
        parameters = inspect.signature(base.__init__).parameters.values()
        for name, parameter in own_keywords(base).items():
            found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found
    return {**dict.fromkeys(_LAYER_KEYWORDS), **found}


def own_keywords(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The keywords that the nearest constructor of ``cls`` names itself."""
    for base in _constructors(cls):
        parameters = list(inspect.signature(base.__init__).parameters.items())[1:]
        return {n: p for n, p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return {}


def _constructors(cls: type[Any]) -> Iterator[type[Any]]:
    """The classes of the hierarchy with a constructor of their own, Keras' excluded."""
    for base in inspect.getmro(cls):
        if "__init__" in base.__dict__ and not base.__module__.startswith(("keras.", "builtins")):
            yield base


def lookup(type_name: str) -> type[Any]:
    """The registered class, or a :class:`ConfigError` with the nearest names."""
    try:
        return registry.get(type_name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from None


def _unknown(what: str, path: KeyPath, key: object, known: Iterable[object]) -> str:
    return f"{'.'.join(path)}: unknown {what}. {suggest(key, known)}"
