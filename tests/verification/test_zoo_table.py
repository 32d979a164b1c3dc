"""docs/zoo.md is what its generator makes of the recipes and results."""

import pathlib

from verification import zoo_page, zoo_table

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_committed_page_is_up_to_date():
    committed = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    assert committed == zoo_table.page(), "docs/zoo.md is out of date: run python -m verification.zoo_table"


def test_recipes_of_one_model_share_their_status():
    rows = [["backbone", 1e-6, True, ""], ["losses", 0.1, False, "loss_cls"]]
    parity = {"g": {"name": "faster_rcnn_r50_fpn_1x", "rows": rows}}
    compared = {"g": {"losses": [1e-8, 0.2]}}
    exports = {"faster_rcnn_r50_fpn_1x": {"saved_model": "ok", "tflite": "fails: no kernel"}}
    missing, rounding = (zoo_page.markdown(parity, m, exports) for m in ({}, compared))
    for name in ("faster_rcnn_r50_fpn_1x", "faster_rcnn_r50_fpn_2x"):  # the other differs in its schedule
        line = next(line for line in missing.splitlines() if line.startswith(f"| {name} "))
        assert line.endswith("| losses | saved_model, ~~tflite~~ |"), line
    assert "| 37.4 | rounding |" in rounding
    assert "- faster_rcnn_r50_fpn_1x, tflite: fails: no kernel" in missing
    assert "| faster_rcnn_r101_fpn_1x | 39.4 |  |  |" in missing
