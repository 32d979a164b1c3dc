"""The registry: a YAML ``type`` maps to a class, and nothing else happens here."""

import difflib
import inspect

import keras

_CLASSES = {}


def register(cls):
    """Class decorator: makes ``cls`` buildable from YAML and serialisable by Keras.

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
        cls.get_config, cls.from_config = _layer_config, classmethod(_build_from_config)
    _CLASSES[name] = keras.saving.register_keras_serializable(package="kdet")(cls)
    return cls


class _Arguments:
    """Holds constructor arguments where Keras' tracking of attributes does not look."""

    def __init__(self, values):
        self.values = values


def _bound(cls, self, args, kwargs):
    values = dict(inspect.signature(cls.__init__).bind(self, *args, **kwargs).arguments)
    values.pop("self")
    values.update(values.pop("kwargs", {}))
    return _Arguments(values)


def _remember_arguments(cls):
    """Lets objects of ``cls`` keep the arguments that they are constructed with."""
    create = cls.__new__

    def remembering_new(cls, *args, **kwargs):
        self = create(cls, *args, **kwargs)
        try:
            object.__setattr__(self, "_init_arguments", _bound(cls, self, args, kwargs))
        except TypeError:
            pass  # arguments that do not fit: the constructor itself says so
        return self

    cls.__new__ = remembering_new


def _argument_config(self):
    return {k: keras.saving.serialize_keras_object(v) for k, v in self._init_arguments.values.items()}


def _layer_config(self):
    """The constructor's arguments, and the layer's name, dtype policy and trainable flag."""
    base = {
        "name": self.name,
        "trainable": self.trainable,
        "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
    }
    return {**base, **_argument_config(self)}


def _build_from_config(cls, config):
    """An object from the result of ``get_config``."""
    return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def get(name):
    """The class registered under ``name``.

    Raises:
        KeyError: with the nearest known names when there is none.
    """
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise KeyError(f"No class is registered under the type {name!r}.{hint}")
    return _CLASSES[name]


def names():
    """All registered type names, sorted."""
    return sorted(_CLASSES)


class Component:
    """Base of the parts that are no Keras layers (priors, coders, assigners, samplers, losses).

    Remembers the arguments that its constructor was called with, so that every component can be
    written into a config or a ``.keras`` file and built again.
    """

    def __init__(self):
        pass

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def get_config(self):
        return _argument_config(self) if hasattr(self, "_init_arguments") else {}

    @classmethod
    def from_config(cls, config):
        return _build_from_config(cls, config)

    def __repr__(self):
        values = self._init_arguments.values if hasattr(self, "_init_arguments") else {}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


_remember_arguments(Component)
