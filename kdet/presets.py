"""Detectors as folders: presets, which can be shared, and the work directories of training runs.

A preset holds ``recipe.yaml`` (the model's section, class names among its arguments), ``model.safetensors``
(all weights), ``metadata.json`` and ``README.md``, a model card. It is named by its folder, or by its address
on a hub, see ``kdet.hubs``.

>>> model.save_to_preset("cells")
>>> kdet.zoo.load("cells")
>>> kdet.zoo.upload("cells", "hf://user/cells")
>>> kdet.zoo.load("hf://user/cells", num_classes=5)
"""

import inspect
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from kdet import hubs, registry, storage
from kdet.config import Config
from kdet.convert import cache
from kdet.errors import KdetError
from kdet.typing import PathLike
from kdet.writing import whole

if TYPE_CHECKING:
    from kdet.detectors import Detector

RECIPE, WEIGHTS, METADATA, CARD = "recipe.yaml", "model.safetensors", "metadata.json", "README.md"
FORMAT = 1
# of a training run; the best come before the last
RUN_RECIPE, RUN_WEIGHTS = "config.yaml", ("best.weights.h5", "final.weights.h5")
# what Keras notes of every layer; a recipe leaves it to the layer
_KERAS_OWN = ("name", "trainable", "dtype")


class PresetError(KdetError):
    """A folder that is no preset, or a model that cannot be written as one."""


