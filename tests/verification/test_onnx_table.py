"""docs/onnx.md is what its generator makes of the results."""

from verification import onnx_table


def test_the_committed_page_is_up_to_date():
    committed = onnx_table.PAGE.read_text(encoding="utf-8")
    assert committed == onnx_table.page(), (
        "docs/onnx.md is out of date: run python -m verification.onnx_table"
    )


def test_verdicts_are_counted_and_put_together():
    rows = {
        "ssd300": {"onnx": "ok", "openvino": "ok"},
        "ssd512": {"onnx": "ok", "openvino": "ok"},
        "yolox": {"onnx": "ok (small)", "openvino": "fails: a | b"},
        "detr": {"onnx": "ok"},
    }
    families = {"ssd300": "ssd", "ssd512": "ssd", "yolox": "yolo", "detr": "detr", "fcos": "fcos"}
    lines = onnx_table.section(rows, families).splitlines()
    assert "| ssd | ssd300, ssd512 | ok | ok |" in lines
    assert "| yolo | yolox | ok (small) | fails: a \\| b |" in lines
    assert "| detr | detr | ok | not tried |" in lines
    assert "float32: 4 recipes" in lines[2] and "; 4 agree in ONNX Runtime and 2 in OpenVINO" in lines[2]
    assert len(lines) == 9  # families of which nothing was run have no row
