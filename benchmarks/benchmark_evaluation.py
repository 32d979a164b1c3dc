"""What COCO's figures of many detections cost in time and memory, beside faster-coco-eval at once.

    python -m benchmarks.benchmark_evaluation --images 118287 --detections 100
    python -m benchmarks.benchmark_evaluation --images 5000 --detections 100 --peer

Detections are drawn around the objects of the ground truth and elsewhere, 6.9 objects an image of 80 classes,
a third of them of the first, as persons are in COCO.
"""

import argparse
import time

import numpy as np

from benchmarks.benchmark_index import memory
from kdet.evaluation import blocks
from kdet.evaluation.coco import coco_evaluator, precisions
from kdet.evaluation.columns import Columns
from kdet.typing import Array

CLASSES = 80


def sides(images: int, detections: int, seed: int = 0) -> tuple[Columns, Columns]:
    """Ground truth and detections."""
    random = np.random.default_rng(seed)
    objects = round(images * 6.9)
    truth = _boxes(random, random.integers(0, images, objects))
    owners = np.repeat(np.arange(images), detections)
    found = _boxes(random, owners)
    near = random.integers(0, objects, len(owners) // 10)  # one in ten is of an object
    places = np.minimum(
        truth.image[near] * detections + random.integers(0, detections, len(near)), len(owners) - 1
    )
    assert found.boxes is not None and truth.boxes is not None
    found.boxes[places] = truth.boxes[near] * random.uniform(0.9, 1.1, (len(near), 4))
    found.category[places] = truth.category[near]
    areas = truth.boxes[:, 2] * truth.boxes[:, 3]
    truth = Columns(truth.image, truth.category, truth.boxes, areas=areas, crowd=np.zeros(objects, bool))
    return truth, Columns(found.image, found.category, found.boxes, scores=random.random(len(owners)))


def _boxes(random: np.random.Generator, owners: Array) -> Columns:
    count = len(owners)
    category = np.where(random.random(count) < 0.3, 1, random.integers(1, CLASSES + 1, count))
    places = np.concatenate([random.uniform(0, 400, (count, 2)), random.uniform(4, 200, (count, 2))], axis=1)
    return Columns(owners.astype(np.int64), category, places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--peer", action="store_true", help="faster-coco-eval over the whole at once too")
    options = parser.parse_args()
    truth, found = sides(options.images, options.detections)
    ids = np.arange(options.images), np.arange(1, CLASSES + 1)
    before = memory("VmRSS")
    began = time.process_time()
    protocol = blocks.Protocol("bbox", ids[0], ids[1], True, [1, 10, 100])
    precision, recall = blocks.evaluate(truth, found, protocol)
    own = time.process_time() - began
    figures = precisions(precision, recall, [str(number) for number in ids[1]])
    print(f"kdet: {own:.1f} s of CPU, {1e6 * own / len(found):.1f} us per detection, AP {figures['AP']:.12f}")
    print(f"      at most {memory('VmHWM'):.0f} MB, {before:.0f} MB of them with all detections before")
    if options.peer:
        content = {
            "images": [{"id": number} for number in ids[0].tolist()],
            "annotations": list(truth.dicts()),
            "categories": [{"id": number, "name": str(number)} for number in ids[1].tolist()],
        }
        results = list(found.dicts())
        began = time.process_time()
        evaluator = coco_evaluator(content, results)
        peer = time.process_time() - began
        print(f"at once: {peer:.1f} s of CPU, {1e6 * peer / len(found):.1f} us per detection")
        print(f"      at most {memory('VmHWM'):.0f} MB")
        difference = np.abs(np.asarray(evaluator.eval["precision"]) - precision).max()
        print(f"largest difference of a precision: {difference:.1e}")


if __name__ == "__main__":
    main()
