"""Records MMDetection's detections of image files, for ``tests/detectors/test_from_file.py``.

    PEER/bin/python verification/peers/mmdet_from_file.py --generator DIR --out FILE.npz [--only NAME ...]

Runs in the environment of PyTorch and MMDetection 2.x; DIR holds the program that made the goldens. Small
detectors (``verification/from_file.py``) with generated weights look at images through the test pipeline of
their configuration: reading, resizing, normalizing, padding are MMDetection's own. With ``--only`` the other
records in the file stay.
"""

import argparse
import copy
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--only", nargs="*", help="records to make anew")
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    import compat  # noqa: F401  patches MMDetection for current versions

    from verification import from_file

    found, meta = {}, {}
    if options.out.exists():
        with np.load(options.out) as before:
            found = {key: before[key] for key in before.files if key != "meta"}
            meta = json.loads(bytes(before["meta"]).decode())
    for name in options.only or from_file.CASES:
        found = {key: value for key, value in found.items() if not key.startswith(f"{name}/")}
        arrays, meta[name] = record(from_file.CASES[name], from_file)
        found.update({f"{name}/{key}": value for key, value in arrays.items()})
        counts = {key: len(value) for key, value in arrays.items() if key.endswith("labels")}
        print(name, counts, meta[name]["adjust"], flush=True)
    found["jpeg/turned"], found["jpeg/mirrored"] = (
        np.frombuffer(from_file.encoded(name), np.uint8) for name in ("turned", "mirrored")
    )
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(options.out, meta=text, **found)


def record(case, from_file):
    """``({"IMAGE/boxes" [N,5], "IMAGE/labels" [N], "IMAGE/areas" [N] of masks}, meta)``."""
    import common
    import make_golden
    import torch
    from mmdet.datasets.pipelines import Compose
    from mmdet.models.backbones import Darknet

    Darknet.arch_settings[53] = from_file.DARKNET
    config, plain = common.load_model_cfg(common.find_config(case["config"]))
    model = common.build(changed(plain, case["there"]))
    model.CLASSES = None
    shapes, tied = make_golden.state_shapes(model)
    adjust = make_golden.initial_adjust(model, shapes, tied, 0)
    make_golden.load_weights(model, shapes, tied, adjust, 0)
    model.eval()
    pipeline = Compose(test_pipeline(config, case["size"]))
    views = {name: view(pipeline, from_file.encoded(name)) for name in case["images"]}

    def detections():
        with torch.no_grad():
            return {name: run(model, *given) for name, given in views.items()}

    make_golden.calibrate(model, detections, shapes, tied, adjust, 0)
    results = detections()
    for _ in range(6):
        if min(len(labels) for _, labels, _ in results.values()) >= 10:
            break
        raised = [
            name
            for name, _ in shapes
            if name.endswith(".bias")
            and (make_golden.weights._RE_CLS.search(name) or make_golden._RE_MORE.search(name))
        ]
        for name in raised:
            factor, offset = adjust.get(name, [1.0, 0.0])
            adjust[name] = [factor, offset + 0.8]
        make_golden.load_some(model, raised, shapes, tied, adjust, 0)
        results = detections()
    arrays = {}
    for name, (boxes, labels, masks) in results.items():
        arrays[f"{name}/boxes"], arrays[f"{name}/labels"] = boxes, labels
        if masks is not None:
            arrays[f"{name}/areas"] = masks
    return arrays, {"adjust": adjust, "tied": tied}


def changed(plain, changes):
    """The model's settings with some of them replaced, by dotted keys."""
    plain = copy.deepcopy(plain)
    plain["train_cfg"] = None
    stages = changes.get("roi_head.num_stages")
    if stages:
        plain["roi_head"]["bbox_head"] = plain["roi_head"]["bbox_head"][:stages]
    for key, value in changes.items():
        *path, last = key.split(".")
        part = plain
        for step in path:
            part = part[step]
        part[last] = value
    return plain


def test_pipeline(config, size):
    """The configuration's own, one view, at another limit."""
    steps = copy.deepcopy(config.data.test.pipeline)
    for step in steps:
        if step["type"] == "MultiScaleFlipAug":
            step["flip"] = False
            if size is not None:
                step["img_scale"] = size
    return steps


def view(pipeline, content):
    """``(image [1,3,H,W], [meta])`` of one file."""
    with tempfile.NamedTemporaryFile(suffix=".png" if content[1:4] == b"PNG" else ".jpg") as file:
        file.write(content)
        file.flush()
        data = pipeline({"img_info": {"filename": file.name}, "img_prefix": None})
    return data["img"][0][None], [data["img_metas"][0].data]


def run(model, image, metas):
    """``(boxes and scores [N,5], labels [N], pixels of every mask [N] or None)``, best first."""
    result = model(img=[image], img_metas=[copy.deepcopy(metas)], return_loss=False, rescale=True)[0]
    boxes, masks = result if isinstance(result, tuple) else (result, None)
    labels = np.concatenate([np.full(len(b), i, np.int16) for i, b in enumerate(boxes)])
    areas = None if masks is None else np.array([m.sum() for one in masks for m in one], np.int32)
    boxes = np.concatenate(boxes).astype(np.float32)
    order = np.argsort(-boxes[:, 4], kind="stable")
    return boxes[order], labels[order], None if areas is None else areas[order]


if __name__ == "__main__":
    main()
