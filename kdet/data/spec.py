"""A data section with everything filled in and checked, and the objects that it names."""

import os
from typing import Any

from kdet import schema
from kdet.building import build_part
from kdet.data import buckets
from kdet.data.extent import Extent
from kdet.data.readers import Reader
from kdet.data.sample import Transform
from kdet.errors import ConfigError, DataError
from kdet.ranges import Part
from kdet.registry import get
from kdet.settings import Split

TRANSFORMS = Part("Transform", many=True)
READER = Part("Reader")
DEFAULT_TRANSFORMS = [{"type": "Resize"}, {"type": "RandomFlip"}]
SHARED = ("classes", "masks", "on_missing", "on_corrupt")  # keys that readers take too


def complete(spec: dict[str, Any], where: str = "data") -> tuple[Split, Reader]:
    """The settings of a data set with their defaults, checked, and its reader.

    Raises:
        ConfigError: naming the key, the value and the nearest valid one.
    """
    spec = {key: _plain_paths(value) for key, value in spec.items()} if isinstance(spec, dict) else spec
    if isinstance(spec, dict):
        lists = schema.own_keywords(Split)
        # null leaves a key at its default
        spec = {k: v for k, v in spec.items() if v is not None or k not in lists or k == "annotations"}
    found = [text for _, text in schema.section_problems(spec, Split, (where,))]
    if found:
        raise ConfigError("\n".join(found))
    if spec.get("annotations") is None:
        raise ConfigError(f"{where} lacks the key 'annotations'.")
    own = schema.own_keywords(Split)
    split = Split(**{key: value for key, value in spec.items() if key in own})
    options = {key: value for key, value in spec.items() if key not in own and value is not None}
    return split, _reader(split, options, where)


def _reader(split: Split, options: dict[str, Any], where: str) -> Reader:
    takes = schema.own_keywords(get(split.type))
    options.update({key: vars(split)[key] for key in SHARED if key in takes})
    if split.masks and "masks" not in takes:
        raise ConfigError(f"{where}.masks: the reader {split.type} has no masks.")
    return build_part({"type": split.type, **options}, READER, (where,))


def chain(split: Split, training: bool, where: str = "data") -> list[Transform]:
    """The transforms of a data set, built and checked against what else it delivers.

    Raises:
        ConfigError, DataError: naming the key, the value and what to do.
    """
    given = DEFAULT_TRANSFORMS if split.transforms is None else split.transforms
    built = build_part(given, TRANSFORMS, (where, "transforms"))
    if not training:
        return [one for one in built if not one.augmentation]
    own_maps = get(split.type).gives_class_maps
    for one in built:
        name = type(one).__name__
        if one.needs_masks and not split.masks:
            raise DataError(f"{name} cuts objects out by their masks: set {where}.masks: true.")
        for key in ("semantic", "proposals"):
            if not one.keeps_masks and vars(split)[key]:
                raise DataError(
                    f"{name} moves objects, and {where}.{key} cannot follow: leave out one of them."
                )
        if own_maps and not one.keeps_masks:
            raise DataError(
                f"{name} moves objects, and the class maps of {where}.type: {split.type} cannot follow: "
                "leave out one of them."
            )
    sizing = _sizing(built) if not split.buckets else None
    class_maps = own_maps or bool(split.semantic)
    for one in built:
        one.prepare(masks=split.masks, semantic=class_maps, sizes_canvas=one is sizing)
    return built


def _sizing(transforms: list[Transform]) -> Transform | None:
    """The transform that the parts of the last extent come from, or None where it has none."""
    extent, sizing = Extent(), None
    for transform in transforms:
        before, extent = extent, transform.extent(extent)
        if extent.parts is not before.parts:
            sizing = transform
    return sizing if extent.parts else None


def extent_of(transforms: list[Transform]) -> Extent:
    """The sizes that images can have after all transforms."""
    extent = Extent()
    for transform in transforms:
        extent = transform.extent(extent)
    return extent


def _plain_paths(value: Any) -> Any:
    """``pathlib`` paths as texts, in lists too."""
    if isinstance(value, (list, tuple)):
        return [_plain_paths(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def canvas_shapes(size: tuple[int, int], fixed: bool, divisor: int | None = None) -> list[tuple[int, int]]:
    """Canvas shapes (h, w) for a size: one for a fixed (w, h), the buckets for a (long, short) limit.

    ``divisor`` defaults to 1 for a fixed size and to 32 else.
    """
    if fixed:
        height, width = (buckets.round_up(side, divisor or 1) for side in size[::-1])
        return [(height, width)]
    return buckets.bucket_shapes(size, divisor or 32)
