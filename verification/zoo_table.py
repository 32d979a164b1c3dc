"""Writes docs/zoo.md and zoo.json from recipes and results/*.json: ``python -m verification.zoo_table``."""

import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "zoo.md", ROOT / "verification" / "results"
# of exports; docs/onnx.md has a table of the others
KINDS = ("saved_model", "tflite")


def pages():
    """``{path: text}`` of the page and of its data (for ``make docs``, which does without TensorFlow)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from verification import exact, report, zoo_page

    path = RESULTS / "exports.json"
    made = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    exports = {
        name: {kind: row[kind] for kind in KINDS if kind in row}
        for name, row in made.items()
        if not row.keys().isdisjoint(KINDS)
    }
    found = zoo_page.records(
        report.load_results(RESULTS / "parity.json"), exact.load(RESULTS / "float64.json"), exports
    )
    lines = ",\n".join(json.dumps(record) for record in found)
    return {PAGE: zoo_page.markdown(found, exports), PAGE.with_suffix(".json"): f"[\n{lines}\n]\n"}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
