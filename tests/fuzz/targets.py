"""One target per reader: damaged input in; out comes a right result or a ``KdetError``, nothing else.

A target is a class with ``case(random)``: it makes one input, reads it, and checks what was read.
"""

import io
import json
import pathlib
import pickle
import shutil

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

import kdet.data
from kdet import schema, yaml_loader
from kdet.data import decoding, proposals, segmentations
from kdet.evaluation import coco_metrics, voc_metrics
from tests.data import made
from tests.fuzz.mutations import damaged, hostile, mutated
from tests.fuzz.target import ASSETS, Target
from tests.fuzz.weight_targets import Checkpoints, Converted, KerasArchive, KerasWeights


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


class _Made(Target):
    """A data set of ``tests.data.made``, one file of which is damaged."""

    masks = True

    def make(self):
        raise NotImplementedError(f"{type(self).__name__} must define make().")

    def prepare(self):
        self.path = pathlib.Path(self.make())
        self.content = self.path.read_bytes()

    def changed(self, random):
        return damaged(random, self.content)

    def case(self, random):
        self.path.write_bytes(self.changed(random))
        options = {"on_missing": "skip", "on_corrupt": random.choice(("skip", "error"))}
        check_index(self.read(masks=self.masks and random.random() < 0.7, **options))


class _MadeJson(_Made):
    def changed(self, random):
        if random.random() < 0.2:
            return damaged(random, self.content)
        return json.dumps(mutated(random, json.loads(self.content))).encode("utf-8", "surrogatepass")


class YoloLines(_Made):
    def make(self):
        self.yaml = made.yolo(self.folder)
        return self.folder / "labels" / "train" / "a.txt"

    def changed(self, random):
        if random.random() < 0.4:
            return damaged(random, self.content)
        words = self.content.decode().split(" ")
        words[random.randrange(len(words))] = str(hostile(random))
        return " ".join(words).encode("utf-8", "replace")

    def read(self, **options):
        return kdet.data.read_yolo(self.yaml, **options)


class YoloYaml(_Made):
    def make(self):
        return made.yolo(self.folder)

    def changed(self, random):
        if random.random() < 0.5:
            return damaged(random, self.content)
        tree = mutated(random, yaml_loader.load(self.content.decode(), "data.yaml"))
        return json.dumps(tree).encode("utf-8", "surrogatepass")  # JSON is YAML

    def read(self, **options):
        return kdet.data.read_yolo(self.path, **options)


class LabelMe(_MadeJson):
    def make(self):
        mask = {"label": "dog", "points": [[4, 6], [13, 10]], "mask": made.labelme_mask(np.tri(5, 10))}
        circle = {"label": "cat", "points": [[9, 9], [12, 13]], "shape_type": "circle"}
        shapes = [*made.labelme_shapes(), {**mask, "shape_type": "mask"}, circle]
        return pathlib.Path(made.labelme(self.folder, shapes)) / "a.json"

    def read(self, **options):
        return kdet.data.read_labelme(self.path, self.folder, **options)


class Cvat(_Made):
    def make(self):
        shapes = made.CVAT_SHAPES + (
            '<mask label="dog" rle="1, 2, 3, 2" left="5" top="7" width="4" height="2"/>'
            '<ellipse label="cat" cx="30" cy="20" rx="10" ry="5" rotation="30"/>'
        )
        return made.cvat(self.folder, shapes)

    def changed(self, random):
        if random.random() < 0.4:
            return damaged(random, self.content)
        words = self.content.split(b'"')
        words[random.randrange(1, len(words), 2)] = str(hostile(random)).encode("utf-8", "replace")
        return b'"'.join(words)

    def read(self, **options):
        return kdet.data.read_cvat(self.path, self.folder / "images", **options)


class LabelStudio(_MadeJson):
    def make(self):
        # 9600 values in two runs: all of one color
        bits = f"{9600:032b}{7:05b}" + f"{15:04b}" * 4 + f"100{9599:016b}{255:08b}"
        bits += "0" * (-len(bits) % 8)
        rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
        brush = {"format": "rle", "rle": rle, "brushlabels": ["cat"]}
        size = {"original_width": 60, "original_height": 40}
        results = [*made.label_studio_results(), {**size, "id": "b", "type": "brushlabels", "value": brush}]
        return made.label_studio(self.folder, results)

    def read(self, **options):
        return kdet.data.read_label_studio(self.path, self.folder / "images", **options)


