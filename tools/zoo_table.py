"""Writes docs/zoo.md from the recipes and docs/*.json: ``python tools/zoo_table.py``."""

import json
import os
import pathlib

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"


def page():
    """The text of docs/zoo.md as it should be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kdet.parity import exact, report, zoo_page

    exports = DOCS / "exports.json"
    return zoo_page.markdown(
        report.load_results(DOCS / "parity.json"),
        exact.load(DOCS / "float64.json"),
        json.loads(exports.read_text(encoding="utf-8")) if exports.exists() else {},
    )


if __name__ == "__main__":
    (DOCS / "zoo.md").write_text(page(), encoding="utf-8")
