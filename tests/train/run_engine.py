"""Trains a tiny Faster R-CNN in a process of its own: ``run_engine.py OUT STRATEGY [kill_after]``.

Writes the losses of every step to ``OUT.<worker>.json``, and what the engine writes to ``OUT``. With
``kill_after`` the process kills itself after that many steps; with an ``OUT`` that is there it resumes.
A run that was not resumed by one device scores fixed weights on images of several sizes, see ``score``;
the figures go into ``OUT.<worker>.figures.json``.
"""

import json
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np
import tensorflow as tf

MODEL = """
model:
  type: TwoStageDetector
  preprocessor: {type: Preprocessor, size: [64, 64]}
  backbone:
    {type: ResNet, depth: 18, base_channels: 8, num_stages: 2, strides: [1, 2], dilations: [1, 1],
     out_indices: [0, 1], frozen_stages: 0, norm_eval: false}
  neck: {type: FPN, out_channels: 16, num_outs: 2, num_inputs: 2}
  rpn_head:
    type: RPNHead
    filters: 16
    anchor_generator: {type: AnchorGenerator, strides: [4, 8], ratios: [0.5, 1.0, 2.0], scales: [4]}
    coder: {type: DeltaXYWHCoder}
    loss_cls: {type: CrossEntropyLoss, use_sigmoid: true}
    loss_bbox: {type: L1Loss}
    assigner: {type: MaxIoUAssigner, pos_iou: 0.7, neg_iou: 0.3, min_pos_iou: 0.3}
    sampler: {type: RandomSampler, num: 32, pos_fraction: 0.5, add_gt_as_proposals: false}
    train_proposals: {type: ProposalSelection, nms_pre: 50, max_per_image: 30, iou_threshold: 0.7}
    test_proposals: {type: ProposalSelection, nms_pre: 50, max_per_image: 30, iou_threshold: 0.7}
  roi_head:
    type: StandardRoIHead
    bbox_roi_extractor: {type: SingleRoIExtractor, output_size: 3, strides: [4, 8]}
    bbox_head:
      type: BBoxHead
      num_classes: 2
      num_shared_fcs: 1
      fc_units: 32
      coder: {type: DeltaXYWHCoder, stds: [0.1, 0.1, 0.2, 0.2]}
      loss_cls: {type: CrossEntropyLoss}
      loss_bbox: {type: L1Loss}
    assigner: {type: MaxIoUAssigner, pos_iou: 0.5, neg_iou: 0.5, min_pos_iou: 0.5, match_low_quality: false}
    sampler: {type: RandomSampler, num: 16, pos_fraction: 0.25}
"""
TRAIN = """
train:
  epochs: 2
  batch_size: 4
  optimizer: {type: SGD, learning_rate: 0.02, momentum: 0.9, weight_decay: 0.0001}
  schedule: {type: StepDecay, steps: [1], warmup_steps: 2, warmup_ratio: 0.1}
  clip: 0.5
  save_every: 2
  log_every: 1
  evaluate_every: 2
"""
IMAGES = 12  # three steps per epoch


def write_data(folder, sizes=((64, 64),) * IMAGES, name="data"):
    """Images with one to three bright boxes, as COCO JSON; by default twelve."""
    random = np.random.default_rng(0)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for i, (height, width) in enumerate(sizes):
        image = random.integers(0, 60, (height, width, 3), np.uint8)
        for _ in range(random.integers(1, 4)):
            x, y, w, h = (int(v) for v in (*random.integers(0, 30, 2), *random.integers(12, 32, 2)))
            category = int(random.integers(1, 3))
            image[y : y + h, x : x + w, category] = 220
            annotation = {"id": len(content["annotations"]) + 1, "image_id": i, "category_id": category}
            content["annotations"].append({**annotation, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
        file = f"{name}{i}.png"
        content["images"].append({"id": i, "file_name": file, "height": height, "width": width})
        (folder / file).write_bytes(tf.io.encode_png(image).numpy())
    (folder / f"{name}.json").write_text(json.dumps(content))


def write_recipe(folder):
    files = f"annotations: {folder}/data.json, images: {folder}"
    split = f"{{{files}, transforms: [{{type: Resize, sizes: [[64, 64]]}}, {{type: RandomFlip}}]}}"
    path = folder / "recipe.yaml"
    path.write_text(f"{MODEL}\ndata:\n  train: {split}\n  val: {split}\n  metrics: [bbox]\n{TRAIN}")
    return path


class Recorder(keras.callbacks.Callback):
    def __init__(self, folder, path, kill_after):
        super().__init__()
        self.folder = folder
        self.path, self.kill_after, self.losses = path, kill_after, []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append({k: float(v) for k, v in logs.items()})
        self.path.write_text(json.dumps(self.losses))
        if len(self.losses) == self.kill_after:
            self.wait_for_checkpoint()
            os.kill(os.getpid(), signal.SIGKILL)

    def wait_for_checkpoint(self):
        """Checkpoints are written beside the training: the newest one that was begun is to be there."""
        step = (len(self.losses) - 1) // 2 * 2
        path = self.folder / "checkpoints" / f"step_{step:08d}.weights.h5"
        for _ in range(600):
            if path.exists():
                return
            time.sleep(0.05)


def score(model, folder):
    """The figures of fixed weights on seven images of four sizes: batches that do not divide evenly, one
    canvas for each or a few fixed ones, mirrored views, an image that cannot be read."""
    from kdet.data import load
    from kdet.evaluation import evaluate

    model.load_weights(folder / "fixed.weights.h5")
    section = {"annotations": str(folder / "odd.json"), "images": str(folder)}
    section["transforms"] = [{"type": "Resize", "sizes": [[80, 64]]}]
    found = {"own": evaluate(model, load(section, batch_size=2))}
    found["fixed"] = evaluate(model, load({**section, "buckets": [[64, 128], [128, 64]]}, batch_size=2))
    found["views"] = evaluate(model, load(section, batch_size=2), ["bbox", "voc12"], augment=True)
    broken = {**section, "annotations": str(folder / "broken.json")}
    found["skipped"] = evaluate(model, load({**broken, "on_corrupt": "skip"}, batch_size=2))
    try:
        evaluate(model, load(broken, batch_size=2))
    except ValueError as error:
        found["error"] = str(error)
    return found


def main(out, strategy, kill_after=0):
    out = pathlib.Path(out)
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    from kdet.train.strategy import make_strategy, worker

    strategy = make_strategy(strategy)
    from kdet.config import Config
    from kdet.errors import Stopped
    from kdet.train.engine import train

    config = Config.load(out.parent / "data" / "recipe.yaml")
    recorder = Recorder(out, out.with_suffix(f".{worker()[0]}.json"), int(kill_after))
    resumed = out.exists()
    try:
        model, _ = train(config, out, strategy, resume="auto", callbacks=[recorder], verbose=0)
    except Stopped as error:
        print(error)
        os._exit(75)  # as the command does; TensorFlow would wait for the worker that is gone
    assert model.train_function is not None
    if resumed and worker()[1] == 1:
        return
    figures = score(model, out.parent / "data")
    out.with_suffix(f".{worker()[0]}.figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
