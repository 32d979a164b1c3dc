"""What a recipe may say: the known sections and keys, and the checks against constructor signatures.

Every mapping with a ``type`` is checked against the constructor of that class: the names of its keywords, and
the ranges that their annotations declare (``kdet.ranges.declared``). In ``model`` what has no such
annotation is checked by the name of the argument (``kdet.settings.ARGUMENTS``) and the kind of its default.
The sections themselves are classes too, in ``kdet.settings``.
"""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from kdet import ranges, registry, settings
from kdet.errors import ConfigError, short, suggest
from kdet.typing import KeyPath

__all__ = ["part", "problems", "section_problems", "spec_problems", "suggest"]

# where in the recipe, and what is wrong there
Problem: TypeAlias = tuple[KeyPath, str]
Parameters: TypeAlias = dict[str, inspect.Parameter]
_LAYER_KEYWORDS = ("name", "dtype", "trainable")
_SECTIONS = ("model", *settings.SECTIONS, "metadata")


def problems(config: Mapping[str, Any]) -> list[Problem]:
    """Return all ``(key path, what is wrong)`` of a whole recipe."""
    found: list[Problem] = []
    for key, value in config.items():
        if key not in _SECTIONS:
            found.append(((str(key),), _unknown("section", (str(key),), key, _SECTIONS)))
        elif key == "model":
            if not isinstance(value, dict):
                found.append((("model",), f"model: expected a mapping with a `type`, got {short(value)}."))
            found.extend(spec_problems(value, ("model",)))
        elif key == "metadata":
            if value is not None and not isinstance(value, dict):
                found.append((("metadata",), f"metadata: expected a mapping, got {short(value)}."))
        else:
            found.extend(section_problems(value, settings.SECTIONS[key], (key,)))
    return found


def section_problems(value: Any, section: type, path: KeyPath) -> Iterator[Problem]:
    """All ``(key path, what is wrong)`` of a section that a class of ``kdet.settings`` describes."""
    if value is None and section is not settings.Split:
        return
    if value is None:
        yield path, f"{'.'.join(path)} is empty (null): describe the data, or leave the key {path[-1]!r} out."
        return
    known = own_keywords(section)
    if not isinstance(value, dict):
        yield path, f"{'.'.join(path)}: expected a mapping with {', '.join(known)}; got {short(value)}."
        return
    if section is settings.Split:
        known, wrong = _with_reader(known, value, path)
        yield from wrong
    for key, item in value.items():
        here = (*path, str(key))
        if key in known:
            yield from _value_problems(item, known[key], here)
        elif section is settings.Split and key in settings.NOW:
            yield here, f"{'.'.join(here)}: unknown key. {settings.NOW[key]} See docs/data.md."
        else:
            yield here, _unknown("key", here, key, known)


def _with_reader(known: Parameters, value: dict[str, Any], path: KeyPath) -> tuple[Parameters, list[Problem]]:
    """The keys of a data set with those of its reader, and what is wrong with the reader's name."""
    name = value.get("type", known["type"].default)
    if not isinstance(name, str):
        return known, []
    try:
        cls = part_class(name, "Reader")
    except ConfigError as error:
        return known, [((*path, "type"), f"{'.'.join(path)}.type: {error}")]
    return {**own_keywords(cls), **known}, []


def _value_problems(value: Any, parameter: inspect.Parameter | None, path: KeyPath) -> Iterator[Problem]:
    """Problems of one value, which an annotation may declare to be a section or a part."""
    declared = None if parameter is None else ranges.declared(parameter.annotation)
    if isinstance(declared, ranges.Section):
        yield from section_problems(value, declared.settings, path)
    elif value is None:
        return
    elif isinstance(declared, ranges.Part):
        yield from part_problems(value, declared, path)
    else:
        text = argument_problem(path[-1], value, parameter)
        if text:
            yield path, f"{'.'.join(path)}: {text}"


