"""Objects out of nested mappings: where a mapping has a ``type``, the registered class of that name."""

from collections.abc import Callable, Mapping
from typing import Any

from kdet import schema
from kdet.errors import ConfigError
from kdet.ranges import Part
from kdet.typing import KeyPath

Path = tuple[str, ...]


def build(spec: Any, path: Path = ("model",), origin: Callable[[Path], str] | None = None) -> Any:
    """Build the object that ``spec`` describes, innermost first.

    Args:
        spec: nested mapping; where a mapping has a ``type``, that registered class is called with the
            other keys as keyword arguments. Everything else passes through.
        path: key path of ``spec``, for error messages.
        origin: function from key path to the name of its file, for error messages.

    Raises:
        ConfigError: unknown type, unknown or missing keyword, or a value that the class refuses; all
            names are checked before the first object is built.
    """
    where = origin or (lambda _: "config")
    found = [f"{where(p)}: {text}" for p, text in schema.spec_problems(spec, tuple(path))]
    if found:
        raise ConfigError("\n".join(found))
    return _build(spec, tuple(path), where)


def build_part(value: Any, form: Part, path: Path, given: dict[str, Any] | None = None) -> Any:
    """Build the object (or with ``form.many`` the list of objects) that a part of a recipe describes.

    Args:
        value: as in the recipe; what is an object already passes through.
        form: what the part may be, see ``kdet.ranges.Part``.
        path: key path, for error messages.
        given: keyword arguments that kdet adds.

    Raises:
        ConfigError: as in :func:`build`.
    """
    found = [text for _, text in schema.part_problems(value, form, path)]
    if found:
        raise ConfigError("\n".join(found))
    if form.many:
        return [_build_one(one, form, (*path, str(i)), given) for i, one in enumerate(value)]
    return _build_one(value, form, path, given)


def _build_one(value: Any, form: Any, path: KeyPath, given: Mapping[str, Any] | None) -> Any:
    if not isinstance(value, (dict, str)):
        return value
    return _build({**schema.part(value, form), **(given or {})}, path, None)


def _build(spec: Any, path: KeyPath, where: Callable[[KeyPath], str | None] | None) -> Any:
    if isinstance(spec, (list, tuple)):
        return [_build(item, (*path, str(i)), where) for i, item in enumerate(spec)]
    if not isinstance(spec, dict):
        return spec
    plain = schema.plain_keys(spec)
    built = {
        key: value if key in plain else _build(value, (*path, key), where)
        for key, value in spec.items()
        if key != "type"
    }
    if "type" not in spec:
        return built
    try:
        return schema.lookup(spec["type"])(**built)
    except ConfigError:
        raise
    except (TypeError, ValueError, KeyError) as error:
        text = f"{'.'.join(path)} ({spec['type']}): {error}"
        raise ConfigError(f"{where(path)}: {text}" if where else text) from error