def find(name: PathLike) -> pathlib.Path:
    """Return the folder of a preset, downloaded where ``name`` is an address.

    Raises:
        PresetError: a folder, or what was downloaded, lacks a file of a preset.
        kdet.hubs.HubError: the address cannot be downloaded.
    """
    text = str(name)
    folder = hubs.download(text) if hubs.is_address(text) else pathlib.Path(text)
    missing = [file for file in (RECIPE, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise PresetError(f"{text} is no preset of kdet: it has no {' and no '.join(missing)}.")
    return folder


def resolve(name: PathLike, weights: PathLike | None) -> tuple[PathLike, PathLike | None]:
    """Return recipe and weights: those of a preset or of the work directory of a run, others as they are.

    Args:
        name: a preset's folder or address, a work directory, or anything else that names a recipe.
        weights: "published" weights of a preset or run are its own: the best of a run that kept them
            (``train.save_best``), otherwise its last.

    Raises:
        PresetError: a folder that is neither, or a run without weights.
        kdet.hubs.HubError: the address cannot be downloaded.
    """
    text = str(name)
    if storage.is_url(text) and (text.endswith((".yaml", ".yml")) or not hubs.is_address(text)):
        return _resolve_url(text, weights)
    if not hubs.is_address(text) and not _is_folder(text):
        return name, weights
    if (pathlib.Path(text) / RUN_RECIPE).is_file():
        recipe, own = pathlib.Path(text) / RUN_RECIPE, [pathlib.Path(text) / file for file in RUN_WEIGHTS]
    else:
        folder = find(name)
        recipe, own = folder / RECIPE, [folder / WEIGHTS]
    if weights != "published":
        return recipe, weights
    there = [path for path in own if path.is_file()]
    if not there:
        raise PresetError(
            f"The run {text} has no {RUN_WEIGHTS[-1]}: let it end (kdet train --resume), or name the weights."
        )
    return recipe, there[0]


def _resolve_url(url: str, weights: PathLike | None) -> tuple[str, PathLike | None]:
    """As :func:`resolve`, of a recipe, a preset or a work directory behind a URL (``kdet.storage``)."""
    if url.endswith((".yaml", ".yml")):
        return url, weights
    there = storage.listing(url) or set()
    for recipe, kept in ((RUN_RECIPE, RUN_WEIGHTS), (RECIPE, (WEIGHTS,))):
        own = [str(storage.join(url, file)) for file in kept if file in there]
        if recipe in there and (own or weights != "published"):
            return str(storage.join(url, recipe)), own[0] if weights == "published" else weights
    raise PresetError(f"{url} is no recipe (a .yaml file), no preset of kdet and no run that has ended.")


def save(model: "Detector", folder: PathLike, metadata: Mapping[str, Any] | None = None) -> PathLike:
    """Write a detector as a preset; the folder appears whole or not at all.

    Args:
        model: the detector, trained or not.
        folder: where to; a preset that stands there is replaced. May be a URL (``kdet.storage``).
        metadata: more entries of ``metadata.json``: license, data set, scores ...

    Returns:
        The folder.

    Raises:
        PresetError: the weights are kept in half precision, a part has no place in a recipe, or the folder
            holds something else.
        kdet.errors.WriteError: the disk is full or fails.
    """
    if storage.is_url(folder):
        with storage.sent(str(folder)) as part:
            save(model, part, metadata)
        return folder
    target = pathlib.Path(folder)
    if target.exists() and not (target / RECIPE).is_file() and (target.is_file() or any(target.iterdir())):
        raise PresetError(f"{target} is there already and is no preset: choose another folder.")
    if not cache.is_exact(model):
        raise PresetError(
            f"{model.name} keeps weights in {model.dtype_policy.name}; a preset holds float32: build the "
            "model with a mixed policy."
        )
    spec = describe(model)
    facts = {
        "format": FORMAT,
        "kdet": _version(),
        "name": target.name,
        "detector": type(model).__name__,
        "num_classes": model.num_classes,
        "class_names": model.class_names,
        "parameters": model.count_params(),
        **(metadata or {}),
    }
    with whole(target) as part:
        part.mkdir()
        Config({"model": spec}).save(part / RECIPE)
        cache.save_weights(model, part / WEIGHTS)
        (part / METADATA).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        (part / CARD).write_text(card(facts), encoding="utf-8")
    return target


def describe(model: "Detector") -> dict[str, Any]:
    """Return the model section of a recipe that builds ``model``, settings that were changed later included.

    Raises:
        PresetError: an argument of a part is no plain value and no registered class.
    """
    spec = _spec(keras.saving.serialize_keras_object(model), type(model).__name__)
    assert isinstance(spec, dict)
    return spec


def _spec(value: Any, place: str) -> Any:
    """A value that Keras serialized, as a recipe says it."""
    if isinstance(value, list):
        return [_spec(item, f"{place}.{i}") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__tuple__":
        return _spec(value["items"], place)
    if "class_name" not in value or "config" not in value:
        return {key: _spec(item, f"{place}.{key}") for key, item in value.items()}
    name = value["class_name"]
    if not registry.is_registered(name):
        raise PresetError(
            f"{place} is a {name}, which no recipe can say: register its class (kdet.registry)."
        )
    defaults = {key: p.default for key, p in inspect.signature(registry.get(name)).parameters.items()}
    arguments = {key: item for key, item in value["config"].items() if key not in _KERAS_OWN}
    spec = {key: _spec(item, f"{place}.{key}") for key, item in arguments.items()}
    return {"type": name, **{k: v for k, v in spec.items() if k not in defaults or v != _plain(defaults[k])}}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def card(facts: Mapping[str, Any]) -> str:
    """Return the model card of a preset, in the form that hubs read."""
    names = ", ".join(facts["class_names"] or ()) or "not named"
    license_line = f"license: {json.dumps(facts['license'])}\n" if "license" in facts else ""
    return (
        f"---\nlibrary_name: kdet\npipeline_tag: object-detection\ntags: [keras, kdet]\n{license_line}---\n"
        f"# {facts['name']}\n\n"
        f"A {facts['detector']} with {facts['parameters']:,} parameters for {facts['num_classes']} classes "
        f"({names}), made with kdet {facts['kdet']}.\n\n"
        "```python\nimport kdet\n\n"
        f'model = kdet.zoo.load("{facts["name"]}")  # the folder, or its address: "hf://user/model"\n'
        'model.predict(["image.jpg"])[0].plot()\n```\n'
    )


def _is_folder(text: str) -> bool:
    try:
        return pathlib.Path(text).is_dir()
    except (OSError, ValueError):  # a name that is too long or holds a NUL
        return False


def _version() -> str:
    from kdet import __version__

    return __version__
