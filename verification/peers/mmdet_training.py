"""Records how the reference trains the published models, for ``tests/zoo/test_training_settings.py``.

    PEER/bin/python verification/peers/mmdet_training.py configs/published.csv OUT.json.gz

Runs in the environment of MMDetection 2.x, whose configs are read.
"""

import argparse
import csv
import gzip
import json
import pathlib

import mmdet
from mmcv import Config

CONFIGS = pathlib.Path(mmdet.__file__).parent / ".mim" / "configs"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", help="CSV with the columns name, family and mmdet_config")
    parser.add_argument("out")
    options = parser.parse_args()
    found = {}
    with open(options.models, newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            path = CONFIGS / row["family"] / f"{row['mmdet_config']}.py"
            if path.exists():  # of one published model there is no config
                found[row["name"]] = settings(Config.fromfile(str(path), import_custom_modules=False))
    content = json.dumps(found, indent=0, sort_keys=True).encode()
    pathlib.Path(options.out).write_bytes(gzip.compress(content, mtime=0))


def settings(config):
    """What a config says of optimizer, schedule and length."""
    optimizer, policy = dict(config.optimizer), dict(config.lr_config)
    parameters = optimizer.pop("paramwise_cfg", None) or {}
    data, repeat, oversample = config.data.train, 1, None
    while isinstance(data, dict) and "dataset" in data:
        repeat *= data.get("times", 1)
        oversample = data.get("oversample_thr", oversample)
        data = data["dataset"]
    return {
        "optimizer": optimizer,
        "parameters": parameters,
        "clip": (config.get("optimizer_config") or {}).get("grad_clip"),
        "schedule": policy,
        "epochs": config.runner.get("max_epochs"),
        "iterations": config.runner.get("max_iters"),
        "data_set": data["type"],
        "batch_size": config.auto_scale_lr.base_batch_size,
        "loss_scale": (config.get("fp16") or {}).get("loss_scale"),
        "repeat": repeat,
        "oversample": oversample,
    }


if __name__ == "__main__":
    main()
