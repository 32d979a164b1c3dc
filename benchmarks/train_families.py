"""Trains a small variant of every family on real images and writes the table in ``training.md``.

    python benchmarks/train_families.py            # all that are missing in training_families.json
    python benchmarks/train_families.py atss dcn   # these, again
    python benchmarks/train_families.py --table    # the table alone

Run from the repository root with the data folder beside it (``../shared/data``). Each family runs in a
process of its own.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORE = ROOT / "benchmarks" / "training_families.json"
PAGE = ROOT / "benchmarks" / "training.md"
START, END = "<!-- families: start -->", "<!-- families: end -->"
DATA = ROOT.parent / "shared" / "data"
SIZE, CANVAS = [160, 120], [128, 160]
PARTS, BATCH, CLIP = 3, 4, 10.0
RATES = {"SGD": 0.02, "AdamW": 5e-4}
# Attention over the whole image is learned slowly: the published rate and limit, so many times the steps.
SLOWER = {"detr": {"longer": 12, "rate": 1e-4, "clip": 0.1}}

NO_SEMANTICS = {"model.roi_head.semantic_head": None, "model.roi_head.semantic_roi_extractor": None}
SMALL_RESNET = {"type": "ResNet", "depth": 18, "base_channels": 32, "norm_eval": False}
FAMILIES = {
    "retinanet": ("retinanet_r50_fpn_1x", {}),
    "faster_rcnn": ("faster_rcnn_r50_fpn_1x", {}),
    "mask_rcnn": ("mask_rcnn_r50_fpn_1x", {}),
    "cascade_rcnn": ("cascade_rcnn_r50_fpn_1x", {}),
    "cascade_rcnn (mask)": ("cascade_mask_rcnn_r50_fpn_1x", {}),
    "htc": ("htc_r50_fpn_1x", NO_SEMANTICS),
    "point_rend": ("point_rend_r50_caffe_fpn_mstrain_1x", {}),
    "double_heads": ("dh_faster_rcnn_r50_fpn_1x", {}),
    "libra_rcnn": ("libra_faster_rcnn_r50_fpn_1x", {}),
    "dcn": ("faster_rcnn_r50_fpn_dconv_c3-c5_1x", {}),
    "dcn (RoI pooling)": ("faster_rcnn_r50_fpn_dpool_1x", {}),
    "dcnv2": ("faster_rcnn_r50_fpn_mdconv_c3-c5_1x", {}),
    "gn": ("mask_rcnn_r50_fpn_gn-all_2x", {}),
    "gn+ws": ("faster_rcnn_r50_fpn_gn_ws-all_1x", {}),
    "scratch": ("faster_rcnn_r50_fpn_gn-all_scratch_6x", {}),
    "fcos": ("fcos_r50_caffe_fpn_gn-head_1x", {}),
    "fcos (tricks)": ("fcos_center-normbbox-centeronreg-giou_r50_caffe_fpn_gn-head_1x", {}),
    "atss": ("atss_r50_fpn_1x", {}),
    "gfl": ("gfl_r50_fpn_1x", {}),
    "vfnet": ("vfnet_r50_fpn_1x", {}),
    "reppoints": ("reppoints_moment_r50_fpn_1x", {}),
    "ssd": (
        "ssd300",
        {
            "model.backbone": {**SMALL_RESNET, "out_indices": [1, 2]},
            "model.neck": {
                "type": "SSDNeck", "filters": [64, 64, 64], "strides": [2, 2, 2], "paddings": [1, 1, 1]
            },
            "model.bbox_head.anchor_generator": {
                "type": "SSDAnchorGenerator", "strides": [8, 16, 32, 64, 128],
                "ratios": [[2], [2, 3], [2, 3], [2], [2]], "sizes": [10, 24, 40, 60, 90, 120],
            },
        },
    ),
    "yolo": ("yolov3_d53_320_273e", {"model.backbone": {**SMALL_RESNET, "out_indices": [1, 2, 3]}}),
    "yolact": ("yolact_r50_1x8", {"model.bbox_head.anchor_generator.strides": [8, 16, 32, 64, 128]}),
    "cornernet": ("cornernet_hourglass104_mstest_8x6_210e", {}),
    "detr": ("detr_r50_8x2_150e", {}),
    "deformable_detr": ("deformable_detr_r50_16x2_50e", {}),
    "sparse_rcnn": ("sparse_rcnn_r50_fpn_1x", {}),
    "regnet": ("retinanet_regnetx-800MF_fpn_1x", {}),
    "res2net": ("faster_rcnn_r2_101_fpn_2x", {}),
    "resnest": ("faster_rcnn_s50_fpn_syncbn-backbone+head_mstrain-range_1x", {}),
    "hrnet": ("faster_rcnn_hrnetv2p_w18_1x", {}),
    "pafpn": ("faster_rcnn_r50_pafpn_1x", {}),
    "carafe": ("faster_rcnn_r50_fpn_carafe_1x", {}),
    "nas_fpn": ("retinanet_r50_nasfpn_crop640_50e", {}),
}  # fmt: skip


def recipe(family):
    """The small recipe of a family."""
    from kdet.config import Config
    from verification.small import small_variant

    name, changes = FAMILIES[family]
    config = small_variant(Config.load(name))
    has_masks = "mask_head" in json.dumps(config["model"])
    config.override(changes)
    slower = SLOWER.get(family, {})
    longer, optimizer = slower.get("longer", 1), config["train"]["optimizer"]["type"]
    config["data"] = data_section("fruits_nuts" if has_masks else "bccd")
    config["data"]["train"]["repeat"] *= longer
    config["train"] = {
        "epochs": PARTS,
        "batch_size": BATCH,
        "optimizer": {
            "type": optimizer, "learning_rate": slower.get("rate", RATES[optimizer]), "weight_decay": 1e-4
        },
        "schedule": {
            "type": "StepDecay", "by_epoch": False, "steps": [240 * longer], "gamma": 0.1,
            "warmup": "linear", "warmup_steps": 50, "warmup_ratio": 0.01,
        },
        "clip": slower.get("clip", CLIP),
    }  # fmt: skip
    return config.check()


def data_section(name):
    """The ``data`` section of one of the two data sets; an epoch of training has about 100 steps."""
    resize = {"type": "Resize", "sizes": [SIZE]}
    split = {"transforms": [resize], "buckets": [CANVAS]}
    if name == "bccd":
        files = {part: DATA / name / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val")}
        split, repeat, metrics = {**split, "type": "VocReader"}, 2, ["bbox"]
        classes = ["RBC", "WBC", "Platelets"]
    else:
        files = {part: DATA / name / f"{part}.json" for part in ("train", "val")}
        split = {**split, "images": str(DATA / name / "images"), "masks": True}
        repeat, metrics, classes = 36, ["bbox", "segm"], ["date", "fig", "hazelnut"]
    return {
        "classes": classes,
        "train": {
            **split,
            "transforms": [resize, {"type": "RandomFlip"}],
            "annotations": str(files["train"]),
            "repeat": repeat,
            "remainder": "drop",
        },
        "val": {**split, "annotations": str(files["val"])},
        "metrics": metrics,
    }


def train(family):
    """Trains one family and returns its row: losses of every step, and AP before, within and after."""
    import keras

    from kdet.evaluation import evaluate
    from kdet.train import engine

    class Watch(keras.callbacks.Callback):
        """Keeps the loss of every step, and AP before the first."""

        losses, before = [], None

        def on_train_begin(self, logs=None):
            pipeline = engine.load_data(config, "val", BATCH)
            self.before = evaluate(self.model, pipeline, config["data"]["metrics"])

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(float(logs["loss"]))

    config, watch, start = recipe(family), Watch(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model, history = engine.train(config, folder, strategy="one", callbacks=[watch], verbose=2)
    figures = [watch.before, *({k.removeprefix("val/"): v for k, v in line.items()} for line in history)]
    return {
        "recipe": FAMILIES[family][0],
        "data": "fruits_nuts" if "segm" in config["data"]["metrics"] else "bccd",
        "steps": len(watch.losses),
        "loss": [sum(part) / len(part) for part in (watch.losses[:20], watch.losses[-20:])],
        **{
            name: [step[key] for step in figures]
            for name, key in (("AP", "bbox/AP"), ("AP50", "bbox/AP50"), ("mask_AP", "segm/AP"))
            if key in watch.before
        },
        "cpu_minutes": (time.process_time() - start) / 60,
    }


def table(rows):
    """The table of ``training.md`` as Markdown."""
    lines = [
        "| family | recipe | data | steps | loss at both ends | AP before and after every third | AP50 |",
        "|-|-|-|-|-|-|-|",
    ]
    for family in FAMILIES:
        if family not in rows:
            continue
        row = rows[family]
        first, last = row["loss"]
        ap = _figures(row["AP"]) + (f" (masks {_figures(row['mask_AP'])})" if "mask_AP" in row else "")
        lines.append(
            f"| {family} | `{row['recipe']}` | {row['data']} | {row['steps']} | {first:.2f} -> {last:.2f} "
            f"| {ap} | {row['AP50'][-1]:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _figures(values):
    return ", ".join(f"{value:.3f}" for value in values)


def write_page(rows):
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{table(rows)}{END}{after}", encoding="utf-8")


def load_rows():
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    unknown = set(options.families) - set(FAMILIES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(FAMILIES)}.")
    rows = load_rows()
    if options.here:
        for family in options.families:
            row = train(family)
            rows = {**load_rows(), family: row}
            STORE.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(family, row, flush=True)
    elif not options.table:
        for family in options.families or [name for name in FAMILIES if name not in rows]:
            subprocess.run([sys.executable, __file__, "--here", family], check=False)
    write_page(load_rows())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path.insert(0, str(ROOT))
    main()
