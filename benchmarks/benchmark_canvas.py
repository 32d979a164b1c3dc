"""What fixed canvases (``canvas="buckets"``) change of what a detector finds, on images of several shapes.

    python benchmarks/benchmark_canvas.py benchmarks/recipes/faster_rcnn_r18_fpn_bccd.yaml \
        --weights runs/bccd/final.weights.h5

The images of ``data.val`` are cut to several heights and widths about their middles, with the boxes whose
middles remain; every cut goes through ``predict`` on its own canvas and on that of a bucket. Prints a
Markdown table: the canvases of most images, AP on both, and the share of the detections from ``--min-score``
on that have a partner on the other canvas (the same class, IoU above 0.9).
"""

import argparse
import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

# shares of height and width that are kept
CUTS = {"whole": (1.0, 1.0), "16:9": (0.75, 1.0), "2:1": (0.6667, 1.0), "3:5, upright": (1.0, 0.45)}
SAME = 0.9


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--min-score", type=float, default=0.3)
    parser.add_argument("--limit", type=int, help="images; default all")
    options = parser.parse_args()

    from kdet import data, zoo
    from kdet.config import Config

    config = Config.load(options.config)
    pipeline = data.load({**data.section(config, "val"), "limit": options.limit})
    model = config.build("model")
    zoo.fill(model, config, options.weights)
    images = list(pipeline.images())
    print("| cut | own canvas | bucket | AP own | AP bucket | with a partner | largest change of a score |")
    print("|-|-|-|-|-|-|-|")
    for name, shares in CUTS.items():
        row(name, model, [cut(*one, shares) for one in images], options.min_score)


def row(name, model, cuts, min_score):
    """Prints the figures of one kind of cut."""
    from kdet.detectors.predict import view_batches
    from kdet.evaluation import coco_metrics

    pixels, truths = [image for image, _, _ in cuts], [truth for _, *truth in cuts]
    canvases, found = {}, {}
    for canvas in ("own", "buckets"):
        shapes = collections.Counter(
            tuple(views[0]["images"].shape[1:3])
            for _, views in view_batches(model, pixels, 1, augmentation(), canvas)
        )
        canvases[canvas] = "x".join(map(str, shapes.most_common(1)[0][0]))
        found[canvas] = model.predict(pixels, canvas=canvas)
    truth = ground_truth(truths, pixels)
    ap = {canvas: coco_metrics(truth, results(one))["AP"] for canvas, one in found.items()}
    shared, change = partners(found["own"], found["buckets"], min_score)
    cells = [name, canvases["own"], canvases["buckets"], f"{ap['own']:.4f}", f"{ap['buckets']:.4f}"]
    print("|", " | ".join([*cells, f"{100 * shared:.1f} %", f"{change:.3f}"]), "|", flush=True)


def augmentation():
    from kdet.detectors.predict import Augmentation

    return Augmentation.of(None)


def cut(record, image, shares):
    """``(image, boxes, labels)`` of the middle part."""
    size = np.array(image.shape[:2])
    kept = np.maximum(np.rint(size * shares).astype(int), 1)
    top, left = (size - kept) // 2
    boxes = record.boxes - np.tile(np.float32([left, top]), 2)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((middle > 0) & (middle < kept[::-1])).all(1)
    boxes = np.clip(boxes, 0, np.tile(kept[::-1], 2))[inside]
    return image[top : top + kept[0], left : left + kept[1]], boxes, record.labels[inside]


def ground_truth(truths, images):
    """A COCO dict."""
    entries = [
        {"id": i, "file_name": str(i), "height": image.shape[0], "width": image.shape[1]}
        for i, image in enumerate(images)
    ]
    annotations = []
    for i, (boxes, labels) in enumerate(truths):
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i, "category_id": label, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    labels = sorted({a["category_id"] for a in annotations})
    categories = [{"id": label, "name": str(label)} for label in labels]
    return {"images": entries, "annotations": annotations, "categories": categories}


def results(found):
    """What was found as COCO results."""
    from kdet.evaluation.results import ResultList

    listed = ResultList(range(1 + max(0, int(found["labels"].max(initial=0)))))
    count = len(found["labels"])
    listed.add(dict(found), list(range(count)), np.zeros((count, 2), int))
    return listed.entries


def partners(one, other, min_score):
    """Share of the detections of both with a partner in the other, and the largest change of a score."""
    matched, total, change = 0, 0, 0.0
    for first, second in ((one, other), (other, one)):
        for i in range(len(first["labels"])):
            keep = (first["labels"][i] >= 0) & (first["scores"][i] >= min_score)
            for box, label, score in zip(
                first["boxes"][i][keep], first["labels"][i][keep], first["scores"][i][keep], strict=True
            ):
                same = second["labels"][i] == label
                overlap = iou(box, second["boxes"][i][same])
                best = int(np.argmax(overlap)) if len(overlap) else -1
                total += 1
                if best >= 0 and overlap[best] > SAME:
                    matched += 1
                    change = max(change, abs(float(score - second["scores"][i][same][best])))
    return matched / max(total, 1), change


def iou(box, boxes):
    """IoU ``[n]`` of a box with others."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / np.maximum(area - shared, 1e-6)


if __name__ == "__main__":
    main()
