"""Writes the table of docs/onnx.md from results/exports.json: ``python -m verification.onnx_table``."""

import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, REPORT = ROOT / "docs" / "onnx.md", ROOT / "verification" / "results" / "exports.json"
HEADING = "## Which models"
KINDS = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def page():
    """The text of docs/onnx.md as it should be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kdet.config import recipes

    families = {name: path.parent.name for name, path in recipes().items()}
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    rows = {name: row for name, row in report.items() if KINDS.keys() & row.keys() and name in families}
    return PAGE.read_text(encoding="utf-8").split(HEADING)[0] + section(rows, families)


def section(rows, families):
    """The heading and what follows.

    Args:
        rows: ``{recipe: {kind: verdict}}``.
        families: ``{recipe: family}`` of all recipes.
    """
    passed = {kind: sum(row.get(kind, "").startswith("ok") for row in rows.values()) for kind in KINDS}
    lines = [
        HEADING,
        "",
        f"Made by `verification/sweep_exports.py` in float32: {len(rows)} recipes were "
        f"exported and compared with `predict`; {passed['onnx']} agree in ONNX Runtime and "
        f"{passed['openvino']} in OpenVINO: every detection of the model has a partner within 0.01 pixels "
        "(or per cent of the box's longer side) and 1e-3 in score, and masks within 1e-3. `(small)`: the "
        "small variant of the recipe was run (`verification.small`: the same parts, fewer channels and "
        "layers), not the model itself. The others were not tried.",
        "",
        f"| family | models | {' | '.join(KINDS.values())} |",
        "|-|-|-|-|",
    ]
    table = {}
    for name in sorted(rows):
        verdicts = tuple(rows[name].get(kind, "not tried").replace("|", "\\|") for kind in KINDS)
        table.setdefault((families[name], verdicts), []).append(name)
    for (family, verdicts), names in sorted(table.items()):
        lines.append(f"| {family} | {', '.join(names)} | {' | '.join(verdicts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
