"""Lists and dicts of layers inside lists and dicts, tracked and saved whole by every version of Keras.

Keras saves the layers in a list or dict that is an attribute of a layer. Before 3.15 it passes over the
lists and dicts *inside* it without a word. So an inner one becomes a layer itself here.
"""

from collections.abc import ItemsView, Iterator, Sequence
from typing import Any

import keras

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
    entries = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(entries, (list, tuple)):
        return value
    inner = [entry for entry in entries if isinstance(entry, (list, tuple, dict))]
    if not any(_holds_layers(entry) for entry in inner):
        return value
    if isinstance(value, dict):
        return {name: wrap(entry) for name, entry in value.items()}
    return [wrap(entry) for entry in value]


def _holds_layers(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_layers(entry) for entry in value)
    return isinstance(value, keras.Layer)
