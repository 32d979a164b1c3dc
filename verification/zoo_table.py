"""Writes docs/zoo.md from the recipes and results/*.json: ``python -m verification.zoo_table``."""

import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "zoo.md", ROOT / "verification" / "results"


def page():
    """The text of docs/zoo.md as it should be."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from verification import exact, report, zoo_page

    exports = RESULTS / "exports.json"
    return zoo_page.markdown(
        report.load_results(RESULTS / "parity.json"),
        exact.load(RESULTS / "float64.json"),
        json.loads(exports.read_text(encoding="utf-8")) if exports.exists() else {},
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
