"""One target per reader: damaged input in; out comes a right result or a ``KdetError``, nothing else.

A target is a class with ``case(random)``: it makes one input, reads it, and checks what was read.
"""

import functools
import io
import json
import pathlib
import pickle
import shutil

import keras
import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

import kdet.data
from kdet import schema, yaml_loader
from kdet.convert import cache, read_pth
from kdet.convert.pth import StoredTensor
from kdet.data import decoding, proposals, segmentations
from kdet.evaluation import coco_metrics, voc_metrics
from tests.convert.plain_layers import Conv, Norm
from tests.fuzz.mutations import damaged, hostile, mutated

ASSETS = pathlib.Path(__file__).parent.parent / "assets"


class Target:
    """A reader and valid input for it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.prepare()

    def prepare(self):
        """Writes what all cases share."""

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return str(path)


def check_index(index):
    """What every index must keep."""
    for record in index.records:
        assert record.image_id >= 0 and record.height > 0 and record.width > 0
        assert np.isfinite(record.boxes).all() and np.isfinite(record.ignore_boxes).all()
        assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
        labels = [*record.labels, *record.ignore_labels]
        assert all(0 <= label < len(index.class_names) for label in labels)
        assert record.segmentations is None or len(record.segmentations) == len(record.labels)
        for segmentation in (index.segmentations(record) or []) if index.has_masks else []:
            assert isinstance(segmentation, bytes) or segmentations.fault(
                segmentation, record.height, record.width
            ) in (None,)
    assert len({r.image_id for r in index.records}) == len(index.records)
    for annotation in index.to_coco()["annotations"]:
        known = {key: annotation.get(key) for key in ("bbox", "area", "iscrowd", "image_id", "category_id")}
        json.dumps(known, allow_nan=False)


class Coco(Target):
    def prepare(self):
        for name in ("a.jpg", "b.png", "c.jpg"):
            shutil.copy(ASSETS / "data" / name, self.folder)
        self.content = json.loads((ASSETS / "data" / "coco.json").read_text())
        image = self.content["images"][0]
        size = [image["height"], image["width"]]
        rle = coco_mask.encode(np.asfortranarray(np.eye(*size, dtype=np.uint8)))
        for number, counts in enumerate((rle["counts"].decode(), [0, size[0] * size[1]])):
            self.content["annotations"].append(
                {"id": 900 + number, "image_id": image["id"], "category_id": 7, "bbox": [1, 1, 40, 40],
                 "area": 1600, "iscrowd": number, "segmentation": {"size": size, "counts": counts}}
            )  # fmt: skip

    def case(self, random):
        text = json.dumps(mutated(random, self.content))
        if random.random() < 0.2:
            text = damaged(random, text.encode())
        path = self.write("coco.json", text)
        options = {"on_missing": "skip", "on_corrupt": random.choice(("skip", "error"))}
        check_index(kdet.data.read_coco(path, self.folder, masks=random.random() < 0.7, **options))


class Voc(Target):
    def prepare(self):
        shutil.copytree(ASSETS / "data" / "voc", self.folder, dirs_exist_ok=True)
        self.split = next((self.folder / "ImageSets" / "Main").glob("*.txt"))
        self.names = self.split.read_bytes()
        self.xml = next((self.folder / "Annotations").glob("*.xml"))
        self.text = self.xml.read_bytes()

    def case(self, random):
        split, text = self.names, self.text
        if random.random() < 0.3:
            split = damaged(random, split)
        elif random.random() < 0.5:
            words = text.split(b">")
            words[random.randrange(len(words))] += str(hostile(random)).encode("utf-8", "replace")
            text = b">".join(words)
        else:
            text = damaged(random, text)
        self.split.write_bytes(split)
        self.xml.write_bytes(text)
        options = {"on_missing": "skip", "on_corrupt": random.choice(("skip", "error"))}
        check_index(kdet.data.read_voc(str(self.split), **options))


class TfRecord(Target):
    def prepare(self):
        coco = ASSETS / "data" / "coco.json"
        index = kdet.data.read_coco(coco, ASSETS / "data", masks=True)
        (path,), _ = kdet.data.write_tfrecords(index, str(self.folder / "valid"), progress=False)
        self.content = pathlib.Path(path).read_bytes()
        self.examples = list(tf.data.TFRecordDataset(path).as_numpy_iterator())

    def case(self, random):
        path = str(self.folder / "damaged.tfrecord")
        if random.random() < 0.4:
            self.write("damaged.tfrecord", damaged(random, self.content))
        else:
            with tf.io.TFRecordWriter(path) as writer:
                for example in self.examples:
                    writer.write(self._changed(random, example))
        options = {"on_corrupt": random.choice(("skip", "error")), "masks": random.random() < 0.5}
        check_index(kdet.data.read_tfrecord(path, **options))

    def _changed(self, random, encoded):
        if random.random() < 0.3:
            return damaged(random, encoded)
        example = tf.train.Example.FromString(encoded)
        features = example.features.feature
        key = random.choice(sorted(features))
        kind = random.choice(("bytes_list", "int64_list", "float_list"))
        values = {
            "bytes_list": [b"", b"\xff", b"-1"],
            "int64_list": [-1, 2**62],
            "float_list": [float("nan"), 1e30],
        }
        features[key].Clear()
        getattr(features[key], kind).value.extend(values[kind][: random.randint(0, 3)])
        return example.SerializeToString()


class Proposals(Target):
    def prepare(self):
        boxes = [
            np.array([[1, 2, 30, 40, 0.5], [3, 4, 50, 60, 0.9]], np.float32),
            np.zeros((0, 5), np.float32),
        ]
        buffer = io.BytesIO()
        np.savez(buffer, **{"1": boxes[0], "2": boxes[1]})
        entries = [{"image_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]
        self.valid = [("p.npz", buffer.getvalue()), ("p.json", json.dumps(entries).encode())]
        self.valid += [("p.pkl", pickle.dumps(boxes, protocol)) for protocol in range(5)]

    def case(self, random):
        name, content = random.choice(self.valid)
        path = self.write(name, damaged(random, content))
        for rows in proposals.read_proposals(path, [1, 2], 10):
            assert rows.dtype == np.float32 and rows.shape[1:] == (4,) and np.isfinite(rows).all()


class Images(Target):
    def prepare(self):
        pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
        jpeg = (ASSETS / "data" / "a.jpg").read_bytes()
        bmp = b"BM" + (54 + 384).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
        bmp += (40).to_bytes(4, "little") + (10).to_bytes(4, "little") + (12).to_bytes(4, "little")
        bmp += b"\1\0\x18\0" + bytes(24) + bytes(384)
        self.valid = [jpeg, tf.io.encode_png(pixels).numpy(), bmp]

    def case(self, random):
        encoded = damaged(random, random.choice(self.valid))
        decoding.exif_orientation(encoded)
        image = decoding.decode(encoded)
        assert image.dtype == np.uint8 and image.shape[2] == 3


class Checkpoints(Target):
    def prepare(self):
        folder = ASSETS / "checkpoints"
        self.valid = [(folder / name).read_bytes() for name in ("zip.pth", "stream.pth")]

    def case(self, random):
        path = self.write("damaged.pth", damaged(random, random.choice(self.valid)))
        self._walk(read_pth(path))

    def _walk(self, tree):
        if isinstance(tree, dict):
            for value in tree.values():
                self._walk(value)
        elif isinstance(tree, StoredTensor):
            assert tree.numpy().shape == tree.shape


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = Conv(2, 3), Norm()
        self(np.zeros((1, 8, 8, 3), np.float32))

    def call(self, x):
        return self.norm(self.conv(x))


class Converted(Target):
    def prepare(self):
        self.model = Net()
        cache.save_weights(self.model, self.folder / "valid.safetensors")
        self.content = (self.folder / "valid.safetensors").read_bytes()
        self.values = [v.numpy() for v in self.model.weights]

    def case(self, random):
        path = self.write("damaged.safetensors", damaged(random, self.content))
        try:
            cache.fill(self.model, path)
        finally:  # either way the values are the true ones
            for variable, value in zip(self.model.weights, self.values, strict=True):
                np.testing.assert_array_equal(variable.numpy(), value)


class Recipes(Target):
    text = """
