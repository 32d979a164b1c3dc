"""docs/zoo.md and zoo.json are what their generator makes of the recipes and results."""

from verification import zoo_page, zoo_table


def test_the_committed_pages_are_up_to_date():
    made = zoo_table.pages()
    assert sorted(path.name for path in made) == ["zoo.json", "zoo.md"]
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is out of date: run python -m verification.zoo_table"
        )


def test_records_say_task_class_and_figures():
    records = {record["name"]: record for record in zoo_page.records({}, {}, {})}
    assert records["rpn_r50_fpn_1x"]["task"] == "proposals" and records["rpn_r50_fpn_1x"]["ar1000"] == 58.2
    assert records["atss_r50_fpn_1x"]["task"] == "detection"
    for name in (
        "yolact_r50_1x8",
        "cascade_mask_rcnn_r50_fpn_1x",
        "htc_r50_fpn_1x",
        "mask_rcnn_r50_fpn_poly_1x",
    ):
        assert records[name]["task"] == "instance segmentation", name
    mask_rcnn = records["mask_rcnn_r50_fpn_1x"]
    assert (mask_rcnn["detector"], mask_rcnn["parameters"], mask_rcnn["config"]) == (
        "TwoStageDetector",
        44396336,
        "mask_rcnn/mask_rcnn_r50_fpn_1x.yaml",
    )


def test_recipes_of_one_model_share_their_status():
    rows = [["backbone", 1e-6, True, ""], ["losses", 0.1, False, "loss_cls"]]
    parity = {"g": {"name": "faster_rcnn_r50_fpn_1x", "rows": rows}}
    compared = {"g": {"losses": [1e-8, 0.2]}}
    exports = {"faster_rcnn_r50_fpn_1x": {"saved_model": "ok", "tflite": "fails: no kernel"}}
    missing, rounding = (
        zoo_page.markdown(zoo_page.records(parity, m, exports), exports) for m in ({}, compared)
    )
    for name in ("faster_rcnn_r50_fpn_1x", "faster_rcnn_r50_fpn_2x"):  # the other differs in its schedule
        line = next(line for line in missing.splitlines() if line.startswith(f"| {name} "))
        assert line.endswith("| losses | saved_model, ~~tflite~~ |"), line
    assert "| 37.4 | rounding |" in rounding
    assert "- faster_rcnn_r50_fpn_1x, tflite: fails: no kernel" in missing
    assert "| faster_rcnn_r101_fpn_1x | 39.4 |  |  |" in missing
