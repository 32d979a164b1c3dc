"""Records the sizes that MMDetection's test pipelines give images, for ``tests/zoo/test_preprocessing.py``.

    PEER/bin/python verification/peers/mmdet_preprocessing.py --generator DIR --out FILE.npz

Runs in the environment of PyTorch and MMDetection 2.x; DIR holds the program that made the goldens. One row
per distinct pipeline of the published models: the sizes of 200 images after resizing and after padding, and
the factors. The record also says which model has which pipeline.
"""

import argparse
import copy
import csv
import json
import pathlib
import sys

import numpy as np

GEOMETRY = ("Resize", "Pad", "RandomCenterCropPad")
PUBLISHED = pathlib.Path(__file__).parents[2] / "configs" / "published.csv"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    import compat  # noqa: F401  patches MMDetection for current versions

    rules, models, without = {}, {}, []
    with open(PUBLISHED, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = geometry(f"{row['family']}/{row['mmdet_config']}", row["mmdet_config"])
            if key is None:
                without.append(row["name"])
            else:
                models[row["name"]] = rules.setdefault(json.dumps(key), len(rules))
    sizes = drawn_sizes()
    results = [measured(json.loads(key), sizes) for key in rules]
    meta = {"rules": [json.loads(key) for key in rules], "models": models}
    np.savez_compressed(
        options.out,
        sizes=sizes.astype(np.int16),
        resized=np.array([r[0] for r in results], np.int16),
        padded=np.array([r[1] for r in results], np.int16),
        scale=np.array([r[2] for r in results], np.float32),
        meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
    )
    print(len(rules), "pipelines of", len(models), "models; no configuration:", *without)


def drawn_sizes():
    """``[200,2]`` (h, w): of cameras, screens and scraps."""
    random = np.random.default_rng(0)
    common = [
        (480, 640),
        (640, 480),
        (450, 800),
        (600, 520),
        (600, 800),
        (427, 640),
        (375, 500),
        (1080, 1920),
    ]
    edges = [(1, 1), (10, 700), (700, 10), (32, 32), (800, 1333), (1333, 800), (700, 3000), (17, 23)]
    drawn = np.exp(random.uniform(np.log(16), np.log(2400), (200 - len(common) - len(edges), 2)))
    return np.concatenate([common, edges, drawn.astype(int)])


def geometry(*names):
    """What decides over sizes in the test pipeline: ``[limit or factor, [transform, ...]]``.

    None where MMDetection published weights without a configuration.
    """
    import common

    for name in names:
        try:
            config, _ = common.load_model_cfg(common.find_config(name))
            break
        except FileNotFoundError:
            continue
    else:
        return None
    outer = next(step for step in config.data.test.pipeline if step["type"] == "MultiScaleFlipAug")
    size = outer.get("img_scale")
    size = outer["scale_factor"] if size is None else (size[0] if isinstance(size, list) else size)
    steps = [dict(step) for step in outer["transforms"] if step["type"] in GEOMETRY]
    loads = config.data.test.pipeline[0]
    return [size, [{**step, "to_float32": loads.get("to_float32", False)} for step in steps]]


def measured(rule, sizes):
    """Sizes ``[n,2]`` after resizing, after padding, and factors ``[n,2]`` (y, x)."""
    from mmdet.datasets.pipelines import MultiScaleFlipAug

    size, steps = copy.deepcopy(rule)
    kinds = [np.float32 if step.pop("to_float32") else np.uint8 for step in steps]
    one = {"scale_factor": size} if isinstance(size, (int, float)) else {"img_scale": tuple(size)}
    collect = [{"type": "Collect", "keys": ["img"], "meta_keys": ("img_shape", "pad_shape", "scale_factor")}]
    pipeline = MultiScaleFlipAug([*steps, *collect], flip=False, **one)
    resized, padded, scale = [], [], []
    for height, width in sizes.tolist():
        image = np.zeros((height, width, 3), kinds[0])
        given = {"img": image, "img_shape": image.shape, "ori_shape": image.shape, "img_fields": ["img"]}
        done = pipeline(given)
        meta, result = done["img_metas"][0].data, done["img"][0]
        resized.append(meta["img_shape"][:2])
        padded.append(result.shape[:2])
        scale.append(np.broadcast_to(meta["scale_factor"], 4)[[1, 0]])
    return resized, padded, scale


if __name__ == "__main__":
    main()
