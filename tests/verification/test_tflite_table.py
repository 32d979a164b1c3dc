"""docs/tflite.md is what its generator makes of the results."""

from verification import tflite_table


def test_the_committed_page_is_up_to_date():
    committed = tflite_table.PAGE.read_text(encoding="utf-8")
    assert committed == tflite_table.page(), (
        "docs/tflite.md is out of date: run python -m verification.tflite_table"
    )


def test_verdicts_are_counted_and_put_together():
    rows = {"ssd300": "builtin", "ssd512": "builtin", "yolox": "fails: a | b"}
    lines = tflite_table.section(
        rows, {"ssd300": "ssd", "ssd512": "ssd", "yolox": "yolo", "detr": "detr"}
    ).splitlines()
    assert "| ssd | ssd300, ssd512 | builtin |" in lines
    assert "| yolo | yolox | fails: a \\| b |" in lines
    assert "3 of 4 recipes" in lines[2] and "2 are built-in" in lines[2] and "1 fail." in lines[2]
    assert lines[-1] == "No model was run of: detr."
