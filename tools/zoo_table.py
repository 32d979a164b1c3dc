"""Writes docs/zoo.md from the recipes, docs/parity.json and docs/exports.json: ``python tools/zoo_table.py``."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def page():
    """The text of docs/zoo.md as it should be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kdet.parity import report, zoo_page

    docs = ROOT / "docs"
    return zoo_page.markdown(
        report.load_results(docs / "parity.json"), report.load_results(docs / "exports.json")
    )


if __name__ == "__main__":
    (ROOT / "docs" / "zoo.md").write_text(page(), encoding="utf-8")
