"""docs/tflite.md is what its generator makes of the results."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load():
    spec = importlib.util.spec_from_file_location("tflite_table", ROOT / "tools" / "tflite_table.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_committed_page_is_up_to_date():
    tool = load()
    committed = tool.PAGE.read_text(encoding="utf-8")
    assert committed == tool.page(), "docs/tflite.md is out of date: run python tools/tflite_table.py"


def test_verdicts_are_counted_and_put_together():
    rows = {"ssd300": "builtin", "ssd512": "builtin", "yolox": "fails: a | b"}
    lines = (
        load().section(rows, {"ssd300": "ssd", "ssd512": "ssd", "yolox": "yolo", "detr": "detr"}).splitlines()
    )
    assert "| ssd | ssd300, ssd512 | builtin |" in lines
    assert "| yolo | yolox | fails: a \\| b |" in lines
    assert "3 of 4 recipes" in lines[2] and "2 are built-in" in lines[2] and "1 fail." in lines[2]
    assert lines[-1] == "No model was run of: detr."
