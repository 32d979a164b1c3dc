"""The registry: a YAML ``type`` maps to a class, and nothing else happens here."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import keras

T = TypeVar("T")

_CLASSES: dict[str, type] = {}


def register(cls: type[T]) -> type[T]:
    """Class decorator: makes ``cls`` buildable from YAML and serializable by Keras.

    Layers and models get ``get_config`` and ``from_config`` from the arguments of their constructor,
    which may be plain values, components, layers, and lists or dicts of these.
    """
    name = cls.__name__
    if name in _CLASSES and _CLASSES[name].__module__ != cls.__module__:
        raise ValueError(
            f"Two classes are registered as {name!r}: {_CLASSES[name].__module__} and {cls.__module__}."
        )
    if issubclass(cls, keras.layers.Layer) and "get_config" not in cls.__dict__:
        _remember_arguments(cls)
        layer: Any = cls
        layer.get_config, layer.from_config = _layer_config, classmethod(_build_from_config)
    if issubclass(cls, _saved_kinds()):  # readers, callbacks and the like are never part of a saved model
        cls = keras.saving.register_keras_serializable(package="kdet")(cls)
    _CLASSES[name] = cls
    return cls


def _saved_kinds() -> tuple[type[Any], ...]:
    """What a saved model is made of and trained with."""
    optimizers = keras.optimizers
    return keras.layers.Layer, Component, optimizers.Optimizer, optimizers.schedules.LearningRateSchedule


def adopt(*classes: type[Any]) -> None:
    """Make classes of Keras known to recipes by their names, as they are."""
    for cls in classes:
        _CLASSES[cls.__name__] = cls


class _Arguments:
    """Holds constructor arguments where Keras' tracking of attributes does not look."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


def once_per_class(function: Callable[[type[Any]], T]) -> Callable[[type[Any]], T]:
    """Decorator: what a function says of a class is worked out once."""
    cached: Any = functools.cache(function)  # to mypy, classes are not hashable
    return cached


@functools.cache
def signature(constructor: Callable[..., None]) -> inspect.Signature:
    """That of an ``__init__``, looked at once: every layer that is made asks for it."""
    return inspect.signature(constructor)


@functools.cache
def _parameters(cls: type[Any]) -> frozenset[str]:
    return frozenset(signature(cls.__init__).parameters)


@functools.cache
def _keywords(cls: type[Any]) -> frozenset[str]:
    """The keywords of all constructors of a layer's class, which hand on what they do not know."""
    own = [base for base in cls.__mro__ if "__init__" in base.__dict__]
    return frozenset().union(*(_parameters(base) for base in own))


def _bound(cls: type[Any], self: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments:
    values = dict(signature(cls.__init__).bind(self, *args, **kwargs).arguments)
    values.pop("self")
    values.update(values.pop("kwargs", {}))
    return _Arguments(values)


def _remember_arguments(cls: Any) -> None:
    """Lets objects of ``cls`` keep the arguments that they are constructed with."""
    create = cls.__new__

    def remembering_new(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        self = create(cls, *args, **kwargs)
        try:
            object.__setattr__(self, "_init_arguments", _bound(cls, self, args, kwargs))
        except TypeError:
            pass  # arguments that do not fit: the constructor itself says so
        return self

    cls.__new__ = remembering_new


def remember(thing: object, **values: Any) -> None:
    """Replace arguments that a registered layer, or a component, was constructed with: files get these."""
    kept = vars(thing).get("_init_arguments")
    if kept is not None:
        kept.values.update(values)


def replace_setting(thing: Any, name: str, value: Any) -> None:
    """Note that an attribute of a registered layer was set afterwards, where an argument has its name."""
    if name in _keywords(thing.__class__) - _keywords(keras.layers.Layer):
        remember(thing, **{name: value})
        Component.changes += 1


def _argument_config(self: Any) -> dict[str, Any]:
    kept = vars(self).get("_init_arguments")  # not where the arguments did not fit the constructor
    return {k: keras.saving.serialize_keras_object(v) for k, v in (kept.values if kept else {}).items()}


def _layer_config(self: Any) -> dict[str, Any]:
    """The constructor's arguments, and the layer's name, dtype policy and trainable flag."""
    base = {
        "name": self.name,
        "trainable": self.trainable,
        "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
    }
    known = _keywords(self.__class__)
    # components that the constructor made by itself, and that were changed since
    changed = {k: v for k, v in vars(self).items() if isinstance(v, Component) and v.changed}
    own = {k: keras.saving.serialize_keras_object(v) for k, v in changed.items() if k in known}
    return {
        **base,
        **own,
        **{k: v for k, v in _argument_config(self).items() if v is not None or k not in own},
    }


def _build_from_config(cls: type[Any], config: dict[str, Any]) -> Any:
    """An object from the result of ``get_config``."""
    return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def get(name: str) -> type[Any]:
    """The class registered under ``name``.

    Raises:
        KeyError: with the nearest known names when there is none.
    """
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise KeyError(f"No class is registered under the type {name!r}.{hint}")
    return _CLASSES[name]


def is_registered(name: str) -> bool:
    """Whether there is a class of that type name."""
    return name in _CLASSES


def names(kind: str | None = None) -> list[str]:
    """All registered type names, sorted; ``kind``: only of classes that derive from one of that name."""
    return sorted(name for name, cls in _CLASSES.items() if kind is None or is_a(cls, kind))


def is_a(cls: type[Any], kind: str) -> bool:
    """Whether a class derives from one of the name ``kind``.

    By name, so that a recipe can be checked without importing what its sections are for.
    """
    return kind in _kinds(cls)


@once_per_class
def _kinds(cls: type[Any]) -> frozenset[str]:
    return frozenset(base.__name__ for base in cls.__mro__)


class _Recorded(type):
    """Marks a component when its constructor is through: what is set from then on is a change of settings."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__call__(*args, **kwargs)
        object.__setattr__(self, "_complete", True)
        return self

    @property
    def __signature__(cls) -> inspect.Signature:
        # without it `help` and `inspect.signature` would show that of `__call__`
        own: type[Any] = cls
        signature = inspect.signature(own.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Component(metaclass=_Recorded):
    """Base of the parts that are no Keras layers (priors, coders, assigners, samplers, losses).

    Remembers the arguments that its constructor was called with, so that every component can be
    written into a config or a ``.keras`` file and built again. An attribute of an argument's name that is
    set later (``postprocess.score_threshold = 0.5``) replaces that argument.

    Attributes:
        changes: how often a setting of any component was replaced in this process; a graph that was traced
            before the last time may be out of date.
        changed: whether a setting of this one was.
    """

    changes = 0
    changed = False
    _complete = False
    _init_arguments: _Arguments

    def __init__(self) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self._complete and name in _parameters(type(self)):
            self._init_arguments.values[name] = value
            object.__setattr__(self, "changed", True)
            Component.changes += 1

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def get_config(self) -> dict[str, Any]:
        return _argument_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return _build_from_config(cls, config)

    def __repr__(self) -> str:
        kept = vars(self).get("_init_arguments")
        values = kept.values if kept else {}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


_remember_arguments(Component)
