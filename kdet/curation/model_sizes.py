"""What a recipe says of sizes: how images are scaled, its strides and its anchors; no model is built."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdet.building import build
from kdet.config import Config
from kdet.registry import get, is_registered
from kdet.typing import Array, KeyPath, PathLike


def of_recipe(recipe: PathLike | Config) -> dict[str, Any]:
    """``strides``, ``anchors`` (``[n, 2]`` width and height, None where it has none) and ``scale_of``.

    They are keywords of :func:`kdet.curation.check`.
    """
    config = recipe if isinstance(recipe, Config) else Config.load(recipe)
    generator = find_generator(config)
    strides = _first(config["model"], "strides") or ()
    anchors = None
    if generator is not None:
        made = build(generator[1])
        strides = made.strides
        bases = np.concatenate(made.base_anchors)
        anchors = bases[:, 2:] - bases[:, :2]
    return {"strides": strides, "anchors": anchors, "scale_of": scale_rule(config)}


def find_generator(config: Config) -> tuple[KeyPath, dict[str, Any]] | None:
    """The key path and mapping of the anchors in a recipe, None where its model has none."""
    for path, spec in _mappings(config["model"], ("model",)):
        if path[-1] == "anchor_generator" and str(spec.get("type", "")).endswith("AnchorGenerator"):
            return path, spec
    return None


def scale_rule(config: Config) -> Callable[[int, int], Array]:
    """``f(height, width)`` -> factors ``[2]`` (x, y) from an image to the network's input."""
    spec = config["model"].get("preprocessor") or {}
    size = spec.get("size", _default("size"))
    keeps = spec.get("keep_ratio", _default("keep_ratio"))
    if isinstance(size, (int, float)):
        return lambda height, width: np.full(2, float(size))
    if not keeps:
        return lambda height, width: np.array([size[0] / width, size[1] / height])
    long, short = max(size), min(size)
    return lambda height, width: np.full(2, min(long / max(height, width), short / min(height, width)))


def _default(name: str) -> Any:
    return inspect.signature(get("Preprocessor")).parameters[name].default


def _mappings(spec: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    items = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
    for key, value in items:
        if isinstance(value, dict):
            yield (*path, str(key)), value
        yield from _mappings(value, (*path, str(key)))


def _first(spec: dict[str, Any], key: str) -> list[int] | None:
    """The first list of numbers under a key, of registered parts."""
    for _, mapping in _mappings({"model": spec}, ()):
        found = mapping.get(key)
        if not isinstance(found, list) or not all(isinstance(v, int) for v in found):
            continue
        if is_registered(str(mapping.get("type", ""))) and found[0] >= 4:
            return found
    return None
