"""The registry: a YAML ``type`` maps to a class, and nothing else happens here."""

import difflib
import functools
import inspect

import keras

_CLASSES = {}


def register(cls):
    """Class decorator: makes ``cls`` buildable from YAML and serialisable by Keras."""
    name = cls.__name__
    if name in _CLASSES and _CLASSES[name].__module__ != cls.__module__:
        raise ValueError(
            f"Two classes are registered as {name!r}: {_CLASSES[name].__module__} and {cls.__module__}."
        )
    _CLASSES[name] = keras.saving.register_keras_serializable(package="kdet")(cls)
    return cls


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

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        init = cls.__init__
        signature = inspect.signature(init)

        @functools.wraps(init)
        def remembering_init(self, *args, **kwargs):
            if type(self).__init__ is remembering_init:
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                self._init_arguments = {k: v for k, v in bound.arguments.items() if k != "self"}
            init(self, *args, **kwargs)

        cls.__init__ = remembering_init

    def get_config(self):
        arguments = getattr(self, "_init_arguments", {})
        return {k: keras.saving.serialize_keras_object(v) for k, v in arguments.items()}

    @classmethod
    def from_config(cls, config):
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in getattr(self, "_init_arguments", {}).items())
        return f"{type(self).__name__}({arguments})"
