"""The table of the published models: names, spellings, figures, checkpoint addresses.

``configs/published.csv`` holds one row per model of the MMDetection 2.x zoo and of those from elsewhere
(``source``). Its figures are the reference's, measured there, not kdet's.
"""

import csv
import functools
import pathlib
from typing import Any

# of the rows that do not say it
_SOURCE, _LICENSE = "MMDetection 2.28", "Apache-2.0"
_NUMBERS = ("box_ap", "mask_ap", "ar1000", "pq", "train_mem_gb", "fps")


def configs_dir() -> pathlib.Path:
    """The folder of the recipes: inside the installed package, or beside it in a checkout."""
    package = pathlib.Path(__file__).resolve().parent
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """``{name: metadata}`` of all published models.

    Metadata: ``family``, ``mmdet_config`` (of MMDetection's models), ``parameters`` (learnable ones), the
    published ``box_ap``, ``mask_ap``, ``ar1000``, ``pq``, ``train_mem_gb``, ``fps`` (each only where
    published), ``checkpoint`` (address), ``sha256`` (the first eight hex digits, where the file's name has
    them), ``aliases``, ``source`` (the library that the model is from), ``license`` (of the
    published weights) and ``input_size`` (width x height).
    """
    with open(configs_dir() / "published.csv", newline="", encoding="utf-8") as file:
        return {row.pop("name"): _metadata(row) for row in csv.DictReader(file)}


def _metadata(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {key: text for key, text in row.items() if text}
    values.update({key: float(values[key]) for key in _NUMBERS if key in values})
    if "parameters" in values:
        values["parameters"] = int(values["parameters"])
    values["aliases"] = values.get("aliases", "").split()
    values.setdefault("source", _SOURCE)
    values.setdefault("license", _LICENSE)
    return values


@functools.cache
def _spellings() -> dict[str, str]:
    found = {}
    for name, row in table().items():
        config = row.get("mmdet_config")
        for alias in (*row["aliases"], *([config, f"{row['family']}/{config}"] if config else []), name):
            found[alias] = name
    return found


def canonical_name(name: str) -> str:
    """kdet's name for any published spelling; other names come back unchanged."""
    return _spellings().get(name, name)


def metadata(name: str) -> dict[str, Any]:
    """The row of ``name`` (a copy), or ``{}`` for a recipe that was never published."""
    return dict(table().get(name, {}))
