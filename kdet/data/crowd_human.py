"""Reader of CrowdHuman's annotations: ``annotation_train.odgt``, a JSON mapping on every line.

Shao et al., 2018, "CrowdHuman: A Benchmark for Detecting Human in a Crowd". ``ID`` is the image's name
without ending; of every entry of ``gtboxes`` the whole body ``fbox`` (x, y, w, h) is read, hidden parts
included.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from kdet.data import files
from kdet.data.gathering import Found, Gathering
from kdet.data.index import DatasetIndex, Faults
from kdet.errors import DataError, first_line, short
from kdet.typing import PathLike

CLASS = "person"


def read_crowd_human(
    annotations: PathLike,
    images: PathLike,
    *,
    classes: list[str] | None = None,
    masks: bool = False,
    on_missing: str = "error",
    on_corrupt: str = "error",
    allow_outside: bool = False,
) -> DatasetIndex:
    """Read one split of CrowdHuman.

    What is no person (tag ``mask``) and what is marked ``ignore`` become ignore regions.

    Args:
        annotations: the ``.odgt`` file.
        images: folder of the images ``<ID>.jpg``.
        classes: ``["person"]`` or None.
        masks: not available in this format; must be False.
        on_missing: "error" or "skip", for images that are not on disk.
        on_corrupt: "error" or "skip", for entries with wrong values and images that are none.
        allow_outside: names may lead out of the folder.

    Returns:
        ``DatasetIndex``; image ids count from 0 in the order of the file.

    Raises:
        MissingFile, DataError: naming the file, the line and what to do.

    Example:
        >>> index = kdet.data.read_crowd_human("annotation_val.odgt", "Images")
        >>> len(index.records)
        4370
    """
    if masks:
        raise DataError("CrowdHuman has no instance masks: set data.masks: false.")
    gathering = Gathering(
        annotations,
        images,
        classes=classes,
        masks=False,
        on_missing=on_missing,
        on_corrupt=on_corrupt,
        allow_outside=allow_outside,
    )
    for name, people in _entries(annotations, gathering.faults):
        path = gathering.find(name)
        size = None if path is None else gathering.size(path)
        if path is not None and size is not None:
            gathering.add(name, path, size, people)
    return gathering.index([CLASS])


def _entries(path: PathLike, faults: Faults) -> Iterator[tuple[str, list[Found]]]:
    """``(image name, people and regions that do not count)`` of every image."""
    text = files.read_text(str(path), "annotation file (data.annotations)")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
            name, people = entry["ID"], [_person(box, where) for box in entry["gtboxes"]]
        except RecursionError:
            faults.add("unusable entry", where, "it is nested too deeply")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            reason = "an image must be a JSON mapping with ID and gtboxes, of boxes with tag and fbox"
            faults.add("unusable entry", where, f"{reason} ({short(first_line(error))}); got {short(line)}")
        else:
            if isinstance(name, str) and name and pathlib.PurePath(name).name == name:
                yield f"{name}.jpg", people
            else:
                faults.add("unusable entry", where, f"ID must be the name of an image; got {short(name)}")


def _person(box: dict[str, Any], where: str) -> Found:
    """One entry of ``gtboxes``."""
    x, y, width, height = box["fbox"]
    ignored = box["tag"] != CLASS or bool((box.get("extra") or {}).get("ignore", 0))
    return Found(CLASS, where, [x, y, x + width, y + height], crowd=ignored)
