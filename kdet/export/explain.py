"""What stops a trace: the first cause, without what Keras puts around it, and its layer."""

import re
import traceback
from collections.abc import Iterable
from typing import Any

import keras


def cause(error: BaseException) -> str:
    """One line that says what went wrong.

    Keras puts ``Exception encountered when calling X.call().`` before a message and the arguments behind it,
    TensorFlow the whole node into it.
    """
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # Keras' colors
    text = text.partition("Arguments received by")[0]
    text = re.split(r"Exception encountered when calling [^\n]*\n", text)[-1]
    text = re.sub(r" for '\{\{node .*?\}\} = .*?' with", " with", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def layer(error: BaseException, model: keras.Model) -> str:
    """The innermost layer on the way to an error: class and path in ``model``, else its name."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Layer):
            found = owner
    if found is None or found is model:
        return "the detector"
    return f"{type(found).__name__} {path(model, found) or found.name!r}"


def path(parent: keras.layers.Layer, wanted: keras.layers.Layer) -> str | None:
    """Attributes and indices from a layer to one of its parts, as ``neck.extra.0``; None where it is none."""
    pending: list[tuple[str, Any]] = [("", parent)]
    seen: set[int] = set()
    while pending:
        prefix, value = pending.pop(0)
        if value is wanted:
            return prefix[:-1]
        if id(value) in seen:
            continue
        seen.add(id(value))
        children: Iterable[tuple[Any, Any]]
        if isinstance(value, (list, tuple)):
            children = enumerate(value)
        elif isinstance(value, dict):
            children = value.items()
        elif isinstance(value, keras.Layer):
            children = ((name, part) for name, part in vars(value).items() if not name.startswith("_"))
        else:
            continue
        pending += [(f"{prefix}{name}.", child) for name, child in children]
    return None
