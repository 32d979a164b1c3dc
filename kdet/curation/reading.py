"""All splits of a data set, with masks where every object has one."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kdet import schema
from kdet.data import DatasetIndex, data_sets, read_index
from kdet.errors import DataError
from kdet.registry import get
from kdet.typing import PathLike

logger = logging.getLogger("kdet.data")

WITHOUT_MASK = "object without a usable segmentation"


def read_splits(
    source: PathLike,
    format: str | None = None,
    images: PathLike | None = None,
    *,
    splits: Sequence[str] | None = None,
    masks: bool | None = None,
    **options: Any,
) -> dict[str, DatasetIndex]:
    """Reads every split of a data set.

    Args:
        source, format, images: as for :func:`kdet.data.data_sets`.
        splits: only these.
        masks: keep instance masks; None: where every object has one.
        options: keys of a data set (``classes``, ``on_missing`` ...); those that the reader does not have
            are left out.

    Returns:
        an index by the name of its split.

    Raises:
        MissingFile, DataError: see ``data_sets`` and the reader; a split that is not there.
    """
    found = data_sets(source, format, images)
    absent = [split for split in splits or () if split not in found]
    if absent:
        raise DataError(f"{source} has no split {absent[0]!r}; there is {', '.join(found)}.")
    specs = {split: found[split] for split in (splits or found)}
    given = {key: value for key, value in options.items() if value is not None}
    if masks is not None:
        return {split: _read(spec, masks, given) for split, spec in specs.items()}
    indexes = {split: _with_or_without(spec, given) for split, spec in specs.items()}
    lost = sum(index.skips.counts.get(WITHOUT_MASK, 0) for index in indexes.values())
    if not lost and all(index.has_masks for index in indexes.values()):
        return indexes
    kept = sum(index.num_objects for index in indexes.values() if index.has_masks)
    if kept:
        logger.info("%d of %d objects have no mask: boxes alone are read.", lost, lost + kept)
    return {
        split: _read(specs[split], False, given) if index.has_masks else index
        for split, index in indexes.items()
    }


def _with_or_without(spec: Mapping[str, Any], options: Mapping[str, Any]) -> DatasetIndex:
    """With masks, where the format and the files have them."""
    try:
        return _read(spec, True, options)
    except DataError as error:
        if "data.masks: false" not in str(error):
            raise
    return _read(spec, False, options)


def _read(spec: Mapping[str, Any], masks: bool, options: Mapping[str, Any]) -> DatasetIndex:
    takes = schema.own_keywords(get(spec["type"]))
    # what a reader does not have cannot be wrong in its files
    more = {key: value for key, value in options.items() if key in takes}
    return read_index({**spec, **more, "masks": masks})
