"""A recipe for one's own data, from the recipe of another: what ``--data`` of the commands does."""

import logging
from typing import Any

from kdet import schema
from kdet.config import Config
from kdet.data import data_sets, read_index
from kdet.data.index import DatasetIndex
from kdet.errors import DataError
from kdet.overrides import class_count
from kdet.registry import get, names
from kdet.typing import PathLike

logger = logging.getLogger("kdet.data")

# of a section, what belongs to the data set and not to the recipe
OWN = (
    "type",
    "annotations",
    "images",
    "classes",
    "proposals",
    "max_proposals",
    "semantic",
    "semantic_stride",
)
METRICS = ("bbox", "segm", "voc07", "voc12", "proposal")


def use_data(
    config: Config, source: PathLike, format: str | None = None, images: PathLike | None = None
) -> Config:
    """Puts a data set in the place of that of a recipe (in place).

    Transforms, masks, metrics and what else the recipe says of its data stay; class names and the number of
    classes are those of the new data set.

    Args:
        config: the recipe.
        source, format, images: as for :func:`kdet.data.data_sets`; with a split "train", and "val" or "test".

    Raises:
        DataError: there is no such split, or the recipe learns masks and the data set has none.
    """
    sets = data_sets(source, format, images)
    if "train" not in sets:
        raise DataError(
            f"{source} has no split 'train' (but {', '.join(sets)}): divide it with `kdet dataset split`, or "
            "write data.train and data.val into a recipe."
        )
    sets = {split: sets[split] for split in ("train", "val", "test") if split in sets}
    if "val" not in sets:
        sets["val"] = sets.get("test", sets["train"])
        logger.warning(
            "%s has no split 'val': %s is used to validate.", source, "test" if "test" in sets else "train"
        )
    before = config.get("data") or {}
    classes = before.get("classes") if "data.classes" in _set_by_hand(config) else None
    first = read_index({**sets["train"], **({"classes": classes} if classes else {})})
    config.override({"data": {"classes": first.class_names, **_sections(before, sets)}})
    metrics = [one for one in before.get("metrics", ()) if one in METRICS] or ["bbox"]
    config.override({"data.metrics": metrics})
    if class_count(config["model"]) is not None:
        config.override({"model.num_classes": len(first.class_names)})
    if config["data"]["train"].get("masks"):
        _require_masks(config, first, source)
    return config.check()


def _sections(before: dict[str, Any], sets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The sections of the recipe over the new data sets, without the keywords of other readers."""
    readers = {key for name in names("Reader") for key in schema.own_keywords(get(name))}
    shared = ("masks", "on_missing", "on_corrupt")
    found = {}
    for split, spec in sets.items():
        base = before.get(split) or before.get("val") or {}
        kept = {key: value for key, value in base.items() if key in shared or key not in (*OWN, *readers)}
        found[split] = {**kept, **spec}
    return found


def _set_by_hand(config: Config) -> set[str]:
    """Dotted paths that an override set."""
    return {".".join(path) for path, origin in config.origins.items() if str(origin).startswith("--set")}


def _require_masks(config: Config, index: DatasetIndex, source: PathLike) -> None:
    found = read_index({**config["data"]["train"], "classes": index.class_names})
    if index.num_objects and not found.num_objects:
        raise DataError(
            f"{config.name} learns masks, and {source} has boxes alone: choose a recipe of a detector of "
            "boxes such as faster_rcnn_r50_fpn_1x."
        )
