"""The attribute walk: which variable of a model carries which PyTorch name.

Names come from the attributes that hold the layers (``backbone.layer1.0.conv1``), never from Keras'
``variable.path``. What a layer says about itself (``torch_tensors``, ``torch_names``, ``training_state``) is
declared by ``kdet.layers.Layer``; of other layers, the variables and layers that are public attributes count
under the attributes' names.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from kdet.compat import layers_of
from kdet.convert import layouts
from kdet.layers import Layer, LayerDict, LayerList, TorchNamed
from kdet.typing import Array


@dataclasses.dataclass(frozen=True)
class TensorSlot:
    """Where one PyTorch tensor goes: ``variables`` (one, or its parts along axis 0) and the layout."""

    variables: tuple[keras.Variable, ...]
    rule: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the PyTorch tensor."""
        parts = [layouts.torch_shape(self.rule, v.shape) for v in self.variables]
        if len(parts) == 1:
            return parts[0]
        return (sum(part[0] for part in parts), *parts[0][1:])

    def assign(self, array: Array) -> None:
        """Fills the variables from a PyTorch array of ``shape``.

        Raises:
            ValueError: when the array has another shape.
        """
        array = np.asarray(array)
        if tuple(array.shape) != self.shape:
            raise ValueError(f"the model expects {self.shape}, the array is {tuple(array.shape)}")
        start = 0
        for variable in self.variables:
            part = array
            if len(self.variables) > 1:
                rows = layouts.torch_shape(self.rule, variable.shape)[0]
                part = array[start : start + rows]
                start += rows
            part = layouts.to_keras(self.rule, part, variable.shape)
            variable.assign(np.ascontiguousarray(part).reshape(variable.shape))

    def numpy(self) -> Array:
        """The variables' values as one contiguous PyTorch array."""
        parts = [layouts.to_torch(self.rule, v.numpy()) for v in self.variables]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=0)
        return np.ascontiguousarray(array).reshape(self.shape)


def torch_items(model: keras.Layer) -> dict[str, TensorSlot]:
    """All tensors of a model under their PyTorch names, in definition order.

    A layer that is reachable under two names is listed under both (tied weights).

    Args:
        model: a built Keras layer or model.

    Returns:
        ``{torch name: TensorSlot}``.

    Raises:
        ValueError: for an unbuilt layer, or two different variables under one name.
    """
    items: dict[str, TensorSlot] = {}
    for name, slot in _layer_items(model, ""):
        known = items.setdefault(name, slot)
        if [id(v) for v in known.variables] != [id(v) for v in slot.variables]:
            raise ValueError(f"Two variables of {model.name!r} would both be called {name!r}.")
    return items


def training_state(model: keras.Layer) -> Iterator[keras.Variable]:
    """The variables that layers declare as state of the training alone."""
    for layer in layers_of(model):
        if isinstance(layer, Layer):
            yield from (layer.part(name) for name in layer.training_state)


def named_layers(
    layer: keras.Layer, prefix: str = ""
) -> Iterator[tuple[str, keras.Layer, Callable[[keras.Layer], None]]]:
    """All layers inside ``layer`` by the PyTorch names of what is in them, built or not.

    Args:
        layer: a Keras layer or model.
        prefix: what all names begin with.

    Returns:
        ``(name, layer, what puts another layer into its place)``.
    """
    names = layer.torch_names if isinstance(layer, TorchNamed) else {}
    for attribute, value in list(vars(layer).items()):
        if not attribute.startswith("_") or attribute in names:
            replace = functools.partial(setattr, layer, attribute)
            yield from _named(value, prefix, names.get(attribute, attribute), replace)


def _named(
    value: Any, prefix: str, name: str | tuple[str, ...], replace: Callable[[Any], None]
) -> Iterator[tuple[str, keras.Layer, Callable[[keras.Layer], None]]]:
    if isinstance(value, (LayerList, LayerDict)):
        value = value.entries
    if isinstance(name, tuple):
        for index, (child, own) in enumerate(zip(list(value), name, strict=False)):
            yield from _named(child, prefix, own, functools.partial(value.__setitem__, index))
        return
    inner = prefix + name + "." if name else prefix
    if isinstance(value, keras.Layer):
        yield prefix + name, value, replace
        yield from named_layers(value, inner)
    elif isinstance(value, (dict, list)):
        for key, child in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield from _named(child, inner, str(key), functools.partial(value.__setitem__, key))


def _layer_items(layer: keras.Layer, prefix: str) -> Iterator[tuple[str, TensorSlot]]:
    declared = layer.torch_tensors if isinstance(layer, Layer) else {}
    names = layer.torch_names if isinstance(layer, TorchNamed) else {}
    covered: set[str] = set()
    found = False
    for name, (attributes, rule) in declared.items():
        attributes = attributes if isinstance(attributes, tuple) else (attributes,)
        covered.update(attribute.split(".")[0] for attribute in attributes)
        variables = tuple(_resolve(layer, attribute) for attribute in attributes)
        if all(v is not None for v in variables):
            found = True
            yield prefix + name, TensorSlot(variables, rule)
    if declared and not found and not layer.built:
        raise ValueError(
            f"The layer at {prefix[:-1] or layer.name!r} is not built; call the model once before converting."
        )
    for attribute, value in list(vars(layer).items()):
        if attribute in covered or (attribute.startswith("_") and attribute not in names):
            continue
        yield from _value_items(value, prefix, names.get(attribute, attribute))


def _value_items(value: Any, prefix: str, name: str | tuple[str, ...]) -> Iterator[tuple[str, TensorSlot]]:
    if isinstance(name, tuple):
        for child, own in zip(value, name, strict=False):
            yield from _value_items(child, prefix, own)
        return
    path = prefix + name
    if isinstance(value, keras.Variable):
        yield path, TensorSlot((value,))
        return
    inner = path + "." if name else prefix
    if isinstance(value, (LayerList, LayerDict)):
        value = value.entries
    if isinstance(value, keras.Layer):
        yield from _layer_items(value, inner)
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _value_items(child, inner, str(key))
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from _value_items(child, inner, str(index))


def _resolve(layer: keras.Layer, attribute: str) -> Any:
    value: Any = layer
    for part in attribute.split("."):
        value = getattr(value, part, None)  # the names come from the tables of `torch_tensors`
    return value
