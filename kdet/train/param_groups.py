"""Learning-rate and weight-decay factors per parameter, chosen by name."""

import difflib
from typing import Any

import keras

from kdet.compat import layers_of
from kdet.convert.walk import torch_items
from kdet.layers import BatchNorm, TorchNamed

NORM_LAYERS = (
    BatchNorm,
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)


class ParamGroups:
    """Rules that give every parameter its ``(lr_mult, decay_mult)``.

    A parameter is known by its name in the reference checkpoint (``backbone.layer1.0.conv1.weight``).

    Args:
        custom_keys: ``{part of a name: {"lr_mult": 0.1, "decay_mult": 1.0}}``; the longest part that
            occurs in the name wins (then the alphabetically first) and switches the other rules off.
        bias_lr_mult, bias_decay_mult: factors for biases that do not belong to a norm layer, nor to the
            convolution that gives a deformable one its offsets (``conv_offset``): so the reference has it.
        norm_decay_mult: weight-decay factor of norm layers (gamma and beta).
        vector_decay_mult: further weight-decay factor of everything of one dimension: biases, norms, scales.
        layer_decay: further rate factor for each layer between a parameter of the backbone and the heads, for
            backbones whose layers are counted (``Layer.layers_above``).
    """

    def __init__(
        self,
        custom_keys: dict[str, dict[str, float]] | None = None,
        bias_lr_mult: float = 1.0,
        bias_decay_mult: float = 1.0,
        norm_decay_mult: float = 1.0,
        vector_decay_mult: float = 1.0,
        layer_decay: float = 1.0,
    ) -> None:
        self.custom_keys = dict(custom_keys or {})
        for key, factors in self.custom_keys.items():
            unknown = set(factors) - {"lr_mult", "decay_mult"}
            if unknown:
                raise ValueError(
                    f"parameters.custom_keys.{key}: unknown {sorted(unknown)}; use lr_mult and decay_mult."
                )
        self.bias_lr_mult = float(bias_lr_mult)
        self.bias_decay_mult = float(bias_decay_mult)
        self.norm_decay_mult = float(norm_decay_mult)
        self.vector_decay_mult, self.layer_decay = float(vector_decay_mult), float(layer_decay)
        self._keys = sorted(sorted(self.custom_keys), key=len, reverse=True)

    def factors(self, name: str, is_norm: bool = False) -> tuple[float, float]:
        """``(lr_mult, decay_mult)`` of the parameter ``name``."""
        for key in self._keys:
            if key in name:
                chosen = self.custom_keys[key]
                return float(chosen.get("lr_mult", 1.0)), float(chosen.get("decay_mult", 1.0))
        if is_norm:
            return 1.0, self.norm_decay_mult
        layer, _, part = name.rpartition(".")
        if part == "bias" and layer.rpartition(".")[2] != "conv_offset":
            return self.bias_lr_mult, self.bias_decay_mult
        return 1.0, 1.0

    def resolve(self, model: keras.Model) -> list[tuple[Any, tuple[float, float]]]:
        """``[(variable, (lr_mult, decay_mult)), ...]`` of the trainable variables of ``model``.

        Raises:
            ValueError: a custom key fits no parameter of the model; ``layer_decay`` is given, and the layers
                of its backbone are not counted.
        """
        named = parameter_names(model)
        for key in self._keys:
            if not any(key in name for _, name, _ in named):
                words = {part for _, name, _ in named for part in name.split(".")}
                near = difflib.get_close_matches(key, words, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"parameters.custom_keys: {key!r} is in no parameter's name.{hint}")
        found = []
        for variable, name, is_norm in named:
            rate, decay = self.factors(name, is_norm)
            decay *= self.vector_decay_mult if len(variable.shape) == 1 else 1.0
            found.append((variable, (rate * self.layer_factor(model, name), decay)))
        return found

    def layer_factor(self, model: keras.Model, name: str) -> float:
        """The rate factor of a parameter for the layers between it and the heads."""
        names = model.torch_names if isinstance(model, TorchNamed) else {}
        prefix = f"{names.get('backbone', 'backbone')}."
        if self.layer_decay == 1.0 or not name.startswith(prefix):
            return 1.0
        above = model.backbone.layers_above(name.removeprefix(prefix))
        if above is None:
            raise ValueError(
                f"parameters.layer_decay: the layers of {type(model.backbone).__name__} are not counted; "
                "those of ConvNeXt and of the windowed transformers are."
            )
        return self.layer_decay**above


def parameter_names(model: keras.Model) -> list[tuple[Any, str, bool]]:
    """``[(variable, name, belongs to a norm layer), ...]`` of all trainable variables.

    Variables of layers that have no checkpoint names go by their Keras path, with dots.
    """
    names: dict[int, str] = {}
    norms: set[int] = set()
    for name, slot in torch_items(model).items():
        for variable in slot.variables:
            names.setdefault(id(variable), name)
    for layer in layers_of(model):
        if isinstance(layer, NORM_LAYERS):
            norms.update(id(v) for v in layer.trainable_variables)
    return [
        (v, names.get(id(v), v.path.replace("/", ".")), id(v) in norms) for v in model.trainable_variables
    ]