class OpenImages(_Made):
    masks = False

    def make(self):
        return made.open_images(self.folder)

    def changed(self, random):
        if random.random() < 0.5:
            return damaged(random, self.content)
        words = self.content.split(b",")
        words[random.randrange(len(words))] = str(hostile(random)).encode("utf-8", "replace")
        return b",".join(words)

    def read(self, **options):
        return kdet.data.read_open_images(self.path, self.folder / "images", **options)


class WiderFace(Target):
    def prepare(self):
        for name in ("a.jpg", "b.png", "c.jpg"):
            shutil.copy(ASSETS / "data" / name, self.folder)
        faces = "10 12 20 25 0 0 0 0 0 0\n40 12 16 30 0 0 0 1 0 0\n"
        self.text = f"a.jpg\n2\n{faces}b.png\n0\n0 0 0 0 0 0 0 0 0 0\nc.jpg\n1\n1 1 9 9 0 0 0 0 0 0\n"

    def case(self, random):
        if random.random() < 0.5:
            text = damaged(random, self.text.encode())
        else:
            words = self.text.split(" ")
            words[random.randrange(len(words))] = str(hostile(random))[:200]
            text = " ".join(words)
        path = self.write("faces.txt", text)
        options = {"on_missing": "skip", "on_corrupt": random.choice(("skip", "error"))}
        check_index(kdet.data.read_wider_face(path, str(self.folder), **options))


class CrowdHuman(Target):
    def prepare(self):
        for name in ("a.jpg", "c.jpg"):
            shutil.copy(ASSETS / "data" / name, self.folder)
        boxes = [
            {"tag": "person", "fbox": [1, 2, 30, 40], "extra": {"ignore": 0}},
            {"tag": "mask", "fbox": [5, 5, 9, 9]},
        ]
        self.entries = [{"ID": name, "gtboxes": boxes} for name in "ac"]

    def case(self, random):
        text = "\n".join(json.dumps(mutated(random, entry)) for entry in self.entries).encode()
        path = self.write("people.odgt", damaged(random, text) if random.random() < 0.2 else text)
        options = {"on_missing": "skip", "on_corrupt": random.choice(("skip", "error"))}
        check_index(kdet.data.read_crowd_human(path, str(self.folder), **options))


class Cityscapes(Target):
    def prepare(self):
        for kind in ("gtFine", "leftImg8bit"):
            (self.folder / kind / "ulm").mkdir(parents=True)
        for number in range(2):
            image = np.zeros((20, 30, 3), np.uint8)
            name = f"leftImg8bit/ulm/ulm_00000{number}_000019_leftImg8bit.png"
            self.write(name, tf.io.encode_png(image).numpy())
        pixels = np.zeros((20, 30, 1), np.uint16)
        pixels[2:9, 3:9], pixels[10:12] = 26001, 24
        self.map = tf.io.encode_png(pixels).numpy()
        objects = [
            {"label": label, "polygon": [[1, 1], [9, 1], [9, 9]]} for label in ("car", "sky", "persongroup")
        ]
        self.polygons = {"imgHeight": 20, "imgWidth": 30, "objects": objects}

    def case(self, random):
        self.write("gtFine/ulm/ulm_000000_000019_gtFine_instanceIds.png", damaged(random, self.map))
        polygons = json.dumps(mutated(random, self.polygons))
        self.write("gtFine/ulm/ulm_000001_000019_gtFine_polygons.json", polygons)
        folders = [str(self.folder / kind) for kind in ("gtFine", "leftImg8bit")]
        options = {"on_corrupt": random.choice(("skip", "error")), "masks": random.random() < 0.5}
        check_index(kdet.data.read_cityscapes(*folders, **options))


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
        Coco, Voc, WiderFace, CrowdHuman, Cityscapes, TfRecord, Proposals, Images, Checkpoints, Converted,
        KerasWeights, KerasArchive, Recipes, RunLengths, Evaluators, YoloLines, YoloYaml, LabelMe, Cvat,
        LabelStudio, OpenImages,
    )
}  # fmt: skip
