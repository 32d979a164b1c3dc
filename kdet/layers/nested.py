"""Lists and dicts of layers inside lists and dicts, tracked and saved whole by every version of Keras.

Keras saves the layers in a list or dict that is an attribute of a layer. Before 3.15 it passes over the
lists and dicts *inside* it without a word. So an inner one becomes a layer itself here.
"""

from collections.abc import ItemsView, Iterator, Sequence
from typing import Any

import keras

from kdet import compat
from kdet.layers.base import Layer


class LayerList(Layer):
    """A list inside another list or dict: an immutable sequence whose entries Keras tracks and saves.

    Args:
        entries: layers, None (a place of a checkpoint's sequence without weights), and inner lists and
            dicts, which are wrapped in the same way.
    """

    def __init__(self, entries: Sequence[Any]) -> None:
        super().__init__()
        self.entries = [wrap(entry) for entry in entries]
        self.built = True

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def __getitem__(self, index: int | slice) -> Any:
        return self.entries[index]


class LayerDict(Layer):
    """A dict inside a list or another dict: an immutable mapping whose values Keras tracks and saves.

    Args:
        entries: as those of :class:`LayerList`, by name.
    """

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__()
        self.entries = {name: wrap(entry) for name, entry in entries.items()}
        self.built = True

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> Any:
        return self.entries[name]

    def items(self) -> ItemsView[str, Any]:
        return self.entries.items()


def wrap(entry: Any) -> Any:
    """``entry`` as a :class:`LayerList` or :class:`LayerDict` when it is a list, tuple or dict."""
    if isinstance(entry, dict):
        return LayerDict(entry)
    return LayerList(entry) if isinstance(entry, (list, tuple)) else entry


def wrap_inner(value: Any) -> Any:
    """An attribute's value with its inner lists and dicts wrapped, if there are layers in any of them."""
    if not any(True for _ in _layers_in(_inner(value))):
        return value
    if isinstance(value, dict):
        return {name: wrap(entry) for name, entry in value.items()}
    return [wrap(entry) for entry in value]


def hidden_layers(model: keras.Layer) -> list[keras.Layer]:
    """Return a model's layers in plain lists or dicts inside others: before 3.15 Keras passes over them."""
    found: list[keras.Layer] = []
    for layer in compat.layers_of(model):
        for value in vars(layer).values():
            found += _layers_in(_inner(value))
    return found


def _inner(value: Any) -> list[Any]:
    """The lists and dicts inside a list or dict."""
    entries = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(entries, (list, tuple)):
        return []
    return [entry for entry in entries if isinstance(entry, (list, tuple, dict))]


def _layers_in(value: Any) -> Iterator[keras.Layer]:
    """The layers at any depth of lists and dicts."""
    if isinstance(value, keras.Layer):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _layers_in(entry)