def part_problems(value: Any, form: ranges.Part, path: KeyPath) -> Iterator[Problem]:
    """Problems of a mapping with the type of a registered class of one kind, or of a list of them."""
    if not form.many:
        yield from _one_part(value, form, path)
        return
    if not isinstance(value, (list, tuple)):
        yield path, f"{'.'.join(path)}: expected a list of mappings with a `type`, got {short(value)}."
        return
    for position, one in enumerate(value):
        where = (*path, str(position))
        if one is None:  # which passes as an object that was built already elsewhere
            yield where, f"{'.'.join(where)}: expected a mapping with a `type`, got None."
        else:
            yield from _one_part(one, form, where)


def _one_part(value: Any, form: ranges.Part, path: KeyPath) -> Iterator[Problem]:
    dotted = ".".join(path)
    if isinstance(value, str) and form.short is not None:
        known = [*form.short, *registry.names(form.kind)]
        if value not in known:
            yield path, f"{dotted}: unknown {form.kind.lower()} {short(value)}. {suggest(value, known)}"
            return
        value = form.short.get(value, {"type": value})
    elif not isinstance(value, (dict, str, int, float, list, tuple)):
        return  # an object that was built already
    if not isinstance(value, dict):
        yield path, f"{dotted}: expected a mapping with a `type`, got {short(value)}."
        return
    spec = {"type": form.default, **value} if form.default else value
    if "type" not in spec:
        yield path, f"{dotted} has no `type`. {suggest('', registry.names(form.kind))}"
        return
    extra = {key: spec[key] for key in form.extra if spec.get(key) is not None}
    for key, one in extra.items():
        text = ranges.problem(one, form.extra[key])
        if text:
            yield (*path, key), f"{dotted}.{key}: {text}"
    spec = {key: one for key, one in spec.items() if key not in form.extra}
    yield from _nested_problems(spec, path)
    yield from _call_problems(spec, path, form.kind, form.given)


def part(value: Any, form: ranges.Part) -> dict[str, Any]:
    """The spec of a part in full: with its type, and without the keys that are not its constructor's."""
    short_names = form.short or {}
    value = short_names.get(value, {"type": value}) if isinstance(value, str) else value
    return {"type": form.default, **{k: v for k, v in (value or {}).items() if k not in form.extra}}


def spec_problems(spec: Any, path: KeyPath) -> Iterator[Problem]:
    """All ``(key path, what is wrong)`` below a mapping whose ``type`` names classes."""
    yield from _nested_problems(spec, path)
    if isinstance(spec, dict):
        if path == ("model",) and "type" not in spec:
            yield path, "model: has no `type`, the class of the detector."
        if "type" in spec:
            yield from _call_problems(spec, path)


def _nested_problems(spec: Any, path: KeyPath) -> Iterator[Problem]:
    children = spec.items() if isinstance(spec, dict) else enumerate(spec) if _is_list(spec) else ()
    plain = plain_keys(spec)
    for key, value in children:
        if key not in plain:
            yield from spec_problems(value, (*path, str(key)))


def plain_keys(spec: Any) -> frozenset[str]:
    """Keys of a mapping with a ``type`` under which nothing is an object of kdet (``ranges.Plain``)."""
    name = spec.get("type") if isinstance(spec, dict) else None
    if not isinstance(name, str) or not registry.is_registered(name):
        return frozenset()
    return _plain_keywords(registry.get(name))


@registry.once_per_class
def _plain_keywords(cls: type[Any]) -> frozenset[str]:
    found = keywords(cls).items()
    return frozenset(k for k, p in found if p and isinstance(ranges.declared(p.annotation), ranges.Plain))


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _call_problems(
    spec: dict[str, Any], path: KeyPath, kind: str | None = None, given: tuple[str, ...] = ()
) -> Iterator[Problem]:
    dotted = ".".join(path)
    if not isinstance(spec["type"], str):
        yield (*path, "type"), f"{dotted}.type: expected the name of a class, got {short(spec['type'])}."
        return
    try:
        cls = part_class(spec["type"], kind) if kind else lookup(spec["type"])
    except ConfigError as error:
        yield (*path, "type"), f"{dotted}.type: {error}"
        return
    parameters = {name: p for name, p in keywords(cls).items() if name not in given}
    for key, value in spec.items():
        here = (*path, str(key))
        if key == "type":
            continue
        if not isinstance(key, str) or key not in parameters:
            yield here, _unknown(f"keyword of {cls.__name__}", here, key, [k for k in parameters])
            continue
        text = argument_problem(key, value, parameters[key])
        if text:
            yield here, f"{'.'.join(here)} ({cls.__name__}): {text}"
    own = own_keywords(cls).items()
    missing = [n for n, p in own if p.default is p.empty and n not in spec and n not in given]
    if missing:
        yield path, f"{dotted} ({cls.__name__}): missing {', '.join(missing)}."