data:
  classes: &names [cat, dog]
  train: {annotations: a.json, images: img, masks: true, max_boxes: 10, classes: *names, transforms: [
    {type: Expand, mean: [1, 2, 3], ratio: [1, 4]}, {type: Resize, sizes: [[640, 480]]},
    {type: RandomCrop, size: [320, 320]}, {type: RandomFlip, probability: 0.5}]}
  metrics: [bbox]
train: {epochs: 3, batch_size: 2, clip: 35, optimizer: {type: SGD, learning_rate: 1e-2, momentum: 0.9},
  schedule: {steps: [1, 2], warmup_steps: 10}}
test: {scales: [[640, 480]], flip: true}
"""

    def case(self, random):
        if random.random() < 0.4:
            text = damaged(random, self.text.encode()).decode("utf-8", "replace")
            found = yaml_loader.load(text, "recipe.yaml")
        else:
            found = mutated(random, yaml_loader.load(self.text, "recipe.yaml"))
        if isinstance(found, dict):
            problems = schema.problems(found)
            assert all(text for _, text in problems)
            train = (found.get("data") or {}).get("train") if isinstance(found.get("data"), dict) else None
            settings, _ = kdet.data.spec.complete(train)
            kdet.data.spec.chain(settings, training=True)


class RunLengths(Target):
    def case(self, random):
        height, width = random.randint(1, 20), random.randint(1, 20)
        mask = np.array([random.random() < 0.5 for _ in range(height * width)], np.uint8)
        rle = coco_mask.encode(np.asfortranarray(mask.reshape(height, width)))
        assert segmentations.fault({**rle, "counts": rle["counts"].decode()}, height, width) is None
        counts = damaged(random, rle["counts"])
        if segmentations.fault({"size": [height, width], "counts": counts}, height, width) is None:
            again = {"size": [height, width], "counts": counts}
            first, second = coco_mask.decode(again), coco_mask.decode(again)
            np.testing.assert_array_equal(first, second)  # no memory of others
            assert first.shape == (height, width) and first.max(initial=0) <= 1


class Evaluators(Target):
    truth = {
        "images": [{"id": 1, "height": 60, "width": 80, "file_name": "a"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "area": 400, "iscrowd": 0}
        ],
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20], "score": 0.9}]

    def case(self, random):
        number = random.choice((float("nan"), float("inf"), -1e30, 1e30, -50.0))
        result = dict(self.results[0], bbox=list(self.results[0]["bbox"]))
        if random.random() < 0.3:
            result["score"] = number
        else:
            result["bbox"][random.randrange(4)] = number
        found = voc_metrics(self.truth, [result])["mAP"], coco_metrics(self.truth, [result])["AP50"]
        right = result["bbox"] == self.results[0]["bbox"] and np.isfinite(result["score"])
        assert found == ((1.0, 1.0) if right else (0.0, 0.0)), result


TARGETS = {
    cls.__name__: cls
    for cls in (
        Coco, Voc, TfRecord, Proposals, Images, Checkpoints, Converted, Recipes, RunLengths, Evaluators,
    )
}  # fmt: skip


@functools.cache
def target(name, folder):
    """The prepared target of that name."""
    return TARGETS[name](folder)
