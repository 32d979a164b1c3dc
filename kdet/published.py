"""The table of the published models: names, spellings, figures, checkpoint addresses.

``configs/published.csv`` holds one row per model of the MMDetection 2.x zoo. Its figures are the
reference's, measured there, not kdet's.
"""

import csv
import functools
import pathlib
from typing import Any

_NUMBERS = ("box_ap", "mask_ap", "ar1000", "train_mem_gb", "fps")


def configs_dir() -> pathlib.Path:
    """The folder of the recipes: inside the installed package, or beside it in a checkout."""
    package = pathlib.Path(__file__).resolve().parent
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    """``{name: metadata}`` of all published models.

    Metadata: ``family``, ``mmdet_config``, ``parameters`` (learnable ones), the published ``box_ap``,
    ``mask_ap``, ``ar1000``, ``train_mem_gb``, ``fps`` (each only where published), ``checkpoint``
    (address), ``sha256`` (the first eight hex digits) and ``aliases``.
    """
    with open(configs_dir() / "published.csv", newline="", encoding="utf-8") as file:
        return {row.pop("name"): _metadata(row) for row in csv.DictReader(file)}


def _metadata(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {key: text for key, text in row.items() if text}
    values.update({key: float(values[key]) for key in _NUMBERS if key in values})
    if "parameters" in values:
        values["parameters"] = int(values["parameters"])
    values["aliases"] = values.get("aliases", "").split()
    return values


@functools.cache
def _spellings() -> dict[str, str]:
    found = {}
    for name, row in table().items():
        for alias in (*row["aliases"], row["mmdet_config"], f"{row['family']}/{row['mmdet_config']}", name):
            found[alias] = name
    return found


def canonical_name(name: str) -> str:
    """kdet's name for any published spelling; other names come back unchanged."""
    return _spellings().get(name, name)


def metadata(name: str) -> dict[str, Any]:
    """The row of ``name`` (a copy), or ``{}`` for a recipe that was never published."""
    return dict(table().get(name, {}))
