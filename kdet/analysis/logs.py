"""Training logs (``log.jsonl``) as columns."""

import json
import math
import pathlib
from typing import Any

from kdet.data import files
from kdet.errors import DataError, short
from kdet.typing import PathLike

Series = dict[str, tuple[list[int], list[float]]]


def read_log(path: PathLike) -> Series:
    """Every figure of a log: ``{name: (epochs, values)}``; of an epoch that stands twice the later line.

    Args:
        path: a ``log.jsonl``, or the work directory that holds it.

    Raises:
        MissingFile, DataError: naming the file and the line.
    """
    place = pathlib.Path(path)
    place = place / "log.jsonl" if place.is_dir() else place
    epochs: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(files.read_text(place, "training log").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}, line {number}: it is no JSON: {short(line)}.") from error
        if not isinstance(content, dict) or type(content.get("epoch")) is not int:
            raise DataError(f"{place}, line {number}: it has no 'epoch'; got {short(line)}.")
        epochs[content["epoch"]] = content
    if not epochs:
        raise DataError(f"{place} holds no epoch yet.")
    found: Series = {}
    for epoch, content in sorted(epochs.items()):
        for name, value in content.items():
            if name != "epoch" and isinstance(value, (int, float)) and math.isfinite(value):
                numbers, values = found.setdefault(name, ([], []))
                numbers.append(epoch)
                values.append(float(value))
    return found
