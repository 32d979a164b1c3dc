"""Writes the table of docs/tflite.md from results/exports.json: ``python -m verification.tflite_table``."""

import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, REPORT = ROOT / "docs" / "tflite.md", ROOT / "verification" / "results" / "exports.json"
HEADING = "## Which models"


def page():
    """The text of docs/tflite.md as it should be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kdet.config import recipes

    families = {name: path.parent.name for name, path in recipes().items()}
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    rows = {name: row["tflite"] for name, row in report.items() if "tflite" in row and name in families}
    return PAGE.read_text(encoding="utf-8").split(HEADING)[0] + section(rows, families)


def section(rows, families):
    """The heading and what follows.

    Args:
        rows: ``{recipe: verdict}``.
        families: ``{recipe: family}`` of all recipes.
    """
    counts = {
        kind: sum(row.startswith(kind) for row in rows.values()) for kind in ("builtin", "select", "fails")
    }
    lines = [
        HEADING,
        "",
        f"Made by `verification/sweep_exports.py` in float32: {len(rows)} of {len(families)} recipes "
        "(those whose models differ in training only are tried once). "
        f"{counts['builtin']} are built-in: TFLite's own ops suffice, and every detection of the model has a "
        "partner within 1e-3 pixels (or 1e-3 per cent of the box's longer side) and 1e-3 in score. "
        f"{counts['select']} convert with the TensorFlow ops named and could not be run; {counts['fails']} "
        "fail. `(small)`: the small variant of the recipe was run (`verification.small`: the same parts, "
        "fewer channels and layers), not the model itself. The others were not tried.",
        "",
        "| family | models | TFLite |",
        "|-|-|-|",
    ]
    table = {}
    for name in sorted(rows):
        table.setdefault((families[name], rows[name].replace("|", "\\|")), []).append(name)
    for (family, verdict), names in sorted(table.items()):
        lines.append(f"| {family} | {', '.join(names)} | {verdict} |")
    missing = sorted(set(families.values()) - {family for family, _ in table})
    if missing:
        lines += ["", f"No model was run of: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