def argument_problem(name: str, value: Any, parameter: inspect.Parameter | None) -> str | None:
    """Hold a plain value against the annotation, the name or, failing these, the kind of the default."""
    if parameter is None or value is None:
        return None
    declared = ranges.declared(parameter.annotation)
    if isinstance(declared, tuple):
        return None if isinstance(value, (dict, list)) else ranges.problem(value, declared)
    if declared is not None:
        return ranges.problem(value, declared)
    wrong = next((v for v in _leaves(value) if isinstance(v, float) and not math.isfinite(v)), None)
    if wrong is not None:
        return f"expected finite numbers, got {wrong!r}."
    known: Any = settings.ARGUMENTS.get(name)
    if known is not None and isinstance(value, list) == isinstance(known, ranges.List):
        return None if isinstance(value, dict) else known.problem(value)
    default = parameter.default
    if parameter.annotation is bool or isinstance(default, bool):
        nested = parameter.annotation is not bool and isinstance(value, (dict, list))
        return None if nested or isinstance(value, bool) else f"expected true or false, got {short(value)}."
    if isinstance(value, (dict, list)):
        return None
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


@registry.once_per_class
def keywords(cls: type[Any]) -> dict[str, inspect.Parameter | None]:
    """``{keyword: inspect.Parameter}`` that the constructor of ``cls`` takes (``None``: Keras' own).

    An open ``**kwargs`` goes on to the next base class, down to Keras' layer.
    """
    found: dict[str, inspect.Parameter | None] = {}
    for base in _constructors(cls):
        parameters = registry.signature(base.__init__).parameters.values()
        for name, parameter in own_keywords(base).items():
            found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found
    return {**dict.fromkeys(_LAYER_KEYWORDS), **found}


@registry.once_per_class
def own_keywords(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """The keywords that the nearest constructor of ``cls`` names itself."""
    for base in _constructors(cls):
        parameters = list(registry.signature(base.__init__).parameters.items())[1:]
        return {n: p for n, p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return {}


def _constructors(cls: type[Any]) -> Iterator[type[Any]]:
    """The classes of the hierarchy with a constructor of their own, Keras' layers excluded."""
    adopted = cls.__module__.startswith("keras.")
    for base in inspect.getmro(cls):
        foreign = base.__module__.startswith("builtins" if adopted else ("keras.", "builtins"))
        if "__init__" in base.__dict__ and not foreign:
            yield base


def lookup(type_name: str) -> type[Any]:
    """The registered class, or a :class:`ConfigError` with the nearest names."""
    try:
        return registry.get(type_name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from None


def part_class(type_name: str, kind: str) -> type[Any]:
    """The registered class of a kind.

    Raises:
        ConfigError: there is none of that name, or it is of another kind; with the nearest names.
    """
    known = registry.names(kind)
    if type_name not in known:
        now = settings.TYPES_NOW.get(type_name)
        hint = f"It is called {now} now." if now in known else suggest(type_name, known)
        other = registry.is_registered(type_name)
        text = f"{type_name} is no {kind}." if other else f"No {kind} is registered as {type_name!r}."
        raise ConfigError(f"{text} {hint}")
    return registry.get(type_name)


def _unknown(what: str, path: KeyPath, key: object, known: Iterable[object]) -> str:
    return f"{'.'.join(path)}: unknown {what}. {suggest(key, known)}"
